//! Finding out whether a unit is ready. Each `wait_for_…` returns once it is; the caller limits the time.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use regex::Regex;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::net::unix::pipe;
use tokio::time::{sleep, timeout};

use super::check;
use super::foreign::reach;
use super::logfile::{LogError, LogReader};

/// The pause between two attempts to connect.
pub const ATTEMPT_EVERY: Duration = Duration::from_millis(100);

/// The pause between two looks at a log.
pub const LOOK_EVERY: Duration = Duration::from_millis(25);

/// One attempt to connect to `address` (`host:port`).
///
/// # Errors
/// Why it failed.
pub async fn tcp(address: &str, within: Duration) -> Result<(), String> {
    connect(address, within).await.map(drop)
}

/// Tries [`tcp`] until it succeeds.
pub async fn wait_for_tcp(address: &str, within: Duration) {
    while tcp(address, within).await.is_err() {
        sleep(ATTEMPT_EVERY).await;
    }
}

/// Gets `url` until it succeeds.
pub async fn wait_for_http(url: &str, within: Duration) {
    while check::get(url, within).await.is_err() {
        sleep(ATTEMPT_EVERY).await;
    }
}

/// Waits for a line that matches `pattern` in the log of `unit` in `dir`, from the stream offset `from` on.
///
/// # Errors
/// When the log cannot be read.
pub async fn wait_for_log(dir: &Path, unit: &str, from: u64, pattern: Regex) -> Result<(), LogError> {
    let mut follow = LogReader::open(dir, unit).follow(from);
    loop {
        while follow.grown() {
            // Reading may wait for the disk; the look above does not.
            let pattern = pattern.clone();
            let read = tokio::task::spawn_blocking(move || {
                let found = follow.poll().map(|lines| lines.iter().any(|line| pattern.is_match(&line.text)));
                (follow, found)
            });
            let Ok((back, found)) = read.await else {
                // Only when the runtime is shutting down.
                return std::future::pending().await;
            };
            follow = back;
            if found? {
                return Ok(());
            }
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Waits for a newline on the read end of a pipe (s6's convention); what comes before it is ignored.
///
/// # Errors
/// When the pipe is closed before, or cannot be read.
pub async fn wait_for_newline(pipe: OwnedFd) -> io::Result<()> {
    let mut receiver = pipe::Receiver::from_owned_fd(pipe)?;
    let mut buffer = [0; 256];
    loop {
        match receiver.read(&mut buffer).await? {
            0 => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the readiness descriptor was closed without a newline")),
            length if buffer[..length].contains(&b'\n') => return Ok(()),
            _ => {}
        }
    }
}

async fn connect(address: &str, within: Duration) -> Result<TcpStream, String> {
    match timeout(within, reach::tcp(address)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(format!("cannot connect to {address}: {error}")),
        Err(_) => Err(format!("cannot connect to {address}: no answer within {within:?}")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;
    use crate::os::logfile::live_path;

    const SHORT: Duration = Duration::from_secs(5);

    /// Serves each connection `answer`; returns its address.
    async fn serve(answer: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer).await;
            }
        });
        address
    }

    /// An address nobody listens on.
    async fn nobody() -> String {
        TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string()
    }

    #[tokio::test]
    async fn a_listener_is_ready() {
        let address = serve(b"").await;
        assert_eq!(tcp(&address, SHORT).await, Ok(()));
        let refused = tcp(&nobody().await, SHORT).await.unwrap_err();
        assert!(refused.starts_with("cannot connect to 127.0.0.1:"), "{refused}");
        timeout(SHORT, wait_for_tcp(&address, SHORT)).await.unwrap();
    }

    #[tokio::test]
    async fn a_line_of_the_log_is_found_when_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let mut live = std::fs::File::create(live_path(dir.path(), "a")).unwrap();
        live.write_all(b"listening on port 1\n").unwrap();
        let path = dir.path().to_owned();
        let waiting = tokio::spawn(async move { wait_for_log(&path, "a", 20, Regex::new(r"^listening on port \d+$").unwrap()).await });
        live.write_all(b"starting\nlistening on ").unwrap();
        assert!(
            timeout(LOOK_EVERY * 4, async {
                while !waiting.is_finished() {
                    sleep(LOOK_EVERY).await
                }
            })
            .await
            .is_err(),
            "not yet"
        );
        live.write_all(b"port 8080\n").unwrap();
        timeout(SHORT, waiting).await.unwrap().unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_newline_makes_ready_and_nothing_else_does() {
        let (read, mut write) = std::io::pipe().unwrap();
        write.write_all(b"almost").unwrap();
        write.write_all(b"\n").unwrap();
        timeout(SHORT, wait_for_newline(read.into())).await.unwrap().unwrap();
        let (read, mut write) = std::io::pipe().unwrap();
        write.write_all(b"almost").unwrap();
        drop(write);
        let error = timeout(SHORT, wait_for_newline(read.into())).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
