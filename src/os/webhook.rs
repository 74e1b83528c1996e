//! What has happened, sent to somebody by HTTP.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Request, Uri, header};

use super::check::http::{exchange, reach};
use crate::base::text::url_host;
use crate::plan::TlsPlan;

/// How long a server's certificate should be valid is no matter of whoever sends something.
const VALID_FOR: std::time::Duration = std::time::Duration::ZERO;

/// Sends `body`, which is JSON, to `url` (POST). It has arrived if the answer's status is 2xx. Takes as long as it takes.
///
/// # Errors
/// Why it has not arrived.
pub async fn post(url: &str, body: Vec<u8>) -> Result<(), String> {
    let (uri, shown) = (parse(url)?, &url_host(url));
    let request = Request::post(uri.path_and_query().map_or("/", |path| path.as_str()))
        .header(header::HOST, uri.authority().map_or("", |authority| authority.as_str()))
        .header(header::CONNECTION, "close")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, concat!("ms-supervisor/", env!("CARGO_PKG_VERSION")))
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| format!("cannot send to {shown}: {error}"))?;
    let mut connection = reach(&uri, None, tls(&uri).as_ref()).await?;
    exchange(&mut connection, request, shown, async |answer| {
        let status = answer.status();
        if status.is_success() { Ok(()) } else { Err(format!("{shown} answered with status {}", status.as_u16())) }
    })
    .await
}

/// Whether the server of `url` can be reached.
///
/// # Errors
/// Why not.
pub async fn can_reach(url: &str) -> Result<(), String> {
    let uri = parse(url)?;
    reach(&uri, None, tls(&uri).as_ref()).await.map(drop)
}

fn parse(url: &str) -> Result<Uri, String> {
    url.parse().map_err(|error| format!("cannot read the URL {}: {error}", url_host(url)))
}

fn tls(uri: &Uri) -> Option<TlsPlan> {
    let is_wanted = uri.scheme_str() == Some("https");
    is_wanted.then_some(TlsPlan { ca_file: None, server_name: None, verify: true, valid_for: VALID_FOR })
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn what_is_sent_arrives_or_it_is_said_why_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?from=us", listener.local_addr().unwrap());
        let answers = ["HTTP/1.1 204 Fine\r\n\r\n", "HTTP/1.1 302 Elsewhere\r\ncontent-length: 0\r\n\r\n", ""];
        let heard = tokio::spawn(async move {
            let mut heard = String::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = vec![0; 4096];
                while !heard.ends_with("{\"unit\":\"a\"}") || request[0] == 0 {
                    let length = stream.read(&mut request).await.unwrap();
                    heard.push_str(&String::from_utf8_lossy(&request[..length]));
                }
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            heard
        });
        let send = || post(&url, b"{\"unit\":\"a\"}".to_vec());
        assert_eq!(send().await, Ok(()));
        assert_eq!(send().await, Err(format!("{} answered with status 302", url_host(&url))));
        assert!(send().await.unwrap_err().starts_with("cannot get "));
        let heard = heard.await.unwrap().to_ascii_lowercase();
        assert!(
            heard.starts_with("post /hook?from=us http/1.1\r\nhost: 127.0.0.1:") && heard.contains("content-type: application/json\r\n")
        );
        assert!(send().await.unwrap_err().starts_with("cannot connect to ") && can_reach(&url).await.is_err());
    }
}
