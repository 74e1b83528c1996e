//! The server and the client, over a real socket.
#![expect(clippy::disallowed_methods, reason = "tests make files")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, Mutex};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::sync::oneshot;

use super::client::{Client, ClientError};
use super::dto::{ActionRequest, ActionResponse, Changes, SignalRequest, Status, TreeRow, UnitDetails};
use std::path::PathBuf;

use super::{Daemon, Node, ReloadRefused, SetRefused, SetRequest, serve_control, serve_public, socket};
use crate::actor::context::{Bus, Context};
use crate::actor::gate::Gates;
use crate::actor::program::Programs;
use crate::actor::recorder::History;
use crate::actor::tree::Tree;
use crate::actor::wishes::Wishes;
use crate::base::time::{Mono, Wall};
use crate::event::{Event, UnitStatus, View};
use crate::launcher::link::Link;
use crate::os::clock;
use crate::os::paths::Directories;
use crate::os::pump::Pump;
use crate::plan::{Diff, Plan, resolve};
use crate::spec::{SourceFile, parse};
use crate::store::wishes::{Clocks, Store};

pub(super) fn unit(name: &str, state: &str) -> UnitStatus {
    UnitStatus {
        state: state.into(),
        ready: state == "active",
        pid: (state == "active").then_some(7),
        ..UnitStatus::new(name.into(), "root".into(), Wall(0), Mono(0))
    }
}

/// Applies nothing; refuses to say what it would change.
struct Stubborn;

impl Daemon for Stubborn {
    fn upgrade(&self, program: PathBuf) -> BoxFuture<'_, String> {
        async move { format!("cannot go over to {}", program.display()) }.boxed()
    }

    fn reload(&self) -> BoxFuture<'_, Result<Diff, ReloadRefused>> {
        async { Ok(Diff::default()) }.boxed()
    }

    fn set(&self, request: SetRequest) -> BoxFuture<'_, Result<Diff, SetRefused>> {
        async move { Err(SetRefused::NotFound(request.target)) }.boxed()
    }

    fn overrides(&self) -> BoxFuture<'_, Vec<crate::event::Override>> {
        async { Vec::new() }.boxed()
    }

    fn plan_changes(&self) -> BoxFuture<'_, Result<Diff, ReloadRefused>> {
        async { Err(ReloadRefused { diagnostics: Value::Array(Vec::new()), text: "units/a.yaml is wrong".into() }) }.boxed()
    }
}

fn plan() -> Plan {
    let file = |path: &str, text: &str| SourceFile { path: path.into(), text: text.into() };
    let units = "unit: redis\nexec: redis\nenvironment: {A: b}\n---\nunit: web\nexec: web\ninstances: 2\nrequires: redis\n";
    let files = vec![
        file("supervisors/s.yaml", "supervisor: root\nchildren: [workers, redis]\n---\nsupervisor: workers\nchildren: web\n"),
        file("units/u.yaml", units),
    ];
    let (plan, faults) = resolve(&parse(files), Path::new("/c"));
    plan.unwrap_or_else(|| panic!("{faults}"))
}

/// A node whose tree was not started: nothing runs.
async fn node(directory: &Path) -> Arc<Node> {
    let (here, there) = std::os::unix::net::UnixStream::pair().unwrap();
    let (launcher, _) = Link::from_fd(here.into()).unwrap();
    drop(there);
    let place = |name: &str| directory.join(name);
    let directories = Directories { config: "/c".into(), state: place("state"), run: place("run"), logs: place("logs") };
    std::fs::create_dir_all(&directories.logs).unwrap();
    std::fs::create_dir_all(&directories.state).unwrap();
    let history = Arc::new(History::open(&directories.state).unwrap());
    let (bus, events) = Bus::new();
    // Nobody records: what is told is not waited for.
    std::mem::forget(events);
    let (store, loaded) = Store::start(directories.state.join("store"), Clocks { mono: clock::mono, wall: clock::wall }, |_| {}).unwrap();
    let wishes = Wishes::new(store, loaded.await.unwrap());
    let context = Arc::new(Context {
        dependencies: crate::os::systemd::Dependencies::default(),
        view: View::default(),
        bus,
        programs: Arc::new(Programs::new(launcher.clone())),
        launcher,
        pump: Pump::start(|_| {}).unwrap(),
        logs: tokio::sync::mpsc::channel(1).0,
        resigned: tokio::sync::mpsc::channel(1).0,
        symptoms: tokio::sync::mpsc::channel(1).0,
        gates: Gates::new(4),
        wishes,
        searches: crate::actor::search::Searches::new(1),
        turns: Arc::default(),
        host: Arc::default(),
        limits: crate::actor::limits::Limits::new(crate::os::controllers::Controllers::default(), None),
        degradation: crate::actor::degradation::Degradation::default(),
        directories,
        environment: Vec::new(),
        seed: 1,
        stopping: AtomicBool::new(false),
        keeper: AtomicU32::new(0),
        launcher_turns: Mutex::default(),
    });
    let tree = Tree::new(context.clone(), Arc::new(plan()), BTreeMap::new()).await.unwrap();
    Arc::new(Node {
        context,
        tree,
        history,
        daemon: Box::new(Stubborn),
        cgroup: None,
        cgroup_name: None,
        upgrade: None,
        metrics: Box::new(|| async { Ok("# HELP a A.\n# TYPE a gauge\na 1\n# EOF\n".to_owned()) }.boxed()),
        version: "1.2.3".into(),
        started: Wall(0),
        launcher_pid: 4,
    })
}

