//! Runs a scenario on the library, in virtual time on one thread, and returns its trace.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use ms_supervisor::{ChildInfo, ChildRef, ChildSpec, ChildState, Ignore, RequestError, RestartType, ShutdownTimeout, SupervisorRef};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::children::Maker;
use super::scenario::{Node, Outcome, Reason, Scenario};
use super::world::World;

/// How often in a row nothing may have happened before nothing will.
const QUIET: usize = 40;

/// How long a worker may take to end, in milliseconds.
const PATIENCE: usize = 100_000;

/// The trace of a scenario.
///
/// # Errors
/// The scenario makes no sense, or it never comes to rest.
pub(crate) fn trace(scenario: &Scenario) -> Result<Vec<Value>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.map_err(|error| error.to_string())?.block_on(Runner::default().run(scenario))
}

#[derive(Clone, Default)]
struct Runner {
    maker: Maker,
    root: Option<SupervisorRef>,
    armed: Arc<Mutex<Vec<Value>>>,
}

impl Runner {
    async fn run(mut self, scenario: &Scenario) -> Result<Vec<Value>, String> {
        self.start_root(&scenario.root).await;
        self.settle().await?;
        let mut lines = self.world().take();
        for (number, operation) in (1..).zip(&scenario.operations) {
            let name = operation["op"].as_str().ok_or_else(|| format!("no operation: {operation}"))?;
            let answer = self.operate(name, operation).await?;
            self.settle().await?;
            lines.push(json!({"ev": "op", "i": number, "op": name}));
            lines.extend(self.world().take());
            lines.extend(answer.map(|answer| line("result", answer)));
            lines.append(&mut self.armed.lock().unwrap_or_else(PoisonError::into_inner));
        }
        lines.push(json!({"ev": "op", "i": 0, "op": "end"}));
        for path in self.world().alive(true) {
            for (event, request) in [("which", "which_children"), ("count", "count_children")] {
                let mut answer = self.request(request, &Value::Null, &path, None).await;
                answer["sup"] = path.clone().into();
                lines.push(line(event, answer));
            }
        }
        self.stop_root().await;
        self.settle().await?;
        lines.extend(self.world().take());
        lines.extend(self.world().alive(false).into_iter().map(|path| json!({"ev": "leaked", "path": path})));
        Ok(lines)
    }

    fn world(&self) -> &World {
        &self.maker.world
    }

    async fn start_root(&mut self, node: &Node) {
        let (_, outcome) = self.world().attempt("root", node);
        if outcome != Outcome::Ok {
            return;
        }
        let world = self.world().clone();
        self.root = if node.dynamic {
            let pool = self.maker.pool("root", node);
            let root = pool.start_observed("root", move |report| world.hear(report)).await;
            root.ok()
        } else {
            match self.maker.supervisor("root", node) {
                Ok(spec) => spec.observe(move |report| world.hear(report)).start().await.ok(),
                Err(_) => None,
            }
        };
    }

    async fn stop_root(&self) {
        if let Some(root) = &self.root {
            root.stop().await;
        }
    }

    /// Waits until nothing moves any more; time passes only for workers that take theirs.
    async fn settle(&self) -> Result<(), String> {
        let (mut seen, mut quiet, mut waited) = (self.world().version(), 0, 0);
        while quiet < QUIET {
            if self.world().anybody_late() {
                tokio::time::sleep(Duration::from_millis(1)).await;
                waited += 1;
            } else {
                tokio::task::yield_now().await;
            }
            let version = self.world().version();
            quiet = if version == seen && !self.world().anybody_late() { quiet + 1 } else { 0 };
            seen = version;
            if waited > PATIENCE {
                return Err("it does not come to rest".into());
            }
        }
        Ok(())
    }

    async fn operate(&self, name: &str, operation: &Value) -> Result<Option<Value>, String> {
        let text = |key: &str| operation[key].as_str().unwrap_or_default();
        Ok(match name {
            "advance" => {
                tokio::time::sleep(Duration::from_millis(operation["ms"].as_u64().unwrap_or(0))).await;
                None
            }
            "stop" => {
                self.stop_root().await;
                None
            }
            "exit" => self.end_worker(text("child"), text("reason")).await?,
            "kill" => match self.child(text("child")).await {
                Some(child) => {
                    child.kill();
                    child.wait().await;
                    None
                }
                None => Some(json!({"result": "no_child"})),
            },
            "multi" => self.several(text("sup"), operation["acts"].as_array().into_iter().flatten()).await?,
            "arm" => {
                self.arm(text("child"), &operation["do"]);
                None
            }
            request => match self.supervisor(text("sup")).await {
                Some(supervisor) => Some(self.request(request, operation, text("sup"), Some(supervisor)).await),
                None => Some(json!({"result": "noproc"})),
            },
        })
    }

