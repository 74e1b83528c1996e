//! A document in `units/`: a program to run, or one to watch.

use crate::base::choice::{LogMode, ProbeRole};
use crate::base::command::{Command, NotifyAccess};

use super::code;
use super::command::Exec;
use super::decode::{Cx, Decode, mapping};
use super::diagnostic::{Diagnostic, Span, quote};
use super::isolation::IsolationSpec;
use super::limits::{CpuList, LimitsSpec};
use super::logs::LogsSpec;
use super::node::{Kind, Node};
use super::probe::ProbesSpec;
use super::readiness::ReadinessSpec;
use super::remediation::RemediationSpec;
use super::restart::{ExitValue, RestartSpec, ShutdownSpec};
use super::scheduling::{IoPrioritySpec, RlimitsSpec, SchedulerSpec};
use super::secrets::SecretsSpec;
use super::template::expand;
use super::value::{Environment, Flag, Int, Name, OneOf, OneOrMany, Reference, Text, Umask, schema};
use super::watch::WatchSpec;
use super::watchdog::WatchdogSpec;

/// What says how a program is run: of no use for one that somebody else runs.
pub(super) const FOR_OUR_OWN: [&str; 29] = [
    "user",
    "group",
    "environment",
    "environment_file",
    "umask",
    "nice",
    "scheduler",
    "io_priority",
    "cpu_affinity",
    "rlimits",
    "oom_score_adj",
    "limits",
    "requires",
    "binds",
    "wants",
    "after",
    "restart",
    "significant",
    "shutdown",
    "success_exit",
    "pid_file",
    "readiness",
    "notify_access",
    "watchdog",
    "optional",
    "logs",
    "isolation",
    "may_command",
    "secrets",
];

