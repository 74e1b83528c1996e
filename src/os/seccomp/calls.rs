//! Which system call is in which group, after the sets of systemd's `SystemCallFilter=`.
//!
//! `#[cfg]` marks those that only x86-64 has. What is in no group is obsolete, and known to no filter.
#![cfg_attr(rustfmt, rustfmt_skip)]

use libc::*;

use crate::plan::CallGroup;

/// What every program needs to begin, to use what it has open, to wait, to read files and to end.
pub(super) const ALWAYS: &[i64] = &[
    SYS_read, SYS_write, SYS_close, SYS_brk, SYS_mmap, SYS_munmap, SYS_mprotect, SYS_mremap, SYS_madvise, SYS_exit, SYS_exit_group,
    SYS_execve, SYS_restart_syscall, SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_rt_sigpending, SYS_rt_sigsuspend,
    SYS_rt_sigtimedwait, SYS_sigaltstack, SYS_futex, SYS_futex_waitv, SYS_get_robust_list, SYS_set_robust_list, SYS_set_tid_address,
    SYS_rseq, SYS_membarrier, SYS_gettid, SYS_getpid, SYS_getppid, SYS_getuid, SYS_geteuid, SYS_getgid, SYS_getegid, SYS_getresuid,
    SYS_getresgid, SYS_getgroups, SYS_getpgid, SYS_getsid, SYS_clock_gettime, SYS_clock_getres, SYS_clock_nanosleep, SYS_nanosleep,
    SYS_gettimeofday, SYS_times, SYS_getrandom, SYS_uname, SYS_sysinfo, SYS_getcpu, SYS_sched_yield, SYS_prctl, SYS_getrusage,
    SYS_prlimit64, SYS_fstat, SYS_lseek, SYS_pread64, SYS_pwrite64, SYS_readv, SYS_writev, SYS_preadv, SYS_pwritev, SYS_preadv2,
    SYS_pwritev2, SYS_dup, SYS_dup3, SYS_fcntl, SYS_ioctl, SYS_pipe2, SYS_ppoll, SYS_pselect6, SYS_epoll_create1, SYS_epoll_ctl,
    SYS_epoll_pwait, SYS_epoll_pwait2, SYS_eventfd2, SYS_signalfd4, SYS_timerfd_create, SYS_timerfd_gettime, SYS_timerfd_settime,
    SYS_timer_create, SYS_timer_delete, SYS_timer_getoverrun, SYS_timer_gettime, SYS_timer_settime, SYS_getitimer, SYS_setitimer,
    SYS_faccessat, SYS_faccessat2, SYS_openat, SYS_openat2, SYS_newfstatat, SYS_statx, SYS_readlinkat, SYS_getcwd, SYS_getdents64,
    SYS_msync, SYS_mincore, SYS_mlock2, SYS_munlock, SYS_pkey_alloc, SYS_pkey_free, SYS_pkey_mprotect, SYS_mseal, SYS_close_range,
    SYS_memfd_create, SYS_capget, SYS_fadvise64, SYS_readahead, SYS_chdir, SYS_fchdir, SYS_fstatfs, SYS_getpriority,
    SYS_sched_get_priority_max, SYS_sched_get_priority_min, SYS_sched_getaffinity, SYS_sched_getattr, SYS_sched_getparam,
    SYS_sched_getscheduler, SYS_setpgid, SYS_setsid, SYS_statfs, SYS_tgkill, SYS_umask,
    #[cfg(target_arch = "x86_64")]
    SYS_getpgrp,
    #[cfg(target_arch = "x86_64")]
    SYS_time,
    #[cfg(target_arch = "x86_64")]
    SYS_arch_prctl,
    #[cfg(target_arch = "x86_64")]
    SYS_getrlimit,
    #[cfg(target_arch = "x86_64")]
    SYS_dup2,
    #[cfg(target_arch = "x86_64")]
    SYS_pipe,
    #[cfg(target_arch = "x86_64")]
    SYS_poll,
    #[cfg(target_arch = "x86_64")]
    SYS_select,
    #[cfg(target_arch = "x86_64")]
    SYS_epoll_create,
    #[cfg(target_arch = "x86_64")]
    SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")]
    SYS_eventfd,
    #[cfg(target_arch = "x86_64")]
    SYS_signalfd,
    #[cfg(target_arch = "x86_64")]
    SYS_alarm,
    #[cfg(target_arch = "x86_64")]
    SYS_pause,
    #[cfg(target_arch = "x86_64")]
    SYS_access,
    #[cfg(target_arch = "x86_64")]
    SYS_open,
    #[cfg(target_arch = "x86_64")]
    SYS_stat,
    #[cfg(target_arch = "x86_64")]
    SYS_lstat,
    #[cfg(target_arch = "x86_64")]
    SYS_readlink,
    #[cfg(target_arch = "x86_64")]
    SYS_getdents,
    #[cfg(target_arch = "x86_64")]
    SYS_sync_file_range,
];

