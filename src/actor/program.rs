//! Programs that are run for a purpose and come to an end: probes that are commands, scripts that remedy.
//!
//! The launcher starts them like units, so each has a cgroup of its own, goes as a whole, and is found and killed by the next brain if this
//! one dies. Their names hold a `:`, which no unit's name can.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::confinement::{self, Account};
use crate::base::exit::{ExitCause, Signal};
use crate::base::id::UnitId;
use crate::base::scheduling::Scheduling;
use crate::launcher::link::{self, FdSet};
use crate::launcher::wire::{Confinement, Credentials, Output, Spawn, Target, ToBrain, ToLauncher, start_error};
use crate::os::foreign::{self, Purpose, Table};
use crate::os::{clock, environment};
use crate::plan::UnitPlan;

/// The most that is kept of what a program prints, in bytes. It may print more, which is thrown away.
const OUTPUT_MAX: usize = 64 << 10;

/// A program that was killed and is still there is not waited for any longer.
const STUCK: Duration = Duration::from_secs(5);

/// The file mode creation mask of programs.
const UMASK: u32 = 0o022;

/// What scripts that remedy are run for.
pub(crate) const REMEDY: &str = "remedy";

/// What is to be run.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// What it is for: the first part of its name.
    pub(crate) purpose: &'static str,
    /// The program and its arguments.
    pub(crate) words: Vec<String>,
    /// The whole environment.
    pub(crate) environment: Vec<(String, String)>,
    /// Where it runs.
    pub(crate) directory: PathBuf,
    /// Whom it runs as.
    pub(crate) who: Who,
    /// The file it reads.
    pub(crate) input: Option<PathBuf>,
    /// Whether what it says on stderr is kept, too.
    pub(crate) keeps_stderr: bool,
    /// How long it may take.
    pub(crate) within: Duration,
    /// How long it may take to end when it is asked to, after that; without, it is killed at once.
    pub(crate) grace: Option<Duration>,
}

/// Whom a program runs as.
#[derive(Clone, Debug)]
pub(crate) enum Who {
    /// This user; `None`: the daemon's.
    User(Option<Credentials>),
    /// The user of a unit that runs, kept from the same as its main process, and in its namespaces.
    Unit(Arc<UnitPlan>),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// How it ended; `None`: it did not in time, and was killed with all it had begun.
    pub(crate) end: Option<ExitCause>,
    /// What it printed, as far as that was kept.
    pub(crate) output: String,
}

/// Runs programs.
#[derive(Debug)]
pub(crate) struct Programs {
    launcher: link::Sender,
    /// Those that run, and who waits for them.
    running: Mutex<BTreeMap<UnitId, mpsc::Sender<(ToBrain, FdSet)>>>,
    /// Their main processes.
    processes: Mutex<BTreeMap<UnitId, u32>>,
    next: AtomicU64,
}

impl Programs {
    pub(crate) fn new(launcher: link::Sender) -> Self {
        // No program of an earlier brain, should one be left, has such a name.
        Self { launcher, running: Mutex::default(), processes: Mutex::default(), next: AtomicU64::new(clock::mono().0 / 1000) }
    }

    /// Whether what is called so is a program that was run for a purpose, and no unit.
    pub(crate) fn is_one(name: &UnitId) -> bool {
        name.as_str().contains(':')
    }

    /// Whether it is a script that remedies.
    pub(crate) fn is_remedy(name: &UnitId) -> bool {
        name.as_str().starts_with(REMEDY) && Self::is_one(name)
    }

    /// The main processes of those that run.
    pub(crate) fn processes(&self) -> BTreeMap<u32, UnitId> {
        let processes = self.processes.lock().unwrap_or_else(PoisonError::into_inner);
        processes.iter().map(|(name, pid)| (*pid, name.clone())).collect()
    }

