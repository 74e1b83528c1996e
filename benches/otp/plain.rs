//! ractor without a supervisor: an actor that starts those linked to it again when they fail.

use std::time::{Duration, Instant};

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};

use crate::Fault;
use crate::column::{Job, Mode};
use crate::run::{milliseconds, rate, resident};
use crate::stage::{Stage, rest};
use crate::worker::{Worker, calls};

struct Keeper;

impl Actor for Keeper {
    type Msg = ();
    type State = Stage;
    type Arguments = Stage;

    async fn pre_start(&self, myself: ActorRef<()>, stage: Stage) -> Result<Stage, ActorProcessingErr> {
        for _ in 0..stage.children() {
            Actor::spawn_linked(None, Worker, stage.clone(), myself.get_cell()).await?;
        }
        Ok(stage)
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<()>,
        event: SupervisionEvent,
        stage: &mut Stage,
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorFailed(..) = event {
            Actor::spawn_linked(None, Worker, stage.clone(), myself.get_cell()).await?;
        }
        Ok(())
    }
}

pub(crate) async fn measure(job: Job) -> Result<Vec<f64>, Fault> {
    let stage = Stage::new(job);
    match job.mode {
        Mode::One => {
            let start = Instant::now();
            Actor::spawn(None, Keeper, stage.clone()).await?;
            stage.done().await;
            Ok(vec![rate(job.count, start)])
        }
        Mode::All => {
            Actor::spawn(None, Keeper, stage.clone()).await?;
            rest().await;
            let start = Instant::now();
            stage.crash_all();
            stage.done().await;
            Ok(vec![rate(job.count, start)])
        }
        Mode::Many => many(&stage, job.count).await,
        Mode::Call => {
            let (worker, _) = Actor::spawn(None, Worker, stage).await?;
            let by_name = calls(&worker, Some(Duration::from_secs(5)), job.count).await?;
            Ok(vec![by_name, calls(&worker, None, job.count).await?])
        }
    }
}

async fn many(stage: &Stage, count: usize) -> Result<Vec<f64>, Fault> {
    let before = resident()?;
    let start = Instant::now();
    let (keeper, _) = Actor::spawn(None, Keeper, stage.clone()).await?;
    let started = milliseconds(start);
    rest().await;
    let memory = (resident()? - before) / count as f64;
    let stop = Instant::now();
    keeper.stop(None);
    stage.done().await;
    Ok(vec![started, memory, milliseconds(stop)])
}
