//! A request by HTTP, and whether its answer is as it should be.

use std::path::Path;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, Uri, header};
use hyper_util::rt::TokioIo;
use regex::Regex;

use super::stream::{Connection, connect};
use crate::base::outcome::Outcome;
use crate::base::text::url_shown;
use crate::plan::{HttpProbe, TlsPlan};

/// How much of a body is looked at, in bytes.
const BODY_MAX: usize = 256 << 10;

/// Asks once.
pub(super) async fn check(probe: &HttpProbe) -> Outcome {
    ask(probe).await.unwrap_or_else(Outcome::failed)
}

async fn ask(probe: &HttpProbe) -> Result<Outcome, String> {
    let connection = send(probe, |answer| look_at(probe, answer)).await?;
    Ok(connection.judge(Outcome::ok("")))
}

/// A page.
pub(super) struct Page {
    /// What it came by.
    pub(super) connection: Connection,
    /// What stands on it.
    pub(super) body: Vec<u8>,
    /// Whether that is all.
    pub(super) is_whole: bool,
}

/// Gets a page, and of it so many bytes at most.
pub(super) async fn page(probe: &HttpProbe, most: usize) -> Result<Page, String> {
    let (mut body, mut is_whole) = (Vec::new(), false);
    let connection = send(probe, async |answer: Response<Incoming>| {
        look_at_head(probe, &answer)?;
        (body, is_whole) = read(&url_shown(&probe.url), answer, most).await?;
        Ok(())
    });
    Ok(Page { connection: connection.await?, body, is_whole })
}

/// Sends the request and has somebody look at the answer.
async fn send<L>(probe: &HttpProbe, look: L) -> Result<Connection, String>
where
    L: AsyncFnOnce(Response<Incoming>) -> Result<(), String>,
{
    // What is said of it is for everybody who sees events.
    let url = &url_shown(&probe.url);
    let uri: Uri = probe.url.parse().map_err(|error| format!("cannot read the URL {url}: {error}"))?;
    let request = request(probe, &uri).map_err(|error| format!("cannot ask {url}: {error}"))?;
    let mut connection = reach(&uri, probe.socket.as_deref(), probe.tls.as_ref()).await?;
    exchange(&mut connection, request, url, look).await?;
    Ok(connection)
}

/// Connects to the server of a URL, or to the socket it has; with TLS if that is said.
pub(in crate::os) async fn reach(uri: &Uri, socket: Option<&Path>, tls: Option<&TlsPlan>) -> Result<Connection, String> {
    let authority = uri.authority().ok_or_else(|| "the URL names no host".to_owned())?;
    let port = authority.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
    let address = match socket {
        Some(path) => path.display().to_string(),
        None => format!("{}:{port}", authority.host()),
    };
    let named = tls.cloned().map(|mut tls| {
        tls.server_name = tls.server_name.or_else(|| Some(authority.host().trim_matches(['[', ']']).to_owned()));
        tls
    });
    connect(&address, named.as_ref(), &[b"http/1.1"]).await
}

/// Sends a request and has somebody look at the answer. The connection is driven only as long as that takes.
pub(in crate::os) async fn exchange<B, L>(connection: &mut Connection, request: Request<B>, url: &str, look: L) -> Result<(), String>
where
    B: Body + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    L: AsyncFnOnce(Response<Incoming>) -> Result<(), String>,
{
    let fail = |error: &dyn std::fmt::Display| format!("cannot get {url}: {error}");
    let (mut sender, driver) = http1::handshake(TokioIo::new(&mut connection.stream)).await.map_err(|error| fail(&error))?;
    tokio::select! {
        biased;
        looked = async {
            let answer = sender.send_request(request).await.map_err(|error| fail(&error))?;
            look(answer).await
        } => looked,
        Err(error) = driver => Err(fail(&error)),
    }
}

fn request(probe: &HttpProbe, uri: &Uri) -> Result<Request<Empty<Bytes>>, hyper::http::Error> {
    let mut request = Request::builder()
        .method(Method::from_bytes(probe.method.as_bytes())?)
        .uri(uri.path_and_query().map_or("/", |path| path.as_str()))
        .header(header::CONNECTION, "close");
    let is_given = |name: header::HeaderName| probe.headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name.as_str()));
    if !is_given(header::HOST) {
        request = request.header(header::HOST, uri.authority().map_or("", |authority| authority.as_str()));
    }
    if !is_given(header::USER_AGENT) {
        request = request.header(header::USER_AGENT, concat!("ms-supervisor/", env!("CARGO_PKG_VERSION")));
    }
    for (name, value) in &probe.headers {
        request = request.header(name, value);
    }
    request.body(Empty::new())
}

