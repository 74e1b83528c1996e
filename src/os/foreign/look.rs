//! Threads that may hang: one for each of those that ask, a bounded number in all, and nobody waits for them longer than he wants to.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use crate::base::time::{Mono, approx_duration, format_duration};
use crate::os::clock;

/// The most threads for each purpose, those that hang included. Beyond that a look is refused at once.
const THREADS_MAX: usize = 512;

/// How long a thread without work stays.
const IDLE: Duration = Duration::from_secs(10);

/// The stack of a thread. A hung one holds this for good, as far as it was touched.
const STACK: usize = 512 << 10;

/// What a look is for. Each has its own bound: probes of a dead mount must not keep units from being started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// What a start has to know.
    Start,
    /// What a probe looks at.
    Probe,
    /// Everything else.
    Other,
}

impl Purpose {
    /// Its name in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Probe => "probe",
            Self::Other => "other",
        }
    }
}

/// Whose descriptors a look works with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// A table of its own, empty at first: who hangs holds neither ports nor locks of a process that has ended. No descriptor may go in with
    /// the work or come out with its result, nor may the work use the runtime.
    Own,
    /// That of the process: for name services, whose libraries keep descriptors in between.
    Shared,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Hangs {
    /// It takes too long, and goes on by itself.
    #[error("{doing} took longer than {}", format_duration(*within))]
    Late {
        /// What it does.
        doing: String,
        /// How long it might take.
        within: Duration,
    },
    /// An earlier look for the same has not come back; no second one joins it.
    #[error("{doing} has not come to an end for {}, and is not tried again before it has", approx_duration(*since))]
    Outstanding {
        /// What that does.
        doing: String,
        /// How long it has taken so far.
        since: Duration,
    },
    /// So many hang that no other can begin.
    #[error("all {THREADS_MAX} threads for what may hang are held, the first by {doing}; mend that, or restart the daemon")]
    Full {
        /// What the oldest of them does.
        doing: String,
    },
    /// A fault of ours.
    #[error("the look has failed: a fault of ms-supervisor itself")]
    Failed,
}

/// Runs `work` in a thread that may hang, and waits for it so long. `whose` names who asks: it has one look outstanding at most. A second one
/// waits for the first within its own time, and is refused at once if nobody waits for the first any more.
///
/// # Errors
/// There is no answer in time, or cannot be.
pub async fn look<T: Send + 'static>(
    (purpose, table): (Purpose, Table),
    whose: &str,
    within: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Hangs> {
    let begun = clock::mono();
    let ticket = loop {
        let earlier = match claim(purpose, whose)? {
            Ok(ticket) => break ticket,
            Err(earlier) => earlier,
        };
        let mut over = earlier.over.subscribe();
        let left = within.saturating_sub(clock::mono() - begun);
        let is_over = async { over.wait_for(|over| *over).await.is_ok() };
        if earlier.is_given_up() || timeout(left, is_over).await.is_err() {
            return Err(earlier.outstanding());
        }
    };
    let waiting = Waiting(ticket.clone());
    let (sender, answer) = oneshot::channel();
    let job = move || {
        TICKET.set(Some(ticket.clone()));
        let done = catch_unwind(AssertUnwindSafe(work));
        TICKET.set(None);
        pass_on(Box::new(move || {
            // Before anybody hears of it: whoever does may ask again at once.
            release(&ticket);
            if let Ok(done) = done {
                // Whoever has waited may be gone.
                let _gone = sender.send(done);
            }
        }));
    };
    run(table, Box::new(job)).map_err(|_| Hangs::Failed).inspect_err(|_| release(&waiting.0))?;
    match timeout(within.saturating_sub(clock::mono() - begun), answer).await {
        Ok(answer) => answer.map_err(|_| Hangs::Failed),
        Err(_) => Err(Hangs::Late { doing: waiting.0.doing(), within }),
    }
}

/// Says what the look is about to do, for whoever has to be told what hangs. Nothing outside of one.
pub fn doing(what: std::fmt::Arguments<'_>) {
    TICKET.with_borrow(|ticket| {
        if let Some(ticket) = ticket {
            *lock(&ticket.doing) = what.to_string();
        }
    });
}