    /// What the launcher says of one. Of what nobody waits for it need not keep anything.
    pub(crate) fn hear(&self, name: &UnitId, message: ToBrain, fds: FdSet) {
        let waiting = self.running.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        if let Some(waiting) = waiting {
            // It says three things at most.
            drop(waiting.try_send((message, fds)));
        } else if let ToBrain::Exited { unit, run, .. } = message {
            self.launcher.send(ToLauncher::Ack { unit, run });
        }
    }

    /// Runs a program to its end. If that is not waited for, it is killed.
    ///
    /// # Errors
    /// It cannot be started: why.
    pub(crate) async fn run(&self, program: Program) -> Result<Run, String> {
        let Some(first) = program.words.first().cloned() else { return Err("there is no program".into()) };
        let fails = |why: &dyn std::fmt::Display| format!("cannot execute {first}: {why}");
        let order = order(program.clone(), self.name(program.purpose)).await.map_err(|why| fails(&why))?;
        let sent = Spawn { environment: Vec::new(), ..order.clone() };
        let (sender, mut news) = mpsc::channel(8);
        let running = Running { programs: self, name: order.unit.clone() };
        self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(order.unit.clone(), sender);
        self.launcher.send(ToLauncher::Spawn(Box::new(order)));
        let output = match news.recv().await {
            Some((ToBrain::Spawned { process, .. }, fds)) => {
                self.processes.lock().unwrap_or_else(PoisonError::into_inner).insert(running.name.clone(), process.pid);
                fds.output
            }
            Some((ToBrain::SpawnFailed { step, errno, .. }, _)) => {
                let error = start_error(errno);
                let isolation =
                    if let Who::Unit(plan) = &program.who { confinement::failure(plan, Some(&sent), step, &error) } else { None };
                return Err(isolation.unwrap_or_else(|| fails(&error)));
            }
            _ => return Err(fails(&"the launcher does not say")),
        };
        let mut kept = Kept::new(output)?;
        let mut patience = vec![program.within];
        patience.extend(program.grace);
        patience.push(STUCK);
        for (nth, time) in patience.iter().enumerate() {
            if nth > 0 {
                running.signal(if nth + 1 < patience.len() { Signal::TERM } else { Signal::KILL });
            }
            if let Some((cause, leftovers)) = running.ended(&mut news, &mut kept, *time).await {
                if leftovers {
                    running.signal(Signal::KILL);
                }
                return Ok(Run { end: Some(cause).filter(|_| nth == 0), output: kept.text() });
            }
        }
        Ok(Run { end: None, output: kept.text() })
    }

    fn name(&self, purpose: &str) -> UnitId {
        format!("{purpose}:{}", self.next.fetch_add(1, Ordering::Relaxed)).as_str().into()
    }
}

/// The number of the only run of a program.
const RUN: u64 = 1;

async fn order(mut program: Program, unit: UnitId) -> Result<Spawn, String> {
    let whose = format!("{} {} in {}", program.purpose, program.words[0], program.directory.display());
    let credentials = match &program.who {
        Who::User(credentials) => credentials.clone(),
        Who::Unit(plan) => {
            let whose = format!("{} of {}", program.purpose, plan.id);
            let known = std::mem::take(&mut program.environment);
            let account = Account::of(plan, known, (Purpose::Probe, &whose, program.within)).await?;
            program.environment = account.environment;
            account.credentials
        }
    };
    let within = program.within;
    let look = foreign::look((Purpose::Probe, Table::Own), &whose, within, move || look_up(program, credentials, unit));
    look.await.map_err(|hangs| hangs.to_string())?
}

