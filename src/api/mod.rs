//! The control API and the read-only port: HTTP/1.1 and JSON, described by the types in [`dto`].
//!
//! Commands come in by the control socket, where the kernel tells who speaks; the port knows nothing but reading.

mod actions;
mod chain;
pub mod client;
pub mod dto;
mod environment;
mod events;
mod graph;
mod health;
mod hidden;
mod host;
mod logs;
mod peer;
mod refusal;
mod routes;
mod server;
mod set;
pub mod socket;
mod stream;
pub mod targets;
mod wire;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

pub use server::{serve_control, serve_public};

use crate::actor::context::Context;
use crate::actor::recorder::History;
use crate::actor::tree::Tree;
use crate::base::time::Wall;
use crate::event::Override;
use crate::plan::Diff;
use crate::spec::Diagnostics;

/// What the API speaks for.
pub struct Node {
    /// What every actor may use.
    pub context: Arc<Context>,
    /// The users' tree.
    pub tree: Arc<Tree>,
    /// The events.
    pub history: Arc<History>,
    /// Who does what concerns the daemon as a whole.
    pub daemon: Box<dyn Daemon>,
    /// Who makes the page of metrics.
    pub metrics: Page,
    /// The version that runs.
    pub version: String,
    /// When the brain was started.
    pub started: Wall,
    /// The launcher's process id.
    pub launcher_pid: u32,
    /// Where units' cgroups are.
    pub cgroup: Option<PathBuf>,
    /// How the kernel names that in /proc/PID/cgroup.
    pub cgroup_name: Option<String>,
    /// How the last upgrade in place went.
    pub upgrade: Option<dto::UpgradeStatus>,
}

/// Makes a page in OpenMetrics text format, or says why it cannot.
pub type Page = Box<dyn Fn() -> BoxFuture<'static, Result<String, String>> + Send + Sync>;

/// Does what concerns the daemon as a whole.
pub trait Daemon: Send + Sync {
    /// Reads the declarations anew and applies what they say.
    fn reload(&self) -> BoxFuture<'_, Result<Diff, ReloadRefused>>;
    /// What applying them would change.
    fn plan_changes(&self) -> BoxFuture<'_, Result<Diff, ReloadRefused>>;
    /// Goes over to another program; returns only to say why that cannot be.
    fn upgrade(&self, program: PathBuf) -> BoxFuture<'_, String>;
    /// Sets values beside the files, or takes them back.
    fn set(&self, request: SetRequest) -> BoxFuture<'_, Result<Diff, SetRefused>>;
    /// What is set.
    fn overrides(&self) -> BoxFuture<'_, Vec<Override>>;
}

/// What is to be set, and what taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetRequest {
    /// The unit or supervisor; `daemon` for the daemon.
    pub target: String,
    /// Keys and values.
    pub values: Vec<(String, String)>,
    /// Keys that are taken back, with all that is below them.
    pub unset: Vec<String>,
    /// Everything of it is taken back.
    pub unset_all: bool,
    /// For how long.
    pub duration: Option<Duration>,
    /// Why.
    pub reason: Option<String>,
    /// Who wants it so: a user id.
    pub uid: u32,
}

/// Why nothing is set.
#[derive(Clone, Debug)]
pub enum SetRefused {
    /// There is no such unit or supervisor.
    NotFound(String),
    /// The request makes no sense: a sentence.
    Bad(String),
    /// The declarations would be faulty.
    Faulty(Box<Diagnostics>),
    /// It cannot be written down: a sentence.
    NotRemembered(String),
}

/// Why new declarations are not applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReloadRefused {
    /// What is wrong with them, for programs: see [`crate::spec::Diagnostics::to_json`].
    pub diagnostics: serde_json::Value,
    /// The same for people, without colour.
    pub text: String,
}

#[cfg(test)]
mod tests;
