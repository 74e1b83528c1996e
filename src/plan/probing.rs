//! From the `probes` of a declaration to those of a plan.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::breaker::breaker;
use super::probe::{
    DatabaseProbe, FileProbe, GrpcProbe, HostProbe, HttpProbe, InterfaceProbe, LogProbe, MetricsProbe, NetworkProbe, PortProbe, ProbeKind,
    ProbePlan, ResourcesProbe, SeriesProbe, TcpProbe, TlsPlan,
};
use super::remediation::remediation;
use super::resolve::or;
use crate::base::choice::ProbeRole;
use crate::spec::Field;
use crate::spec::logs::Rate;
use crate::spec::probe::database::DatabaseSpec;
use crate::spec::probe::http::HttpSpec;
use crate::spec::probe::local::{FileSpec, HostSpec, LogSpec, NetworkSpec, ResourcesSpec};
use crate::spec::probe::metrics::{MetricsSpec, SeriesSpec};
use crate::spec::probe::stream::{GrpcSpec, TcpSpec};
use crate::spec::probe::tls::TlsSpec;
use crate::spec::probe::{DEFAULT_TIMEOUT, ProbeSpec};
use crate::spec::unit::UnitSpec;
use crate::spec::value::{Environment, Int, Text};

/// How often a probe runs when it is not declared.
const DEFAULT_PERIOD: Duration = Duration::from_secs(10);

/// How long a certificate should be valid when that is not declared.
const DEFAULT_VALID_FOR: Duration = Duration::from_secs(14 * 86_400);

/// What a page of metrics may be in: the text format first, which everybody has.
const METRICS_FORMATS: &str = "text/plain;version=0.0.4, application/openmetrics-text;version=1.0.0;q=0.5, */*;q=0.1";

/// The probes of a unit whose specifiers are replaced by `text`; paths begin in `directory`.
pub(super) fn plans(spec: &UnitSpec, text: &impl Fn(&str) -> String, directory: &Path) -> Vec<Arc<ProbePlan>> {
    let filler = Filler { text, directory };
    let probes = spec.probes.iter().flat_map(|probes| &probes.value.0);
    probes.filter_map(|probe| filler.plan(&probe.value)).map(Arc::new).collect()
}

/// Fills in what was not declared.
struct Filler<'a, T> {
    text: &'a T,
    directory: &'a Path,
}