/// Looks up what there is to look up. Reads files.
fn look_up(program: Program, credentials: Option<Credentials>, unit: UnitId) -> Result<Spawn, String> {
    let (credentials, confinement) = match &program.who {
        Who::User(_) => (credentials, None),
        Who::Unit(plan) => {
            let isolation =
                plan.isolation.as_ref().map(|isolation| confinement::confinement(isolation, credentials.as_ref(), &[], None, &[]));
            let confinement = isolation.transpose()?.map(|own| Box::new(Confinement { join: Some(plan.id.clone()), ..own }));
            (credentials, confinement)
        }
    };
    let path = program.environment.iter().find(|(name, _)| name == "PATH").map_or("", |(_, path)| path);
    foreign::doing(format_args!("looking for the program {}", program.words[0]));
    let found = environment::find_program(&program.words[0], path, &program.directory).map_err(|fault| fault.to_string())?;
    Ok(Spawn {
        unit,
        run: RUN,
        program: found,
        arguments: program.words,
        environment: program.environment.into_iter().map(|(name, value)| format!("{name}={value}")).collect(),
        directory: program.directory,
        credentials,
        umask: UMASK,
        nice: 0,
        scheduling: Scheduling::default(),
        group: Vec::new(),
        limits: Vec::new(),
        input: program.input,
        output: Output::Pipe,
        stderr: (!program.keeps_stderr).then(|| PathBuf::from("/dev/null")),
        notify: None,
        ready_fd: None,
        confinement,
        secrets: Vec::new(),
    })
}

/// A program that runs. Dropped, nothing of it is left.
struct Running<'a> {
    programs: &'a Programs,
    name: UnitId,
}

impl Running<'_> {
    fn signal(&self, signal: Signal) {
        self.programs.launcher.send(ToLauncher::Signal { unit: self.name.clone(), run: RUN, signal, target: Target::Tree });
    }

    /// Keeps what it prints until it ends; how, and whether it has left anything behind. `None`: it is too late.
    async fn ended(&self, news: &mut mpsc::Receiver<(ToBrain, FdSet)>, kept: &mut Kept, within: Duration) -> Option<(ExitCause, bool)> {
        let mut late = std::pin::pin!(sleep(within));
        loop {
            tokio::select! {
                heard = news.recv() => if let (ToBrain::Exited { exit, leftovers, .. }, _) = heard? {
                    self.programs.launcher.send(ToLauncher::Ack { unit: self.name.clone(), run: RUN });
                    kept.take(true);
                    return Some((exit.cause, leftovers));
                },
                () = kept.wait() => kept.take(false),
                () = &mut late => return None,
            }
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.programs.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
        self.programs.processes.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
        // Whatever is left of it; a run that is over is left alone.
        self.signal(Signal::KILL);
        self.programs.launcher.send(ToLauncher::Forget { unit: self.name.clone() });
    }
}

/// What a program prints.
struct Kept {
    pipe: Option<pipe::Receiver>,
    bytes: Vec<u8>,
}

impl Kept {
    fn new(output: Option<OwnedFd>) -> Result<Self, String> {
        let pipe = output.map(pipe::Receiver::from_owned_fd).transpose();
        Ok(Self { pipe: pipe.map_err(|fault| format!("cannot read what it prints: {fault}"))?, bytes: Vec::new() })
    }

    /// Returns when there is something to read.
    async fn wait(&mut self) {
        match &self.pipe {
            Some(pipe) if pipe.readable().await.is_ok() => {}
            Some(_) => self.pipe = None,
            None => std::future::pending().await,
        }
    }

    /// Reads what there is.
    fn take(&mut self, is_over: bool) {
        let Some(pipe) = &self.pipe else { return };
        let mut chunk = [0; 4096];
        // As much as the pipe can hold, and not for ever: somebody may write as fast as this reads.
        for _ in 0..256 {
            // After the end nothing is waited for: the runtime need not know yet that there is something.
            let read = if is_over { rustix::io::read(pipe, &mut chunk).map_err(Into::into) } else { pipe.try_read(&mut chunk) };
            match read {
                Ok(0) => return self.pipe = None,
                Ok(length) => {
                    let room = OUTPUT_MAX - self.bytes.len();
                    self.bytes.extend_from_slice(&chunk[..length.min(room)]);
                }
                Err(fault) if fault.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}
