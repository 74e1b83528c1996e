//! `probes` of a unit: how it is found out whether it is well.

pub mod database;
pub mod http;
pub mod local;
pub mod metrics;
pub mod stream;
pub mod tls;

use std::time::Duration;

use crate::base::choice::ProbeRole;

use super::breaker::BreakerSpec;
use super::code;
use super::command::Exec;
use super::decode::{Cx, Decode, mapping};
use super::diagnostic::{Diagnostic, Span, Spanned};
use super::node::{Kind, Node};
use super::readiness::{regex_fault, tcp_fault};
use super::remediation::RemediationSpec;
use super::restart::is_word;
use super::value::{Flag, Int, Name, OneOf, PositiveTime, Text, Time, schema};

use database::DatabaseSpec;
use http::HttpSpec;
use local::{FileSpec, HostSpec, LogSpec, NetworkSpec, ResourcesSpec};
use metrics::MetricsSpec;
use stream::{GrpcSpec, TcpSpec};

/// `timeout` when it is not declared.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);

/// What a probe may look at.
const KINDS: [&str; 15] = [
    "http",
    "tcp",
    "grpc",
    "postgresql",
    "mysql",
    "redis",
    "nats",
    "command",
    "process",
    "file",
    "log",
    "resources",
    "network",
    "host",
    "metrics",
];

/// Makes a mapping that may be written as one of its values.
macro_rules! bare_or_mapping {
    ($name:ident, $field:ident: $type:ty, $expected:literal) => {
        $crate::spec::value::schema!($name, generator => {
            serde_json::json!({"anyOf": [generator.subschema_for::<$type>(), Self::mapping_schema(generator)]})
        });

        impl $crate::spec::decode::Decode for $name {
            const EXPECTED: &'static str = $expected;

            fn decode(node: &$crate::spec::node::Node, cx: &mut $crate::spec::decode::Cx<'_>) -> Option<Self> {
                let spec = if $crate::spec::restart::is_word(node) {
                    let value = <$type as $crate::spec::decode::Decode>::decode(node, cx)?;
                    Self { $field: Some($crate::spec::diagnostic::Spanned { value, span: node.span }), ..Self::default() }
                } else {
                    Self::from_mapping(node, cx)?
                };
                spec.check(cx);
                Some(spec)
            }
        }
    };
}

use bare_or_mapping;

mapping! {
    /// One way to find out whether a unit is well: what it looks at, and when. The words mean what they mean in Kubernetes.
    ProbeSpec: "a mapping, for example `{role: liveness, http: \"http://127.0.0.1:8080/health\"}`" {
        /// Its name in status, events and metrics; what it looks at if not given.
        name: Name,
        /// What it is asked for.
        role: OneOf<ProbeRole> = "liveness",
        /// A request by HTTP is answered as it should be.
        http: HttpSpec,
        /// A TCP connection, or one to a Unix socket, succeeds, and what comes back is as it should be.
        tcp: TcpSpec,
        /// A gRPC server says that it serves.
        grpc: GrpcSpec,
        /// A PostgreSQL server lets us in and answers.
        postgresql: DatabaseSpec,
        /// A MySQL or MariaDB server lets us in and answers.
        mysql: DatabaseSpec,
        /// A Redis (or Valkey) server lets us in and answers PING.
        redis: DatabaseSpec,
        /// A NATS server lets us in and answers PING.
        nats: DatabaseSpec,
        /// A program that ends as Nagios' plugins do: 0 well, 1 degraded, 2 failed, 3 unknown. The first line it prints is shown, and what
        /// stands behind `|` in it becomes metrics (performance data); so do the numbers of a JSON object. It runs as the daemon's user, in
        /// the unit's working directory, with the unit's environment, in a cgroup of its own; after `timeout` all of it is killed.
        command: Exec,
        /// The unit's main process is there, and neither stopped, a zombie, nor stuck in the kernel.
        process: Flag,
        /// A file is there, and neither too old nor of the wrong size.
        file: FileSpec,
        /// The unit writes its log, and nothing alarming.
        log: LogSpec,
        /// The unit uses no more than it should.
        resources: ResourcesSpec,
        /// Somebody listens on a TCP port, and keeps up with it; an interface of the network is there, and not overloaded.
        network: NetworkSpec,
        /// The machine has what the unit needs.
        host: HostSpec,
        /// The numbers that an application shows by itself (Prometheus, OpenMetrics) are as they should be.
        metrics: MetricsSpec,
        /// How often it is asked: a time; or two, between which the period goes by what was found. Then it is asked at `min` while it is not well, or
        /// a value it has measured is within a tenth of its limit or soon beyond it; else the period doubles from answer to answer up to `max`.
        period: PeriodSpec = "10s",
        /// How long one answer may take.
        timeout: PositiveTime = "1s",
        /// An answer that takes longer is degraded, whatever it says.
        slow_after: PositiveTime,
        /// How long after the start, or after the end of the startup probes, it is asked first.
        initial_delay: Time = "0s",
        /// What is done, step by step, when it fails.
        remediation: RemediationSpec,
        /// While it is open the probe is not made: what it asks is spared, and what was found last stands.
        breaker: BreakerSpec,
        /// So many failures in a row mean that it fails.
        failure_threshold: Int<1, 1000> = 3,
        /// So many successes in a row mean that it passes.
        success_threshold: Int<1, 1000> = 1,
    }
}

