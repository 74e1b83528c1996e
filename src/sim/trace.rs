//! What goes into a supervisor machine and what comes out of it, as text.

use super::check::Books;
use crate::policy::supervisor::{Effect, Input, Reply, Report, Request, Run, StartCause, Which};

/// An input as text.
pub(super) fn hears(books: &Books, input: &Input) -> String {
    match input {
        Input::Start => "start".into(),
        Input::Started(run) => format!("{} is up", child(books, *run)),
        Input::Ignored(run) => format!("{} finds nothing to run", child(books, *run)),
        Input::StartFailed(run, reason) => format!("{} does not start: {reason}", child(books, *run)),
        Input::Exited(run, reason) => format!("{} has ended: {reason}", child(books, *run)),
        Input::Request(id, request) => format!("request {}: {}", id.0, asks(request)),
        Input::Shutdown(reason) => format!("that it is to stop: {reason}"),
        Input::Kill => "that it is killed".into(),
        Input::KillTree => "that it is killed with all below it".into(),
        Input::Abandon => "that nobody waits for its start".into(),
        Input::Retry(run) => format!("that {} is to be tried again", child(books, *run)),
    }
}

fn asks(request: &Request) -> String {
    let which = |which: &Which| match which {
        Which::Id(id) => id.to_string(),
        Which::Run(run) => format!("instance {}#{}", run.child.0, run.incarnation),
    };
    match request {
        Request::Add(spec) => format!("add {}", spec.id),
        Request::Start(child) => format!("start {}", which(child)),
        Request::Stop { child, hold } => format!("stop{} {}", if *hold { " and hold" } else { "" }, which(child)),
        Request::Restart(child) => format!("restart {}", which(child)),
        Request::Delete(child) => format!("delete {}", which(child)),
        other => format!("{other:?}"),
    }
}

/// An effect as text.
pub(super) fn does(books: &Books, effect: &Effect) -> String {
    match effect {
        Effect::Start(run, cause) => format!("  start {}{}", child(books, *run), why(*cause)),
        Effect::Stop(run, reason) => format!("  stop {}: {reason}", child(books, *run)),
        Effect::Kill(run) => format!("  kill {}", child(books, *run)),
        Effect::KillTree(run) => format!("  kill {} with all below it", child(books, *run)),
        Effect::Abandon(run) => format!("  abandon {}", child(books, *run)),
        Effect::Retry(run) => format!("  try {} again later", child(books, *run)),
        Effect::Added(id, key) => format!("  request {} adds child {}", id.0, key.0),
        Effect::Forget(key) => format!("  forget {}", books.name(*key)),
        Effect::Up => "  up".into(),
        Effect::Reply(id, reply) => format!("  answer {}: {}", id.0, answer(books, reply)),
        Effect::Report(Report::ChildTerminated { child, restart: true, .. }) => format!("  count a restart of {child}"),
        Effect::Report(Report::ReachedMaxRestartIntensity { child, .. }) => format!("  give up: one restart of {child} too many"),
        Effect::Report(Report::ChildStuck { child }) => format!("  {child} does not die"),
        Effect::Report(Report::ChildTerminated { child, .. }) => format!("  {child} stays down"),
        Effect::Report(Report::ChildStarted { child, .. }) => format!("  {child} is up"),
        Effect::Report(Report::StartError { child, .. }) => format!("  {child} did not start"),
        Effect::Report(Report::ShutdownError { child, reason }) => format!("  {child} ended otherwise than asked: {reason}"),
        Effect::Terminated(reason) => format!("  ended: {reason}"),
    }
}

const fn why(cause: StartCause) -> &'static str {
    match cause {
        StartCause::First => "",
        StartCause::Exit => " (it had ended)",
        StartCause::Retry => " (its start had failed)",
        StartCause::Late(_) => " (it had failed too often)",
        StartCause::Sibling => " (for a sibling)",
        StartCause::Request => " (on request)",
    }
}

fn answer(books: &Books, reply: &Reply) -> String {
    match reply {
        Reply::Started(run) => format!("{} is up", child(books, *run)),
        Reply::Ignored => "nothing to run".into(),
        Reply::Stopped => "it is down".into(),
        Reply::Deleted => "it is forgotten".into(),
        Reply::Error(error) => error.to_string(),
        other => format!("{other:?}"),
    }
}

fn child(books: &Books, run: Run) -> String {
    format!("{}#{}", books.name(run.child), run.incarnation)
}
