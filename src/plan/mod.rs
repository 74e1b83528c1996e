//! What is to run: resolved, immutable, comparable.
//!
//! [`resolve()`] turns declarations (`spec`) into a [`Plan`]; [`diff()`] says what changes between two plans.
//! Nothing here reads a file, a clock or the environment.

mod adjust;
mod aggregation;
mod breaker;
mod chain;
mod degradation;
mod diff;
mod fall;
mod fit;
mod graph;
mod guard;
mod isolation;
mod knot;
mod limits;
mod model;
mod order;
mod privileges;
mod probe;
mod probing;
mod remediation;
mod resolve;
mod response;
mod scheduling;
mod secrets;
mod significant;
mod tree;
mod unit;
mod watch;

pub use adjust::{AdjustPlan, AdjustRange, AdjustedLimit};
pub use aggregation::Aggregation;
pub use breaker::RestartBreaker;
pub use chain::{ChainLink, StartTimes, critical_chain};
pub use degradation::{DegradationPlan, DegradationStep, PressureLimits};
pub use diff::{Diff, SupervisorChange, UnitChange, diff, needs_restart};
pub use fall::{Fall, Fate, fall};
pub use fit::with_sockets;
pub use graph::{Edge, EdgeKind, Facts, Graph, Holder, Node, NodeKind, Sockets, SystemdUnit, TcpSocket, UnixSocket};
pub use isolation::{
    CallGroup, FilterAction, FilterPlan, FilterProfile, IsolationPlan, KeyringMode, LandlockPlan, PathAccess, PathRule, ProtectHome,
    ProtectSystem,
};
pub use limits::{GROUPS_DEEP, IoLimit, LimitsPlan, OomPolicy, groups};
pub use model::*;
pub use order::DEPENDENCIES_MAX;
pub use privileges::{Privilege, privileges};
pub use probe::{
    DatabaseProbe, DetectorKind, FileProbe, GrpcProbe, HostProbe, HttpProbe, InterfaceProbe, LogProbe, MetricsProbe, NetworkProbe,
    PortProbe, ProbeKind, ProbePlan, ResourcesProbe, SeriesProbe, TcpProbe, TlsPlan, WatchdogPlan,
};
pub use remediation::{Action, RemediationMode, RemediationPlan, RestartScope, StepPlan};
pub use resolve::{UNITS_MAX, resolve};
pub use response::{FailureCause, Response};
pub use secrets::{SecretHandover, SecretPlan, SecretSource, ValuePart, value_parts};
pub use tree::ROOT;
pub use watch::WatchPlan;

/// The plan of declarations without a fault.
#[cfg(test)]
pub(crate) fn plan_of(files: &[(&str, &str)]) -> Plan {
    let file = |(path, text): &(&str, &str)| crate::spec::SourceFile { path: (*path).into(), text: (*text).into() };
    let (plan, faults) = resolve(&crate::spec::parse(files.iter().map(file).collect()), std::path::Path::new("/"));
    plan.unwrap_or_else(|| panic!("{faults:?}"))
}