const FILE_SYSTEM: &[i64] = &[
    SYS_fchmod, SYS_fchmodat, SYS_mkdirat, SYS_mknodat, SYS_linkat, SYS_symlinkat, SYS_renameat2, SYS_unlinkat, SYS_truncate,
    SYS_ftruncate, SYS_fallocate, SYS_flock, SYS_fsync, SYS_fdatasync, SYS_sync, SYS_syncfs, SYS_utimensat, SYS_inotify_init1,
    SYS_inotify_add_watch, SYS_inotify_rm_watch, SYS_fgetxattr, SYS_fsetxattr, SYS_flistxattr, SYS_fremovexattr, SYS_getxattr,
    SYS_setxattr, SYS_listxattr, SYS_removexattr, SYS_lgetxattr, SYS_lsetxattr, SYS_llistxattr, SYS_lremovexattr, SYS_copy_file_range,
    SYS_sendfile, SYS_splice, SYS_tee, SYS_vmsplice, SYS_name_to_handle_at,
    #[cfg(target_arch = "x86_64")]
    SYS_chmod,
    #[cfg(target_arch = "x86_64")]
    SYS_fchmodat2,
    #[cfg(target_arch = "x86_64")]
    SYS_creat,
    #[cfg(target_arch = "x86_64")]
    SYS_mkdir,
    #[cfg(target_arch = "x86_64")]
    SYS_mknod,
    #[cfg(target_arch = "x86_64")]
    SYS_link,
    #[cfg(target_arch = "x86_64")]
    SYS_symlink,
    #[cfg(target_arch = "x86_64")]
    SYS_rename,
    #[cfg(target_arch = "x86_64")]
    SYS_renameat,
    #[cfg(target_arch = "x86_64")]
    SYS_rmdir,
    #[cfg(target_arch = "x86_64")]
    SYS_unlink,
    #[cfg(target_arch = "x86_64")]
    SYS_utime,
    #[cfg(target_arch = "x86_64")]
    SYS_utimes,
    #[cfg(target_arch = "x86_64")]
    SYS_futimesat,
    #[cfg(target_arch = "x86_64")]
    SYS_inotify_init,
];

const NETWORK_IO: &[i64] = &[
    SYS_socket, SYS_socketpair, SYS_bind, SYS_listen, SYS_accept, SYS_accept4, SYS_connect, SYS_shutdown, SYS_getsockname,
    SYS_getpeername, SYS_getsockopt, SYS_setsockopt, SYS_sendto, SYS_recvfrom, SYS_sendmsg, SYS_recvmsg, SYS_sendmmsg, SYS_recvmmsg,
];

const PROCESS: &[i64] = &[
    SYS_clone, SYS_clone3, SYS_execveat, SYS_wait4, SYS_waitid, SYS_kill, SYS_tkill, SYS_rt_sigqueueinfo, SYS_rt_tgsigqueueinfo,
    SYS_pidfd_open, SYS_pidfd_send_signal, SYS_process_mrelease, SYS_process_madvise,
    #[cfg(target_arch = "x86_64")]
    SYS_fork,
    #[cfg(target_arch = "x86_64")]
    SYS_vfork,
];

const IPC: &[i64] = &[
    SYS_msgctl, SYS_msgget, SYS_msgrcv, SYS_msgsnd, SYS_semctl, SYS_semget, SYS_semop, SYS_semtimedop, SYS_shmat, SYS_shmctl, SYS_shmdt,
    SYS_shmget, SYS_mq_open, SYS_mq_unlink, SYS_mq_getsetattr, SYS_mq_notify, SYS_mq_timedreceive, SYS_mq_timedsend,
];

const SETUID: &[i64] = &[
    SYS_setuid, SYS_setgid, SYS_setreuid, SYS_setregid, SYS_setresuid, SYS_setresgid, SYS_setfsuid, SYS_setfsgid, SYS_setgroups,
    SYS_capset,
];

