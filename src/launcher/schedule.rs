//! How the kernel treats a process, set by the process itself between its birth and its program: raw system calls, no allocation.

use std::ffi::CStr;

use libc::c_long;

use super::child::{call, last_errno, step};
use super::exec::Failure;
use super::wire::SpawnStep;
use crate::base::scheduling::Scheduling;

/// Where the kernel keeps how little it likes to kill a process when memory is short (proc_pid_oom_score_adj(5)).
pub(super) const OOM_SCORE_ADJ: &CStr = c"/proc/self/oom_score_adj";

/// `IOPRIO_WHO_PROCESS` in linux/ioprio.h.
const ONE_PROCESS: c_long = 1;

/// Sets what is to be set. As whoever the launcher runs as: its program may run as somebody who may not.
pub(super) fn apply(scheduling: &Scheduling) -> Result<(), Failure> {
    let Scheduling { scheduler, io_priority, affinity, rlimits, oom_score_adj } = scheduling;
    if let Some(words) = affinity {
        let set = call(libc::SYS_sched_setaffinity, [0, size_of_val(words.as_slice()) as c_long, words.as_ptr() as c_long, 0]);
        step(SpawnStep::Affinity, set)?;
    }
    if let Some((policy, priority)) = scheduler {
        let parameter = (&raw const *priority) as c_long;
        step(SpawnStep::Scheduler, call(libc::SYS_sched_setscheduler, [0, c_long::from(*policy), parameter, 0]))?;
    }
    if let Some(priority) = io_priority {
        step(SpawnStep::IoPriority, call(libc::SYS_ioprio_set, [ONE_PROCESS, 0, c_long::from(*priority), 0]))?;
    }
    for (resource, soft, hard) in rlimits {
        let limit = libc::rlimit { rlim_cur: *soft, rlim_max: *hard };
        let set = call(libc::SYS_prlimit64, [0, c_long::from(*resource), (&raw const limit) as c_long, 0]);
        step(SpawnStep::Rlimit(*resource as u8), set)?;
    }
    if let Some(score) = oom_score_adj {
        set_oom_score(*score)?;
    }
    Ok(())
}

fn set_oom_score(score: i32) -> Result<(), Failure> {
    let mut text = [0_u8; 12];
    let mut at = text.len();
    let mut rest = score.unsigned_abs();
    loop {
        at -= 1;
        text[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if score < 0 {
        at -= 1;
        text[at] = b'-';
    }
    let fd = call(libc::SYS_openat, [libc::AT_FDCWD.into(), OOM_SCORE_ADJ.as_ptr() as c_long, libc::O_WRONLY.into(), 0]);
    step(SpawnStep::OomScore, fd)?;
    let length = (text.len() - at) as c_long;
    let written = call(libc::SYS_write, [fd, (&raw const text[at]) as c_long, length, 0]);
    let failure = (written < 0).then(|| (SpawnStep::OomScore, last_errno()));
    call(libc::SYS_close, [fd, 0, 0, 0]);
    failure.map_or(Ok(()), Err)
}
