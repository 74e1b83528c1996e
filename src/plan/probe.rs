//! How a unit is probed: every default filled in.

use std::time::Duration;

use serde::Serialize;

use super::remediation::RemediationPlan;
use crate::base::breaker::BreakerPlan;
use crate::base::choice::ProbeRole;
pub use crate::spec::watchdog::DetectorKind;
use std::path::PathBuf;

/// One probe of a unit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProbePlan {
    /// Its name, unique in its unit.
    pub name: String,
    /// What it is asked for.
    pub role: ProbeRole,
    /// What it looks at.
    pub kind: ProbeKind,
    /// How often it runs, or at least.
    pub period: Duration,
    /// How often it runs at most, by what it finds; always as often if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_period: Option<Duration>,
    /// How long one run may take; then it has failed.
    pub timeout: Duration,
    /// A run that takes longer finds it degraded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_after: Option<Duration>,
    /// What is done when it fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remediation: Option<RemediationPlan>,
    /// While it is open the probe is not made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breaker: Option<BreakerPlan>,
    /// How long after the start, or the end of the startup probes, it waits.
    pub initial_delay: Duration,
    /// So many failures in a row make it failing.
    pub failure_threshold: u32,
    /// So many successes in a row make it passing.
    pub success_threshold: u32,
}

/// The signs of life a unit gives by itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WatchdogPlan {
    /// Silence for so long is too long, whatever is known of the unit.
    pub timeout: Duration,
    /// How shorter silence is judged.
    pub detector: DetectorKind,
    /// The suspicion from which on a unit hangs, for a detector that counts in that.
    pub threshold: f64,
}

/// What a probe looks at.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeKind {
    /// A request is answered as it should be.
    Http(HttpProbe),
    /// A connection succeeds, and what comes back is as it should be.
    Tcp(TcpProbe),
    /// A gRPC server says that it serves.
    Grpc(GrpcProbe),
    /// A PostgreSQL server answers.
    Postgresql(DatabaseProbe),
    /// A MySQL or MariaDB server answers.
    Mysql(DatabaseProbe),
    /// A Redis server answers.
    Redis(DatabaseProbe),
    /// A NATS server answers.
    Nats(DatabaseProbe),
    /// This program ends as Nagios' plugins do: 0 ok, 1 degraded, 2 failed, anything else unknown.
    Command(Vec<String>),
    /// The main process is there, and neither a zombie, stopped nor stuck in the kernel.
    Process,
    /// A file is as it should be.
    File(FileProbe),
    /// The unit's log is as it should be.
    Log(LogProbe),
    /// The unit uses no more than it should.
    Resources(ResourcesProbe),
    /// Somebody listens on a port, and keeps up with it; an interface is there, and not overloaded.
    Network(NetworkProbe),
    /// The machine has what is needed.
    Host(HostProbe),
    /// The numbers on a page of metrics are as they should be.
    Metrics(MetricsProbe),
}

impl ProbeKind {
    /// The word for it.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::Tcp(_) => "tcp",
            Self::Grpc(_) => "grpc",
            Self::Postgresql(_) => "postgresql",
            Self::Mysql(_) => "mysql",
            Self::Redis(_) => "redis",
            Self::Nats(_) => "nats",
            Self::Command(_) => "command",
            Self::Process => "process",
            Self::File(_) => "file",
            Self::Log(_) => "log",
            Self::Resources(_) => "resources",
            Self::Network(_) => "network",
            Self::Host(_) => "host",
            Self::Metrics(_) => "metrics",
        }
    }
}

/// A request by HTTP, and what its answer has to be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HttpProbe {
    /// What is asked for.
    pub url: String,
    /// The Unix socket that is asked instead of the URL's host.
    pub socket: Option<PathBuf>,
    /// The method.
    pub method: String,
    /// Headers of the request.
    pub headers: Vec<(String, String)>,
    /// The status codes that are well: from, to.
    pub expect_status: Vec<(u16, u16)>,
    /// A regular expression for the body.
    pub expect_body: Option<String>,
    /// Regular expressions for headers.
    pub expect_headers: Vec<(String, String)>,
    /// How an `https:` URL is asked.
    pub tls: Option<TlsPlan>,
}

/// How TLS is spoken.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TlsPlan {
    /// The certificates that vouch for the server's; those of the system if not given.
    pub ca_file: Option<PathBuf>,
    /// The name the certificate is for; that of the host if not given.
    pub server_name: Option<String>,
    /// Whether the certificate has to be trusted.
    pub verify: bool,
    /// How long it should be valid at least.
    pub valid_for: Duration,
}

/// A connection, and what is said on it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TcpProbe {
    /// `host:port`, or the path of a Unix socket.
    pub address: String,
    /// What is sent.
    pub send: Option<String>,
    /// A regular expression for what comes back.
    pub expect: Option<String>,
    /// How TLS is spoken, if it is.
    pub tls: Option<TlsPlan>,
}

