//! `upgrade`.

use std::path::PathBuf;
use std::time::Duration;

use super::Session;
use super::exit::{Ending, Exit, Failure};
use crate::api::client::{Client, ClientError};
use crate::api::dto::{Status, UpgradeRequest};

/// How long the daemon is waited for. It goes back to the old program within about half of it.
const PATIENCE: Duration = Duration::from_secs(90);

/// How often it is asked whether it is back.
const PERIOD: Duration = Duration::from_millis(20);

pub(super) fn upgrade(session: &mut Session, binary: Option<PathBuf>) -> Ending {
    let program = binary.map_or_else(std::env::current_exe, Ok);
    let program = program.and_then(std::fs::canonicalize);
    let program = program.map_err(|error| Failure::new(Exit::Bad, format!("cannot find the program to go over to: {error}")))?;
    let client = session.client()?;
    let before: Status = client.get("/v1/status")?;
    let answer: Result<serde_json::Value, _> = client.block_on(client.post("/v1/upgrade", &UpgradeRequest { program }));
    match answer {
        // The connection ends with the brain.
        Ok(_) | Err(ClientError::Broken(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let after = client.block_on(async { tokio::time::timeout(PATIENCE, successor(&client, before.daemon.pid)).await });
    let after =
        after.map_err(|_| Failure::new(Exit::Failed, format!("the daemon does not answer again within {} s", PATIENCE.as_secs())))?;
    let now = &after.daemon.version;
    match after.daemon.upgrade {
        Some(upgrade) => match upgrade.failed {
            None => {
                let kept = after.units.iter().filter(|unit| before.units.iter().any(|old| old.unit == unit.unit && old.pid == unit.pid));
                let kept = kept.filter(|unit| unit.pid.is_some()).count();
                session.out.line(&format!("upgraded from {} to {now}; {kept} units run on", upgrade.other))?;
                Ok(Exit::Done)
            }
            Some(why) => {
                Err(Failure::new(Exit::Failed, format!("the upgrade to {} failed: {why}", upgrade.other)).help(format!("{now} goes on")))
            }
        },
        None => Err(Failure::new(Exit::Failed, "the brain was replaced, but the launcher has not gone over to the program".to_owned())),
    }
}

/// The daemon, once another brain than `pid` answers.
async fn successor(client: &Client, pid: u32) -> Status {
    loop {
        let status: Result<Status, ClientError> = client.fetch("/v1/status").await;
        match status {
            Ok(status) if status.daemon.pid != pid => return status,
            // It is on its way.
            _ => tokio::time::sleep(PERIOD).await,
        }
    }
}
