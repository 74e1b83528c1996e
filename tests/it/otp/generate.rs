//! Random scenarios by seed: trees, start failures, ends of every kind, requests in between, windows.

use ms_supervisor::base::rng::Rng;
use serde_json::{Map, Value, json};

/// The text of the scenario number `number` of `seed`.
pub(super) fn scenario(seed: u64, number: usize) -> String {
    let rng = Rng::derive(seed, &["otp", &number.to_string()]);
    let mut maker = Maker { rng, ids: 0, places: Vec::new(), windows: false, advances: 4 };
    maker.windows = maker.one_in(25);
    let root = maker.supervisor("root", "root".into(), 0, true);
    let mut lines = vec![json!({"scenario": format!("{seed}-{number}"), "root": root})];
    for _ in 0..maker.below(14) + 1 {
        let operation = maker.operation();
        lines.extend(operation);
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Where something is, or may be.
#[derive(Clone)]
struct Place {
    path: String,
    id: String,
    kind: Kind,
    /// Its specification.
    node: Value,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Worker,
    Supervisor,
    Pool,
    /// An instance of a template; its id is its tag.
    Instance,
}

struct Maker {
    rng: Rng,
    ids: usize,
    places: Vec<Place>,
    /// Time passes between restarts, and the window of the intensity is one second.
    windows: bool,
    /// How often time may still pass: it is real for Erlang.
    advances: usize,
}

impl Maker {
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.rng.next_u64() % bound as u64).unwrap_or(0)
    }

    fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        let at = self.below(from.len());
        from[at].clone()
    }

    fn fresh_id(&mut self) -> String {
        self.ids += 1;
        let letter = char::from(b'a' + u8::try_from((self.ids - 1) % 26).unwrap_or(0));
        if self.ids > 26 { format!("{letter}{}", self.ids / 26) } else { letter.to_string() }
    }

    fn supervisor(&mut self, path: &str, id: String, depth: usize, root: bool) -> Value {
        let mut node = Map::new();
        node.insert("id".into(), id.clone().into());
        node.insert("type".into(), "supervisor".into());
        let strategy =
            self.pick(&["one_for_one", "one_for_all", "rest_for_one", "one_for_one", "one_for_all", "rest_for_one", "simple_one_for_one"]);
        node.insert("strategy".into(), strategy.into());
        node.insert("intensity".into(), self.below(6).into());
        node.insert("period".into(), if self.windows { 1.into() } else { 3600.into() });
        let pool = strategy == "simple_one_for_one";
        let auto = if pool { "never" } else { self.pick(&["never", "never", "never", "any_significant", "all_significant"]) };
        if auto != "never" {
            node.insert("auto_shutdown".into(), auto.into());
        }
        if !root {
            self.child_options(&mut node, "permanent");
            if self.one_in(8) && !pool {
                node.insert("start".into(), self.starts(true));
            }
        }
        let kind = if pool { Kind::Pool } else { Kind::Supervisor };
        self.places.push(Place { path: path.into(), id, kind, node: Value::Null });
        let mine = self.places.len() - 1;
        let children: Vec<_> = if pool {
            vec![self.worker(path, "w".into(), "never", true)]
        } else {
            (0..self.below(if root { 4 } else { 3 }) + usize::from(root)).map(|_| self.child(path, depth, auto)).collect()
        };
        node.insert("children".into(), children.into());
        let node = Value::Object(node);
        self.places[mine].node = node.clone();
        node
    }

    fn child(&mut self, parent: &str, depth: usize, auto: &str) -> Value {
        let id = self.fresh_id();
        let path = format!("{parent}/{id}");
        if depth < 2 && self.one_in(3) { self.supervisor(&path, id, depth + 1, false) } else { self.worker(parent, id, auto, false) }
    }

    fn child_options(&mut self, node: &mut Map<String, Value>, usual: &str) {
        let restart = self.pick(&["permanent", "permanent", "permanent", "transient", "temporary"]);
        if restart != usual || self.one_in(3) {
            node.insert("restart".into(), restart.into());
        }
    }

    fn worker(&mut self, parent: &str, id: String, auto: &str, template: bool) -> Value {
        let mut node = Map::new();
        node.insert("id".into(), id.clone().into());
        self.child_options(&mut node, "permanent");
        let permanent = node.get("restart").is_none_or(|restart| restart == "permanent");
        if auto != "never" && !permanent && self.one_in(2) {
            node.insert("significant".into(), true.into());
        }
        let (shutdown, answer) = self.stop();
        node.extend(shutdown.map(|shutdown| ("shutdown".to_owned(), shutdown)));
        node.extend(answer.map(|answer| ("on_shutdown".to_owned(), answer.into())));
        if self.one_in(4) {
            node.insert("start".into(), self.starts(!template));
        }
        let node = Value::Object(node);
        if !template {
            self.places.push(Place { path: format!("{parent}/{id}"), id, kind: Kind::Worker, node: node.clone() });
        }
        node
    }

    /// How long it may take to stop, and how it takes it. Whoever hangs must be killed some day; where time is measured nobody dawdles.
    fn stop(&mut self) -> (Option<Value>, Option<&'static str>) {
        let exits = ["exit:normal", "exit:shutdown", "exit:shutdown_term", "exit:error"];
        match self.below(if self.windows { 6 } else { 10 }) {
            0..=2 => (None, None),
            3 => (Some("brutal_kill".into()), None),
            4 => (Some("infinity".into()), None),
            5 => (Some(2000.into()), Some(self.pick(&exits))),
            6 => (Some(20.into()), Some("hang")),
            7 => (Some("brutal_kill".into()), Some(self.pick(&["hang", "slow", "exit:normal"]))),
            8 => (Some("infinity".into()), Some("slow")),
            _ => (Some(2000.into()), Some("slow")),
        }
    }

    /// Outcomes of starts. Every list ends well, or else with what is final.
    fn starts(&mut self, ignores: bool) -> Value {
        match self.below(12) {
            0 => json!(["ignore"]),
            1 if ignores => json!(["ok", "ignore", "ok"]),
            2 => json!(["error", "ok"]),
            3 => json!(["crash", "ok"]),
            4..=6 => json!(["ok", "error", "ok"]),
            7 => json!(["ok", "crash", "error", "ok"]),
            8 => json!(["ok", "ok", "error", "ok"]),
            9 => json!(["ok", "error", "error", "error", "ok"]),
            10 => json!(["ok", "error"]),
            _ => json!(["ok", "ok", "crash"]),
        }
    }

    fn place(&mut self, wanted: impl Fn(&Place) -> bool) -> Option<Place> {
        let found: Vec<_> = self.places.iter().filter(|place| wanted(place)).cloned().collect();
        if found.is_empty() { None } else { Some(self.pick(&found)) }
    }

    fn operation(&mut self) -> Vec<Value> {
        let mut lines = Vec::new();
        if self.windows && self.advances > 0 && self.one_in(3) {
            self.advances -= 1;
            lines.push(json!({"op": "advance", "ms": 2300}));
        }
        let operation = match self.below(20) {
            0..=6 => self.exit(),
            7..=8 => self.kill(),
            9..=10 => self.several(),
            11..=12 => self.armed(),
            13 if self.one_in(6) => Some(json!({"op": "stop"})),
            _ => self.place(|place| matches!(place.kind, Kind::Supervisor | Kind::Pool)).map(|sup| self.request(&sup)),
        };
        lines.extend(operation);
        lines
    }

    fn reason(&mut self) -> &'static str {
        self.pick(&["normal", "shutdown", "shutdown_term", "error", "error", "error"])
    }

    fn exit(&mut self) -> Option<Value> {
        let child = self.place(|place| matches!(place.kind, Kind::Worker | Kind::Instance))?;
        let reason = self.reason();
        Some(json!({"op": "exit", "child": child.path, "reason": reason}))
    }

    fn kill(&mut self) -> Option<Value> {
        if self.one_in(4) {
            // What is left of a killed supervisor stops beside its successor: in any order.
            let child = self.place(|place| place.kind == Kind::Supervisor && place.path != "root")?;
            return Some(json!({"op": "kill", "child": child.path, "order": "any"}));
        }
        let child = self.place(|place| matches!(place.kind, Kind::Worker | Kind::Instance))?;
        Some(json!({"op": "kill", "child": child.path}))
    }

    fn several(&mut self) -> Option<Value> {
        let sup = self.place(|place| matches!(place.kind, Kind::Supervisor | Kind::Pool))?;
        let of = format!("{}{}", sup.path, if sup.kind == Kind::Pool { '#' } else { '/' });
        let mine = |place: &Place| {
            matches!(place.kind, Kind::Worker | Kind::Instance)
                && place.path.strip_prefix(&of).is_some_and(|rest| !rest.contains(['/', '#']))
        };
        let mut children: Vec<_> = self.places.iter().filter(|place| mine(place)).map(|place| place.path.clone()).collect();
        let mut acts = Vec::new();
        while !children.is_empty() && acts.len() < 3 {
            let at = self.below(children.len());
            let child = children.swap_remove(at);
            let reason = self.reason();
            acts.push(if self.one_in(4) {
                json!({"op": "kill", "child": child})
            } else {
                json!({"op": "exit", "child": child, "reason": reason})
            });
        }
        (!acts.is_empty()).then(|| json!({"op": "multi", "sup": sup.path, "acts": acts}))
    }

    /// A request to be served between a failed start and its retry.
    fn armed(&mut self) -> Option<Value> {
        let fails =
            |place: &Place| place.node["start"].as_array().is_some_and(|starts| starts.iter().any(|one| one == "error" || one == "crash"));
        let child = self.place(|place| place.kind == Kind::Worker && fails(place))?;
        let (parent, _) = child.path.rsplit_once('/')?;
        let sup = self.places.iter().find(|place| place.path == parent)?.clone();
        let request = match self.below(8) {
            0 if sup.path == "root" => json!({"op": "stop"}),
            1 => json!({"op": "restart_child", "sup": sup.path, "id": child.id}),
            2 => json!({"op": "delete_child", "sup": sup.path, "id": child.id}),
            3 | 4 => json!({"op": "terminate_child", "sup": sup.path, "id": child.id}),
            5 => json!({"op": "start_child", "sup": sup.path, "spec": child.node}),
            _ => self.request(&sup),
        };
        Some(json!({"op": "arm", "child": child.path, "do": request}))
    }

    fn request(&mut self, sup: &Place) -> Value {
        if sup.kind == Kind::Pool { self.pool_request(&sup.path) } else { self.static_request(&sup.path) }
    }

    fn static_request(&mut self, path: &str) -> Value {
        let below = format!("{path}/");
        let child = self.place(|place| place.path.strip_prefix(&below).is_some_and(|rest| !rest.contains(['/', '#'])));
        let id = match &child {
            Some(child) if !self.one_in(12) => child.id.clone(),
            _ => "zz".into(),
        };
        match self.below(12) {
            0..=2 => self.start_child(path, child),
            3..=4 => json!({"op": "terminate_child", "sup": path, "id": id}),
            5..=6 => json!({"op": "restart_child", "sup": path, "id": id}),
            7..=8 => json!({"op": "delete_child", "sup": path, "id": id}),
            9 => json!({"op": "get_childspec", "sup": path, "id": id}),
            10 => json!({"op": "count_children", "sup": path}),
            _ => json!({"op": "which_children", "sup": path}),
        }
    }

    fn start_child(&mut self, path: &str, known: Option<Place>) -> Value {
        let spec = match known {
            // One whose id is taken, or was.
            Some(known) if known.kind == Kind::Worker && self.one_in(2) => known.node,
            _ if self.one_in(8) => self.faulty(),
            _ => {
                let id = self.fresh_id();
                let auto = self.pick(&["never", "never", "any_significant"]);
                self.worker(path, id, auto, false)
            }
        };
        json!({"op": "start_child", "sup": path, "spec": spec})
    }

    fn faulty(&mut self) -> Value {
        let faults = [
            json!({"id": "q", "significant": true, "restart": "permanent"}),
            json!({"id": "q", "shutdown": -5}),
            json!({"id": "q", "shutdown": "never"}),
            json!({"id": "q", "restart": "sometimes"}),
            json!({"id": "q", "significant": true}),
        ];
        self.pick(&faults)
    }

    fn pool_request(&mut self, path: &str) -> Value {
        let of = format!("{path}#");
        let tag = match self.place(|place| place.kind == Kind::Instance && place.path.starts_with(&of)) {
            Some(place) if !self.one_in(8) => place.id,
            _ => format!("t{:02}", self.below(100)),
        };
        match self.below(12) {
            0..=5 => {
                let tag = format!("t{:02}", self.below(100));
                let known = self.places.iter().any(|place| place.path == format!("{of}{tag}"));
                if known {
                    return json!({"op": "count_children", "sup": path});
                }
                let instance = Place { path: format!("{of}{tag}"), id: tag.clone(), kind: Kind::Instance, node: Value::Null };
                self.places.push(instance);
                json!({"op": "start_child", "sup": path, "tag": tag})
            }
            6..=7 => json!({"op": "terminate_child", "sup": path, "tag": tag}),
            8 => {
                let name = self.pick(&["terminate_child", "restart_child", "delete_child"]);
                json!({"op": name, "sup": path, "id": "w"})
            }
            9 => json!({"op": "get_childspec", "sup": path, "tag": tag}),
            10 => json!({"op": "count_children", "sup": path}),
            _ => json!({"op": "which_children", "sup": path}),
        }
    }
}