async fn look_at(probe: &HttpProbe, answer: Response<Incoming>) -> Result<(), String> {
    look_at_head(probe, &answer)?;
    let Some(pattern) = &probe.expect_body else { return Ok(()) };
    let (pattern, url) = (regex(pattern)?, &url_shown(&probe.url));
    let (text, _) = read(url, answer, BODY_MAX).await?;
    if pattern.is_match(&String::from_utf8_lossy(&text)) { Ok(()) } else { Err(format!("the body of {url} does not match `{pattern}`")) }
}

/// Looks at what comes before the body.
fn look_at_head(probe: &HttpProbe, answer: &Response<Incoming>) -> Result<(), String> {
    let url = &url_shown(&probe.url);
    let status = answer.status().as_u16();
    if !probe.expect_status.iter().any(|(first, last)| (*first..=*last).contains(&status)) {
        return Err(format!("{url} answered with status {status}"));
    }
    for (name, pattern) in &probe.expect_headers {
        let pattern = regex(pattern)?;
        let values: Vec<_> = answer.headers().get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        if values.is_empty() {
            return Err(format!("the answer of {url} has no header `{name}`"));
        }
        if !values.iter().any(|value| pattern.is_match(value)) {
            return Err(format!("the header `{name}: {}` of {url} does not match `{pattern}`", values.join(", ")));
        }
    }
    Ok(())
}

/// So much of a body at most, and whether that is all of it.
async fn read(url: &str, answer: Response<Incoming>, most: usize) -> Result<(Vec<u8>, bool), String> {
    let mut body = Limited::new(answer.into_body(), most);
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => text.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data)),
            // What is beyond is not looked at.
            Err(error) if error.is::<http_body_util::LengthLimitError>() => return Ok((text, false)),
            Err(error) => return Err(format!("the body of {url} cannot be read: {error}")),
        }
    }
    Ok((text, true))
}

/// A pattern that was checked when it was declared.
pub(super) fn regex(pattern: &str) -> Result<Regex, String> {
    Regex::new(pattern).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, UnixListener};

    use super::*;
    use crate::base::outcome::Verdict;

    /// Serves each connection `answer`; returns its URL.
    async fn serve(answer: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/health?deep=1", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer).await;
            }
        });
        url
    }

    fn probe(url: String) -> HttpProbe {
        HttpProbe {
            url,
            socket: None,
            method: "GET".into(),
            headers: Vec::new(),
            expect_status: vec![(200, 399)],
            expect_body: None,
            expect_headers: Vec::new(),
            tls: None,
        }
    }

    #[tokio::test]
    async fn an_answer_counts_by_its_status() {
        for (answer, ok) in [
            (&b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"[..], true),
            (b"HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n", true),
            (b"HTTP/1.0 204 No Content\r\n\r\n", true),
            (b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", false),
            (b"HTTP/1.1 503 Busy\r\ncontent-length: 1000\r\n\r\nsome", false),
            (b"SSH-2.0-Something\r\n", false),
            (b"", false),
        ] {
            let outcome = check(&probe(serve(answer).await)).await;
            assert_eq!(outcome.verdict == Verdict::Ok, ok, "{}: {outcome:?}", String::from_utf8_lossy(answer));
        }
        let one = HttpProbe { expect_status: vec![(404, 404)], ..probe(serve(b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n").await) };
        assert_eq!(check(&one).await.verdict, Verdict::Ok);
        assert!(check(&probe("http://[::1".into())).await.text.starts_with("cannot read the URL"));
    }

    #[tokio::test]
    async fn body_and_headers_are_looked_at() {
        let url = serve(b"HTTP/1.1 200 OK\r\nx-role: leader\r\ncontent-length: 13\r\n\r\n{\"up\": true}\n").await;
        let with = |body: &str, header: &str, value: &str| HttpProbe {
            expect_body: Some(body.into()),
            expect_headers: vec![(header.into(), value.into())],
            ..probe(url.clone())
        };
        assert_eq!(check(&with("\"up\": *true", "X-Role", "^leader$")).await, Outcome::ok(""));
        assert!(check(&with("false", "x-role", ".")).await.text.ends_with("does not match `false`"));
        assert!(check(&with(".", "x-role", "^follower$")).await.text.starts_with("the header `x-role: leader` of "));
        assert!(check(&with(".", "x-other", ".")).await.text.ends_with("has no header `x-other`"));
    }

    #[tokio::test]
    async fn a_socket_is_asked_with_the_headers_that_are_declared() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("http.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 1024];
            let length = stream.read(&mut request).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        let headers = vec![("Host".into(), "inside".into()), ("X-Token".into(), "1".into())];
        let probe = HttpProbe { socket: Some(path), method: "HEAD".into(), headers, ..probe("http://localhost/ready".into()) };
        assert_eq!(check(&probe).await, Outcome::ok(""));
        let asked = asked.await.unwrap().to_ascii_lowercase();
        assert!(
            asked.starts_with("head /ready http/1.1\r\n") && asked.contains("host: inside\r\n") && asked.contains("x-token: 1\r\n"),
            "{asked}"
        );
    }
}
