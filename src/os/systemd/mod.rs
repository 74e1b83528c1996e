//! What systemd says over D-Bus (org.freedesktop.systemd1(5)).

mod dependencies;
mod place;

use std::time::Duration;

pub use dependencies::{Answer, Dependencies};
pub use place::Place;
use zbus::zvariant::{OwnedObjectPath, Value};
use zbus::{Connection, Proxy};

/// How long systemd may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often it is looked whether it has done what it was told.
const LOOK: Duration = Duration::from_millis(10);

const SERVICE: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "/org/freedesktop/systemd1";

/// Whether systemd runs this machine (`sd_booted(3)`).
#[must_use]
pub fn is_there() -> bool {
    std::path::Path::new("/run/systemd/system").is_dir()
}

/// Puts this process into a scope of its own, in which it may make cgroups with controllers: of the user's systemd, or of the machine's for root
/// (org.freedesktop.systemd1(5), `StartTransientUnit`). What has started it goes on where it is.
///
/// # Errors
/// A sentence that says why that is not to be had.
pub async fn enter_scope() -> Result<String, String> {
    let pid = std::process::id();
    let scope = format!("ms-supervisor-{pid}.scope");
    let before = own_cgroup();
    let entered = async {
        start_scope(&scope, pid).await.map_err(|error| error.to_string())?;
        // The answer comes when the job begins.
        while own_cgroup() == before {
            tokio::time::sleep(LOOK).await;
        }
        Ok::<(), String>(())
    };
    match tokio::time::timeout(PATIENCE, entered).await {
        Ok(Ok(())) => Ok(scope),
        Ok(Err(why)) => Err(format!("systemd does not make a scope: {why}")),
        Err(_) => Err(format!("systemd has not made a scope within {} s", PATIENCE.as_secs())),
    }
}

fn own_cgroup() -> Option<String> {
    super::cgroup::of_process(std::process::id())
}

async fn start_scope(scope: &str, pid: u32) -> zbus::Result<()> {
    let bus = if rustix::process::geteuid().is_root() { Connection::system().await? } else { Connection::session().await? };
    let manager = Proxy::new(&bus, SERVICE, MANAGER, "org.freedesktop.systemd1.Manager").await?;
    let properties = [
        ("PIDs", Value::from(vec![pid])),
        ("Delegate", Value::from(true)),
        ("Description", Value::from("Supervisor of programs (ms-supervisor)")),
        ("CollectMode", Value::from("inactive-or-failed")),
    ];
    let auxiliary: [(&str, Vec<(&str, Value<'_>)>); 0] = [];
    let _job: OwnedObjectPath = manager.call("StartTransientUnit", &(scope, "fail", properties.as_slice(), auxiliary.as_slice())).await?;
    Ok(())
}

/// What systemd has been told to do with a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// To stop it and start it again.
    Restart,
    /// Something else, or nothing.
    Other,
}

/// What systemd is about to do with the service that `pid` belongs to.
///
/// # Errors
/// A sentence that says why it cannot be asked.
pub async fn job_of(pid: u32) -> Result<Job, String> {
    let asked = tokio::time::timeout(PATIENCE, ask_job(pid)).await;
    let asked = asked.map_err(|_| format!("it has not answered within {} s", PATIENCE.as_secs()));
    let kind = asked.and_then(|answer| answer.map_err(|error| error.to_string())).map_err(|why| format!("cannot ask systemd: {why}"))?;
    Ok(if matches!(kind.as_deref(), Some("restart" | "try-restart")) { Job::Restart } else { Job::Other })
}

async fn ask_job(pid: u32) -> zbus::Result<Option<String>> {
    let bus = Connection::system().await?;
    let manager = Proxy::new(&bus, SERVICE, MANAGER, "org.freedesktop.systemd1.Manager").await?;
    let unit: OwnedObjectPath = manager.call("GetUnitByPID", &(pid,)).await?;
    let unit = Proxy::new(&bus, SERVICE, unit, "org.freedesktop.systemd1.Unit").await?;
    let (id, job): (u32, OwnedObjectPath) = unit.get_property("Job").await?;
    if id == 0 {
        return Ok(None);
    }
    let job = Proxy::new(&bus, SERVICE, job, "org.freedesktop.systemd1.Job").await?;
    Ok(Some(job.get_property("JobType").await?))
}
