//! What `run` prints in the foreground: events, the units' own output, and progress while many units start or stop.

mod format;
mod tail;

use std::future::Future;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;

use self::format::Style;
use self::tail::Tails;
use crate::actor::context::Context;
use crate::actor::recorder::History;
use crate::base::time::Mono;
use crate::event::{Envelope, Event, UnitStatus, View};
use crate::os::clock;

/// How often the console looks for something new.
const TICK: Duration = Duration::from_millis(200);

/// How many lines of each unit are printed in one tick; more are counted.
pub const LINES_MAX: usize = 100;

/// From how many units on their start or stop is told as progress, not one by one.
pub const CROWD: usize = 20;

/// How often progress is told.
const PROGRESS: Duration = Duration::from_secs(1);

/// What is printed, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Events are printed.
    pub events: bool,
    /// The units' own output is printed.
    pub logs: bool,
    /// With colours.
    pub color: bool,
}

/// Prints to standard output.
#[derive(Debug)]
pub struct Console {
    context: Arc<Context>,
    options: Options,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    live: Receiver<Envelope>,
    /// How lines look, and how many units were on their way, when something had happened last: without an event nothing has changed.
    style: Option<Style>,
    crowd: Option<Crowd>,
    tails: Tails,
    told: Option<Mono>,
}

impl Console {
    /// A console that prints what happens from now on: to be made before the tree starts. Blocks.
    #[must_use]
    pub fn new(context: Arc<Context>, history: &History, options: Options) -> Self {
        let tails = if options.logs { Tails::new(&context.directories.logs) } else { Tails::default() };
        Self { state: Mutex::new(State::new(history, tails)), context, options }
    }

    /// Prints until `shutdown` completes, and what there is then. Ends early when nobody reads.
    pub async fn run(self: Arc<Self>, shutdown: impl Future<Output = ()>) {
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let last = tokio::select! {
                () = &mut shutdown => true,
                () = tokio::time::sleep(TICK) => false,
            };
            let console = self.clone();
            // On a thread that may block: a terminal that is stopped (Ctrl-S) must not stop the daemon.
            let printed = tokio::task::spawn_blocking(move || console.tick(last)).await;
            if last || !matches!(printed, Ok(Ok(()))) {
                return;
            }
        }
    }

    fn tick(&self, last: bool) -> std::io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let text = state.gather(&self.context.view, self.options, last, clock::mono());
        if text.is_empty() {
            return Ok(());
        }
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}

impl State {
    fn new(history: &History, tails: Tails) -> Self {
        Self { live: history.follow(), style: None, crowd: None, tails, told: None }
    }

    /// Everything that is to be printed now; with `last`, all there is.
    fn gather(&mut self, view: &View, options: Options, last: bool, now: Mono) -> String {
        let news = self.news();
        let style = match self.style {
            Some(style) if news.is_empty() && self.crowd.is_none() => style,
            _ => self.look(&view.units(), options),
        };
        let mut out = String::new();
        for new in news {
            match new {
                Ok(event) if options.events && !(self.crowd.is_some() && is_routine(&event.event)) => style.event(&event, &mut out),
                Ok(_) => {}
                Err(skipped) => style.note(&format!("… {skipped} events skipped"), &mut out),
            }
        }
        if options.logs {
            self.tails.print(last, &style, &mut out);
        }
        if options.events {
            self.progress(&style, now, &mut out);
        }
        out
    }

    /// Takes note of how `units` stand.
    fn look(&mut self, units: &[UnitStatus], options: Options) -> Style {
        if options.logs {
            self.tails.set_units(units);
        }
        self.crowd = Crowd::of(units);
        *self.style.insert(Style::new(options.color, units))
    }

    /// The events since the last time; as an error, how many came too fast to be kept.
    fn news(&mut self) -> Vec<Result<Envelope, u64>> {
        let mut news = Vec::new();
        loop {
            match self.live.try_recv() {
                Ok(event) => news.push(Ok(event)),
                Err(TryRecvError::Lagged(skipped)) => news.push(Err(skipped)),
                Err(TryRecvError::Empty | TryRecvError::Closed) => return news,
            }
        }
    }

    fn progress(&mut self, style: &Style, now: Mono, out: &mut String) {
        match &self.crowd {
            Some(crowd) if self.told.is_none_or(|told| now - told >= PROGRESS) => {
                self.told = Some(now);
                style.note(&crowd.to_string(), out);
            }
            Some(_) => {}
            None => self.told = None,
        }
    }
}

/// What happens to every unit that starts or stops as it should.
const fn is_routine(event: &Event) -> bool {
    matches!(
        event,
        Event::UnitStarting { cause: None, .. }
            | Event::UnitActive { .. }
            | Event::UnitStopping { .. }
            | Event::UnitStopped { .. }
            | Event::UnitExited { expected: true, .. }
    )
}

/// Many units on their way.
#[derive(Debug, PartialEq, Eq)]
struct Crowd {
    starting: usize,
    stopping: usize,
    active: usize,
    all: usize,
}

impl Crowd {
    fn of(units: &[UnitStatus]) -> Option<Self> {
        let count = |states: &[&str]| units.iter().filter(|unit| states.contains(&unit.state.as_str())).count();
        let starting = count(&["waiting", "spawning", "activating"]);
        let stopping = count(&["stopping", "killing", "cleaning"]);
        let crowd = Self { starting, stopping, active: count(&["active"]), all: units.len() };
        (starting.max(stopping) > CROWD).then_some(crowd)
    }
}

impl std::fmt::Display for Crowd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { starting, stopping, active, all } = self;
        if starting >= stopping {
            write!(f, "starting: {active} of {all} active")
        } else {
            write!(f, "stopping: {} of {all} stopped", all - active - stopping)
        }
    }
}

#[cfg(test)]
mod tests;
