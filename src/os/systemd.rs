//! What systemd says over D-Bus (org.freedesktop.systemd1(5)).

use std::time::Duration;

use zbus::zvariant::OwnedObjectPath;
use zbus::{Connection, Proxy};

/// How long systemd may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

const SERVICE: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "/org/freedesktop/systemd1";

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
