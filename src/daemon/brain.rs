//! The brain: loads the plan, takes over what runs, and runs the tree until it is told to stop.

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};

use super::control::{Control, Orders, Outcome};
use super::declarations::{self, Loaded};
use super::faces::Faces;
use super::greeting::Greeting;
use super::{Settings, greeting, memory, overrides, past, set, standing};
use crate::actor::context::{Bus, Context};
use crate::actor::degradation::{self, Degradation};
use crate::actor::gate::Gates;
use crate::actor::health;
use crate::actor::limits::{self, Limits};
use crate::actor::logs::{self, INBOX, Inbox, ToLogs};
use crate::actor::observer;
use crate::actor::program::Programs;
use crate::actor::recorder::{self, History};
use crate::actor::remediator::{self, SYMPTOMS_MAX, Symptom, Symptoms};
use crate::actor::resignation::{self, RESIGNED_MAX, Resignation, Resignations};
use crate::actor::search::{self, Searches};
use crate::actor::tree::{Standing, Tree};
use crate::actor::wishes::Wishes;
use crate::actor::{ChildSpec, SupervisorRef, SupervisorSpec, TaskContext};
use crate::base::exit::ExitReason;
use crate::base::time::Wall;
use crate::event::Event;
use crate::launcher::link::{self, Link};
use crate::launcher::wire::{BrainEnd, ToBrain, ToLauncher, Upgrade};
use crate::os::pump::Pump;
use crate::os::systemd::Dependencies;
use crate::os::{self, clock, inherited, last_words, secrets};
use crate::plan::{OnLauncherDeath, RestartType, ShutdownTimeout, Strategy};

/// The brain could not go on; the launcher starts another one.
const FAILED: u8 = 70;

/// How often the launcher hears that the brain is well.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How often memory that is free goes back to the kernel: a restart leaves holes, and a day has millions of them.
const THRIFT: Duration = Duration::from_secs(60);

/// How long a thread for what blocks stays when it has nothing to do. What comes a hundred times a second goes to each idle thread in turn:
/// after tokio's ten seconds of that there are as many threads as there ever were, each with a stack and a store of memory.
const IDLE: Duration = Duration::from_millis(100);

/// Runs the brain to its end. The launcher has started this process and passed its socket.
#[must_use]
pub fn brain(settings: Settings) -> ExitCode {
    if let Err(error) = last_words::keep(&settings.directories.incidents()) {
        eprintln!("ms-supervisor: should the brain fail, its last words will not be kept: {error}");
    }
    let is_coloured = std::io::stderr().is_terminal() && !settings.plain;
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(is_coloured)
        .with_target(false)
        .with_max_level(tracing::Level::WARN)
        .init();
    os::memory::keep_little();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).thread_keep_alive(IDLE).thread_name("brain").enable_all().build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(run(settings));
            // What still waits for a disk, or for somebody who does not answer, is not waited for.
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(format!("cannot start the runtime: {error}")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("ms-supervisor: {why}");
            ExitCode::from(FAILED)
        }
    }
}

