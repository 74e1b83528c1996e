//! The brain's last words: what every thread was doing when it was aborted, and where it panicked.
#![expect(unsafe_code, reason = "signals to single threads, and a handler that takes their stacks")]

use std::fmt::Write as _;
use std::io;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::clock;

/// So many files are kept, the newest ones.
pub const KEEP: usize = 20;

/// How deep a stack is looked at.
const DEPTH: usize = 64;

/// How long a thread may take to say where it is.
const PATIENCE: Duration = Duration::from_millis(500);

/// Nothing was said yet.
const SILENT: usize = usize::MAX;

/// What the thread that was asked last has said: how many frames, and where they are. Threads are asked one after the other.
static COUNT: AtomicUsize = AtomicUsize::new(SILENT);
static FRAMES: [AtomicUsize; DEPTH] = [const { AtomicUsize::new(0) }; DEPTH];

/// Has a SIGABRT write down what every thread is doing before it ends the process, and a panic where it happened, each into a file in `directory`.
/// Call it while the process has one thread.
///
/// # Errors
/// The directory cannot be made, or a system call fails.
pub fn keep(directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let mut aborts = MaybeUninit::uninit();
    // SAFETY: the set is initialised by sigemptyset; the handler is a function of the right kind, and a zeroed action has no flags.
    let aborts = unsafe {
        libc::sigemptyset(aborts.as_mut_ptr());
        libc::sigaddset(aborts.as_mut_ptr(), libc::SIGABRT);
        let aborts = aborts.assume_init();
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const aborts, std::ptr::null_mut());
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = say_where as extern "C" fn(libc::c_int) as usize;
        action.sa_flags = libc::SA_RESTART;
        if libc::sigaction(asking(), &raw const action, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        aborts
    };
    let home = directory.to_owned();
    std::thread::Builder::new().name("last words".into()).spawn(move || {
        let mut signal = 0;
        // SAFETY: both point to live memory.
        while unsafe { libc::sigwait(&raw const aborts, &raw mut signal) } != 0 {}
        write(&home, &format!("aborted\n\n{}", every_stack()));
        // SAFETY: takes no pointers but the live set; the process ends as the signal wants it.
        unsafe {
            libc::signal(libc::SIGABRT, libc::SIG_DFL);
            libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const aborts, std::ptr::null_mut());
            libc::abort()
        }
    })?;
    let home = directory.to_owned();
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        write(&home, &format!("{panic}\n\n{}", std::backtrace::Backtrace::force_capture()));
        usual(panic);
    }));
    Ok(())
}

/// The newest words of the process `pid`, if it has left any.
#[must_use]
pub fn of(directory: &Path, pid: u32) -> Option<PathBuf> {
    let prefix = format!("brain-{pid}-");
    all(directory).into_iter().rfind(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix)))
}

/// Every file, the oldest first.
fn all(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let ours = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("brain-"));
    let mut found: Vec<_> = entries.map(|entry| entry.path()).filter(ours).collect();
    let written = |path: &PathBuf| path.file_stem().and_then(|stem| stem.to_string_lossy().rsplit('-').next()?.parse::<u64>().ok());
    found.sort_by_key(written);
    found
}

/// Writes a file as well as it can be done: nobody is there to hear of a failure.
fn write(directory: &Path, words: &str) {
    let now = clock::wall();
    let path = directory.join(format!("brain-{}-{}.txt", std::process::id(), now.0));
    let head = format!("ms-supervisor {}, brain {}, {now}", env!("CARGO_PKG_VERSION"), std::process::id());
    let _no_room = std::fs::write(path, format!("{head}\n{words}\n"));
    let all = all(directory);
    for old in all.iter().take(all.len().saturating_sub(KEEP)) {
        let _gone = std::fs::remove_file(old);
    }
}

/// The signal by which a thread is asked where it is.
fn asking() -> libc::c_int {
    libc::SIGRTMIN() + 7
}

extern "C" fn say_where(_signal: libc::c_int) {
    let mut count = 0;
    // SAFETY: only this thread unwinds: they are asked one after the other, and the one that asks waits.
    unsafe {
        backtrace::trace_unsynchronized(|frame| {
            FRAMES[count].store(frame.ip() as usize, Ordering::Relaxed);
            count += 1;
            count < DEPTH
        });
    }
    COUNT.store(count, Ordering::Release);
}

fn every_stack() -> String {
    let own = rustix::thread::gettid().as_raw_nonzero().get();
    let mut text = String::new();
    for entry in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let Some(thread) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()).filter(|&thread| thread != own) else {
            continue;
        };
        let of_thread = |file: &str| std::fs::read_to_string(entry.path().join(file)).unwrap_or_default().trim_end().to_owned();
        let (name, waits) = (of_thread("comm"), of_thread("wchan"));
        let stack = stack_of(thread);
        // Threads for what blocks come and go: one that has gone meanwhile was about nothing.
        if stack.is_some() || entry.path().exists() {
            let stack = stack.as_deref().unwrap_or("    does not answer\n");
            let _never_fails = write!(text, "thread {thread} ({name}), in the kernel: {waits}\n{stack}");
        }
    }
    text
}

/// The stack of a thread; `None` if it does not answer.
fn stack_of(thread: i32) -> Option<String> {
    COUNT.store(SILENT, Ordering::Release);
    // SAFETY: takes no pointers; a thread that is gone does not answer.
    unsafe { libc::syscall(libc::SYS_tgkill, std::process::id(), thread, asking()) };
    let end = clock::mono() + PATIENCE;
    while COUNT.load(Ordering::Acquire) == SILENT && clock::mono() < end {
        std::thread::sleep(Duration::from_millis(1));
    }
    let count = COUNT.load(Ordering::Acquire);
    if count == SILENT {
        return None;
    }
    let mut text = String::new();
    for frame in FRAMES.iter().take(count) {
        let address = frame.load(Ordering::Relaxed);
        backtrace::resolve(address as *mut _, |symbol| {
            let name = symbol.name().map_or_else(|| format!("{address:#x}"), |name| format!("{name:#}"));
            let place = symbol.filename().zip(symbol.lineno()).map(|(file, line)| format!("  {}:{line}", file.display()));
            let _never_fails = writeln!(text, "    {name}{}", place.unwrap_or_default());
        });
    }
    Some(text)
}
