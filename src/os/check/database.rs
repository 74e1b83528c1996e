//! Database servers that let us in and answer a query.

use mysql_async::prelude::Queryable as _;
use tokio_postgres::{NoTls, SimpleQueryMessage};

use super::http::regex;
use crate::base::outcome::{Outcome, Value};
use crate::plan::DatabaseProbe;

/// Asks a PostgreSQL server.
pub(super) async fn postgresql(probe: &DatabaseProbe) -> Outcome {
    let answer = async {
        let mut config = tokio_postgres::Config::new();
        config.user(probe.user.as_deref().unwrap_or("postgres")).application_name("ms-supervisor");
        if let Some(password) = password(probe)? {
            config.password(password);
        }
        if let Some(database) = &probe.database {
            config.dbname(database);
        }
        match parts(&probe.address)? {
            Address::Host(host, port) => config.host(host).port(port),
            // The library makes the name of the socket from a directory and a port.
            Address::Socket(path) => {
                match path.rsplit_once("/.s.PGSQL.").and_then(|(directory, port)| Some((directory, port.parse().ok()?))) {
                    Some((directory, port)) => config.host(directory).port(port),
                    None => config.host(path),
                }
            }
        };
        let fail = |error: tokio_postgres::Error| match error.as_db_error() {
            Some(error) => format!("{}: {}", probe.address, error.message()),
            None => format!("{}: {}", probe.address, chain(&error)),
        };
        let (client, connection) = config.connect(NoTls).await.map_err(fail)?;
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

/// Asks a MySQL or MariaDB server.
pub(super) async fn mysql(probe: &DatabaseProbe) -> Outcome {
    let answer = async {
        let options = mysql_async::OptsBuilder::default()
            .user(Some(probe.user.as_deref().unwrap_or("root")))
            .pass(password(probe)?)
            .db_name(probe.database.clone())
            .prefer_socket(false);
        let options = match parts(&probe.address)? {
            Address::Host(host, port) => options.ip_or_hostname(host).tcp_port(port),
            Address::Socket(path) => options.socket(Some(path)),
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

/// The password, read anew each time: it may change.
pub(super) fn password(probe: &DatabaseProbe) -> Result<Option<String>, String> {
    let Some(file) = &probe.password_file else { return Ok(None) };
    let text = std::fs::read_to_string(file).map_err(|error| format!("cannot read the password in {}: {error}", file.display()))?;
    Ok(Some(text.lines().next().unwrap_or_default().to_owned()))
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