    async fn end_worker(&self, path: &str, reason: &str) -> Result<Option<Value>, String> {
        let reason = Reason::parse(reason).ok_or_else(|| format!("reason {reason}"))?;
        let number = self.world().newest(path);
        if !self.world().order(path, reason) {
            return Ok(Some(json!({"result": "no_child"})));
        }
        for _ in 0..QUIET * QUIET {
            if self.world().newest(path) != number {
                return Ok(None);
            }
            tokio::task::yield_now().await;
        }
        Err(format!("{path} does not end"))
    }

    /// Ends several children before their supervisor hears of the first: meanwhile it starts a child that never comes up.
    async fn several(&self, path: &str, acts: impl Iterator<Item = &Value>) -> Result<Option<Value>, String> {
        let Some(supervisor) = self.supervisor(path).await else { return Ok(Some(json!({"result": "noproc"}))) };
        let mut orders = Vec::new();
        for act in acts {
            let child = act["child"].as_str().unwrap_or_default();
            let kill = if act["op"] == "kill" { self.child(child).await } else { None };
            orders.push((child, act["reason"].as_str().unwrap_or_default(), act["op"] == "kill", kill));
        }
        let (release, busy) = suspend(&supervisor).await;
        for (path, reason, kills, child) in orders {
            match child {
                Some(child) => {
                    child.kill();
                    child.wait().await;
                }
                None if kills => {}
                None => drop(self.end_worker(path, reason).await?),
            }
        }
        drop(release);
        drop(busy.await);
        Ok(None)
    }

    fn arm(&self, child: &str, request: &Value) {
        self.world().arm(child, request.clone());
        let runner = self.clone();
        self.world().fire_with(move |request, supervisor| {
            let runner = runner.clone();
            let fire = async move {
                if request["op"] == "stop" {
                    return runner.stop_root().await;
                }
                let name = request["op"].as_str().unwrap_or_default();
                let answer = runner.request(name, &request, supervisor.path(), Some(supervisor.clone())).await;
                runner.armed.lock().unwrap_or_else(PoisonError::into_inner).push(line("armed", answer));
            };
            // Polled once, it stands in the supervisor's queue, before the failed start does.
            let mut fire = Box::pin(fire);
            if fire.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
                tokio::spawn(fire);
            }
        });
    }

    /// The supervisor that runs at `path`.
    async fn supervisor(&self, path: &str) -> Option<SupervisorRef> {
        self.world().newest(path)?;
        if let Some(pool) = self.maker.pool_at(path) {
            return pool.get();
        }
        match path.rsplit_once('/') {
            None => self.root.clone(),
            Some((parent, id)) => {
                let parent = Box::pin(self.supervisor(parent)).await?;
                parent.get_childspec(id).await.ok()?.child?.as_supervisor().cloned()
            }
        }
    }

    /// What runs at `path`.
    async fn child(&self, path: &str) -> Option<ChildRef> {
        self.world().newest(path)?;
        let at = path.rfind(['/', '#'])?;
        let parent = self.supervisor(&path[..at]).await?;
        let children = parent.which_children().await.ok()?;
        children.into_iter().find(|child| child.id == path[at + 1..])?.child
    }

    /// The answer to a request, as a trace tells it.
    async fn request(&self, name: &str, operation: &Value, path: &str, supervisor: Option<SupervisorRef>) -> Value {
        let supervisor = match supervisor {
            Some(supervisor) => supervisor,
            None => match self.supervisor(path).await {
                Some(supervisor) => supervisor,
                None => return json!({"result": "noproc"}),
            },
        };
        match self.answer(name, operation, path, &supervisor).await {
            Ok(answer) => answer,
            Err(error) => json!({"result": error_name(&error)}),
        }
    }

    async fn answer(&self, name: &str, operation: &Value, path: &str, supervisor: &SupervisorRef) -> Result<Value, RequestError> {
        let id = operation["id"].as_str().unwrap_or_default();
        let ok = json!({"result": "ok"});
        let started = |child: Option<ChildRef>| json!({"result": if child.is_some() { "ok" } else { "ok:undefined" }});
        match name {
            "start_child" => match operation["tag"].as_str() {
                Some(tag) => Ok(started(self.maker.instance(path, tag).await?)),
                None => {
                    let Ok(node) = Node::parse(&operation["spec"]) else {
                        // OTP's supervisor judges a spec itself: one that is gone judges none.
                        supervisor.count_children().await?;
                        return Ok(json!({"result": "error:bad_spec"}));
                    };
                    let child = self.maker.child(&format!("{path}/{}", node.id), &node.id, &Arc::new(node.clone()));
                    Ok(started(supervisor.start_child(child).await?))
                }
            },
            "terminate_child" => match operation["tag"].as_str() {
                None => supervisor.terminate_child(id).await.map(|()| ok),
                Some(tag) => match self.child(&format!("{path}#{tag}")).await {
                    Some(child) => supervisor.terminate_child(&child).await.map(|()| ok),
                    None => Err(RequestError::NotFound),
                },
            },
            "restart_child" => Ok(started(supervisor.restart_child(id).await?)),
            "delete_child" => supervisor.delete_child(id).await.map(|()| ok),
            "get_childspec" => match operation["tag"].as_str() {
                None => supervisor.get_childspec(id).await.map(|child| spec(&child)),
                Some(tag) => match self.child(&format!("{path}#{tag}")).await {
                    Some(child) => supervisor.get_childspec(&child).await.map(|child| spec(&child)),
                    None => Err(RequestError::NotFound),
                },
            },
            "count_children" => {
                let counts = supervisor.count_children().await?;
                let (specs, active) = (counts.specs, counts.active);
                Ok(json!({"result": "ok", "specs": specs, "active": active, "supervisors": counts.supervisors, "workers": counts.workers}))
            }
            "which_children" => {
                let children = supervisor.which_children().await?;
                let dynamic = self.maker.pool_at(path).is_some();
                Ok(json!({"result": "ok", "children": rows(&children, dynamic)}))
            }
            other => Ok(json!({"result": format!("unknown request {other}")})),
        }
    }
}

