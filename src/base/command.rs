//! The words of who may tell whom what: commands of the control socket, and notifications.

use crate::base::choice::choices;

choices! {
    /// What can be commanded by the control socket. Reading is none of it.
    Command {
        /// Start units and supervisors.
        Start = "start",
        /// Stop them.
        Stop = "stop",
        /// Start them again.
        Restart = "restart",
        /// Let them stand still.
        Pause = "pause",
        /// Let them go on.
        Resume = "resume",
        /// Send their processes signals.
        Signal = "signal",
        /// Give signs of life for others than itself.
        Heartbeat = "heartbeat",
        /// Rotate their logs.
        Rotate = "rotate",
        /// Apply the declarations anew.
        Reload = "reload",
        /// Set values beside the files, and take them back. Whoever may can run anything as the daemon's user.
        Set = "set",
        /// Go over to another program. Whoever may can run anything as the daemon's user.
        Upgrade = "upgrade",
        /// All of these, and those of later versions; it also reads what is hidden from others.
        All = "all",
    }
}

choices! {
    /// Whose notifications (sd_notify(3)) count, as systemd's `NotifyAccess=`.
    NotifyAccess = All {
        /// Nobody's.
        None = "none",
        /// Those of the main process.
        Main = "main",
        /// Those of the main process, and of the one that was started if another has taken its place.
        Exec = "exec",
        /// Those of every process of the unit.
        All = "all",
    }
}
