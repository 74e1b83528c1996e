//! How the kernel treats processes that run: set on every thread of them, and read back.
#![expect(unsafe_code, reason = "the C library has no wrappers for some of these system calls")]

use std::fs;
use std::io;
use std::ptr;

use crate::base::scheduling::{RLIMITS, Scheduling};

/// So often threads are looked for that were started meanwhile.
const ROUNDS: usize = 4;

/// `IOPRIO_WHO_PROCESS` in linux/ioprio.h.
const ONE_PROCESS: libc::c_long = 1;

/// What is to change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The niceness.
    pub nice: Option<i32>,
    /// The rest.
    pub scheduling: Scheduling,
}

/// Something that was refused: what, and why.
pub type Refused = (&'static str, String);

/// Sets it on all threads of `processes`, and says what was refused, each kind once. A process that ends meanwhile is none.
#[must_use]
pub fn apply(processes: &[u32], change: &Change) -> Vec<Refused> {
    let mut refused: Vec<Refused> = Vec::new();
    let mut note = |what: &'static str, done: io::Result<()>| match done {
        Err(fault)
            if fault.raw_os_error() != Some(libc::ESRCH)
                && fault.kind() != io::ErrorKind::NotFound
                && refused.iter().all(|(known, _)| *known != what) =>
        {
            refused.push((what, fault.to_string()));
        }
        _ => {}
    };
    for &process in processes {
        for (resource, soft, hard) in &change.scheduling.rlimits {
            note("rlimits", set_rlimit(process, *resource, *soft, *hard));
        }
        if let Some(score) = change.scheduling.oom_score_adj {
            note("oom_score_adj", set_oom_score(process, score));
        }
        let mut done = Vec::new();
        for _ in 0..ROUNDS {
            let new: Vec<u32> = threads(process).into_iter().filter(|thread| !done.contains(thread)).collect();
            if new.is_empty() {
                break;
            }
            for thread in new {
                each_thread(thread, change, &mut note);
                done.push(thread);
            }
        }
    }
    refused
}

fn each_thread(thread: u32, change: &Change, note: &mut impl FnMut(&'static str, io::Result<()>)) {
    let Change { nice, scheduling } = change;
    if let Some(words) = &scheduling.affinity {
        note("cpu_affinity", set_affinity(thread, words));
    }
    if let Some((policy, priority)) = scheduling.scheduler {
        note("scheduler", set_scheduler(thread, policy, priority));
    }
    if let Some(nice) = *nice {
        note("nice", set_nice(thread, nice));
    }
    if let Some(priority) = scheduling.io_priority {
        note("io_priority", set_io_priority(thread, priority));
    }
}

fn threads(process: u32) -> Vec<u32> {
    let entries = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn call(number: libc::c_long, arguments: [libc::c_long; 4]) -> io::Result<libc::c_long> {
    let [a, b, c, d] = arguments;
    // SAFETY: the callers in this file pass what the call with this number takes; surplus arguments are ignored.
    match unsafe { libc::syscall(number, a, b, c, d) } {
        result if result < 0 => Err(io::Error::last_os_error()),
        result => Ok(result),
    }
}

/// What was set has to be what is read then.
fn verified(is_so: bool) -> io::Result<()> {
    if is_so { Ok(()) } else { Err(io::Error::other("the kernel has taken it and says something else")) }
}

fn set_nice(thread: u32, nice: i32) -> io::Result<()> {
    call(libc::SYS_setpriority, [libc::PRIO_PROCESS.into(), thread.into(), nice.into(), 0])?;
    // The system call, unlike the function, has 20 - nice.
    verified(call(libc::SYS_getpriority, [libc::PRIO_PROCESS.into(), thread.into(), 0, 0])? == libc::c_long::from(20 - nice))
}

fn set_scheduler(thread: u32, policy: i32, priority: i32) -> io::Result<()> {
    let parameter = (&raw const priority) as libc::c_long;
    call(libc::SYS_sched_setscheduler, [thread.into(), policy.into(), parameter, 0])?;
    verified(call(libc::SYS_sched_getscheduler, [thread.into(), 0, 0, 0])? == libc::c_long::from(policy))
}

fn set_io_priority(thread: u32, priority: i32) -> io::Result<()> {
    call(libc::SYS_ioprio_set, [ONE_PROCESS, thread.into(), priority.into(), 0])?;
    // Without one of its own the kernel tells what follows from the niceness.
    verified(priority == 0 || call(libc::SYS_ioprio_get, [ONE_PROCESS, thread.into(), 0, 0])? == libc::c_long::from(priority))
}

fn set_affinity(thread: u32, words: &[u64]) -> io::Result<()> {
    let length = size_of_val(words) as libc::c_long;
    call(libc::SYS_sched_setaffinity, [thread.into(), length, words.as_ptr() as libc::c_long, 0])?;
    let mut found = [0_u64; 1024];
    let room = size_of_val(&found) as libc::c_long;
    let length = call(libc::SYS_sched_getaffinity, [thread.into(), room, found.as_mut_ptr() as libc::c_long, 0])?;
    let found = found.get(..usize::try_from(length).unwrap_or(0) / 8).unwrap_or_default();
    // Processors that are not there, or that its cgroup does not have, are left out.
    verified(found.iter().enumerate().all(|(at, word)| word & !words.get(at).copied().unwrap_or(0) == 0))
}

fn set_rlimit(process: u32, resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    let named = |fault: io::Error| {
        let name = RLIMITS.iter().find(|(_, number)| *number == resource).map_or("?", |(name, _)| *name);
        if fault.raw_os_error() == Some(libc::ESRCH) { fault } else { io::Error::other(format!("{name}: {fault}")) }
    };
    call(libc::SYS_prlimit64, [process.into(), resource.into(), (&raw const limit) as libc::c_long, 0]).map_err(named)?;
    let mut found = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    let nothing: *const libc::rlimit = ptr::null();
    call(libc::SYS_prlimit64, [process.into(), resource.into(), nothing as libc::c_long, (&raw mut found) as libc::c_long])
        .map_err(named)?;
    verified((found.rlim_cur, found.rlim_max) == (soft, hard))
}

fn set_oom_score(process: u32, score: i32) -> io::Result<()> {
    let path = format!("/proc/{process}/oom_score_adj");
    fs::write(&path, score.to_string())?;
    verified(fs::read_to_string(&path)?.trim() == score.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_set_is_set_on_a_process_that_runs_and_the_rest_is_told() {
        #[expect(clippy::disallowed_methods, reason = "some process")]
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = child.id();
        let scheduling = Scheduling {
            scheduler: Some((3, 0)),
            io_priority: Some(2 << 13 | 7),
            affinity: Some(vec![1]),
            rlimits: vec![(4, 0, 0)],
            oom_score_adj: Some(500),
        };
        let refused = apply(&[pid], &Change { nice: Some(7), scheduling: scheduling.clone() });
        assert_eq!(refused, [], "of a child of ours all of this may be set");
        assert_eq!(fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap().trim(), "500");
        let nobody_has = Scheduling { affinity: Some(vec![0, 0, 1 << 63]), ..Scheduling::default() };
        let refused = apply(&[pid], &Change { nice: None, scheduling: nobody_has });
        assert_eq!(refused.iter().map(|(what, _)| *what).collect::<Vec<_>>(), ["cpu_affinity"]);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(apply(&[pid], &Change { nice: Some(1), scheduling }), [], "one that has ended refuses nothing");
    }
}
