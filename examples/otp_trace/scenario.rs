//! Scenarios as files hold them: a tree, then operations, one JSON object a line.

use std::sync::Arc;
use std::time::Duration;

use ms_supervisor::{AutoShutdown, RestartType, ShutdownTimeout, Strategy};
use serde_json::Value;

/// A child specification, and what the test process behind it does.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) id: String,
    pub(crate) supervisor: bool,
    pub(crate) restart: RestartType,
    pub(crate) significant: bool,
    pub(crate) shutdown: ShutdownTimeout,
    /// The outcome of each start attempt; the last one repeats.
    pub(crate) start: Vec<Outcome>,
    pub(crate) on_shutdown: OnShutdown,
    pub(crate) strategy: Strategy,
    pub(crate) dynamic: bool,
    pub(crate) intensity: u32,
    pub(crate) period: Duration,
    pub(crate) auto_shutdown: AutoShutdown,
    pub(crate) children: Vec<Arc<Node>>,
    /// A child's specification says what the library has no words for; OTP refuses it when the supervisor starts.
    pub(crate) faulty: bool,
}

/// What a start attempt leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ok,
    Error,
    Crash,
    Ignore,
}

/// A worker's answer to an orderly stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnShutdown {
    Comply,
    Hang,
    Slow,
    Exit(Reason),
}

/// Why a worker ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    Normal,
    Shutdown,
    ShutdownTerm,
    Error,
}

/// A scenario.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) root: Arc<Node>,
    pub(crate) operations: Vec<Value>,
}

impl Scenario {
    /// Reads the text of a scenario file.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        let mut values = lines.map(|line| serde_json::from_str::<Value>(line).map_err(|error| format!("{error}: {line}")));
        let header = values.next().ok_or("the scenario is empty")??;
        Ok(Self { root: Arc::new(Node::parse(&header["root"])?), operations: values.collect::<Result<_, _>>()? })
    }
}

impl Node {
    /// Whether some start attempt does.
    pub(crate) fn fails_to_start(&self) -> bool {
        self.start.iter().any(|outcome| matches!(outcome, Outcome::Error | Outcome::Crash))
    }

    /// Reads a node.
    pub(crate) fn parse(value: &Value) -> Result<Self, String> {
        let text = |key: &str, default: &'static str| value[key].as_str().unwrap_or(default).to_owned();
        let number = |key: &str, default: u64| value[key].as_u64().unwrap_or(default);
        let supervisor = text("type", "worker") == "supervisor";
        let shutdown = match &value["shutdown"] {
            Value::Null if supervisor => ShutdownTimeout::Infinity,
            Value::Null => ShutdownTimeout::After(Duration::from_secs(5)),
            Value::String(word) if word == "infinity" => ShutdownTimeout::Infinity,
            Value::String(word) if word == "brutal_kill" => ShutdownTimeout::BrutalKill,
            other => ShutdownTimeout::After(Duration::from_millis(other.as_u64().ok_or_else(|| format!("shutdown {other}"))?)),
        };
        let start = match &value["start"] {
            Value::Array(outcomes) => outcomes.iter().map(outcome).collect::<Result<_, _>>()?,
            _ => vec![Outcome::Ok],
        };
        let children: Vec<_> = value["children"].as_array().into_iter().flatten().map(Self::parse).collect();
        Ok(Self {
            id: text("id", ""),
            supervisor,
            restart: restart(&text("restart", "permanent"))?,
            significant: value["significant"].as_bool().unwrap_or(false),
            shutdown,
            start,
            on_shutdown: on_shutdown(&text("on_shutdown", "comply"))?,
            dynamic: value["strategy"] == "simple_one_for_one",
            strategy: strategy(&text("strategy", "one_for_one"))?,
            intensity: u32::try_from(number("intensity", 1)).map_err(|error| error.to_string())?,
            period: Duration::from_secs(number("period", 5)),
            auto_shutdown: auto_shutdown(&text("auto_shutdown", "never"))?,
            faulty: children.iter().any(Result::is_err),
            children: children.into_iter().flatten().map(Arc::new).collect(),
        })
    }
}

fn outcome(value: &Value) -> Result<Outcome, String> {
    match value.as_str() {
        Some("ok") => Ok(Outcome::Ok),
        Some("error") => Ok(Outcome::Error),
        Some("crash") => Ok(Outcome::Crash),
        Some("ignore") => Ok(Outcome::Ignore),
        _ => Err(format!("start outcome {value}")),
    }
}

fn restart(word: &str) -> Result<RestartType, String> {
    match word {
        "permanent" => Ok(RestartType::Permanent),
        "transient" => Ok(RestartType::Transient),
        "temporary" => Ok(RestartType::Temporary),
        _ => Err(format!("restart {word}")),
    }
}

fn strategy(word: &str) -> Result<Strategy, String> {
    match word {
        "one_for_one" | "simple_one_for_one" => Ok(Strategy::OneForOne),
        "one_for_all" => Ok(Strategy::OneForAll),
        "rest_for_one" => Ok(Strategy::RestForOne),
        _ => Err(format!("strategy {word}")),
    }
}

fn auto_shutdown(word: &str) -> Result<AutoShutdown, String> {
    match word {
        "never" => Ok(AutoShutdown::Never),
        "any_significant" => Ok(AutoShutdown::AnySignificant),
        "all_significant" => Ok(AutoShutdown::AllSignificant),
        _ => Err(format!("auto_shutdown {word}")),
    }
}

fn on_shutdown(word: &str) -> Result<OnShutdown, String> {
    match word {
        "comply" => Ok(OnShutdown::Comply),
        "hang" => Ok(OnShutdown::Hang),
        "slow" => Ok(OnShutdown::Slow),
        _ => match word.strip_prefix("exit:").and_then(Reason::parse) {
            Some(reason) => Ok(OnShutdown::Exit(reason)),
            None => Err(format!("on_shutdown {word}")),
        },
    }
}

impl Reason {
    /// Reads a reason by name.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        match word {
            "normal" => Some(Self::Normal),
            "shutdown" => Some(Self::Shutdown),
            "shutdown_term" => Some(Self::ShutdownTerm),
            "error" => Some(Self::Error),
            _ => None,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Shutdown => "shutdown",
            Self::ShutdownTerm => "shutdown_term",
            Self::Error => "error",
        }
    }
}