/// How many looks of each purpose nobody waits for any more, and have not come back: each holds a thread.
#[must_use]
pub fn hanging() -> BTreeMap<Purpose, usize> {
    let mut hanging: BTreeMap<_, _> = [Purpose::Start, Purpose::Probe, Purpose::Other].map(|purpose| (purpose, 0)).into();
    for ticket in lock(&POOL).out.values().filter(|ticket| ticket.is_given_up()) {
        *hanging.entry(ticket.purpose).or_default() += 1;
    }
    hanging
}

thread_local! {
    /// What this thread works on.
    static TICKET: RefCell<Option<Arc<Ticket>>> = const { RefCell::new(None) };
}

/// A look that has not come back.
struct Ticket {
    purpose: Purpose,
    whose: String,
    begun: Mono,
    doing: Mutex<String>,
    given_up: AtomicBool,
    over: watch::Sender<bool>,
}

impl Ticket {
    fn doing(&self) -> String {
        lock(&self.doing).clone()
    }

    fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }

    fn outstanding(&self) -> Hangs {
        Hangs::Outstanding { doing: self.doing(), since: clock::mono() - self.begun }
    }
}

/// Somebody waits. Dropped before there is an answer, nobody does any more.
struct Waiting(Arc<Ticket>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.given_up.store(true, Ordering::Relaxed);
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// The threads, and what they work on.
#[derive(Default)]
struct Pool {
    out: BTreeMap<String, Arc<Ticket>>,
    /// Threads that wait for work, with a table of their own and with that of the process.
    idle: [Vec<(ThreadId, SyncSender<Job>)>; 2],
}

static POOL: LazyLock<Mutex<Pool>> = LazyLock::new(Mutex::default);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A ticket for `whose`, or the one that is out.
fn claim(purpose: Purpose, whose: &str) -> Result<Result<Arc<Ticket>, Arc<Ticket>>, Hangs> {
    let mut pool = lock(&POOL);
    if let Some(earlier) = pool.out.get(whose) {
        return Ok(Err(earlier.clone()));
    }
    let others = pool.out.values().filter(|ticket| ticket.purpose == purpose);
    if others.clone().count() >= THREADS_MAX {
        let oldest = others.min_by_key(|ticket| ticket.begun).map(|ticket| ticket.doing());
        return Err(Hangs::Full { doing: oldest.unwrap_or_default() });
    }
    let ticket = Arc::new(Ticket {
        purpose,
        whose: whose.to_owned(),
        begun: clock::mono(),
        doing: Mutex::new(format!("what `{whose}` asks for")),
        given_up: AtomicBool::new(false),
        over: watch::Sender::new(false),
    });
    pool.out.insert(whose.to_owned(), ticket.clone());
    Ok(Ok(ticket))
}

fn release(ticket: &Ticket) {
    lock(&POOL).out.remove(&ticket.whose);
    ticket.over.send_replace(true);
}

/// A thread that never hangs and passes on what was found: the runtime is woken by a descriptor, which those with a table of their own do not
/// have. It is begun by somebody who has it.
static MESSENGER: LazyLock<Option<Sender<Job>>> = LazyLock::new(|| {
    let (sender, answers) = channel::<Job>();
    let work = move || answers.into_iter().for_each(|answer| answer());
    let begun = std::thread::Builder::new().name("foreign-answers".into()).stack_size(STACK).spawn(work);
    begun.is_ok().then_some(sender)
});

fn pass_on(answer: Job) {
    if let Some(messenger) = &*MESSENGER {
        // It never ends.
        let _gone = messenger.send(answer);
    }
}

/// Has a thread do it: one that is there, else a new one.
fn run(table: Table, mut job: Job) -> std::io::Result<()> {
    if MESSENGER.is_none() {
        return Err(std::io::Error::other("there is no thread to pass on answers"));
    }
    let at = usize::from(table == Table::Shared);
    let mut pool = lock(&POOL);
    while let Some((_, idle)) = pool.idle[at].pop() {
        match idle.try_send(job) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Full(back) | TrySendError::Disconnected(back)) => job = back,
        }
    }
    drop(pool);
    std::thread::Builder::new().name("foreign".into()).stack_size(STACK).spawn(move || serve(at, job)).map(drop)
}

