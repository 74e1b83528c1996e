//! Units that are to stay down after a failure (`restart.on`) are stopped as by an operator: durably, visibly, and `start` undoes it.

use std::sync::Arc;

use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use super::tree::{Ask, Tree};
use super::wishes::Asker;
use super::{BoxError, TaskContext};
use crate::base::id::UnitId;

/// How many units may wait to be stopped.
pub const RESIGNED_MAX: usize = 4096;

/// How many are stopped at once.
const AT_ONCE: usize = 64;

/// A unit is to stay down.
#[derive(Clone, Debug)]
pub struct Resignation {
    /// Which one.
    pub unit: UnitId,
    /// Why.
    pub why: String,
}

/// Where resignations come in.
pub type Resignations = Arc<Mutex<mpsc::Receiver<Resignation>>>;

/// Stops those who resign.
///
/// # Errors
/// None: what cannot be done is told.
pub async fn run(task: TaskContext, tree: Arc<Tree>, resignations: Resignations) -> Result<(), BoxError> {
    let mut resignations = resignations.lock().await;
    let mut stopping = JoinSet::new();
    loop {
        tokio::select! {
            Some(Resignation { unit, why }) = resignations.recv(), if stopping.len() < AT_ONCE => {
                let tree = tree.clone();
                stopping.spawn(async move { stop(&tree, &unit, why).await });
            }
            Some(_) = stopping.join_next() => {}
            () = task.shutdown_requested() => return Ok(()),
        }
    }
}

async fn stop(tree: &Tree, unit: &UnitId, why: String) {
    let asker = Asker { uid: rustix::process::geteuid().as_raw(), why: Some(why) };
    let answer = tree.ask(unit.as_str(), Ask::Stop { hold: true }, &asker).await;
    // A supervisor that is down or going down stops it itself.
    if let Err(error) = answer.done {
        tracing::warn!("{unit} cannot be stopped after its failure: {error}");
    }
    if let Err(error) = answer.remembered {
        tracing::warn!("that {unit} is to stay down is not remembered: {error}");
    }
}