mapping! {
    /// A program to run, once or as several instances, or one that somebody else runs and that is watched: exactly one of `exec` and `watch`.
    UnitSpec: "a mapping, for example `unit: web`" {
        /// The unit's name: letters, digits, `_`, `-` and `.`. Units and supervisors share one name space.
        unit: Name = required,
        /// One line for people.
        description: Text,
        /// How many instances run: `name@1`, `name@2` and so on. Without it there is one plain unit.
        /// In `exec`, `watch`, `working_directory`, `environment`, `environment_file`, `pid_file`, `readiness` and `probes`, `%i` is the instance's number,
        /// `%n` the unit's id and `%%` a percent sign.
        instances: Int<1, 10000>,
        /// The program and its arguments: a list, or one string that is split as a shell would. No shell runs it.
        exec: Exec,
        /// Processes that somebody else starts: they are found, it is seen at once when one ends, and nothing is ever done to them. A bare word is
        /// a `name`. Others may depend on the unit: it is ready while enough of them are there. Keys that say how a program is run do not go
        /// with it.
        watch: WatchSpec,
        /// Where it runs, relative to the configuration directory.
        working_directory: Text = ".",
        /// The user it runs as, by name or number; the daemon's if not given. A daemon that is not root may name its own.
        user: Account,
        /// The group it runs as, by name or number; the user's if not given.
        group: Account,
        /// Variables set for it, on top of the base environment.
        environment: Environment,
        /// Files of further variables, read at each start, before `environment` is applied. One that begins with `-` may be missing. Regular files of
        /// 1 MiB at most. For a unit with a `user`: what that user may read, or what lies where only root and the daemon's user could put it. For a unit
        /// that runs as root: what only root can write, where only root could put it.
        environment_file: OneOrMany<Text>,
        /// The file mode creation mask, in octal.
        umask: Umask = "0022",
        /// The scheduling niceness.
        nice: Int<-20, 19> = 0,
        /// How processor time is shared out to it; a bare word is its `policy`. Real time needs root, or a limit `rtprio`. Inherited if not given.
        scheduler: SchedulerSpec,
        /// Who is served first by a disk; a bare word is its `class`, a bare number its `level`.
        io_priority: IoPrioritySpec,
        /// The processors it may run on, as its processes see and may change it; `limits.cpuset` is what they cannot leave.
        cpu_affinity: CpuList,
        /// Limits of each of its processes (setrlimit(2)); what is not given is inherited.
        rlimits: RlimitsSpec,
        /// How much the kernel likes to kill it when memory is short: -1000 never, 1000 first. If not given it is 0, or what the
        /// daemon has if that is more.
        oom_score_adj: Int<-1000, 1000>,
        /// What it may use, with all of its processes together.
        limits: LimitsSpec,
        /// Units and supervisors that must be ready before it starts.
        requires: OneOrMany<Reference> = [],
        /// Units and supervisors it requires, and cannot be without: when one of them ends or is stopped, it is stopped, too, and comes up again
        /// after it. Neither counts against its supervisor's restart intensity; how soon it comes back `restart.backoff` says.
        binds: OneOrMany<Reference> = [],
        /// Units and supervisors it waits for, but starts without when they fail.
        wants: OneOrMany<Reference> = [],
        /// Units and supervisors it starts after, if they are starting too.
        after: OneOrMany<Reference> = [],
        /// When and how soon it is started again.
        restart: RestartSpec = "permanent",
        /// Whether its end may end its supervisor: see `auto_shutdown` there. Something `permanent` cannot be significant.
        significant: Flag = false,
        /// Whether it may be done without under pressure: see `degradation` in `daemon.yaml`. What binds to it is stopped with it.
        optional: Flag = false,
        /// How it is stopped.
        shutdown: ShutdownSpec = {"signal": "SIGTERM", "timeout": "10s"},
        /// Exit codes and signals that count as success, besides exit code 0.
        success_exit: OneOrMany<ExitValue> = [],
        /// For a program that starts a daemon and ends: the file in which the daemon writes its process id, relative to `working_directory`. It
        /// must be a process of this unit, and be there within the timeout of `readiness`; without another readiness the unit is ready then.
        pid_file: Text,
        /// When it counts as started.
        readiness: ReadinessSpec = "none",
        /// Whose words to `$NOTIFY_SOCKET` count, as systemd's `NotifyAccess=`. Processes that are not this unit's are never heard, whoever
        /// their user is. A program that ends before it was looked at is nobody's: `systemd-notify` waits for that.
        notify_access: OneOf<NotifyAccess> = "all",
        /// How it is found out whether it is well. It counts as started once its startup and readiness probes have passed, and its `readiness` is
        /// fulfilled; startup probes have the time they need (`period` times `failure_threshold`) instead of its timeout.
        probes: ProbesSpec = [],
        /// How long it may be silent before it hangs: a time, or how that is judged.
        watchdog: WatchdogSpec,
        /// What is done, step by step, when it fails again and again, restarts or not.
        remediation: RemediationSpec,
        /// Where its output goes.
        logs: LogsSpec = "direct",
        /// What it is kept from, besides what its user may not do.
        isolation: IsolationSpec,
        /// Which commands its processes may give by the control socket, if their user may; to read, and to give a sign of life for itself, needs
        /// none. Without it they command nothing, and where it has mounts of its own it does not see the socket.
        may_command: OneOrMany<OneOf<Command>> = [],
        /// What it is told and nobody else: name to source. The values are read at each start, and are shown nowhere. In `environment`,
        /// `${file:PATH}` stands for what is in a file of the same kind, without a newline at its end.
        secrets: SecretsSpec = {},
    }
}

schema!(UnitSpec, generator => {
    let mut mapping = Self::mapping_schema(generator);
    mapping.insert("oneOf".into(), serde_json::json!([{"required": ["exec"]}, {"required": ["watch"]}]));
    mapping.to_value()
});

impl Decode for UnitSpec {
    const EXPECTED: &'static str = "a mapping";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let spec = Self::from_mapping(node, cx)?;
        // Without knowing whether there are instances nothing can be said about `%i`.
        if spec.instances.is_some() || node.key("instances").is_none() {
            spec.check_specifiers(cx);
            spec.check_readiness(cx);
            spec.check_probes(cx);
            spec.check_watch(cx);
        }
        spec.check_origin(node, cx);
        ReadinessSpec::check_kind(node, cx);
        spec.check_notify_access(cx);
        spec.check_environment_files(cx);
        spec.check_secrets(cx);
        spec.check_pid_file(cx);
        Some(spec)
    }
}