/// Runs `check` with a client, on a thread of its own, while a server answers.
async fn with_server(check: impl FnOnce(&Client, &Node) + Send + 'static) {
    let directory = tempfile::tempdir().unwrap();
    let node = node(directory.path()).await;
    let path = directory.path().join("s");
    let listener = socket::bind_control(&path).await.unwrap();
    let (end, ended) = oneshot::channel::<()>();
    let server = tokio::spawn(serve_control(ended.map(drop), listener, node.clone()));
    tokio::task::spawn_blocking(move || check(&Client::new(&path).unwrap(), &node)).await.unwrap();
    drop(end);
    server.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_can_be_read_is_read() {
    with_server(|client, _| {
        let status: Status = client.get("/v1/status").unwrap();
        assert_eq!((status.daemon.version.as_str(), status.daemon.state.as_str(), status.daemon.launcher_pid), ("1.2.3", "starting", 4));
        assert_eq!(status.units.iter().map(|unit| unit.unit.as_str()).collect::<Vec<_>>(), ["redis", "web@1", "web@2"]);
        let unit: UnitDetails = client.get("/v1/units/web@2").unwrap();
        assert_eq!(
            (unit.exec, unit.supervisors, unit.requires),
            (vec!["web".into()], vec!["workers".into(), "root".into()], vec!["redis".into()])
        );
        let tree: Vec<TreeRow> = client.get("/v1/tree").unwrap();
        let rows: Vec<_> = tree.iter().map(|row| (row.depth, row.name.as_str(), row.parent.as_deref())).collect();
        let expect = [
            (0, "root", None),
            (1, "workers", Some("root")),
            (2, "web@1", Some("workers")),
            (2, "web@2", Some("workers")),
            (1, "redis", Some("root")),
        ];
        assert_eq!(rows, expect);
        let plan: Value = client.get("/v1/plan").unwrap();
        assert_eq!(plan["units"]["redis"]["environment"]["A"], "b");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn refusals_say_why() {
    with_server(|client, _| {
        let refused = |result: Result<Value, ClientError>| match result {
            Err(ClientError::Refused { status, error }) => (status.as_u16(), error.code, error.message, error.help.unwrap_or_default()),
            other => panic!("{other:?}"),
        };
        let (status, code, message, help) = refused(client.get("/v1/units/rediss"));
        assert_eq!((status, code.as_str(), help.as_str()), (404, "unknown_target", "did you mean `redis`?"), "{message}");
        assert_eq!(refused(client.get("/v1/units/workers")).1, "not_a_unit");
        assert_eq!(refused(client.get("/v1/nothing")).1, "not_found");
        assert_eq!(refused(client.get("/v1/stop")).1, "method_not_allowed");
        assert_eq!(refused(client.get("/v1/events?form=3")).1, "bad_request");
        let (status, code, message, _) = refused(client.get("/v1/plan/changes"));
        assert_eq!((status, code.as_str(), message.as_str()), (422, "bad_declarations", "units/a.yaml is wrong"));
        let body = SignalRequest { targets: vec!["redis".into()], signal: "SIGFOO".into(), whole: false };
        assert!(refused(client.block_on(client.post("/v1/signal", &body))).3.contains("SIGHUP"));
        assert_eq!(refused(client.block_on(client.post("/v1/stop", &ActionRequest { targets: vec![], reason: None }))).1, "bad_request");
        assert_eq!(refused(client.block_on(client.post("/v1/stop", &serde_json::json!({"target": "x"})))).1, "bad_request");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn commands_answer_for_each_target() {
    with_server(|client, _| {
        let body = ActionRequest { targets: vec!["web".into(), "workers".into()], reason: None };
        let response: ActionResponse = client.block_on(client.post("/v1/start", &body)).unwrap();
        let targets: Vec<_> = response.results.iter().map(|result| (result.target.as_str(), result.ok)).collect();
        assert_eq!(targets, [("web@1", false), ("web@2", false), ("workers", false)]);
        assert!(response.results[0].message.as_ref().unwrap().contains("its supervisor `workers` does not run"), "{response:?}");
        let body = SignalRequest { targets: vec!["redis".into(), "workers".into()], signal: "hup".into(), whole: false };
        let response: ActionResponse = client.block_on(client.post("/v1/signal", &body)).unwrap();
        let messages: Vec<_> = response.results.iter().filter_map(|result| result.message.as_deref()).collect();
        assert_eq!(messages, ["it has no process", "`workers` is not a unit"]);
        let changes: Changes = client.block_on(client.post("/v1/reload", &())).unwrap();
        assert!(changes.empty && changes.text == "0 units unchanged\n");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn streams_go_on_until_the_server_ends() {
    with_server(|client, node| {
        let record = || node.history.record(Wall(0), Event::UnitStopping { unit: "redis".into() });
        record();
        let mut events = client.block_on(client.lines("/v1/events?from=1&follow=true")).unwrap();
        let mut logs = client.block_on(client.lines("/v1/logs/redis,web?follow=true")).unwrap();
        let sequence = |line: String| serde_json::from_str::<Value>(&line).unwrap()["sequence"].as_u64();
        assert_eq!(client.block_on(events.next()).unwrap().and_then(sequence), Some(1));
        record();
        assert_eq!(client.block_on(events.next()).unwrap().and_then(sequence), Some(2));
        std::fs::write(crate::os::logfile::live_path(&node.context.directories.logs, "web@2"), "hello\n").unwrap();
        let line = client.block_on(logs.next()).unwrap().unwrap();
        let mut line: serde_json::Value = serde_json::from_str(&line).unwrap();
        let time = line["time"].take();
        assert!(time.as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{time}");
        assert_eq!(line, serde_json::json!({"unit": "web@2", "time": null, "offset": 0, "end": 6, "text": "hello"}));
        let mut past = client.block_on(client.lines("/v1/events?about=redis&last=1")).unwrap();
        assert_eq!(client.block_on(past.next()).unwrap().and_then(sequence), Some(2));
        assert_eq!(client.block_on(past.next()).unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn the_port_shows_and_obeys_nothing() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let directory = tempfile::tempdir().unwrap();
    let node = node(directory.path()).await;
    let listener = socket::bind_public(([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (end, ended) = oneshot::channel::<()>();
    let server = tokio::spawn(serve_public(ended.map(drop), listener, node));
    let ask_as = async |host: &str, head: &str| {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("{head} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    };
    let check = async |head: &str, expect: &[&str]| {
        let text = ask_as("localhost", head).await;
        assert!(text.contains("\r\nx-content-type-options: nosniff\r\n"), "{text}");
        assert!(expect.iter().all(|part| text.contains(part)), "{head}: {text}");
    };
    check("GET /metrics", &["HTTP/1.1 200", "version=0.0.4", "\na 1\n"]).await;
    check("GET /livez", &["HTTP/1.1 200"]).await;
    check("GET /readyz", &["HTTP/1.1 503", "[-]daemon starting\n"]).await;
    check("GET /healthz?verbose", &["[+]redis stopped\n", "[+]workers stopped\n"]).await;
    check("GET /v1/status", &["HTTP/1.1 404"]).await;
    check("POST /v1/stop", &["HTTP/1.1 404"]).await;
    check("POST /livez", &["HTTP/1.1 405"]).await;
    // A page whose name has come to stand for this machine reads nothing.
    let text = ask_as("evil.example:8001", "GET /metrics").await;
    assert!(text.starts_with("HTTP/1.1 421") && !text.contains("\na 1\n"), "{text}");
    drop(end);
    server.await.unwrap();
}
