//! The actor that is a child, of ours and of plain ractor.

use std::time::{Duration, Instant};

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};

use crate::Fault;
use crate::stage::{Act, Stage};

/// The actor.
pub(crate) struct Worker;

/// What it hears.
pub(crate) enum Ask {
    Crash,
    Ping(RpcReplyPort<()>),
}

/// Its state: tells when it is gone.
pub(crate) struct Alive(Stage);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.died();
    }
}

impl Actor for Worker {
    type Msg = Ask;
    type State = Alive;
    type Arguments = Stage;

    async fn pre_start(&self, myself: ActorRef<Ask>, stage: Stage) -> Result<Alive, ActorProcessingErr> {
        match stage.born() {
            Act::Crash => myself.cast(Ask::Crash)?,
            Act::CrashWhenTold => stage.enlist(myself),
            Act::Wait => {}
        }
        Ok(Alive(stage))
    }

    async fn handle(&self, _myself: ActorRef<Ask>, message: Ask, _state: &mut Alive) -> Result<(), ActorProcessingErr> {
        match message {
            Ask::Crash => Err("crash".into()),
            Ask::Ping(reply) => Ok(reply.send(())?),
        }
    }
}

/// Nanoseconds for a call.
pub(crate) async fn calls(actor: &ActorRef<Ask>, timeout: Option<Duration>, count: usize) -> Result<f64, Fault> {
    let start = Instant::now();
    for _ in 0..count {
        actor.call(Ask::Ping, timeout).await?.expect("it answers");
    }
    Ok(start.elapsed().as_nanos() as f64 / count as f64)
}