schema!(ProbeSpec, generator => Self::mapping_schema(generator).to_value());

mapping! {
    /// How often a probe is asked; a bare time is fixed.
    PeriodSpec: "a time or a mapping, for example `10s` or `{min: 2s, max: 30s}`" {
        /// The shortest period, while something is wrong or about to be.
        min: PositiveTime = required,
        /// The longest period, while nothing is.
        max: PositiveTime = required,
    }
}

schema!(PeriodSpec, generator => serde_json::json!({"anyOf": [generator.subschema_for::<PositiveTime>(), Self::mapping_schema(generator)]}));

impl Decode for PeriodSpec {
    const EXPECTED: &'static str = "a time or a mapping, for example `10s` or `{min: 2s, max: 30s}`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        if is_word(node) {
            let value = PositiveTime::decode(node, cx)?;
            return Some(Self { min: None, max: Some(Spanned { value, span: node.span }) });
        }
        let spec = Self::from_mapping(node, cx)?;
        if let (Some(min), Some(max)) = (&spec.min, &spec.max)
            && min.0 >= max.0
        {
            let fault = Diagnostic::new(code::CONFLICT, max.span, "`max` is no longer than `min`");
            cx.report(fault.related(min.span, "`min` is given here").help("write one time if it is always the same"));
        }
        Some(spec)
    }
}

impl Decode for ProbeSpec {
    const EXPECTED: &'static str = "a mapping, for example `{http: \"http://127.0.0.1:8080/health\"}`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let spec = Self::from_mapping(node, cx)?;
        let given = KINDS.into_iter().filter_map(|kind| node.key(kind).map(|key| (kind, key.span)));
        let mut given: Vec<_> = given.collect();
        given.sort_by_key(|(_, span)| span.start);
        match given[..] {
            [] => {
                let message = "a probe must say what it looks at";
                let help = format!("give one of {}", KINDS.map(|kind| format!("`{kind}`")).join(", "));
                cx.report(Diagnostic::new(code::CONFLICT, node.span, message).help(help));
            }
            [(first, first_span), (second, second_span), ..] => {
                let message = format!("a probe looks at one thing, but `{first}` and `{second}` are given");
                cx.report(Diagnostic::new(code::CONFLICT, second_span, message).related(first_span, "first given here"));
            }
            [_] => spec.check(cx),
        }
        Some(spec)
    }
}

/// Finds fault with a value whose specifiers are replaced.
pub(crate) type Check = fn(&str) -> Option<String>;

/// Finds fault with `host:port`, or the path of a socket.
fn address_fault(address: &str) -> Option<String> {
    if address.starts_with('/') { None } else { tcp_fault(address) }
}

impl ProbeSpec {
    /// What cannot be checked value by value, in a probe that looks at one thing.
    fn check(&self, cx: &mut Cx<'_>) {
        self.breaker.iter().for_each(|breaker| breaker.check(false, cx));
        if let Some(process) = self.process.as_ref().filter(|flag| !flag.0) {
            let fault = Diagnostic::new(code::CONFLICT, process.span, "`process: false` looks at nothing");
            cx.report(fault.help("remove the probe"));
        }
        for (kind, spec) in [("redis", &self.redis), ("nats", &self.nats)] {
            if let Some(spec) = spec {
                spec.check_pinged(kind, cx);
            }
        }
        let timeout = self.timeout.as_ref().map_or(DEFAULT_TIMEOUT, |timeout| timeout.0);
        if let Some(slow) = self.slow_after.as_ref().filter(|slow| slow.0 >= timeout) {
            let fault = Diagnostic::new(code::CONFLICT, slow.span, "an answer that takes so long has failed: it is no less than `timeout`");
            cx.report(match &self.timeout {
                Some(timeout) => fault.related(timeout.span, "`timeout` is given here"),
                None => fault.help("give a longer `timeout`, too: it is 1s unless it is given"),
            });
        }
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_ref().map_or(self.kind(), |name| &name.0)
    }

