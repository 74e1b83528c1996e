//! The other end of the control socket, for programs that run and end.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::dto::ApiError;
use crate::base::text::{make_visible, visible};

/// The longest answer that is taken in one piece, in bytes.
pub const ANSWER_MAX: usize = 256 << 20;

/// The longest line of a stream, in bytes.
const LINE_MAX: usize = 4 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no daemon answers on {}", .0.display())]
    NoDaemon(PathBuf),
    /// The socket's mode keeps this user out.
    #[error("no permission to talk to the daemon on {}", .0.display())]
    NotPermitted(PathBuf),
    /// The daemon refuses.
    #[error("{}", error.message)]
    Refused {
        /// The status.
        status: StatusCode,
        /// Why.
        error: Box<ApiError>,
    },
    /// The connection broke, or what came is no answer.
    #[error("the daemon's answer broke off: {0}")]
    Broken(String),
}

/// Speaks to a daemon, one connection for each request.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
    runtime: tokio::runtime::Runtime,
    /// Answers are for people: what a terminal would do something else with than show it is replaced.
    for_people: bool,
}

/// An answer that comes piece by piece, as lines.
#[derive(Debug)]
pub struct Lines {
    body: Incoming,
    buffer: Vec<u8>,
    for_people: bool,
    /// Where in the buffer the next line begins.
    start: usize,
}

impl Client {
    /// A client of the daemon behind `socket`. Nothing is asked yet.
    ///
    /// # Errors
    /// There is no runtime.
    pub fn new(socket: &Path) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { socket: socket.to_owned(), runtime, for_people: false })
    }

    /// The same for people: no text of an answer holds what a terminal would do something else with than show it.
    #[must_use]
    pub fn for_people(self) -> Self {
        Self { for_people: true, ..self }
    }

    /// Runs `work` to its end.
    pub fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Reads something; waits for it.
    ///
    /// # Errors
    /// There is no daemon, or it refuses.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.block_on(self.fetch(path))
    }

    /// Reads something.
    ///
    /// # Errors
    /// There is no daemon, or it refuses.
    pub async fn fetch<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.whole(self.request(Method::GET, path, Vec::new()).await?).await
    }

    /// Asks for something to be done.
    ///
    /// # Errors
    /// There is no daemon, or it refuses.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(broken)?;
        self.whole(self.request(Method::POST, path, body).await?).await
    }

    /// Opens a stream.
    ///
    /// # Errors
    /// There is no daemon, or it refuses.
    pub async fn lines(&self, path: &str) -> Result<Lines, ClientError> {
        Ok(Lines {
            body: self.request(Method::GET, path, Vec::new()).await?.into_body(),
            buffer: Vec::new(),
            for_people: self.for_people,
            start: 0,
        })
    }

    async fn whole<T: DeserializeOwned>(&self, response: Response<Incoming>) -> Result<T, ClientError> {
        let bytes = collect(response.into_body()).await?;
        if !self.for_people {
            return serde_json::from_slice(&bytes).map_err(broken);
        }
        let mut value = serde_json::from_slice(&bytes).map_err(broken)?;
        make_visible(&mut value);
        serde_json::from_value(value).map_err(broken)
    }

    async fn request(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Response<Incoming>, ClientError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => ClientError::NotPermitted(self.socket.clone()),
            _ => ClientError::NoDaemon(self.socket.clone()),
        })?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // It ends with the answer; what goes wrong with it is told by the answer.
        tokio::spawn(connection);
        let request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
        let request = request.header(header::CONTENT_TYPE, "application/json").body(Full::new(Bytes::from(body))).map_err(broken)?;
        let response = sender.send_request(request).await.map_err(broken)?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let bytes = collect(response.into_body()).await?;
        let mut error = serde_json::from_slice(&bytes).unwrap_or_else(|_| ApiError {
            code: "unknown".into(),
            message: format!("{status}: {}", String::from_utf8_lossy(&bytes)),
            help: None,
            diagnostics: None,
        });
        error.message = visible(&error.message).into_owned();
        Err(ClientError::Refused { status, error: Box::new(error) })
    }
}

impl Lines {
    /// Whether the next line has come already.
    #[must_use]
    pub fn has_line(&self) -> bool {
        self.buffer[self.start..].contains(&b'\n')
    }

    /// The next line; `None` at the end.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn next(&mut self) -> Result<Option<String>, ClientError> {
        loop {
            let rest = &self.buffer[self.start..];
            if let Some(length) = rest.iter().position(|&byte| byte == b'\n') {
                let mut line = String::from_utf8_lossy(&rest[..length]).into_owned();
                self.start += length + 1;
                if self.for_people {
                    let mut value = serde_json::from_str(&line).map_err(broken)?;
                    make_visible(&mut value);
                    line = value.to_string();
                }
                return Ok(Some(line));
            }
            if rest.len() > LINE_MAX {
                return Err(ClientError::Broken("a line of it is too long".into()));
            }
            self.buffer.drain(..self.start);
            self.start = 0;
            match self.body.frame().await {
                Some(frame) => {
                    if let Ok(data) = frame.map_err(broken)?.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                None => return Ok(None),
            }
        }
    }
}

/// A name as part of a path or query.
#[must_use]
pub fn escape(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~@".contains(&byte);
    name.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

fn broken(error: impl std::fmt::Display) -> ClientError {
    ClientError::Broken(error.to_string())
}

async fn collect(body: Incoming) -> Result<Bytes, ClientError> {
    let limited = http_body_util::Limited::new(body, ANSWER_MAX);
    limited.collect().await.map(http_body_util::Collected::to_bytes).map_err(broken)
}
