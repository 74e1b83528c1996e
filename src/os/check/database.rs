//! Database servers that let us in and answer a query.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use rustix::process::{getegid, geteuid};
use tokio_postgres::{NoTls, SimpleQueryMessage};
use zeroize::Zeroizing;

use super::http::regex;
use super::stream::Stream;
use crate::base::outcome::{Outcome, Value};
use crate::os::foreign::reach::{self, Counted, Pinned};
use crate::os::foreign::{self, Purpose, Table};
use crate::os::secrets;
use crate::plan::{DatabaseProbe, SecretSource};

/// The most a database may say to a probe, in bytes. Then the probe fails.
const ANSWER_MAX: u64 = 1 << 20;

/// Longer than a probe waits.
const PASSWORD_WITHIN: Duration = Duration::from_secs(60);

/// Asks a PostgreSQL server.
pub(super) async fn postgresql(probe: &DatabaseProbe) -> Outcome {
    let answer = async {
        let mut config = tokio_postgres::Config::new();
        config.user(probe.user.as_deref().unwrap_or("postgres")).application_name("ms-supervisor");
        if let Some(password) = password(probe).await? {
            config.password(password.as_str());
        }
        if let Some(database) = &probe.database {
            config.dbname(database);
        }
        let at = |error: std::io::Error| format!("cannot connect to {}: {error}", probe.address);
        let stream: Box<dyn Stream> = match parts(&probe.address)? {
            Address::Host(..) => Box::new(reach::tcp(&probe.address).await.map_err(at)?),
            Address::Socket(path) => Box::new(reach::unix(&postgresql_socket(path)).await.map_err(at)?),
        };
        let fail = |error: tokio_postgres::Error| match error.as_db_error() {
            Some(error) => format!("{}: {}", probe.address, error.message()),
            None => format!("{}: {}", probe.address, chain(&error)),
        };
        let (client, connection) = config.connect_raw(Counted::new(stream, ANSWER_MAX), NoTls).await.map_err(fail)?;
        let rows = tokio::select! {
            biased;
            rows = client.simple_query(&probe.query) => rows.map_err(fail)?,
            Err(error) = connection => return Err(fail(error)),
        };
        let first = rows.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.try_get(0).ok().flatten(),
            _ => None,
        });
        judge(probe, first)
    };
    answer.await.unwrap_or_else(Outcome::failed)
}

/// The socket of a server that is told by its directory, as libpq wants it, or by itself.
fn postgresql_socket(path: &str) -> PathBuf {
    if path.contains("/.s.PGSQL.") { path.into() } else { Path::new(path).join(".s.PGSQL.5432") }
}

/// Asks a MySQL or MariaDB server.
pub(super) async fn mysql(probe: &DatabaseProbe) -> Outcome {
    let answer = async {
        let options = mysql_async::OptsBuilder::default()
            .user(Some(probe.user.as_deref().unwrap_or("root")))
            .pass(password(probe).await?.map(|password| password.as_str().to_owned()))
            .db_name(probe.database.clone())
            .max_allowed_packet(Some(ANSWER_MAX as usize))
            .prefer_socket(false);
        let at = |error: std::io::Error| format!("cannot connect to {}: {error}", probe.address);
        // The library would look for either on the runtime's threads.
        let mut pinned = None;
        let options = match parts(&probe.address)? {
            Address::Host(host, port) => {
                let ips: Vec<IpAddr> = reach::resolve(&probe.address).await.map_err(at)?.iter().map(SocketAddr::ip).collect();
                options.ip_or_hostname(host).tcp_port(port).resolved_ips(Some(ips))
            }
            Address::Socket(path) => {
                let socket = pinned.insert(Pinned::find(Path::new(path)).await.map_err(at)?);
                options.socket(Some(socket.path().to_string_lossy()))
            }
        };
        let fail = |error: mysql_async::Error| match error {
            mysql_async::Error::Server(error) => format!("{}: {}", probe.address, error.message),
            error => format!("{}: {}", probe.address, chain(&error)),
        };
        let mut connection = mysql_async::Conn::new(options).await.map_err(fail)?;
        let row: Option<mysql_async::Row> = connection.query_first(&probe.query).await.map_err(fail)?;
        let first = row.and_then(|row| row.as_ref(0).cloned()).map(|value| match value {
            mysql_async::Value::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            other => other.as_sql(true),
        });
        // A server counts connections that are only dropped as aborted.
        connection.disconnect().await.map_err(fail)?;
        judge(probe, first.as_deref())
    };
    answer.await.unwrap_or_else(Outcome::failed)
}

