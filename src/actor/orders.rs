//! How far one incarnation of a child has come, and what its supervisor wants of it, seen from both sides.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::Notify;

/// How far things have gone. Only ever rises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Order {
    /// It is up; nothing is wanted of it.
    Up = 1,
    /// It is to end by itself.
    Stop = 2,
    /// It is to be ended.
    Kill = 3,
    /// It has ended, and nothing of it is left.
    Ended = 4,
}

/// The orders given so far. Smaller than a channel: there may be a hundred thousand of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Orders(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    reached: AtomicU8,
    changed: Notify,
}

impl Orders {
    /// Gives an order; one that was overtaken by a later one changes nothing.
    pub(crate) fn give(&self, order: Order) {
        if self.0.reached.fetch_max(order as u8, Ordering::AcqRel) < order as u8 {
            self.0.changed.notify_waiters();
        }
    }

    /// Whether this order, or one beyond it, has been given.
    pub(crate) fn given(&self, order: Order) -> bool {
        self.0.reached.load(Ordering::Acquire) >= order as u8
    }

    /// Waits for this order, or one beyond it.
    pub(crate) async fn wait(&self, order: Order) {
        loop {
            let mut changed = std::pin::pin!(self.0.changed.notified());
            // Before the look: what is given after it must wake.
            changed.as_mut().enable();
            if self.given(order) {
                return;
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn orders_only_rise() {
        let orders = Orders::default();
        assert!(!orders.given(Order::Stop));
        let waiting = tokio::spawn({
            let orders = orders.clone();
            async move { orders.wait(Order::Kill).await }
        });
        orders.give(Order::Stop);
        tokio::task::yield_now().await;
        assert!(orders.given(Order::Stop) && !waiting.is_finished());
        orders.give(Order::Ended);
        orders.give(Order::Kill);
        waiting.await.unwrap();
        assert!(orders.given(Order::Ended));
    }
}
