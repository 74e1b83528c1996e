//! Each kind of probe against a real server: up, slow, wrong, hanging, gone and back. With `--nocapture` it prints what it found, and how
//! long that took.

mod bench;
mod local;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ms_supervisor::base::outcome::Verdict;
use ms_supervisor::plan::{DatabaseProbe, GrpcProbe, HttpProbe, MetricsProbe, ProbeKind, SeriesProbe, TcpProbe, TlsPlan};

use bench::{AMPLE, Looks, SHORT, Server, examine, find, look};

fn http(url: String, tls: Option<TlsPlan>) -> HttpProbe {
    HttpProbe {
        url,
        socket: None,
        method: "GET".into(),
        headers: Vec::new(),
        expect_status: vec![(200, 399)],
        expect_body: Some("^fine$".into()),
        expect_headers: vec![("server".into(), "^nginx".into())],
        tls,
    }
}

const NGINX: [&str; 7] = ["nginx", "-p", "{dir}", "-e", "stderr", "-c", "{dir}/conf"];

/// What nginx has to be told to serve `{dir}` on a port, and to write this about it.
fn nginx_conf(server: &Server, listen: &str, access: &str) {
    server.file("fine", "fine");
    let text = format!(
        "daemon off; master_process off; pid {{dir}}/pid; error_log stderr; events {{ }}\nhttp {{ {access} \
         client_body_temp_path {{dir}}/b; proxy_temp_path {{dir}}/p; fastcgi_temp_path {{dir}}/f; uwsgi_temp_path {{dir}}/u; \
         scgi_temp_path {{dir}}/s; server {{ listen 127.0.0.1:{{port}} {listen}; root {{dir}}; }} }}\n"
    );
    server.file("conf", &text);
}

#[test]
fn http_of_nginx() {
    let Some(mut server) = Server::new("http", &NGINX) else { return };
    nginx_conf(&server, "", "access_log off;");
    let right = |address: &str| ProbeKind::Http(http(format!("http://{address}/fine"), None));
    let wrong = ProbeKind::Http(http(format!("http://{}/nothing", server.address()), None));
    examine(&mut server, &Looks { wrong: Some((wrong, "answered with status 404")), delayed: true, ..Looks::new(&right) });
}

#[test]
fn https_of_nginx() {
    let Some(mut server) = Server::new("https", &NGINX) else { return };
    nginx_conf(&server, "ssl; ssl_certificate {dir}/cert; ssl_certificate_key {dir}/key", "access_log off;");
    if !certify(&server, 100) {
        return;
    }
    let tls = |server_name: &str, verify: bool, valid_for: u64| {
        let ca_file = verify.then(|| server.path("cert"));
        let valid_for = Duration::from_secs(valid_for * 86_400);
        Some(TlsPlan { ca_file, server_name: Some(server_name.into()), verify, valid_for })
    };
    let asked = |address: &str, tls| ProbeKind::Http(http(format!("https://{address}/fine"), tls));
    let trusted = tls("probe.test", true, 14);
    let others = tls("other.test", true, 14);
    let (unverified, soon) = (tls("other.test", false, 14), tls("probe.test", true, 365));
    let address = server.address();
    let untrusted = Some(TlsPlan { ca_file: None, ..trusted.clone().unwrap() });
    examine(
        &mut server,
        &Looks {
            wrong: Some((asked(&address, others), "TLS failed")),
            delayed: true,
            ..Looks::new(&|address| asked(address, trusted.clone()))
        },
    );
    let verdict = |tls| look(&asked(&address, tls), AMPLE, None, 0).0;
    assert_eq!(verdict(unverified).verdict, Verdict::Ok);
    assert!(verdict(untrusted).text.contains("TLS failed"));
    let soon = verdict(soon);
    assert!(soon.verdict == Verdict::Degraded && soon.text.starts_with("the certificate ends in "), "{soon:?}");
}

