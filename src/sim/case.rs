//! A case: a tree and what goes wrong in it, as data.

use std::fmt;
use std::sync::Arc;

use super::fault::Fault;
use crate::base::time::format_duration;
use crate::plan::{RestartType, ShutdownTimeout, StartOrder};
use crate::policy::supervisor::{AtLimit, AutoShutdown, ChildSpec, Discipline, FirstStart, Flags};

/// A tree and what goes wrong in it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Case {
    /// Its top, always a supervisor.
    pub(crate) root: Node,
    /// In order of time.
    pub(crate) faults: Vec<Fault>,
}

/// A child of a supervisor, or the root.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) spec: ChildSpec,
    pub(crate) kind: Kind,
}

/// What a child is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Leaf(Leaf),
    Supervisor(Group),
}

/// How a leaf behaves when nothing goes wrong. Times are in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leaf {
    /// How long its start takes.
    pub(crate) start: u64,
    /// How long it takes to end when asked.
    pub(crate) stop: u64,
    /// How long it takes until its supervisor hears of its end.
    pub(crate) lag: u64,
}

/// A supervisor with its children.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Group {
    pub(crate) flags: Flags,
    /// In start order. Of a dynamic supervisor one: what each instance is like.
    pub(crate) children: Vec<Node>,
}

impl Node {
    pub(crate) fn id(&self) -> &Arc<str> {
        &self.spec.id
    }

    /// How many nodes there are, with this one.
    #[cfg(test)]
    pub(crate) fn size(&self) -> usize {
        match &self.kind {
            Kind::Leaf(_) => 1,
            Kind::Supervisor(group) => 1 + group.children.iter().map(Self::size).sum::<usize>(),
        }
    }

    /// Every node, each before those below it.
    pub(crate) fn each<'a>(&'a self, visit: &mut impl FnMut(&'a Self)) {
        visit(self);
        if let Kind::Supervisor(group) = &self.kind {
            for child in &group.children {
                child.each(visit);
            }
        }
    }

    fn write(&self, depth: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  {:indent$}{}", "", self.id(), indent = depth * 2)?;
        if depth > 0 {
            write!(f, " {}", self.spec.restart)?;
            match self.spec.shutdown {
                ShutdownTimeout::BrutalKill => f.write_str(", brutal_kill")?,
                ShutdownTimeout::After(time) => write!(f, ", {} to stop", format_duration(time))?,
                ShutdownTimeout::Infinity => {}
            }
            if self.spec.significant {
                f.write_str(", significant")?;
            }
            if self.spec.held {
                f.write_str(", held")?;
            }
            f.write_str(":")?;
        }
        match &self.kind {
            Kind::Leaf(leaf) => writeln!(f, " starts in {}ms, stops in {}ms, is heard after {}ms", leaf.start, leaf.stop, leaf.lag),
            Kind::Supervisor(group) => {
                writeln!(f, " {}", flags(&group.flags))?;
                group.children.iter().try_for_each(|child| child.write(depth + 1, f))
            }
        }
    }
}

/// The flags in one line.
fn flags(flags: &Flags) -> String {
    let mut text = format!("{}, {} restarts within {}", flags.strategy, flags.intensity, format_duration(flags.period));
    text += match flags.discipline {
        Discipline::Sequential => ", sequential",
        Discipline::Concurrent(StartOrder::Ordered) => ", ordered",
        Discipline::Concurrent(StartOrder::Parallel) => ", parallel",
    };
    text += match flags.first_start {
        FirstStart::RollBack => ", rolls back",
        FirstStart::Retry => "",
    };
    text += match flags.at_limit {
        AtLimit::Terminate => "",
        AtLimit::Keep => ", keeps what runs",
        AtLimit::RetryAfter(_) => ", tries again later",
    };
    text += match flags.auto_shutdown {
        AutoShutdown::Never => "",
        AutoShutdown::AnySignificant => ", auto_shutdown any_significant",
        AutoShutdown::AllSignificant => ", auto_shutdown all_significant",
    };
    if flags.dynamic {
        text += ", dynamic";
    }
    if let Some(max) = flags.max_children {
        text += &format!(", at most {max} children");
    }
    text
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "tree")?;
        self.root.write(0, f)?;
        writeln!(f, "faults{}", if self.faults.is_empty() { ": none" } else { "" })?;
        self.faults.iter().try_for_each(|fault| writeln!(f, "  {fault}"))
    }
}

/// Whether a child of this kind comes back after this end (OTP's rules 9 and 10).
pub(crate) const fn comes_back(kind: RestartType, clean: bool) -> bool {
    match kind {
        RestartType::Permanent => true,
        RestartType::Transient => !clean,
        RestartType::Temporary => false,
    }
}