impl<T: Fn(&str) -> String> Filler<'_, T> {
    fn plan(&self, spec: &ProbeSpec) -> Option<ProbePlan> {
        let kind = self.kind(spec)?;
        // One alarming line is a failure; the next look finds other lines.
        let failures = if matches!(&kind, ProbeKind::Log(LogProbe { alarm: Some(_), .. })) { 1 } else { 3 };
        Some(ProbePlan {
            name: spec.name().to_owned(),
            role: or(&spec.role, ProbeRole::default(), |role| role.0),
            kind,
            period: or(&spec.period, DEFAULT_PERIOD, |period| or(&period.max, DEFAULT_PERIOD, |time| time.0)),
            min_period: or(&spec.period, None, |period| period.min.as_ref().map(|time| time.0)),
            timeout: or(&spec.timeout, DEFAULT_TIMEOUT, |time| time.0),
            slow_after: or(&spec.slow_after, None, |time| Some(time.0)),
            remediation: spec.remediation.as_ref().map(|spec| remediation(&spec.value, 1, self.text)),
            breaker: spec.breaker.as_ref().map(|spec| breaker(&spec.value)),
            initial_delay: or(&spec.initial_delay, Duration::ZERO, |time| time.0),
            failure_threshold: or(&spec.failure_threshold, failures, |count| count.to_u32()),
            success_threshold: or(&spec.success_threshold, 1, |count| count.to_u32()),
        })
    }

    fn kind(&self, spec: &ProbeSpec) -> Option<ProbeKind> {
        Some(match spec {
            ProbeSpec { http: Some(http), .. } => ProbeKind::Http(self.http(&http.value)),
            ProbeSpec { tcp: Some(tcp), .. } => ProbeKind::Tcp(self.tcp(&tcp.value)),
            ProbeSpec { grpc: Some(grpc), .. } => ProbeKind::Grpc(self.grpc(&grpc.value)),
            ProbeSpec { postgresql: Some(server), .. } => ProbeKind::Postgresql(self.database(&server.value)),
            ProbeSpec { mysql: Some(server), .. } => ProbeKind::Mysql(self.database(&server.value)),
            ProbeSpec { redis: Some(server), .. } => ProbeKind::Redis(self.database(&server.value)),
            ProbeSpec { nats: Some(server), .. } => ProbeKind::Nats(self.database(&server.value)),
            ProbeSpec { command: Some(words), .. } => {
                ProbeKind::Command(words.value.0.iter().map(|word| (self.text)(&word.value)).collect())
            }
            ProbeSpec { process: Some(_), .. } => ProbeKind::Process,
            ProbeSpec { file: Some(file), .. } => ProbeKind::File(self.file(&file.value)),
            ProbeSpec { log: Some(log), .. } => ProbeKind::Log(self.log(&log.value)),
            ProbeSpec { resources: Some(resources), .. } => ProbeKind::Resources(resources_probe(&resources.value)),
            ProbeSpec { network: Some(network), .. } => ProbeKind::Network(self.network(&network.value)),
            ProbeSpec { host: Some(host), .. } => ProbeKind::Host(self.host(&host.value)),
            ProbeSpec { metrics: Some(metrics), .. } => ProbeKind::Metrics(self.metrics(&metrics.value)),
            // It has a diagnostic.
            _ => return None,
        })
    }

    fn http(&self, spec: &HttpSpec) -> HttpProbe {
        let url = self.required(&spec.url);
        HttpProbe {
            tls: self.tls_of(&url, &spec.tls),
            url,
            socket: self.path(&spec.socket),
            method: self.optional(&spec.method).unwrap_or_else(|| "GET".into()),
            headers: pairs(&spec.headers),
            expect_status: or(&spec.expect_status, vec![(200, 399)], |codes| codes.0.iter().map(|code| (code.0, code.1)).collect()),
            expect_body: self.optional(&spec.expect_body),
            expect_headers: pairs(&spec.expect_headers),
        }
    }

    fn metrics(&self, spec: &MetricsSpec) -> MetricsProbe {
        let url = self.required(&spec.url);
        let mut headers = pairs(&spec.headers);
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("accept")) {
            headers.push(("accept".into(), METRICS_FORMATS.into()));
        }
        let page = HttpProbe {
            tls: self.tls_of(&url, &spec.tls),
            url,
            socket: self.path(&spec.socket),
            method: "GET".into(),
            headers,
            expect_status: vec![(200, 299)],
            expect_body: None,
            expect_headers: Vec::new(),
        };
        let series = spec.series.iter().flat_map(|series| &series.value.0).map(|series| self.series(&series.value));
        MetricsProbe { page, series: series.collect() }
    }

    fn series(&self, spec: &SeriesSpec) -> SeriesProbe {
        SeriesProbe {
            name: self.required(&spec.name),
            labels: pairs(&spec.labels).into_iter().map(|(name, value)| (name, (self.text)(&value))).collect(),
            min: or(&spec.min, None, |number| Some(number.0)),
            max: or(&spec.max, None, |number| Some(number.0)),
            rate: or(&spec.rate, false, |flag| flag.0),
        }
    }

    /// TLS as the URL has it.
    fn tls_of(&self, url: &str, spec: &Field<TlsSpec>) -> Option<TlsPlan> {
        url.starts_with("https:").then(|| self.tls(spec.as_ref().map_or(&TlsSpec::default(), |tls| &tls.value)))
    }

    fn tcp(&self, spec: &TcpSpec) -> TcpProbe {
        TcpProbe {
            address: self.required(&spec.address),
            send: self.optional(&spec.send),
            expect: self.optional(&spec.expect),
            tls: self.wanted_tls(&spec.tls),
        }
    }

    fn grpc(&self, spec: &GrpcSpec) -> GrpcProbe {
        GrpcProbe { address: self.required(&spec.address), service: self.required(&spec.service), tls: self.wanted_tls(&spec.tls) }
    }

    /// TLS where it is spoken only if that is declared.
    fn wanted_tls(&self, spec: &Field<TlsSpec>) -> Option<TlsPlan> {
        spec.as_ref().filter(|tls| tls.value.is_wanted()).map(|tls| self.tls(&tls.value))
    }

    fn tls(&self, spec: &TlsSpec) -> TlsPlan {
        TlsPlan {
            ca_file: self.path(&spec.ca_file),
            server_name: self.optional(&spec.server_name),
            verify: or(&spec.verify, true, |flag| flag.0),
            valid_for: or(&spec.valid_for, DEFAULT_VALID_FOR, |time| time.0),
        }
    }

    fn database(&self, spec: &DatabaseSpec) -> DatabaseProbe {
        DatabaseProbe {
            address: self.required(&spec.address),
            user: self.optional(&spec.user),
            password_file: self.path(&spec.password_file),
            database: self.optional(&spec.database),
            query: self.optional(&spec.query).unwrap_or_else(|| "SELECT 1".into()),
            expect: self.optional(&spec.expect),
        }
    }

    fn file(&self, spec: &FileSpec) -> FileProbe {
        FileProbe {
            path: self.path(&spec.path).unwrap_or_default(),
            max_age: or(&spec.max_age, None, |time| Some(time.0)),
            min_size: or(&spec.min_size, None, |size| Some(size.0)),
            max_size: or(&spec.max_size, None, |size| Some(size.0)),
        }
    }

    fn log(&self, spec: &LogSpec) -> LogProbe {
        LogProbe { max_silence: or(&spec.max_silence, None, |time| Some(time.0)), alarm: self.optional(&spec.alarm) }
    }

    fn network(&self, spec: &NetworkSpec) -> NetworkProbe {
        let count = |count: &Field<Int<0, 1_000_000_000>>| or(count, None, |count| Some(u64::from(count.to_u32())));
        let rate = |rate: &Field<Rate>| or(rate, None, |rate| Some(rate.0));
        let port = spec.port.as_ref().map(|port| PortProbe {
            port: u16::try_from(port.0).unwrap_or(0),
            max_connections: count(&spec.max_connections),
            max_backlog: count(&spec.max_backlog),
        });
        let interface = self.optional(&spec.interface).map(|name| InterfaceProbe {
            name,
            max_receive: rate(&spec.max_receive),
            max_transmit: rate(&spec.max_transmit),
            max_errors: or(&spec.max_errors, None, |amount| Some(amount.0)),
        });
        NetworkProbe { port, interface }
    }

    fn host(&self, spec: &HostSpec) -> HostProbe {
        let share = |share: &Field<_>| or(share, None, |share: &crate::spec::restart::Share| Some(share.0));
        HostProbe {
            memory_available: share(&spec.memory_available),
            disk_free: share(&spec.disk_free),
            inodes_free: share(&spec.inodes_free),
            path: self.path(&spec.path).unwrap_or_else(|| "/".into()),
            cpu_pressure: share(&spec.cpu_pressure),
            memory_pressure: share(&spec.memory_pressure),
            io_pressure: share(&spec.io_pressure),
            load: or(&spec.load, None, |amount| Some(amount.0)),
            swap_free: share(&spec.swap_free),
            descriptors_free: share(&spec.descriptors_free),
            clock_synchronized: or(&spec.clock_synchronized, false, |flag| flag.0),
        }
    }

    /// What has a diagnostic where it is missing.
    fn required(&self, field: &Field<Text>) -> String {
        self.optional(field).unwrap_or_default()
    }

    fn optional(&self, field: &Field<Text>) -> Option<String> {
        field.as_ref().map(|field| (self.text)(&field.0))
    }

    fn path(&self, field: &Field<Text>) -> Option<PathBuf> {
        self.optional(field).map(|path| self.directory.join(path))
    }
}

fn pairs(pairs: &Field<Environment>) -> Vec<(String, String)> {
    let pairs = pairs.iter().flat_map(|pairs| &pairs.value.0);
    pairs.map(|(name, value)| (name.clone(), value.value.clone())).collect()
}

fn resources_probe(spec: &ResourcesSpec) -> ResourcesProbe {
    let count = |count: &Field<Int<1, 1_000_000_000>>| or(count, None, |count| Some(u64::from(count.to_u32())));
    ResourcesProbe {
        memory: or(&spec.memory, None, |size| Some(size.0)),
        cpu: or(&spec.cpu, None, |percent| Some(percent.0)),
        descriptors: count(&spec.descriptors),
        threads: count(&spec.threads),
        threads_change: or(&spec.threads_change, None, |share| Some(share.0)),
        processes: count(&spec.processes),
        memory_pressure: or(&spec.memory_pressure, None, |share| Some(share.0)),
        cpu_pressure: or(&spec.cpu_pressure, None, |share| Some(share.0)),
        io_pressure: or(&spec.io_pressure, None, |share| Some(share.0)),
    }
}