impl UnitSpec {
    /// The instances' numbers worth checking a value with: the first and the last give the shortest and the longest.
    fn samples(&self) -> Vec<(String, Option<u32>)> {
        let name = self.unit.as_ref().map_or("", |unit| &unit.0);
        match &self.instances {
            None => vec![(name.to_owned(), None)],
            Some(count) => [1, count.to_u32()].into_iter().map(|number| (format!("{name}@{number}"), Some(number))).collect(),
        }
    }

    /// Who starts it, and what goes with that.
    fn check_origin(&self, node: &Node, cx: &mut Cx<'_>) {
        let Some(watch) = node.key("watch") else {
            if node.key("exec").is_none() {
                let span = match &node.kind {
                    Kind::Mapping(items) => items.first().map_or(node.span, |(key, _)| key.span),
                    _ => node.span,
                };
                let fault = Diagnostic::new(code::MISSING_KEY, span, "`exec` must be given, or `watch`");
                cx.report(fault.help("`exec` names a program to run, `watch` one that somebody else runs"));
            }
            return;
        };
        if let Some(exec) = node.key("exec") {
            let (first, second) = if exec.span < watch.span { (exec, watch) } else { (watch, exec) };
            let message = "a unit is run (`exec`) or watched (`watch`), not both";
            let fault = Diagnostic::new(code::CONFLICT, second.span, message).related(first.span, "first given here");
            return cx.report(fault.help("remove one of them"));
        }
        for (key, given) in FOR_OUR_OWN.into_iter().filter_map(|key| Some((key, node.key(key)?))) {
            let message = format!("`{key}` says how a program is run, but this one is only watched");
            let fault = Diagnostic::new(code::CONFLICT, given.span, message).related(watch.span, "somebody else starts it");
            cx.report(match key {
                "user" | "pid_file" => fault.help(format!("to find it by that, write `watch: {{{key}: …}}`")),
                _ => fault.help(format!("remove `{key}`, or have it run with `exec`")),
            });
        }
        self.check_watched_probes(watch.span, cx);
        let ladders = self.probes.iter().flat_map(|probes| &probes.0).filter_map(|probe| probe.remediation.as_ref());
        for step in self.remediation.iter().chain(ladders).flat_map(|ladder| ladder.value.own_steps()) {
            let fault = Diagnostic::new(code::CONFLICT, step, "what is only watched is neither restarted nor stopped by us");
            let help = "write `run`, with a script that asks whoever starts it, or `notify`";
            cx.report(fault.related(watch.span, "somebody else starts it").help(help));
        }
    }

    /// Probes that need a program of our own.
    fn check_watched_probes(&self, watch: Span, cx: &mut Cx<'_>) {
        for probe in self.probes.iter().flat_map(|probes| &probes.0) {
            let startup = probe.role.as_ref().filter(|role| role.0 == ProbeRole::Startup).map(|role| role.span);
            let faults = [
                (startup, "what is only watched has no startup; `role: readiness` says when it may be given work"),
                (probe.log.as_ref().map(|log| log.span), "the output of what is only watched is not ours to read"),
            ];
            for (span, message) in faults {
                if let Some(span) = span {
                    cx.report(Diagnostic::new(code::CONFLICT, span, message).related(watch, "somebody else starts it"));
                }
            }
        }
    }

    fn check_watch(&self, cx: &mut Cx<'_>) {
        for (target, fault) in self.watch.iter().flat_map(|watch| watch.checked()) {
            let expanded = self.samples().into_iter().filter_map(|(id, instance)| expand(&target.0, &id, instance).ok());
            if let Some(why) = expanded.into_iter().find_map(|text| fault(&text)) {
                cx.report(Diagnostic::new(code::BAD_VALUE, target.span, format!("`watch`: {why}")));
            }
        }
    }

