//! The brain: loads the plan, takes over what runs, and runs the tree until it is told to stop.

use std::collections::BTreeMap;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};

use super::Settings;
use super::declarations::{self, Loaded};
use crate::actor::context::{Bus, Context};
use crate::actor::gate::Gates;
use crate::actor::recorder::{self, History};
use crate::actor::tree::{Held, HeldUnits, Standing, Tree};
use crate::actor::{ChildSpec, SupervisorRef, SupervisorSpec, TaskContext, logs};
use crate::base::exit::{ExitReason, Signal};
use crate::base::time::{Wall, format_duration};
use crate::event::Event;
use crate::launcher::link::{Link, Receiver, Sender};
use crate::launcher::wire::{self, ToBrain, ToLauncher};
use crate::os::clock;
use crate::os::pump::Pump;
use crate::plan::{RestartType, ShutdownTimeout, Strategy};

/// The brain could not go on; the launcher starts another one.
const FAILED: u8 = 70;

/// What the launcher said first.
struct Greeting {
    launcher: u32,
    generation: u32,
    held: HeldUnits,
}

/// Runs the brain to its end. The launcher has started this process and passed its socket.
#[must_use]
pub fn brain(settings: Settings) -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_target(false).with_max_level(tracing::Level::WARN).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_name("brain").enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(run(settings)),
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