/// Keeps a supervisor busy until the sender is dropped, and leaves no trace.
async fn suspend(supervisor: &SupervisorRef) -> (oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
    let (release, released) = oneshot::channel();
    let (told, busy) = oneshot::channel();
    let once = Mutex::new(Some((released, told)));
    let child = ChildSpec::prepared("(busy)", move |_| {
        let once = once.lock().unwrap_or_else(PoisonError::into_inner).take();
        async move {
            if let Some((released, told)) = once {
                let _ = told.send(());
                drop(released.await);
            }
            Err::<std::future::Ready<_>, _>(Ignore.into())
        }
    });
    let supervisor = supervisor.clone();
    let request = tokio::spawn(async move { drop(supervisor.start_child(child.restart(RestartType::Temporary)).await) });
    // An error: it is going down, and busy with that.
    drop(busy.await);
    (release, request)
}

/// Rows as OTP lists them: the newest first; those of a dynamic supervisor sorted, without a name while they restart.
fn rows(children: &[ChildInfo], dynamic: bool) -> Vec<Value> {
    let row = |child: &ChildInfo| {
        let state = match child.state {
            ChildState::Running => "running",
            ChildState::Restarting => "restarting",
            ChildState::Stopped => "undefined",
        };
        let id = if dynamic && child.state != ChildState::Running { "?" } else { &child.id };
        (id.to_owned(), state, if child.supervisor { "supervisor" } else { "worker" })
    };
    let mut rows: Vec<_> = children.iter().rev().map(row).collect();
    if dynamic {
        rows.sort();
    }
    rows.into_iter().map(|row| json!(row)).collect()
}

fn spec(child: &ChildInfo) -> Value {
    let restart = match child.restart {
        RestartType::Permanent => "permanent",
        RestartType::Transient => "transient",
        RestartType::Temporary => "temporary",
    };
    let shutdown = match child.shutdown {
        ShutdownTimeout::BrutalKill => json!("brutal_kill"),
        ShutdownTimeout::Infinity => json!("infinity"),
        ShutdownTimeout::After(time) => json!(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
    };
    let kind = if child.supervisor { "supervisor" } else { "worker" };
    json!({"result": "ok", "restart": restart, "shutdown": shutdown, "type": kind, "significant": child.significant})
}

const fn error_name(error: &RequestError) -> &'static str {
    match error {
        RequestError::NotFound => "error:not_found",
        RequestError::Running => "error:running",
        RequestError::Restarting => "error:restarting",
        RequestError::AlreadyStarted(_) => "error:already_started",
        RequestError::AlreadyPresent => "error:already_present",
        RequestError::Dynamic => "error:simple_one_for_one",
        RequestError::Spec(_) => "error:bad_spec",
        RequestError::StartFailed(_) => "error:start_failed",
        RequestError::MaxChildren(_) => "error:max_children",
        RequestError::Stopped | RequestError::Terminating => "noproc",
    }
}

fn line(event: &str, mut answer: Value) -> Value {
    answer["ev"] = event.into();
    answer
}