    fn check_specifiers(&self, cx: &mut Cx<'_>) {
        let text = |field: &super::diagnostic::Spanned<Text>| (field.span, field.0.clone());
        let mut values: Vec<(Span, String)> = Vec::new();
        values.extend(self.exec.iter().flat_map(|exec| &exec.0).map(|word| (word.span, word.value.clone())));
        values.extend(self.watch.iter().flat_map(|watch| watch.texts()));
        values.extend(self.working_directory.iter().map(text));
        values.extend(self.environment.iter().flat_map(|variables| &variables.0).map(|(_, value)| (value.span, value.value.clone())));
        values.extend(self.environment_file.iter().flat_map(|files| &files.0).map(text));
        values.extend(self.pid_file.iter().map(text));
        values.extend(self.readiness.iter().filter_map(|readiness| readiness.target()).map(|(target, _)| text(target)));
        values.extend(self.probes.iter().flat_map(|probes| &probes.0).flat_map(|probe| probe.texts()));
        values.extend(self.isolation.iter().flat_map(|isolation| isolation.texts()));
        values.extend(self.secret_texts());
        values.extend(self.remediation.iter().flat_map(|remediation| remediation.texts()));
        let samples = self.samples();
        for (span, value) in values {
            if let Some(why) = samples.iter().find_map(|(id, instance)| expand(&value, id, *instance).err()) {
                cx.report(Diagnostic::new(code::BAD_SPECIFIER, span, format!("in {}: {why}", quote(&value))));
            }
        }
    }

    fn check_probes(&self, cx: &mut Cx<'_>) {
        let targets = self.probes.iter().flat_map(|probes| &probes.0).flat_map(|probe| probe.checked());
        for (target, fault) in targets {
            let expanded = self.samples().into_iter().filter_map(|(id, instance)| expand(&target.0, &id, instance).ok());
            if let Some(why) = expanded.into_iter().find_map(|text| fault(&text)) {
                cx.report(Diagnostic::new(code::BAD_VALUE, target.span, format!("`probes`: {why}")));
            }
        }
    }

    fn check_readiness(&self, cx: &mut Cx<'_>) {
        let Some(readiness) = &self.readiness else { return };
        if let Some((target, fault)) = readiness.target() {
            let expanded = self.samples().into_iter().filter_map(|(id, instance)| expand(&target.0, &id, instance).ok());
            if let Some(why) = expanded.into_iter().find_map(|text| fault(&text)) {
                cx.report(Diagnostic::new(code::BAD_VALUE, target.span, format!("`readiness`: {why}")));
            }
        }
        let mode =
            self.logs.as_ref().and_then(|logs| logs.mode.as_ref()).filter(|mode| matches!(mode.0, LogMode::None | LogMode::Journald));
        if let (Some(log), Some(mode)) = (&readiness.log, mode) {
            let fault = Diagnostic::new(code::CONFLICT, log.span, "readiness cannot be read from a log that is not kept");
            cx.report(fault.related(mode.span, "there is no log file").help("choose another readiness, or `logs: direct`"));
        }
    }

    fn check_notify_access(&self, cx: &mut Cx<'_>) {
        let Some(access) = self.notify_access.as_ref().filter(|access| access.0 == NotifyAccess::None) else { return };
        let by_readiness = self.readiness.as_ref().and_then(|readiness| readiness.notify.as_ref()).map(|notify| notify.span);
        let by_watchdog = self.watchdog.as_ref().map(|watchdog| watchdog.span);
        for (span, what) in [(by_readiness, "this waits for one"), (by_watchdog, "this expects them")] {
            if let Some(span) = span {
                let fault = Diagnostic::new(code::CONFLICT, access.span, "nobody's notifications count");
                cx.report(fault.related(span, what).help("write `notify_access: main`, or remove it"));
            }
        }
    }

    fn check_pid_file(&self, cx: &mut Cx<'_>) {
        if let Some(path) = self.pid_file.as_ref().filter(|path| path.0.is_empty()) {
            cx.report(Diagnostic::new(code::BAD_VALUE, path.span, "`pid_file`: the path is empty"));
        }
    }

    fn check_environment_files(&self, cx: &mut Cx<'_>) {
        for file in self.environment_file.iter().flat_map(|files| &files.0) {
            if matches!(file.0.as_str(), "" | "-") {
                cx.report(Diagnostic::new(code::BAD_VALUE, file.span, "`environment_file`: the path is empty"));
            }
        }
    }
}

/// A user or group, by name or number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account(pub String);

schema!(Account, _generator => serde_json::json!({"type": ["string", "integer"], "minimum": 0, "examples": ["www-data", 1000]}));

impl Decode for Account {
    const EXPECTED: &'static str = "a name or a number, for example `www-data`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.text(node, Self::EXPECTED)?;
        if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, ':' | '/')) {
            return cx.expected(node, Self::EXPECTED);
        }
        Some(Self(text.to_owned()))
    }
}