    /// What it looks at.
    fn kind(&self) -> &'static str {
        let kinds = [
            self.http.is_some(),
            self.tcp.is_some(),
            self.grpc.is_some(),
            self.postgresql.is_some(),
            self.mysql.is_some(),
            self.redis.is_some(),
            self.nats.is_some(),
            self.command.is_some(),
            self.process.is_some(),
            self.file.is_some(),
            self.log.is_some(),
            self.resources.is_some(),
            self.network.is_some(),
            self.host.is_some(),
            self.metrics.is_some(),
        ];
        KINDS.into_iter().zip(kinds).find(|(_, given)| *given).map_or("", |(kind, _)| kind)
    }

    /// The texts in it that may hold specifiers.
    pub(crate) fn texts(&self) -> Vec<(Span, String)> {
        let mut texts: Vec<&Spanned<Text>> = Vec::new();
        texts.extend(self.http.iter().flat_map(|http| http.texts()));
        texts.extend(self.tcp.iter().flat_map(|tcp| tcp.texts()));
        texts.extend(self.grpc.iter().flat_map(|grpc| grpc.texts()));
        texts.extend(self.databases().flat_map(DatabaseSpec::texts));
        texts.extend(self.file.iter().flat_map(|file| file.texts()));
        texts.extend(self.log.iter().flat_map(|log| log.texts()));
        texts.extend(self.network.iter().flat_map(|network| network.texts()));
        texts.extend(self.host.iter().flat_map(|host| host.texts()));
        let words = self.command.iter().flat_map(|command| &command.0).map(|word| (word.span, word.value.clone()));
        let remedies = self.remediation.iter().flat_map(|remediation| remediation.texts());
        let metrics = self.metrics.iter().flat_map(|metrics| metrics.texts());
        words.chain(remedies).chain(metrics).chain(texts.into_iter().map(|text| (text.span, text.0.clone()))).collect()
    }

    /// The texts in it that have to mean something, with what finds fault with them.
    pub(crate) fn checked(&self) -> Vec<(&Spanned<Text>, Check)> {
        let mut checked = Vec::new();
        checked.extend(self.http.iter().flat_map(|http| http.checked()));
        checked.extend(self.tcp.iter().flat_map(|tcp| tcp.checked()));
        checked.extend(self.grpc.iter().flat_map(|grpc| grpc.checked()));
        checked.extend(self.databases().flat_map(DatabaseSpec::checked));
        checked.extend(self.log.iter().flat_map(|log| log.checked()));
        checked.extend(self.network.iter().flat_map(|network| network.checked()));
        checked.extend(self.metrics.iter().flat_map(|metrics| metrics.checked()));
        checked
    }

    fn databases(&self) -> impl Iterator<Item = &DatabaseSpec> {
        [&self.postgresql, &self.mysql, &self.redis, &self.nats].into_iter().flatten().map(|spec| &spec.value)
    }
}

/// The probes of a unit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProbesSpec(pub Vec<Spanned<ProbeSpec>>);

schema!(ProbesSpec, generator => serde_json::json!({"type": "array", "items": generator.subschema_for::<ProbeSpec>()}));

impl Decode for ProbesSpec {
    const EXPECTED: &'static str = "a list of probes, for example `[{role: liveness, tcp: \"127.0.0.1:5432\"}]`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let Kind::Sequence(items) = &node.kind else { return cx.expected(node, Self::EXPECTED) };
        let spanned = |item: &std::rc::Rc<Node>| ProbeSpec::decode(item, cx).map(|value| Spanned { value, span: item.span });
        let probes: Vec<Spanned<ProbeSpec>> = items.iter().filter_map(spanned).collect();
        for (at, probe) in probes.iter().enumerate() {
            if let Some(first) = probes[..at].iter().find(|first| first.name() == probe.name()) {
                let message = format!("two probes are called `{}`", probe.name());
                cx.report(Diagnostic::new(code::CONFLICT, probe.span, message).related(first.span, "the first").help("give one a `name`"));
            }
        }
        Some(Self(probes))
    }
}