async fn run(settings: Settings) -> Result<(), String> {
    let socket = inherited::launcher_socket()?;
    let (sender, mut receiver) = Link::from_fd(socket).map_err(|error| format!("cannot talk to the launcher: {error}"))?;
    let mut greeting = greeting::hear(&mut receiver).await?;
    let carries_on = greeting.generation > 0 || greeting.inherited;
    let Some(loaded) = load(&settings, carries_on).await? else {
        if carries_on {
            // Units run: they must not end because of a file.
            return Err("what was applied last is lost, and the declarations are faulty: waiting until they are mended".into());
        }
        return leave(&sender, &mut receiver, ToLauncher::Exit { code: 2 }).await;
    };
    if loaded.pipes_instead {
        tracing::warn!(
            "the file system of {} cannot rotate a log under its writer: logs go through pipes",
            settings.directories.logs.display()
        );
    }
    let (bus, events) = Bus::new();
    let history = History::open(&settings.directories.state).map_err(|error| format!("cannot read the event journal: {error}"))?;
    let wishes = memory::recall(&settings.directories, &bus).await?;
    let (logs, inbox) = mpsc::channel(INBOX);
    let (resigned, resignations) = mpsc::channel(RESIGNED_MAX);
    let (symptom, symptoms) = mpsc::channel(SYMPTOMS_MAX);
    let limits = Limits::new(greeting.controllers.clone(), greeting.cgroup.clone());
    let inlets = Inlets { bus, logs, resigned, symptom, limits };
    let context = Arc::new(context(&settings, &loaded, sender.clone(), inlets, wishes)?);
    if greeting.found_survivors() && loaded.plan.daemon.on_launcher_death == OnLauncherDeath::Stop {
        greeting.held.values_mut().for_each(|held| held.unwelcome = true);
    }
    greeting.forgive();
    let adopted = greeting.running();
    if adopted == 0 {
        let handed_over = settings.directories.run.join("credentials");
        // It says itself what it cannot.
        drop(tokio::task::spawn_blocking(move || secrets::remove_all(&handed_over)).await);
    }
    context.bus.tell(Event::DaemonStarted { version: env!("CARGO_PKG_VERSION").into(), generation: greeting.generation, adopted });
    tell_of_the_past(&greeting, &settings, &context.bus);
    past::report(&mut greeting.held, &settings.directories.state, &context).await?;
    let tree = Tree::new(context.clone(), loaded.plan.clone(), std::mem::take(&mut greeting.held)).await;
    let tree = tree.map_err(|error| format!("cannot make the tree: {error}"))?;
    let (orders, ordered) = mpsc::channel(16);
    let receiver = Arc::new(Mutex::new(receiver));
    let control = Control::new(settings, context, tree, Arc::new(history), loaded, (greeting.upgrade.clone(), greeting.announced));
    let parts = Parts {
        faces: Faces::new(control.clone(), greeting.launcher, greeting.cgroup.clone(), std::mem::take(&mut greeting.listeners)),
        control,
        events: Arc::new(Mutex::new(events)),
        inbox: Arc::new(Mutex::new(inbox)),
        resignations: Arc::new(Mutex::new(resignations)),
        symptoms: Arc::new(Mutex::new(symptoms)),
        receiver: receiver.clone(),
        orders,
    };
    parts.faces.open_control().await;
    let root = parts.supervise().start().await.map_err(|error| error.to_string())?;
    if greeting.found_survivors() && greeting.generation == 0 {
        // What runs is what was applied last; the files may say something else by now.
        let control = parts.control.clone();
        tokio::spawn(async move { control.reload_quietly().await });
    }
    let farewell = match Orders::new(parts.control.clone(), ordered).obey(&root).await? {
        Outcome::Ended(code) => ToLauncher::Exit { code },
        Outcome::Left => ToLauncher::Leave,
        // Whoever has taken our place looks after what runs.
        Outcome::Replaced => return Ok(()),
    };
    root.stop().await;
    let mut receiver = receiver.lock().await;
    leave(&sender, &mut receiver, farewell).await
}

/// Tells how the brain before this one ended, and how an upgrade went.
fn tell_of_the_past(greeting: &Greeting, settings: &Settings, bus: &Bus) {
    if let Some(last) = greeting.last {
        let incident = last_words::of(&settings.directories.incidents(), last.pid);
        let BrainEnd { pid, cause, lived, condemned, .. } = last;
        bus.tell(Event::BrainEnded { pid, cause, after: lived, condemned, incident });
    }
    if let Some(Upgrade { other, failed }) = greeting.upgrade.clone().filter(|_| greeting.generation == 0) {
        let version = env!("CARGO_PKG_VERSION").into();
        bus.tell(match failed {
            None => Event::DaemonUpgraded { from: other, version },
            Some(why) => Event::UpgradeFailed { to: other, version, why },
        });
    }
}

/// The first brain takes the declarations as they are in their files. One that `carries_on` runs what was applied last: a file
/// somebody is editing must not take effect because a brain died, nor must a faulty one leave units without a supervisor.
async fn load(settings: &Settings, carries_on: bool) -> Result<Option<Loaded>, String> {
    let directories = settings.directories.clone();
    let load = move || {
        let set = overrides::load(&directories.state).unwrap_or_else(|why| {
            tracing::error!("{why}; what was set by `msctl set` is not in force");
            Vec::new()
        });
        if carries_on && let Some(applied) = declarations::load_applied(&directories, set.clone()) {
            return Ok(applied);
        }
        let loaded = declarations::load(&directories, set)?;
        if let Err(error) = declarations::remember(&loaded, &directories) {
            tracing::warn!("cannot remember the plan in {}: {error}", directories.state.display());
        }
        Ok(loaded)
    };
    match declarations::in_time(&settings.directories, load).await {
        Ok(loaded) => Ok(Some(loaded)),
        Err(diagnostics) => {
            let diagnostics: Box<crate::spec::Diagnostics> = diagnostics;
            eprint!("{}", diagnostics.render(std::io::stderr().is_terminal()));
            Ok(None)
        }
    }
}

