//! Our supervisor.

use std::time::{Duration, Instant};

use ms_supervisor::{ChildSpec, DynamicSupervisor, Name, Strategy, SupervisorRef, SupervisorSpec, TaskContext};

use crate::Fault;
use crate::column::{Column, Job, Mode};
use crate::run::{milliseconds, rate, resident};
use crate::stage::{Act, Stage, rest};
use crate::worker::{Ask, Worker, calls};

/// Longer than any measurement.
const PERIOD: Duration = Duration::from_secs(3600);

/// How long a call may take.
const TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) async fn measure(column: Column, job: Job) -> Result<Vec<f64>, Fault> {
    let stage = Stage::new(job);
    match job.mode {
        Mode::One => {
            let start = Instant::now();
            let _root = root(column, &stage, job).await?;
            stage.done().await;
            Ok(vec![rate(job.count, start)])
        }
        Mode::All => {
            let _root = root(column, &stage, job).await?;
            rest().await;
            let start = Instant::now();
            stage.crash_all();
            stage.done().await;
            Ok(vec![rate(job.count, start)])
        }
        Mode::Many => many(column, &stage, job).await,
        Mode::Call => call(stage, job.count).await,
    }
}

async fn root(column: Column, stage: &Stage, job: Job) -> Result<SupervisorRef, Fault> {
    if column == Column::Dynamic {
        let dynamic = DynamicSupervisor::new(|_number: usize| ChildSpec::task("child", wait));
        let root = dynamic.start("root").await?;
        for number in 0..stage.children() {
            dynamic.start_child(number).await?;
        }
        return Ok(root);
    }
    let children = (0..stage.children()).map(|number| child(column, &number.to_string(), stage, job.mode));
    let intensity = u32::try_from(job.count)?;
    Ok(SupervisorSpec::new(Strategy::OneForOne).intensity(intensity, PERIOD).children(children).start().await?)
}

fn child(column: Column, id: &str, stage: &Stage, mode: Mode) -> ChildSpec {
    let stage = stage.clone();
    match (column, mode) {
        (Column::Actor, _) => ChildSpec::actor(id, move || (Worker, stage.clone())),
        (_, Mode::Many) => ChildSpec::task(id, wait),
        _ => ChildSpec::task(id, move |task| crash(task, stage.clone())),
    }
}

async fn wait(task: TaskContext) -> Result<(), ms_supervisor::BoxError> {
    task.shutdown_requested().await;
    Ok(())
}

async fn crash(task: TaskContext, stage: Stage) -> Result<(), ms_supervisor::BoxError> {
    match stage.born() {
        Act::Crash => Err("crash".into()),
        Act::CrashWhenTold => {
            stage.told_to_crash().await;
            Err("crash".into())
        }
        Act::Wait => wait(task).await,
    }
}

async fn many(column: Column, stage: &Stage, job: Job) -> Result<Vec<f64>, Fault> {
    let before = resident()?;
    let start = Instant::now();
    let root = root(column, stage, job).await?;
    let started = milliseconds(start);
    rest().await;
    let memory = (resident()? - before) / job.count as f64;
    let stop = Instant::now();
    root.stop().await;
    Ok(vec![started, memory, milliseconds(stop)])
}

async fn call(stage: Stage, count: usize) -> Result<Vec<f64>, Fault> {
    let name = Name::new("worker");
    let child = ChildSpec::named_actor(&name, move || (Worker, stage.clone()));
    let _root = SupervisorSpec::new(Strategy::OneForOne).child(child).start().await?;
    let start = Instant::now();
    for _ in 0..count {
        name.call(Ask::Ping, TIMEOUT).await?;
    }
    let by_name = start.elapsed().as_nanos() as f64 / count as f64;
    Ok(vec![by_name, calls(&name.wait().await, None, count).await?])
}
