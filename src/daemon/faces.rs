//! What the daemon shows to the world: the control socket, the read-only port, the console.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::net::UnixListener;

use super::control::Control;
use super::greeting::Listeners;
use crate::actor::{BoxError, TaskContext};
use crate::api::dto::UpgradeStatus;
use crate::api::{self, Daemon, Node, ReloadRefused, SetRefused, SetRequest, socket};
use crate::cli::Listen;
use crate::event::Override;
use crate::launcher::wire::Upgrade;
use crate::os::{cgroup, clock, journald};
use crate::plan::Diff;
use crate::sink::console::{self, Console};
use crate::sink::journald::Journald;
use crate::sink::metrics::Exporter;
use crate::spec::Diagnostics;

/// What the daemon shows to the world.
pub(super) struct Faces {
    control: Arc<Control>,
    node: Arc<Node>,
    console: Arc<Console>,
    /// Sockets that systemd listens on for us, by name.
    listeners: Listeners,
    /// The control socket, until it is served for the first time.
    opened: Mutex<Option<UnixListener>>,
}

impl Faces {
    pub(super) fn new(control: Arc<Control>, launcher: u32, cgroup: Option<PathBuf>, listeners: Listeners) -> Arc<Self> {
        let version = env!("CARGO_PKG_VERSION");
        let exporter =
            Arc::new(Exporter::new(control.context.clone(), control.tree.clone(), control.history.clone(), version.into(), launcher));
        let page = move || {
            let exporter = exporter.clone();
            async move { exporter.page().await }.boxed()
        };
        let node = Node {
            context: control.context.clone(),
            tree: control.tree.clone(),
            history: control.history.clone(),
            daemon: Box::new(Whole(control.clone())),
            metrics: Box::new(page),
            version: version.into(),
            started: clock::wall(),
            launcher_pid: launcher,
            cgroup_name: cgroup.as_deref().and_then(cgroup::name_of),
            cgroup,
            upgrade: control.upgraded.clone().map(|Upgrade { other, failed }| UpgradeStatus { other, failed }),
        };
        let options = console::Options {
            events: control.settings.events,
            logs: control.settings.logs,
            color: std::io::stdout().is_terminal() && !control.settings.plain,
        };
        let console = Arc::new(Console::new(control.context.clone(), &control.history, options));
        Arc::new(Self { control, node: Arc::new(node), console, listeners, opened: Mutex::default() })
    }

    /// Listens on the control socket, before there are units: it can be hidden only from those that are started after that. Why it cannot be had is
    /// told when it is to be served.
    pub(super) async fn open_control(&self) {
        if let Ok(listener) = self.listen_for_control().await {
            *self.opened.lock().unwrap_or_else(PoisonError::into_inner) = Some(listener);
        }
    }

    async fn listen_for_control(&self) -> Result<UnixListener, BoxError> {
        let path = self.control.settings.directories.control_socket()?;
        Ok(match self.listeners.get("control") {
            Some(passed) => socket::passed_control(passed)?,
            None => socket::bind_control(&path).await?,
        })
    }

    /// Serves the control socket.
    pub(super) async fn control(self: Arc<Self>, task: TaskContext) -> Result<(), BoxError> {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner).take();
        let listener = match opened {
            Some(listener) => listener,
            None => self.listen_for_control().await?,
        };
        api::serve_control(async move { task.shutdown_requested().await }, listener, self.node.clone()).await;
        Ok(())
    }

    /// Serves metrics and health, if it may and can; supervision does not depend on it.
    pub(super) async fn public(self: Arc<Self>, task: TaskContext) -> Result<(), BoxError> {
        let bound = match (self.listeners.get("metrics"), self.address()) {
            (Some(passed), _) => socket::passed_public(passed),
            (None, Some(address)) => socket::bind_public(address).await,
            (None, None) => {
                task.shutdown_requested().await;
                return Ok(());
            }
        };
        match bound {
            Ok(listener) => api::serve_public(async move { task.shutdown_requested().await }, listener, self.node.clone()).await,
            Err(why) => {
                tracing::error!("{why}; metrics and health are on the control socket only");
                task.shutdown_requested().await;
            }
        }
        Ok(())
    }

    fn address(&self) -> Option<SocketAddr> {
        match self.control.settings.listen {
            Some(Listen::None) => None,
            Some(Listen::Address(address)) => Some(address),
            None => self.control.tree.plan().daemon.listen,
        }
    }

    /// Hands events to systemd's journal, if the daemon is a service of it.
    pub(super) async fn journald(self: Arc<Self>, task: TaskContext) -> Result<(), BoxError> {
        if self.control.settings.journald {
            let state = &self.control.settings.directories.state;
            let sink = Arc::new(Journald::new(self.control.history.clone(), journald::socket_path(), state));
            sink.run(async { task.shutdown_requested().await }).await;
        }
        task.shutdown_requested().await;
        Ok(())
    }

    /// Prints what happens, if somebody wants to see it.
    pub(super) async fn console(self: Arc<Self>, task: TaskContext) -> Result<(), BoxError> {
        if self.control.settings.events || self.control.settings.logs {
            self.console.clone().run(async { task.shutdown_requested().await }).await;
        }
        // Nobody reads any more: there is nothing to print, and nothing wrong.
        task.shutdown_requested().await;
        Ok(())
    }
}

/// Lets the API ask for what concerns the daemon as a whole.
struct Whole(Arc<Control>);

impl Daemon for Whole {
    fn reload(&self) -> BoxFuture<'_, Result<Diff, ReloadRefused>> {
        async { self.0.reload().await.map_err(|diagnostics| refused(&diagnostics)) }.boxed()
    }

    fn plan_changes(&self) -> BoxFuture<'_, Result<Diff, ReloadRefused>> {
        async { self.0.changes().await.map_err(|diagnostics| refused(&diagnostics)) }.boxed()
    }

    fn upgrade(&self, program: PathBuf) -> BoxFuture<'_, String> {
        self.0.upgrade(program).boxed()
    }

    fn set(&self, request: SetRequest) -> BoxFuture<'_, Result<Diff, SetRefused>> {
        self.0.set(request).boxed()
    }

    fn overrides(&self) -> BoxFuture<'_, Vec<Override>> {
        self.0.overrides().boxed()
    }
}

fn refused(diagnostics: &Diagnostics) -> ReloadRefused {
    ReloadRefused { diagnostics: diagnostics.to_json(), text: diagnostics.render(false) }
}
