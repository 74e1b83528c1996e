//! The words of isolation and secrets: what a unit may be kept from, and what is kept for it, in systemd's terms.

use crate::base::choice::choices;

choices! {
    /// How much of the system a unit cannot write to.
    ProtectSystem = Usr {
        /// `/usr`, `/boot` and `/efi`; so does `true`.
        Usr = "usr",
        /// `/etc` as well.
        Full = "full",
        /// Everything but `/dev`, `/proc` and `/sys`; `read_write_paths` and `private_tmp` make exceptions.
        Strict = "strict",
    }
}

choices! {
    /// What a unit sees of people's directories: `/home`, `/root` and `/run/user`.
    ProtectHome = Inaccessible {
        /// Nothing; so does `true`.
        Inaccessible = "inaccessible",
        /// Everything, and it can change nothing.
        ReadOnly = "read_only",
    }
}

choices! {
    /// The session keyring of a unit.
    KeyringMode = Inherit {
        /// The daemon's.
        Inherit = "inherit",
        /// One of its own, empty.
        Private = "private",
    }
}

choices! {
    /// A set of system calls that most units need.
    FilterProfile = Default {
        /// What an ordinary service needs: as systemd's `@system-service`, without new namespaces.
        Default = "default",
        /// Files, network, processes and threads; it changes neither users, owners nor priorities.
        Strict = "strict",
        /// What every program needs to run at all, without files of its own, network and processes.
        None = "none",
    }
}

choices! {
    /// What becomes of a system call that a unit may not make.
    FilterAction = Errno {
        /// It fails with EPERM.
        Errno = "errno",
        /// The process is killed with SIGSYS.
        Kill = "kill",
    }
}

choices! {
    /// A group of system calls. What every program needs is always allowed.
    CallGroup {
        /// Files: open, read, write, rename, remove.
        FileSystem = "file_system",
        /// Sockets.
        NetworkIo = "network_io",
        /// Processes and threads: clone, execve, kill, wait.
        Process = "process",
        /// System V and POSIX queues, semaphores and shared memory.
        Ipc = "ipc",
        /// Becoming other users and groups.
        Setuid = "setuid",
        /// Giving files to other users.
        Chown = "chown",
        /// Priorities, affinity, limits.
        Resources = "resources",
        /// Asynchronous input and output (io_setup).
        Aio = "aio",
        /// io_uring.
        IoUring = "io_uring",
        /// Keeping memory from being swapped.
        Memlock = "memlock",
        /// Landlock and seccomp of its own.
        Sandbox = "sandbox",
        /// Keyrings.
        Keyring = "keyring",
        /// New namespaces (also by clone), entering others.
        Namespaces = "namespaces",
        /// ptrace and reading others' memory.
        Debug = "debug",
        /// BPF and performance events.
        Bpf = "bpf",
        /// Mounts and chroot.
        Mount = "mount",
        /// Setting clocks.
        Clock = "clock",
        /// Kernel modules.
        Module = "module",
        /// Reboot and kexec.
        Reboot = "reboot",
        /// Swap areas.
        Swap = "swap",
        /// Ports and memory of devices.
        RawIo = "raw_io",
        /// Accounting, quotas, host names, handles of files and the like.
        Privileged = "privileged",
    }
}

impl FilterProfile {
    /// What it allows.
    #[must_use]
    pub const fn groups(self) -> &'static [CallGroup] {
        use CallGroup as G;
        match self {
            Self::Default => &[
                G::FileSystem,
                G::NetworkIo,
                G::Process,
                G::Ipc,
                G::Setuid,
                G::Chown,
                G::Resources,
                G::Aio,
                G::IoUring,
                G::Memlock,
                G::Sandbox,
                G::Keyring,
            ],
            Self::Strict => &[G::FileSystem, G::NetworkIo, G::Process],
            Self::None => &[],
        }
    }
}

choices! {
    /// How a unit gets a secret.
    SecretHandover = File {
        /// As a file of its name in `$CREDENTIALS_DIRECTORY`, which only the unit's user can read.
        File = "file",
        /// As the variable of its name, without a newline at its end.
        Environment = "environment",
    }
}