/// Makes a certificate for `probe.test` that is valid for so many days.
fn certify(server: &Server, days: u32) -> bool {
    if find("openssl").is_none() {
        println!("SKIPPED: openssl is not installed");
        return false;
    }
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=probe.test"]);
    command.args(["-addext", "subjectAltName=DNS:probe.test", "-addext", "basicConstraints=critical,CA:FALSE"]);
    command.args(["-days", &days.to_string(), "-keyout"]).arg(server.path("key")).arg("-out").arg(server.path("cert"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    true
}

fn database(address: &str, user: Option<&str>, password_file: PathBuf) -> DatabaseProbe {
    let (query, user) = ("SELECT 41 + 1".into(), user.map(str::to_owned));
    DatabaseProbe { address: address.into(), user, password_file: Some(password_file), database: None, query, expect: None }
}

#[test]
fn redis_and_tcp_and_command() {
    let words = ["redis-server", "--port", "{port}", "--bind", "127.0.0.1", "--save", "", "--requirepass", "secret"];
    let Some(mut server) = Server::new("redis", &words) else { return };
    let (good, bad) = (server.file("good", "secret\n"), server.file("bad", "guess\n"));
    let right = |address: &str| ProbeKind::Redis(database(address, None, good.clone()));
    let wrong = ProbeKind::Redis(database(&server.address(), None, bad));
    examine(&mut server, &Looks { wrong: Some((wrong, "WRONGPASS")), delayed: true, ..Looks::new(&right) });
    server.name = "tcp";
    server.end();
    let tcp = |address: &str, expect: &str| {
        ProbeKind::Tcp(TcpProbe { address: address.into(), send: Some("PING\r\n".into()), expect: Some(expect.into()), tls: None })
    };
    let wrong = tcp(&server.address(), "^\\+PONG\r\nmore");
    // Nobody says more: that is a matter of time.
    let short = look(&wrong, SHORT, None, 0);
    assert_eq!(short.0.verdict, Verdict::Failed);
    examine(&mut server, &Looks { delayed: true, ..Looks::new(&|address| tcp(address, "^-NOAUTH")) });
    server.name = "command";
    server.end();
    let port = server.port.to_string();
    let command = |password: &str| {
        let words = ["redis-cli", "--no-auth-warning", "-a", password, "-e", "-p", &port, "ping"].map(str::to_owned);
        // It ends with 1 if it is refused.
        let script = format!("{} >&2 && echo 'fine | answers=1' || {{ echo refused; exit 2; }}", words.join(" "));
        ProbeKind::Command(["sh", "-c", &script].map(str::to_owned).to_vec())
    };
    let wrong = command("guess");
    examine(&mut server, &Looks { wrong: Some((wrong, "refused")), ..Looks::new(&|_| command("secret")) });
    server.name = "process";
    server.end();
    examine(&mut server, &Looks::new(&|_| ProbeKind::Process));
}

#[test]
fn nats() {
    let words = ["nats-server", "-a", "127.0.0.1", "-p", "{port}", "--user", "app", "--pass", "secret"];
    let Some(mut server) = Server::new("nats", &words) else { return };
    let (good, bad) = (server.file("good", "secret\n"), server.file("bad", "guess\n"));
    let right = |address: &str| ProbeKind::Nats(database(address, Some("app"), good.clone()));
    let wrong = ProbeKind::Nats(database(&server.address(), Some("app"), bad));
    examine(&mut server, &Looks { wrong: Some((wrong, "Authorization Violation")), delayed: true, ..Looks::new(&right) });
}

#[test]
fn grpc_of_etcd() {
    let words = [
        "etcd",
        "--data-dir",
        "{dir}/data",
        "--listen-client-urls",
        "http://127.0.0.1:{port}",
        "--advertise-client-urls",
        "http://127.0.0.1:{port}",
    ];
    let Some(mut server) = Server::new("grpc", &words) else { return };
    let peer = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let urls = [format!("--listen-peer-urls=http://{peer}"), format!("--initial-advertise-peer-urls=http://{peer}")];
    server.program.extend(urls.into_iter().chain([format!("--initial-cluster=default=http://{peer}")]));
    let grpc = |address: &str, service: &str| ProbeKind::Grpc(GrpcProbe { address: address.into(), service: service.into(), tls: None });
    let wrong = grpc(&server.address(), "no.such.Service");
    examine(
        &mut server,
        &Looks { wrong: Some((wrong, "does not know the service")), delayed: true, ..Looks::new(&|address| grpc(address, "")) },
    );
}

#[test]
fn metrics_of_prometheus() {
    let words = ["prometheus", "--config.file={dir}/conf", "--web.listen-address=127.0.0.1:{port}", "--storage.tsdb.path={dir}/data"];
    let Some(mut server) = Server::new("metrics", &words) else { return };
    server.file("conf", "global: {}\n");
    let metrics = |address: &str, series: &[SeriesProbe]| {
        let page = HttpProbe { expect_body: None, expect_headers: Vec::new(), ..http(format!("http://{address}/metrics"), None) };
        ProbeKind::Metrics(MetricsProbe { page, series: series.to_vec() })
    };
    let series = |name: &str, labels: &[(&str, &str)], min, max| {
        let labels = labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        SeriesProbe { name: name.into(), labels, min, max, rate: false }
    };
    let open = series("process_open_fds", &[], Some(1.0), Some(10_000.0));
    let asked = series("promhttp_metric_handler_requests_total", &[("code", "200")], Some(0.0), None);
    let wrong = metrics(&server.address(), &[series("process_open_fds", &[("queue", "mail")], None, None)]);
    let few = metrics(&server.address(), &[series("process_open_fds", &[], None, Some(1.0))]);
    let rate = metrics(&server.address(), &[SeriesProbe { rate: true, ..asked.clone() }]);
    let right = |address: &str| metrics(address, &[open.clone(), asked.clone()]);
    let why = "there is no series process_open_fds{queue=\"mail\"}";
    examine(&mut server, &Looks { wrong: Some((wrong, why)), delayed: true, ..Looks::new(&right) });
    let few = server.look(&few, AMPLE, None).0;
    assert!(few.verdict == Verdict::Failed && few.text.ends_with(", more than 1"), "{few:?}");
    // It counts our own looks.
    assert_eq!(server.look(&rate, AMPLE, None).0.verdict, Verdict::Unknown);
    let counted = server.look(&rate, AMPLE, None).0;
    assert!(counted.verdict == Verdict::Ok && counted.values[0].value > 0.0, "{counted:?}");
    assert_eq!(counted.values[0].name, "rate(promhttp_metric_handler_requests_total{code=\"200\"})");
}

#[test]
fn mysql_of_mariadb() {
    let words = [
        "mariadbd",
        "--no-defaults",
        "--user=root",
        "--datadir={dir}/data",
        "--port={port}",
        "--bind-address=127.0.0.1",
        "--socket={dir}/socket",
        "--init-file={dir}/init.sql",
        "--skip-name-resolve",
        "--innodb-flush-log-at-trx-commit=2",
        "--pid-file={dir}/pid",
    ];
    let Some(mut server) = Server::new("mysql", &words) else { return };
    let (good, bad) = (server.file("good", "secret\n"), server.file("bad", "guess\n"));
    server.file("init.sql", "CREATE USER IF NOT EXISTS app@'127.0.0.1' IDENTIFIED BY 'secret';\n");
    let mut install = Command::new("mariadb-install-db");
    install.args(["--no-defaults", "--user=root", "--auth-root-authentication-method=normal"]);
    let made = install.arg(format!("--datadir={}", server.path("data").display())).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let right = |address: &str| ProbeKind::Mysql(database(address, Some("app"), good.clone()));
    let wrong = ProbeKind::Mysql(database(&server.address(), Some("app"), bad));
    examine(&mut server, &Looks { wrong: Some((wrong, "Access denied")), delayed: true, ..Looks::new(&right) });
    let answer = look(&right(&server.address()), AMPLE, None, 0).0;
    assert_eq!((answer.values[0].name.as_str(), answer.values[0].value), ("result", 42.0));
}

#[test]
fn postgresql() {
    let bin = fs::read_dir("/usr/lib/postgresql").ok().and_then(|mut versions| Some(versions.next()?.ok()?.path().join("bin")));
    let Some(bin) = bin.filter(|bin| bin.join("initdb").is_file()) else {
        println!("SKIPPED: PostgreSQL is not installed");
        return;
    };
    // It refuses to be root's.
    let switch: &[&str] = if rustix::process::geteuid().is_root() {
        &["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]
    } else {
        &["env"]
    };
    let postgres = bin.join("postgres").display().to_string();
    let words =
        [switch, &[&postgres, "-D", "{dir}/pg/data", "-p", "{port}", "-c", "listen_addresses=127.0.0.1", "-k", "{dir}/pg", "-F"]].concat();
    let Some(mut server) = Server::new("postgresql", &words) else { return };
    let (good, bad) = (server.file("good", "secret\n"), server.file("bad", "guess\n"));
    let initial = server.file("initial", "secret\n");
    fs::create_dir(server.path("pg")).unwrap();
    if switch.len() > 1 {
        assert!(Command::new("chown").arg("postgres:postgres").args([&server.path("pg"), &initial]).status().unwrap().success());
    }
    let mut initdb = Command::new(switch[0]);
    initdb.args(&switch[1..]).arg(bin.join("initdb")).args(["-N", "-U", "app", "-A", "scram-sha-256", "--pwfile"]).arg(&initial);
    let made = initdb.arg("-D").arg(server.path("pg/data")).current_dir("/").output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let with = |address: &str, password: &Path, query: &str| {
        let probe = database(address, Some("app"), password.into());
        ProbeKind::Postgresql(DatabaseProbe { database: Some("postgres".into()), query: query.into(), ..probe })
    };
    let right = |address: &str| with(address, &good, "SELECT 41 + 1");
    let (wrong, typo) = (with(&server.address(), &bad, "SELECT 1"), with(&server.address(), &good, "SELEC 1"));
    examine(&mut server, &Looks { wrong: Some((wrong, "password authentication failed")), delayed: true, ..Looks::new(&right) });
    let answer = look(&right(&server.address()), AMPLE, None, 0).0;
    assert_eq!((answer.values[0].name.as_str(), answer.values[0].value), ("result", 42.0));
    assert!(look(&typo, AMPLE, None, 0).0.text.contains("syntax error"));
    let socket = with(&format!("{}/.s.PGSQL.{}", server.path("pg").display(), server.port), &good, "SELECT 1");
    assert_eq!(look(&socket, AMPLE, None, 0).0.verdict, Verdict::Ok);
}