/// Where those who work for the units are told.
struct Inlets {
    bus: Bus,
    logs: mpsc::Sender<ToLogs>,
    resigned: mpsc::Sender<Resignation>,
    symptom: mpsc::Sender<Symptom>,
    limits: Limits,
}

fn context(settings: &Settings, loaded: &Loaded, launcher: link::Sender, inlets: Inlets, wishes: Wishes) -> Result<Context, String> {
    let news = inlets.logs.clone();
    // The pump does not wait: what it says beyond the bound is not heard.
    let pump = Pump::start(move |report| drop(news.try_send(ToLogs::Pump(report))));
    Ok(Context {
        view: crate::event::View::default(),
        bus: inlets.bus,
        programs: Arc::new(Programs::new(launcher.clone())),
        launcher,
        pump: pump.map_err(|error| format!("cannot start the log pump: {error}"))?,
        logs: inlets.logs,
        resigned: inlets.resigned,
        symptoms: inlets.symptom,
        gates: Gates::new(loaded.plan.daemon.start_limit),
        // The brain is its child.
        searches: Searches::new(std::os::unix::process::parent_id()),
        turns: Arc::default(),
        host: Arc::default(),
        dependencies: Dependencies::default(),
        degradation: Degradation::default(),
        limits: inlets.limits,
        directories: settings.directories.clone(),
        wishes,
        environment: inherited::base_environment(),
        seed: clock::mono().0,
        stopping: AtomicBool::new(false),
        keeper: AtomicU32::new(0),
        launcher_turns: std::sync::Mutex::default(),
    })
}

/// Tells the launcher that it is over, and waits until it has heard.
async fn leave(sender: &link::Sender, receiver: &mut link::Receiver, farewell: ToLauncher) -> Result<(), String> {
    sender.send(farewell);
    while let Ok(Some(_)) = receiver.recv().await {}
    Ok(())
}

/// What the daemon's own children are made of.
struct Parts {
    control: Arc<Control>,
    faces: Arc<Faces>,
    events: Arc<Mutex<mpsc::Receiver<(Wall, Event)>>>,
    inbox: Inbox,
    resignations: Resignations,
    symptoms: Symptoms,
    receiver: Arc<Mutex<link::Receiver>>,
    orders: mpsc::Sender<ToBrain>,
}

impl Parts {
    /// The daemon's own tree: the same supervisor, with Rust children.
    fn supervise(&self) -> SupervisorSpec {
        SupervisorSpec::new(Strategy::OneForOne)
            .intensity(10, Duration::from_secs(60))
            .child(ChildSpec::supervisor("orchestration", self.orchestration()))
            .child(ChildSpec::supervisor("messaging", self.messaging()))
            .child(self.workers())
    }

    /// What shares state and falls together.
    fn orchestration(&self) -> SupervisorSpec {
        let (control, events) = (self.control.clone(), self.events.clone());
        let recorder =
            ChildSpec::task("recorder", move |task| recorder::run(task, control.context.clone(), control.history.clone(), events.clone()));
        let (control, inbox) = (self.control.clone(), self.inbox.clone());
        let logs = ChildSpec::task("logs", move |task| logs::run(task, control.context.clone(), control.tree.clone(), inbox.clone()));
        let (control, receiver, orders) = (self.control.clone(), self.receiver.clone(), self.orders.clone());
        let link = ChildSpec::task("link", move |task| hear(task, control.tree.clone(), receiver.clone(), orders.clone()));
        let (control, resignations) = (self.control.clone(), self.resignations.clone());
        let resignation = ChildSpec::task("resignation", move |task| resignation::run(task, control.tree.clone(), resignations.clone()));
        let (control, symptoms) = (self.control.clone(), self.symptoms.clone());
        let remediator = ChildSpec::task("remediator", move |task| {
            remediator::run(task, control.context.clone(), control.tree.clone(), control.history.clone(), symptoms.clone())
        });
        let control = self.control.clone();
        let observer = ChildSpec::task("observer", move |task| observer::run(task, control.context.clone()));
        let control = self.control.clone();
        let degradation = ChildSpec::task("degradation", move |task| degradation::run(task, control.context.clone(), control.tree.clone()));
        let control = self.control.clone();
        let health = ChildSpec::task("health", move |task| {
            health::run(task, control.context.clone(), control.tree.clone(), control.history.clone())
        });
        let control = self.control.clone();
        let search = ChildSpec::task("search", move |task| search::run(task, control.context.clone()));
        let control = self.control.clone();
        let limits = ChildSpec::task("limits", move |task| limits::run(task, control.context.clone(), control.tree.clone()));
        let control = self.control.clone();
        let overrides = ChildSpec::task("overrides", move |task| set::run(task, control.clone()));
        let control = self.control.clone();
        let heartbeat = ChildSpec::task("heartbeat", move |task| beat(task, control.clone()));
        let thrift = ChildSpec::task("thrift", give_back);
        SupervisorSpec::new(Strategy::OneForAll)
            .intensity(5, Duration::from_secs(60))
            .child(recorder)
            .child(logs)
            .child(link)
            .child(resignation)
            .child(remediator)
            .child(observer)
            .child(degradation)
            .child(health)
            .child(search)
            .child(limits)
            .child(overrides)
            .child(heartbeat)
            .child(thrift)
    }

