//! Names of actors that survive restarts.

use std::sync::Arc;
use std::time::Duration;

use ractor::rpc::CallResult;
use ractor::{ActorRef, Message, RpcReplyPort};
use tokio::sync::watch;

/// A name for an actor, given to [`ChildSpec::named_actor`](super::ChildSpec::named_actor): finds whichever incarnation runs.
///
/// Make it, clone it to whoever is to talk to the actor, and use it for one child: of two that have it, it finds the one that was started
/// last, and nobody once that has ended, until one of them is started again. There is no registry behind it: two names with the
/// same text are two names, and an actor cannot be found by somebody who was not given its name.
///
/// A message sent to an incarnation that then ends is lost, as everywhere where processes may fail: what must not be lost is
/// answered, with [`Name::call`].
#[derive(Debug)]
pub struct Name<M: Message> {
    text: Arc<str>,
    current: watch::Sender<Option<ActorRef<M>>>,
}

impl<M: Message> Clone for Name<M> {
    fn clone(&self) -> Self {
        Self { text: self.text.clone(), current: self.current.clone() }
    }
}

/// There is no incarnation right now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` does not run")]
pub struct NotRunning(pub Arc<str>);

/// Why a call was not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// There is no incarnation right now.
    #[error(transparent)]
    NotRunning(#[from] NotRunning),
    /// It did not answer in time; it may yet do what was asked.
    #[error("`{0}` did not answer in time")]
    Timeout(Arc<str>),
    /// It ended, or dropped the question, before it answered.
    #[error("`{0}` did not answer")]
    NoAnswer(Arc<str>),
}

impl<M: Message> Name<M> {
    /// A name for one child.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self { text: text.into(), current: watch::Sender::new(None) }
    }

    /// The text, which is the child's id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The incarnation that runs, if one does. Do not keep it: the next one is another.
    #[must_use]
    pub fn get(&self) -> Option<ActorRef<M>> {
        self.current.borrow().clone()
    }

    /// Waits for an incarnation.
    pub async fn wait(&self) -> ActorRef<M> {
        self.wait_until(|_| true).await
    }

    /// Waits for an incarnation that is not this one.
    pub async fn wait_for_other(&self, this: &ActorRef<M>) -> ActorRef<M> {
        self.wait_until(|other| other.get_id() != this.get_id()).await
    }

    async fn wait_until(&self, wanted: impl Fn(&ActorRef<M>) -> bool) -> ActorRef<M> {
        let mut current = self.current.subscribe();
        loop {
            if let Some(actor) = current.borrow_and_update().clone().filter(&wanted) {
                return actor;
            }
            // The sender is here, so that there always may be a change.
            if current.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Sends a message to the incarnation that runs.
    ///
    /// # Errors
    /// None does; the message is dropped.
    pub fn cast(&self, message: M) -> Result<(), NotRunning> {
        let sent = self.get().map(|actor| actor.cast(message));
        sent.and_then(Result::ok).ok_or_else(|| NotRunning(self.text.clone()))
    }

    /// Asks the incarnation that runs, and waits for its answer, for `timeout` at most.
    ///
    /// # Errors
    /// None runs, it did not answer in time, or it ended first.
    pub async fn call<T: Send + 'static>(&self, question: impl FnOnce(RpcReplyPort<T>) -> M, timeout: Duration) -> Result<T, CallError> {
        let actor = self.get().ok_or_else(|| NotRunning(self.text.clone()))?;
        match actor.call(question, Some(timeout)).await {
            Ok(CallResult::Success(answer)) => Ok(answer),
            Ok(CallResult::Timeout) => Err(CallError::Timeout(self.text.clone())),
            Ok(CallResult::SenderError) => Err(CallError::NoAnswer(self.text.clone())),
            Err(_) => Err(NotRunning(self.text.clone()).into()),
        }
    }

    /// This incarnation runs.
    pub(super) fn set(&self, actor: ActorRef<M>) {
        self.current.send_replace(Some(actor));
    }

    /// This incarnation has ended. If another has taken the name, by mistake or as its successor, that one keeps it.
    pub(super) fn clear(&self, actor: &ActorRef<M>) {
        self.current.send_if_modified(|current| {
            let is_it = current.as_ref().is_some_and(|current| current.get_id() == actor.get_id());
            if is_it {
                *current = None;
            }
            is_it
        });
    }
}
