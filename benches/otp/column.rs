//! Who is measured, and what.

/// What children are, and who looks after them. `main.rs` explains each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Column {
    Task,
    Actor,
    Dynamic,
    Erlang,
    GenServer,
    Simple,
    Ractor,
}

/// In the order they are shown.
pub(crate) const ALL: [Column; 7] =
    [Column::Task, Column::Actor, Column::Dynamic, Column::Erlang, Column::GenServer, Column::Simple, Column::Ractor];

impl Column {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Task => "task",
            Self::Actor => "actor",
            Self::Dynamic => "dynamic",
            Self::Erlang => "erlang",
            Self::GenServer => "gen_server",
            Self::Simple => "simple",
            Self::Ractor => "ractor",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        ALL.into_iter().find(|column| column.name() == name)
    }

    pub(crate) const fn is_erlang(self) -> bool {
        matches!(self, Self::Erlang | Self::GenServer | Self::Simple)
    }

    /// What it is compared with.
    pub(crate) const fn like(self) -> Option<Self> {
        match self {
            Self::Task => Some(Self::Erlang),
            Self::Actor | Self::Ractor => Some(Self::GenServer),
            Self::Dynamic => Some(Self::Simple),
            Self::Erlang | Self::GenServer | Self::Simple => None,
        }
    }

    /// What is measured of it, each in a process of its own.
    pub(crate) fn jobs(self, children: usize) -> Vec<Job> {
        let mut jobs = Vec::new();
        if !matches!(self, Self::Dynamic | Self::Simple) {
            for mode in [Mode::One, Mode::All] {
                jobs.extend([1000, 20_000].map(|count| Job { mode, count }));
            }
        }
        jobs.push(Job { mode: Mode::Many, count: children });
        if matches!(self, Self::Actor | Self::GenServer | Self::Ractor) {
            jobs.push(Job { mode: Mode::Call, count: CALLS });
        }
        jobs
    }
}

/// How many calls one measurement makes.
const CALLS: usize = 100_000;

/// What one process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// One child fails again and again.
    One,
    /// All fail at once.
    All,
    /// Many are started and stopped.
    Many,
    /// One is called.
    Call,
}

impl Mode {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::All => "all",
            Self::Many => "many",
            Self::Call => "call",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::One, Self::All, Self::Many, Self::Call].into_iter().find(|mode| mode.name() == name)
    }
}

/// What one process does, and how often or with how many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    pub(crate) mode: Mode,
    pub(crate) count: usize,
}

impl Job {
    /// The rows it fills, in the order in which it tells their values.
    pub(crate) const fn rows(&self) -> &'static [&'static str] {
        match (self.mode, self.count) {
            (Mode::One, 1000) => &["one-1k"],
            (Mode::One, _) => &["one-20k"],
            (Mode::All, 1000) => &["all-1k"],
            (Mode::All, _) => &["all-20k"],
            (Mode::Many, _) => &["start", "memory", "stop"],
            (Mode::Call, _) => &["call", "ref"],
        }
    }
}
