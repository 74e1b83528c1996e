//! A connection, and what comes back on it.

use regex::bytes::Regex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::stream::connect;
use crate::base::outcome::Outcome;
use crate::plan::TcpProbe;

/// How much of what comes back is looked at, in bytes.
const ANSWER_MAX: usize = 64 << 10;

/// Connects once.
pub(super) async fn check(probe: &TcpProbe) -> Outcome {
    talk(probe).await.unwrap_or_else(Outcome::failed)
}

async fn talk(probe: &TcpProbe) -> Result<Outcome, String> {
    let address = &probe.address;
    let mut connection = connect(address, probe.tls.as_ref(), &[]).await?;
    let fail = |error: std::io::Error| format!("{address}: {error}");
    if let Some(send) = &probe.send {
        connection.stream.write_all(send.as_bytes()).await.map_err(fail)?;
        connection.stream.flush().await.map_err(fail)?;
    }
    if let Some(expect) = &probe.expect {
        let pattern = Regex::new(expect).map_err(|error| error.to_string())?;
        let mut answer = Vec::new();
        while !pattern.is_match(&answer) {
            let read = connection.stream.read_buf(&mut answer).await.map_err(fail)?;
            if read == 0 || answer.len() >= ANSWER_MAX {
                return Err(format!("{address} answered {}, which does not match `{expect}`", shown(&answer)));
            }
        }
    }
    Ok(connection.judge(Outcome::ok("")))
}

/// The beginning of an answer, for a person.
fn shown(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(&answer[..answer.len().min(60)]);
    if text.is_empty() { "nothing".into() } else { format!("{text:?}") }
}