/// A thread: works, and waits a while for more.
fn serve(at: usize, mut job: Job) {
    if at == 0 {
        leave_descriptors();
    }
    let own = std::thread::current().id();
    let (sender, more) = sync_channel(1);
    loop {
        job();
        lock(&POOL).idle[at].push((own, sender.clone()));
        if let Ok(next) = more.recv_timeout(IDLE) {
            job = next;
            continue;
        }
        let mut pool = lock(&POOL);
        let before = pool.idle[at].len();
        pool.idle[at].retain(|(thread, _)| *thread != own);
        // Who is not among them any more was given something at the last moment.
        match more.try_recv() {
            Ok(next) if pool.idle[at].len() == before => job = next,
            _ => return,
        }
    }
}

/// Takes a table of descriptors of its own that holds what is printed to and nothing else.
#[expect(unsafe_code, reason = "neither call has a safe form")]
fn leave_descriptors() {
    // SAFETY: descriptors of this thread and of all others go separate ways from here on. It has none yet, and `Table::Own` lets none in.
    let parted = unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FILES) };
    if parted.is_ok() {
        // SAFETY: three numbers; what is closed is this thread's copy, which nothing refers to. Should it fail, a few stay open for longer.
        let _stay_open = unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    async fn other<T: Send + 'static>(whose: &str, within: Duration, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Hangs> {
        look((Purpose::Other, Table::Own), whose, within, work).await
    }

    #[tokio::test]
    async fn who_hangs_is_not_joined_and_holds_up_nobody_else() {
        let (sender, hangs) = sync_channel::<()>(0);
        let hung = move || {
            doing(format_args!("reading /mnt/x"));
            let _gone = hangs.recv();
        };
        let short = Duration::from_millis(50);
        let late = other("a", short, hung).await.unwrap_err();
        assert_eq!(late.to_string(), "reading /mnt/x took longer than 50ms");
        // Without waiting at all.
        let again = other("a", LONG, || ()).await.unwrap_err();
        assert!(again.to_string().starts_with("reading /mnt/x has not come to an end for "), "{again}");
        assert_eq!(other("b", LONG, || 7).await, Ok(7));
        drop(sender);
        let freed = async {
            while other("a", LONG, || ()).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        timeout(LONG, freed).await.unwrap();
    }

    #[tokio::test]
    async fn a_second_one_waits_for_the_first() {
        let (sender, comes) = sync_channel::<()>(0);
        let first = other("c", LONG, move || comes.recv().is_ok());
        let second = async {
            // The first has begun by now.
            tokio::task::yield_now().await;
            let (second, ()) =
                tokio::join!(other("c", LONG, || 2), async { drop(tokio::task::spawn_blocking(move || sender.send(())).await) });
            second
        };
        assert_eq!(tokio::join!(first, second), (Ok(true), Ok(2)));
    }

    #[tokio::test]
    async fn only_so_many_hang() {
        let (senders, hanging): (Vec<_>, Vec<_>) = (0..THREADS_MAX).map(|_| sync_channel::<()>(0)).unzip();
        for (number, hangs) in hanging.into_iter().enumerate() {
            let work = move || {
                doing(format_args!("the look {number}"));
                let _gone = hangs.recv();
            };
            let started = look((Purpose::Probe, Table::Own), &format!("full{number}"), Duration::ZERO, work).await;
            assert!(matches!(started, Err(Hangs::Late { .. })), "{started:?}");
        }
        let refused = look((Purpose::Probe, Table::Own), "one more", LONG, || ()).await.unwrap_err();
        assert!(matches!(refused, Hangs::Full { .. }), "{refused}");
        // Those that start something have a bound of their own.
        assert_eq!(look((Purpose::Start, Table::Own), "one more", LONG, || 1).await, Ok(1));
        drop(senders);
    }

    #[tokio::test]
    async fn a_table_of_ones_own_is_empty() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&file);
        let is_there = move || std::path::Path::new(&format!("/proc/thread-self/fd/{number}")).exists();
        assert_eq!(other("d", LONG, is_there).await, Ok(false));
        assert_eq!(look((Purpose::Other, Table::Shared), "e", LONG, is_there).await, Ok(true));
        drop(file);
        assert_eq!(
            other("f", LONG, || if true {
                panic!("meant")
            })
            .await,
            Err(Hangs::Failed)
        );
    }
}