/// A gRPC server that is asked for its health.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GrpcProbe {
    /// `host:port`, or the path of a Unix socket.
    pub address: String,
    /// The service; all of the server if empty.
    pub service: String,
    /// How TLS is spoken, if it is.
    pub tls: Option<TlsPlan>,
}

/// A server that wants to know who asks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DatabaseProbe {
    /// `host:port`, or the path of a Unix socket.
    pub address: String,
    /// Who asks.
    pub user: Option<String>,
    /// The file with the password.
    pub password_file: Option<PathBuf>,
    /// The database.
    pub database: Option<String>,
    /// What is asked, where there is a choice.
    pub query: String,
    /// A regular expression for the first field of the answer.
    pub expect: Option<String>,
}

/// A file that has to be there.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FileProbe {
    /// Where it is.
    pub path: PathBuf,
    /// How long ago it may have been changed.
    pub max_age: Option<Duration>,
    /// The least of its size in bytes.
    pub min_size: Option<u64>,
    /// The most of its size in bytes.
    pub max_size: Option<u64>,
}

/// What the unit's log has to be like.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LogProbe {
    /// How long nothing may be written.
    pub max_silence: Option<Duration>,
    /// A regular expression that no line may match.
    pub alarm: Option<String>,
}

/// The most a unit may use.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ResourcesProbe {
    /// Resident memory in bytes.
    pub memory: Option<u64>,
    /// Processor time in per cent of one processor.
    pub cpu: Option<f64>,
    /// Open descriptors.
    pub descriptors: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// By which share, from 0 to 1, the threads may differ from how many there were for long.
    pub threads_change: Option<f64>,
    /// Processes.
    pub processes: Option<u64>,
    /// The share of the last ten seconds, from 0 to 1, in which something of its cgroup may wait for memory.
    pub memory_pressure: Option<f64>,
    /// The same for processors.
    pub cpu_pressure: Option<f64>,
    /// The same for input and output.
    pub io_pressure: Option<f64>,
}

/// The network as the unit sees it; one of the two at least.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NetworkProbe {
    /// A TCP port.
    pub port: Option<PortProbe>,
    /// An interface.
    pub interface: Option<InterfaceProbe>,
}

/// A TCP port somebody has to listen on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PortProbe {
    /// The port.
    pub port: u16,
    /// How many connections there may be.
    pub max_connections: Option<u64>,
    /// How many may wait.
    pub max_backlog: Option<u64>,
}

/// An interface that has to be there, and what may go through it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InterfaceProbe {
    /// Its name.
    pub name: String,
    /// How many bytes a second it may receive.
    pub max_receive: Option<u64>,
    /// How many bytes a second it may transmit.
    pub max_transmit: Option<u64>,
    /// How many errors and drops a second there may be.
    pub max_errors: Option<f64>,
}

/// How the machine has to be; what is no share from 0 to 1 says so.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct HostProbe {
    /// The least of the memory that is available.
    pub memory_available: Option<f64>,
    /// The least of the file system that is free.
    pub disk_free: Option<f64>,
    /// The least of its inodes.
    pub inodes_free: Option<f64>,
    /// A file of that file system.
    pub path: PathBuf,
    /// The most of the last ten seconds in which something waited for a processor.
    pub cpu_pressure: Option<f64>,
    /// The same for memory.
    pub memory_pressure: Option<f64>,
    /// The same for input and output.
    pub io_pressure: Option<f64>,
    /// The most of the load of the last minute, per processor; no share.
    pub load: Option<f64>,
    /// The least of the swap space that is free.
    pub swap_free: Option<f64>,
    /// The least of all descriptors that is free.
    pub descriptors_free: Option<f64>,
    /// Whether the wall clock has to be kept by somebody.
    pub clock_synchronized: bool,
}

/// A page of metrics, and what has to stand on it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MetricsProbe {
    /// How it is got.
    pub page: HttpProbe,
    /// What is judged.
    pub series: Vec<SeriesProbe>,
}

/// Series that have to be there, and what their sum has to be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SeriesProbe {
    /// The metric.
    pub name: String,
    /// The labels they have to have, among others.
    pub labels: Vec<(String, String)>,
    /// The least of it.
    pub min: Option<f64>,
    /// The most of it.
    pub max: Option<f64>,
    /// By how much they grow in a second is meant, instead of what they are.
    pub rate: bool,
}

impl SeriesProbe {
    /// What is meant, as Prometheus writes it: `queue_depth{queue="mail"}`.
    #[must_use]
    pub fn title(&self) -> String {
        if self.labels.is_empty() {
            return self.name.clone();
        }
        let labels: Vec<_> = self.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        format!("{}{{{}}}", self.name, labels.join(","))
    }
}