fn judge(probe: &DatabaseProbe, first: Option<&str>) -> Result<Outcome, String> {
    if let Some(expect) = &probe.expect
        && !regex(expect)?.is_match(first.unwrap_or_default())
    {
        return Err(match first {
            Some(first) => format!("the answer is {first:?}, which does not match `{expect}`"),
            None => format!("the answer is empty, which does not match `{expect}`"),
        });
    }
    let number = first.and_then(|first| first.parse::<f64>().ok()).filter(|number| number.is_finite());
    let values = number.map(|value| Value::new("result", value, ""));
    Ok(Outcome { values: values.into_iter().collect(), ..Outcome::ok("") })
}

/// Where a server is.
pub(super) enum Address<'a> {
    Host(&'a str, u16),
    Socket(&'a str),
}

/// The parts of an address that was checked when it was declared.
fn parts(address: &str) -> Result<Address<'_>, String> {
    if address.starts_with('/') {
        return Ok(Address::Socket(address));
    }
    let parts = address.rsplit_once(':').and_then(|(host, port)| Some((host.trim_matches(['[', ']']), port.parse().ok()?)));
    parts.map(|(host, port)| Address::Host(host, port)).ok_or_else(|| format!("`{address}` is not `host:port`"))
}

/// The password, read anew each time: it may change. Only if nobody else can read it, as with secrets.
pub(super) async fn password(probe: &DatabaseProbe) -> Result<Option<Zeroizing<String>>, String> {
    let Some(file) = probe.password_file.clone() else { return Ok(None) };
    let whose = format!("password {}", file.display());
    let read = move || {
        // A daemon that is not root can be let in by its group.
        let groups = if geteuid().is_root() { Vec::new() } else { vec![getegid().as_raw()] };
        let bytes = secrets::read(&SecretSource::File(file), &groups)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| "the password is no text")?;
        Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()))
    };
    let read = foreign::look((Purpose::Probe, Table::Own), &whose, PASSWORD_WITHIN, read).await;
    read.map_err(|hangs| hangs.to_string())?.map(Some).map_err(|why: String| why.replace("the secret", "the password in"))
}

/// An error with its causes: these libraries say the least in the first of them.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// A server that lets everybody in, and announces a row of two gigabytes.
    async fn endless(listener: TcpListener) -> std::io::Result<()> {
        let mut stream = listener.accept().await?.0;
        let mut heard = [0; 1024];
        assert!(stream.read(&mut heard).await? > 0);
        // AuthenticationOk, ReadyForQuery.
        stream.write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I").await?;
        assert!(stream.read(&mut heard).await? > 0);
        stream.write_all(b"D\x7f\xff\xff\xff").await?;
        for _ in 0..1 << 14 {
            stream.write_all(&[0; 64 << 10]).await?;
        }
        Ok(())
    }

    #[tokio::test]
    async fn a_database_that_talks_without_end_is_not_heard_to_the_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = tokio::spawn(endless(listener));
        let probe = DatabaseProbe { address, user: None, password_file: None, database: None, query: "SELECT 1".into(), expect: None };
        let outcome = postgresql(&probe).await;
        assert!(outcome.text.contains("it says more than a probe wants to know"), "{outcome:?}");
        // It could not write a gigabyte: nobody listened any more.
        assert!(server.await.unwrap().is_err());
    }

    #[tokio::test]
    async fn a_password_that_others_can_read_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("password");
        std::fs::write(&file, "secret\nmore").unwrap();
        let probe = |mode: u32| {
            std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
            let (address, password_file) = (String::new(), Some(file.clone()));
            DatabaseProbe { address, user: None, password_file, database: None, query: String::new(), expect: None }
        };
        assert_eq!(password(&probe(0o600)).await.unwrap().unwrap().as_str(), "secret");
        assert!(password(&probe(0o644)).await.unwrap_err().contains("can be read by everybody"));
        std::fs::remove_file(&file).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &file, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
        assert!(password(&probe(0o600)).await.unwrap_err().contains("not a regular file"));
    }
}