const CHOWN: &[i64] = &[
    SYS_fchown, SYS_fchownat,
    #[cfg(target_arch = "x86_64")]
    SYS_chown,
    #[cfg(target_arch = "x86_64")]
    SYS_lchown,
];

const RESOURCES: &[i64] = &[
    SYS_setpriority, SYS_ioprio_get, SYS_ioprio_set, SYS_sched_setaffinity, SYS_sched_setattr, SYS_sched_setparam,
    SYS_sched_setscheduler, SYS_sched_rr_get_interval, SYS_mbind, SYS_migrate_pages, SYS_move_pages, SYS_set_mempolicy,
    SYS_get_mempolicy, SYS_set_mempolicy_home_node,
    #[cfg(target_arch = "x86_64")]
    SYS_setrlimit,
];

const AIO: &[i64] = &[
    SYS_io_setup, SYS_io_destroy, SYS_io_submit, SYS_io_cancel, SYS_io_getevents,
];

const IO_URING: &[i64] = &[
    SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register,
];

const MEMLOCK: &[i64] = &[
    SYS_mlock, SYS_mlockall, SYS_munlockall, SYS_memfd_secret,
];

const SANDBOX: &[i64] = &[
    SYS_landlock_create_ruleset, SYS_landlock_add_rule, SYS_landlock_restrict_self, SYS_seccomp,
];

const KEYRING: &[i64] = &[
    SYS_add_key, SYS_keyctl, SYS_request_key,
];

const NAMESPACES: &[i64] = &[
    SYS_unshare, SYS_setns,
];

const DEBUG: &[i64] = &[
    SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev, SYS_kcmp, SYS_pidfd_getfd,
];

const BPF: &[i64] = &[
    SYS_bpf, SYS_perf_event_open,
];

const MOUNT: &[i64] = &[
    SYS_mount, SYS_umount2, SYS_pivot_root, SYS_chroot, SYS_fsopen, SYS_fsconfig, SYS_fsmount, SYS_fspick, SYS_open_tree, SYS_move_mount,
    SYS_mount_setattr,
];

const CLOCK: &[i64] = &[
    SYS_adjtimex, SYS_clock_adjtime, SYS_clock_settime, SYS_settimeofday,
];

const MODULE: &[i64] = &[
    SYS_init_module, SYS_finit_module, SYS_delete_module,
];

const REBOOT: &[i64] = &[
    SYS_reboot, SYS_kexec_load, SYS_kexec_file_load,
];

const SWAP: &[i64] = &[
    SYS_swapon, SYS_swapoff,
];

const RAW_IO: &[i64] = &[
    #[cfg(target_arch = "x86_64")]
    SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    SYS_iopl,
];

const PRIVILEGED: &[i64] = &[
    SYS_acct, SYS_quotactl, SYS_quotactl_fd, SYS_sethostname, SYS_setdomainname, SYS_open_by_handle_at, SYS_fanotify_init,
    SYS_fanotify_mark, SYS_vhangup, SYS_syslog, SYS_userfaultfd, SYS_personality, SYS_lookup_dcookie, SYS_remap_file_pages,
    #[cfg(target_arch = "x86_64")]
    SYS_modify_ldt,
];

/// The calls of a group.
pub(super) const fn of(group: CallGroup) -> &'static [i64] {
    match group {
        CallGroup::FileSystem => FILE_SYSTEM,
        CallGroup::NetworkIo => NETWORK_IO,
        CallGroup::Process => PROCESS,
        CallGroup::Ipc => IPC,
        CallGroup::Setuid => SETUID,
        CallGroup::Chown => CHOWN,
        CallGroup::Resources => RESOURCES,
        CallGroup::Aio => AIO,
        CallGroup::IoUring => IO_URING,
        CallGroup::Memlock => MEMLOCK,
        CallGroup::Sandbox => SANDBOX,
        CallGroup::Keyring => KEYRING,
        CallGroup::Namespaces => NAMESPACES,
        CallGroup::Debug => DEBUG,
        CallGroup::Bpf => BPF,
        CallGroup::Mount => MOUNT,
        CallGroup::Clock => CLOCK,
        CallGroup::Module => MODULE,
        CallGroup::Reboot => REBOOT,
        CallGroup::Swap => SWAP,
        CallGroup::RawIo => RAW_IO,
        CallGroup::Privileged => PRIVILEGED,
    }
}
