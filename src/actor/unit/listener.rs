//! Listens to what a unit says on its notification socket: to its own processes, one thing at a time, and not more often than so.
//!
//! A datagram stays in the socket until the actor is done with it. So whoever talks without end waits itself, and nothing piles up here.

use std::sync::Arc;
use std::time::Duration;

use ractor::ActorRef;
use tokio::sync::{oneshot, watch};
use tokio::task::AbortHandle;

use super::{Msg, Unit};
use crate::actor::context::Context;
use crate::base::command::NotifyAccess;
use crate::base::id::UnitId;
use crate::event::{Event, NoticeDrop};
use crate::os::notify::{NotifySocket, Told};
use crate::os::peer::Kin;
use crate::os::{cgroup, clock};
use crate::policy::hearing::{MAINS, NOTICES, Turns};

/// How long it is waited for what follows from a datagram, before the next one is looked at.
const DONE_WITHIN: Duration = Duration::from_secs(5);

/// After so many datagrams that came too fast, or from others, it is paused.
const DRAINED_MAX: u32 = 16;

/// For how long.
const PAUSE: Duration = Duration::from_millis(5);

/// A unit that is listened to.
pub(super) struct Listening {
    task: AbortHandle,
    whom: watch::Sender<Whom>,
    /// Where its cgroup is.
    cgroup: Option<String>,
}

/// To whom it is listened.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Whom {
    kin: Kin,
    access: NotifyAccess,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Unit {
    /// Listens to the processes of this run.
    pub(super) fn begin_listening(&mut self, myself: &ActorRef<Msg>, socket: Arc<NotifySocket>) {
        let cgroup = self.context.limits.cgroup(self.id().as_str()).and_then(|path| cgroup::name_of(&path));
        let (whom, listened) = watch::channel(self.whom(cgroup.clone()));
        let ears = Ears {
            unit: self.id().clone(),
            run: self.run,
            context: self.context.clone(),
            actor: myself.clone(),
            socket,
            whom: listened,
            told: Told::default(),
            dropped: [Dropped::default(); 2],
            drained: 0,
        };
        let task = tokio::spawn(ears.listen()).abort_handle();
        self.listening = Some(Listening { task, whom, cgroup });
    }

    /// Its main process, or who may speak for it, has changed.
    pub(super) fn listen_to_whom(&self) {
        if let Some(listening) = &self.listening {
            listening.whom.send_replace(self.whom(listening.cgroup.clone()));
        }
    }

    fn whom(&self, cgroup: Option<String>) -> Whom {
        let main = self.process.map_or(0, |process| process.pid);
        let first = self.first_pid.filter(|&first| first != main);
        let kin = Kin { launcher: self.context.searches.launcher(), main, first, cgroup };
        Whom { kin, access: self.plan.notify_access }
    }
}

/// What was dropped for one reason.
#[derive(Clone, Copy, Debug, Default)]
struct Dropped {
    /// Since it was counted last.
    new: u64,
    is_told: bool,
}

/// Who listens.
struct Ears {
    unit: UnitId,
    run: u64,
    context: Arc<Context>,
    actor: ActorRef<Msg>,
    socket: Arc<NotifySocket>,
    whom: watch::Receiver<Whom>,
    /// What has come, and has not had its turn.
    told: Told,
    dropped: [Dropped; 2],
    drained: u32,
}

impl Ears {
    async fn listen(mut self) {
        let (mut notices, mut mains) = (Turns::new(NOTICES), Turns::new(MAINS));
        loop {
            let due = notices.due().or_else(|| mains.due());
            let heard = tokio::select! {
                heard = self.socket.peek() => match heard {
                    Ok(heard) => Some(heard),
                    Err(_broken) => return,
                },
                () = until(due), if !self.told.is_empty() => None,
            };
            let has_come = heard.is_some();
            if let Some(heard) = heard {
                let Whom { kin, access } = self.whom.borrow().clone();
                if !kin.is_heard(heard.sender, access) {
                    self.drop_one(NoticeDrop::Foreign, heard.sender).await;
                    continue;
                }
                self.told.add(heard.notices);
            }
            if !self.told.is_empty() && !notices.come(clock::mono()) {
                if has_come {
                    // It is not lost, as long as this brain lives: it is told with what comes after it.
                    self.drop_one(NoticeDrop::TooMany, 0).await;
                }
                continue;
            }
            let main_pid = self.told.main_pid.take_if(|_| mains.come(clock::mono()));
            let later = Told { main_pid: self.told.main_pid, ..Told::default() };
            let told = Told { main_pid, ..std::mem::replace(&mut self.told, later) };
            if !told.is_empty() && !self.tell(told).await {
                return;
            }
            // Killed before this, another brain finds it again.
            if has_come && self.socket.consume().is_err() {
                return;
            }
        }
    }

    /// Tells the actor, and waits until it is done with it. Whether it is there.
    async fn tell(&self, told: Told) -> bool {
        let (done, is_done) = oneshot::channel();
        if self.actor.cast(Msg::Notices(self.run, told, done)).is_err() {
            return false;
        }
        let _done_or_dropped = tokio::time::timeout(DONE_WITHIN, is_done).await;
        true
    }

    /// Takes a datagram away that is not told for itself, and counts it.
    async fn drop_one(&mut self, reason: NoticeDrop, pid: u32) {
        let _broken_is_found_by_peek = self.socket.consume();
        let dropped = &mut self.dropped[usize::from(reason == NoticeDrop::TooMany)];
        dropped.new += 1;
        if !dropped.is_told {
            dropped.is_told = true;
            self.context.bus.tell(Event::NotificationsDropped { unit: self.unit.clone(), reason, pid: Some(pid).filter(|&pid| pid != 0) });
        }
        self.drained += 1;
        if self.drained >= DRAINED_MAX || self.socket.is_empty() {
            self.count();
            self.drained = 0;
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn count(&mut self) {
        let [foreign, many] = &mut self.dropped;
        let counts = [(NoticeDrop::Foreign, std::mem::take(&mut foreign.new)), (NoticeDrop::TooMany, std::mem::take(&mut many.new))];
        self.context.view.change_unit(self.unit.as_str(), |status| {
            for (reason, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
                *status.counters.notices_dropped.entry(reason).or_default() += count;
            }
        });
    }
}

async fn until(due: Option<crate::base::time::Mono>) {
    match due {
        Some(due) => tokio::time::sleep(due - clock::mono()).await,
        None => std::future::pending().await,
    }
}
