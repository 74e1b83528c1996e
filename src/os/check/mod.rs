//! One look at whether something is well. Each takes no longer than it may, and says in one line what it has found.

mod command;
mod database;
mod exposition;
mod file;
mod found;
mod grpc;
mod host;
pub(super) mod http;
mod level;
mod line;
mod memory;
mod metrics;
mod network;
mod perfdata;
mod process;
mod stream;
mod tcp;

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::timeout;

use crate::base::id::UnitId;
use crate::base::outcome::{Outcome, Verdict};
use crate::base::time::{approx_duration, format_duration};
use crate::os::foreign::{self, Hangs, Purpose, Table};
use crate::plan::{HttpProbe, ProbeKind, ProbePlan};

pub use command::judge;
pub use memory::Memory;

/// What a look may have to know of the unit.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Which one it is.
    pub unit: UnitId,
    /// Its main process.
    pub pid: u32,
    /// Where it runs.
    pub directory: PathBuf,
    /// Its environment.
    pub environment: Vec<(String, String)>,
    /// Where the logs are.
    pub logs: PathBuf,
    /// Its cgroup, if it has one.
    pub cgroup: Option<PathBuf>,
}

/// Looks once, for no longer than the probe may take; a program is run elsewhere, and [`judge`]d. `memory` is what the look before left behind.
pub async fn check(plan: &ProbePlan, surroundings: &Surroundings, mut memory: Memory) -> (Outcome, Memory) {
    if is_local(&plan.kind) {
        return look_here(plan, surroundings, memory).await;
    }
    let outcome = match timeout(plan.timeout, look_elsewhere(&plan.kind, &mut memory)).await {
        Ok(outcome) => outcome,
        Err(_) => Outcome::failed(format!("no answer within {}", format_duration(plan.timeout))),
    };
    (outcome, memory)
}

/// Whether a look is at what this machine knows by itself.
const fn is_local(kind: &ProbeKind) -> bool {
    matches!(
        kind,
        ProbeKind::Process | ProbeKind::File(_) | ProbeKind::Log(_) | ProbeKind::Resources(_) | ProbeKind::Network(_) | ProbeKind::Host(_)
    )
}

/// A look at what this machine knows by itself: system calls that may have to wait, or hang. While one hangs, no other is begun, and the probe
/// fails.
async fn look_here(plan: &ProbePlan, surroundings: &Surroundings, memory: Memory) -> (Outcome, Memory) {
    // What is remembered of a log holds its files.
    let table = if matches!(plan.kind, ProbeKind::Log(_)) { Table::Shared } else { Table::Own };
    let whose = format!("probe {} of {}", plan.name, surroundings.unit);
    let (kind, surroundings, mut memory) = (plan.kind.clone(), surroundings.clone(), memory);
    let look = move || {
        let outcome = match &kind {
            ProbeKind::File(probe) => file::check(probe),
            ProbeKind::Log(probe) => memory::log(probe, &surroundings, &mut memory),
            ProbeKind::Resources(probe) => memory::resources(probe, &surroundings, &mut memory),
            ProbeKind::Network(probe) => network::check(probe, surroundings.pid, &mut memory),
            ProbeKind::Host(probe) => host::check(probe),
            _ => process::check(surroundings.pid),
        };
        (outcome, memory)
    };
    let within = plan.timeout;
    let outcome = match foreign::look((Purpose::Probe, table), &whose, within, look).await {
        Ok(looked) => return looked,
        Err(Hangs::Late { doing, .. }) => Outcome::failed(format!("no answer within {}: {doing}", format_duration(within))),
        Err(hangs @ Hangs::Outstanding { .. }) => Outcome::failed(format!("no answer: {hangs}")),
        Err(hangs @ (Hangs::Full { .. } | Hangs::Failed)) => Outcome::unknown(hangs.to_string()),
    };
    (outcome, Memory::default())
}

/// A look at what somebody else has to say.
async fn look_elsewhere(kind: &ProbeKind, memory: &mut Memory) -> Outcome {
    match kind {
        ProbeKind::Http(probe) => http::check(probe).await,
        ProbeKind::Tcp(probe) => tcp::check(probe).await,
        ProbeKind::Grpc(probe) => grpc::check(probe).await,
        ProbeKind::Postgresql(probe) => database::postgresql(probe).await,
        ProbeKind::Mysql(probe) => database::mysql(probe).await,
        ProbeKind::Redis(probe) => line::redis(probe).await,
        ProbeKind::Nats(probe) => line::nats(probe).await,
        ProbeKind::Metrics(probe) => metrics::check(probe, memory).await,
        _ => Outcome::unknown("nothing to look at"),
    }
}

/// What is well, but took long, is degraded.
#[must_use]
pub fn slow(plan: &ProbePlan, took: Duration, outcome: Outcome) -> Outcome {
    match plan.slow_after {
        Some(limit) if took > limit && outcome.verdict == Verdict::Ok => {
            let text = format!("it took {}, more than {}", approx_duration(took), format_duration(limit));
            Outcome { verdict: Verdict::Degraded, text, ..outcome }
        }
        _ => outcome,
    }
}

/// One GET of the `http:` URL `url`: a status from 200 to 399 is a success. Redirects are not followed.
///
/// # Errors
/// Why it failed.
pub async fn get(url: &str, within: Duration) -> Result<(), String> {
    let probe = HttpProbe {
        url: url.into(),
        socket: None,
        method: "GET".into(),
        headers: Vec::new(),
        expect_status: vec![(200, 399)],
        expect_body: None,
        expect_headers: Vec::new(),
        tls: None,
    };
    match timeout(within, http::check(&probe)).await {
        Ok(outcome) if outcome.verdict == Verdict::Ok => Ok(()),
        Ok(outcome) => Err(outcome.text),
        Err(_) => Err(format!("{url} did not answer within {within:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::choice::ProbeRole;

    /// A unit that is process 7.
    pub(super) fn surroundings() -> Surroundings {
        Surroundings { unit: "a".into(), pid: 7, directory: "/".into(), environment: Vec::new(), logs: "/".into(), cgroup: None }
    }

    fn plan(kind: ProbeKind, timeout: Duration, slow_after: Option<Duration>) -> ProbePlan {
        let (name, role) = ("p".into(), ProbeRole::Liveness);
        let initial_delay = Duration::ZERO;
        ProbePlan {
            name,
            role,
            kind,
            period: timeout,
            min_period: None,
            timeout,
            slow_after,
            remediation: None,
            breaker: None,
            initial_delay,
            failure_threshold: 1,
            success_threshold: 1,
        }
    }

    #[tokio::test]
    async fn what_takes_long_is_slow_and_then_failed() {
        let second = Duration::from_secs(1);
        let limited = plan(ProbeKind::Process, second, Some(second / 2));
        let slowed = slow(&limited, second * 3 / 4, Outcome::ok(""));
        assert!(slowed.verdict == Verdict::Degraded && slowed.text.ends_with("more than 500ms"), "{slowed:?}");
        assert_eq!(slow(&limited, second / 4, Outcome::ok("")), Outcome::ok(""));
        let look = async |plan: ProbePlan| check(&plan, &surroundings(), Memory::default()).await.0;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let silent = ProbeKind::Tcp(crate::plan::TcpProbe { address, send: None, expect: Some("hello".into()), tls: None });
        assert_eq!(look(plan(silent, Duration::from_millis(50), None)).await, Outcome::failed("no answer within 50ms"));
    }
}
