//! Servers that are spoken to line by line: Redis (RESP) and NATS.

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};

use super::database::password;
use super::stream::{Stream, connect};
use crate::base::outcome::Outcome;
use crate::plan::DatabaseProbe;

/// The longest line, in bytes. NATS' greeting names every server of a cluster.
const LINE_MAX: u64 = 64 << 10;

/// Asks a Redis server.
pub(super) async fn redis(probe: &DatabaseProbe) -> Outcome {
    let answer = async {
        let mut talk = Talk::begin(&probe.address).await?;
        if let Some(password) = password(probe).await? {
            let words: Vec<&str> = ["AUTH"].into_iter().chain(probe.user.as_deref()).chain([password.as_str()]).collect();
            talk.expect(&command(&words), "+OK").await?;
        }
        if let Some(database) = &probe.database {
            talk.expect(&command(&["SELECT", database]), "+OK").await?;
        }
        talk.expect(&command(&["PING"]), "+PONG").await
    };
    answer.await.map_or_else(Outcome::failed, |()| Outcome::ok(""))
}

/// A command as RESP writes it: the number of words, and each with its length.
fn command(words: &[&str]) -> String {
    let strings: String = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
    format!("*{}\r\n{strings}", words.len())
}

/// Asks a NATS server.
pub(super) async fn nats(probe: &DatabaseProbe) -> Outcome {
    let answer = async {
        let mut talk = Talk::begin(&probe.address).await?;
        let greeting = talk.line().await?;
        if !greeting.starts_with("INFO ") {
            return Err(format!("{} does not greet as NATS does: {greeting:?}", probe.address));
        }
        let mut connect =
            json!({"verbose": false, "pedantic": false, "name": "ms-supervisor", "lang": "rust", "version": env!("CARGO_PKG_VERSION")});
        if let Some(password) = password(probe).await? {
            match &probe.user {
                Some(user) => (connect["user"], connect["pass"]) = (json!(user), json!(*password)),
                None => connect["auth_token"] = json!(*password),
            }
        }
        talk.expect(&format!("CONNECT {connect}\r\nPING\r\n"), "PONG").await
    };
    answer.await.map_or_else(Outcome::failed, |()| Outcome::ok(""))
}

struct Talk<'a> {
    address: &'a str,
    stream: BufStream<Box<dyn Stream>>,
}

impl<'a> Talk<'a> {
    async fn begin(address: &'a str) -> Result<Self, String> {
        Ok(Self { address, stream: BufStream::new(connect(address, None, &[]).await?.stream) })
    }

    /// Says something, and hears this line in answer.
    async fn expect(&mut self, say: &str, answer: &str) -> Result<(), String> {
        let fail = |error: std::io::Error| format!("{}: {error}", self.address);
        self.stream.write_all(say.as_bytes()).await.map_err(fail)?;
        self.stream.flush().await.map_err(fail)?;
        let line = self.line().await?;
        if line == answer { Ok(()) } else { Err(format!("{}: {}", self.address, line.trim_start_matches(['-', '+']))) }
    }

    async fn line(&mut self) -> Result<String, String> {
        let mut line = Vec::new();
        let read = (&mut self.stream).take(LINE_MAX).read_until(b'\n', &mut line).await;
        match read {
            Ok(_) if line.ends_with(b"\n") => Ok(String::from_utf8_lossy(&line).trim_end().to_owned()),
            Ok(_) => Err(format!("{}: the connection was closed", self.address)),
            Err(error) => Err(format!("{}: {error}", self.address)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_arrays_of_strings() {
        assert_eq!(command(&["AUTH", "me", "a b"]), "*3\r\n$4\r\nAUTH\r\n$2\r\nme\r\n$3\r\na b\r\n");
        assert_eq!(command(&["PING"]), "*1\r\n$4\r\nPING\r\n");
    }
}