    /// What talks to the world; each needs the ones before it.
    fn messaging(&self) -> SupervisorSpec {
        let faces = self.faces.clone();
        let socket = ChildSpec::task("control", move |task| faces.clone().control(task));
        let faces = self.faces.clone();
        let public = ChildSpec::task("public", move |task| faces.clone().public(task));
        let faces = self.faces.clone();
        let console = ChildSpec::task("console", move |task| faces.clone().console(task)).restart(RestartType::Transient);
        let faces = self.faces.clone();
        let journald = ChildSpec::task("journald", move |task| faces.clone().journald(task));
        let specs = [socket, public, journald, console];
        specs.into_iter().fold(SupervisorSpec::new(Strategy::RestForOne).intensity(5, Duration::from_secs(60)), SupervisorSpec::child)
    }

    /// The users' tree. It is never started twice: when it has ended, the daemon ends.
    fn workers(&self) -> ChildSpec {
        let control = self.control.clone();
        let run = move |task: TaskContext| {
            let (tree, control) = (control.tree.clone(), control.clone());
            async move {
                tree.start().await?;
                let mut standing = tree.standing();
                let ended = |standing: &Standing| matches!(standing, Standing::Ended(_));
                tokio::select! {
                    _ = standing.wait_for(ended) => return Ok(()),
                    () = task.shutdown_requested() => {
                        if control.is_leaving() {
                            return Ok(());
                        }
                        tree.stop();
                    }
                }
                standing.wait_for(ended).await?;
                Ok(())
            }
        };
        ChildSpec::task("workers", run).restart(RestartType::Temporary).shutdown(ShutdownTimeout::Infinity)
    }
}

/// Hears the launcher until the daemon ends.
async fn hear(
    task: TaskContext,
    tree: Arc<Tree>,
    receiver: Arc<Mutex<link::Receiver>>,
    orders: mpsc::Sender<ToBrain>,
) -> Result<(), crate::actor::BoxError> {
    let mut receiver = receiver.lock().await;
    loop {
        let heard = tokio::select! {
            heard = receiver.recv() => heard?,
            () = task.shutdown_requested() => return Ok(()),
        };
        match heard {
            Some((order @ (ToBrain::Signalled { .. } | ToBrain::UpgradeRefused { .. }), _)) => orders.send(order).await?,
            Some((message, fds)) => tree.launcher_says(message, fds),
            // Without a launcher there is nobody to start anything; its successor starts a new brain.
            None => orders.send(ToBrain::HeldEnd).await?,
        }
    }
}

/// Tells the launcher that the brain is well, and systemd how things stand.
async fn beat(task: TaskContext, control: Arc<Control>) -> Result<(), crate::actor::BoxError> {
    let mut said = String::new();
    loop {
        control.context.launcher.send(ToLauncher::Alive);
        let status = control.status_line();
        let news = (status != said).then_some(status.as_str());
        if let Some(state) = standing::notice(control.phase(), news) {
            control.context.launcher.send(ToLauncher::Notify { state });
        }
        said = status;
        tokio::select! {
            () = task.shutdown_requested() => return Ok(()),
            () = tokio::time::sleep(HEARTBEAT) => {}
        }
    }
}

/// Gives memory that is free back to the kernel, again and again.
async fn give_back(task: TaskContext) -> Result<(), crate::actor::BoxError> {
    loop {
        tokio::select! {
            () = task.shutdown_requested() => return Ok(()),
            () = tokio::time::sleep(THRIFT) => {}
        }
        tokio::task::spawn_blocking(os::memory::give_back).await?;
    }
}

/// Why the daemon's own tree ended.
pub(super) async fn broken(root: &SupervisorRef) -> String {
    match root.wait().await {
        ExitReason::Shutdown => "the daemon's own supervisor gave up".into(),
        reason => format!("the daemon's own supervisor ended: {reason}"),
    }
}
