//! State that is handed to the next incarnation, on purpose.

use std::sync::{Arc, Mutex, PoisonError};

/// Passes a value from one incarnation to the next.
///
/// A new incarnation starts from nothing: whatever made the last one fail may be in its state. What is to be kept regardless is put
/// here by the old incarnation and taken by the new one. It is taken at most once, so that a value that makes an incarnation fail does
/// not meet the next one too.
///
/// ```
/// use ms_supervisor::{ChildSpec, ExitReason, Handover, Strategy, SupervisorSpec, TaskContext};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let position = Handover::<u64>::new();
/// let (told, mut hear) = tokio::sync::mpsc::unbounded_channel();
/// let reader = ChildSpec::task("reader", move |task: TaskContext| {
///     let (position, told) = (position.clone(), told.clone());
///     async move {
///         let start = position.take().unwrap_or(0);
///         told.send(start)?;
///         if start == 0 {
///             position.put(42);
///             return Err("the file went away".into());
///         }
///         task.shutdown_requested().await;
///         Ok(())
///     }
/// });
/// let root = SupervisorSpec::new(Strategy::OneForOne).child(reader).start().await?;
/// assert_eq!((hear.recv().await, hear.recv().await), (Some(0), Some(42)));
/// # root.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Handover<T>(Arc<Mutex<Option<T>>>);

impl<T> Clone for Handover<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Default for Handover<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Handover<T> {
    /// With nothing in it.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::default())
    }

    /// Leaves a value for the next incarnation, in place of one that was left before.
    pub fn put(&self, value: T) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
    }

    /// Takes what was left, if anything was.
    #[must_use]
    pub fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
