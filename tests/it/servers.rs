//! Each kind of probe against a real server: up, slow, wrong, hanging, gone and back. With `--nocapture` it prints what it found, and how
//! long that took.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ms_supervisor::base::choice::ProbeRole;
use ms_supervisor::base::outcome::{Outcome, Verdict};
use ms_supervisor::os::check::{Memory, Surroundings, check, slow};
use ms_supervisor::plan::{DatabaseProbe, GrpcProbe, HttpProbe, NetworkProbe, ProbeKind, ProbePlan, TcpProbe, TlsPlan};

use serde_json::json;

use crate::daemon::bench::{Daemon, until};

/// How long a server may take to do what is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a probe may take here, where it should succeed; and where it has to run out.
const AMPLE: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(300);

/// What stands between a probe and a slow server delays each answer by so much.
const DELAY: Duration = Duration::from_millis(150);

/// A server, and how it is looked at.
struct Server {
    name: &'static str,
    directory: tempfile::TempDir,
    port: u16,
    program: Vec<String>,
    running: Option<Child>,
}

impl Server {
    /// `None` if the program is not installed. `words` may hold `{port}` and `{dir}`.
    fn new(name: &'static str, words: &[&str]) -> Option<Self> {
        if find(words[0]).is_none() {
            println!("SKIPPED: {} is not installed", words[0]);
            return None;
        }
        let directory = tempfile::Builder::new().permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755)).tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let fill = |word: &&str| word.replace("{port}", &port.to_string()).replace("{dir}", &directory.path().display().to_string());
        let program = words.iter().map(fill).collect();
        Some(Self { name, directory, port, program, running: None })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// A file with these contents; its path.
    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text.replace("{port}", &self.port.to_string()).replace("{dir}", &self.directory.path().display().to_string()))
            .unwrap();
        path
    }

    fn start(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = Command::new(find(&self.program[0]).unwrap());
        command.args(&self.program[1..]).current_dir(self.directory.path()).process_group(0);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.running = Some(command.spawn().unwrap());
    }

    fn pid(&self) -> u32 {
        self.running.as_ref().map_or(0, Child::id)
    }

    fn signal(&self, signal: i32) {
        crate::daemon::bench::kill(self.pid(), signal);
    }

    /// Makes it stand still, and waits until all its threads do.
    fn stop(&self) {
        self.signal(libc::SIGSTOP);
        let stopped = |task: fs::DirEntry| {
            let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_none_or(|(_, state)| state.starts_with('T'))
        };
        let tasks = format!("/proc/{}/task", self.pid());
        crate::daemon::bench::until("it stands still", || fs::read_dir(&tasks).unwrap().flatten().all(stopped).then_some(()));
    }

    fn end(&mut self) {
        if let Some(mut child) = self.running.take() {
            let _ = child.kill();
            child.wait().unwrap();
        }
    }

    /// Looks until the verdict is as wanted, starting the server again if it ends by itself (one that was killed may leave a mess).
    fn until(&mut self, kind: &ProbeKind, wanted: Verdict) -> (Outcome, Duration) {
        let begun = Instant::now();
        loop {
            let (outcome, took) = look(kind, AMPLE, None, self.pid());
            if outcome.verdict == wanted {
                return (outcome, took);
            }
            let log = || fs::read_to_string(self.path("log")).unwrap_or_default();
            assert!(begun.elapsed() < PATIENCE, "{}: {outcome:?}\n{}", self.name, log());
            if let Some(child) = &mut self.running
                && child.try_wait().unwrap().is_some()
                && wanted == Verdict::Ok
            {
                self.start();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// The kinds of look that are made at one server: the right one, given where it is; and one that has to fail, with a part of why.
struct Looks<'a> {
    right: &'a dyn Fn(&str) -> ProbeKind,
    wrong: Option<(ProbeKind, &'a str)>,
    /// Whether what stands between can delay it.
    delayed: bool,
}

/// Where programs are that are not for everybody's path.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap();
    let places = path.split(':').chain(["/usr/sbin", "/usr/local/sbin", "/sbin"]);
    let mut found = places.map(|place| Path::new(place).join(program)).filter(|path| path.is_file());
    found.next()
}

/// A program is run by a whole daemon: it is asked what its probe has found.
fn look_by_daemon(words: &[String], timeout: Duration) -> (Outcome, Duration) {
    let times = format!("period: 1h, timeout: {}ms", timeout.as_millis());
    let probe = json!(words);
    let mut daemon = Daemon::prepared(&[(
        "units/a.yaml",
        &format!("unit: a\nexec: sleep 1000\nprobes: [{{role: startup, command: {probe}, {times}}}]\n"),
    )]);
    daemon.start();
    until("it answers", || daemon.answers());
    let found = until("it has looked", || Some(daemon.status("a")["probes"][0].take()).filter(|probe| probe["took"].as_f64() > Some(0.0)));
    let outcome = |name: &str| serde_json::from_value(found[name].clone()).unwrap();
    let outcome = Outcome { verdict: outcome("verdict"), text: found["text"].as_str().unwrap().into(), values: Vec::new() };
    (outcome, Duration::from_secs_f64(found["took"].as_f64().unwrap()))
}

fn look(kind: &ProbeKind, timeout: Duration, slow_after: Option<Duration>, pid: u32) -> (Outcome, Duration) {
    if let ProbeKind::Command(words) = kind {
        return look_by_daemon(words, timeout);
    }
    let plan = ProbePlan {
        remediation: None,
        breaker: None,
        name: kind.as_str().into(),
        role: ProbeRole::Liveness,
        kind: kind.clone(),
        period: timeout,
        min_period: None,
        timeout,
        slow_after,
        initial_delay: Duration::ZERO,
        failure_threshold: 1,
        success_threshold: 1,
    };
    let environment = vec![("PATH".to_owned(), std::env::var("PATH").unwrap())];
    let surroundings = Surroundings { unit: "a".into(), pid, directory: "/".into(), environment, logs: "/nonexistent".into() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let begun = Instant::now();
    let (outcome, _) = runtime.block_on(check(&plan, &surroundings, Memory::default()));
    let took = begun.elapsed();
    (slow(&plan, took, outcome), took)
}

/// Looks at a server in each of its states.
fn examine(server: &mut Server, looks: &Looks<'_>) {
    let name = server.name;
    let right = (looks.right)(&server.address());
    println!();
    let tell = |state: &str, (outcome, took): &(Outcome, Duration)| {
        println!("| {name:<11} | {state:<7} | {:<8} | {:>8.2} ms | {} |", outcome.verdict.as_str(), took.as_secs_f64() * 1e3, outcome.text);
    };
    server.start();
    server.until(&right, Verdict::Ok);
    // The first connection is the one that warms everything up.
    tell("up", &server.until(&right, Verdict::Ok));
    if looks.delayed {
        let slow = look(&(looks.right)(&delayed(&server.address())), AMPLE, Some(DELAY / 2), server.pid());
        assert_eq!(slow.0.verdict, Verdict::Degraded, "{:?}", slow.0);
        tell("slow", &slow);
    }
    if let Some((wrong, why)) = &looks.wrong {
        let wrong = look(wrong, AMPLE, None, server.pid());
        assert!(wrong.0.verdict == Verdict::Failed && wrong.0.text.contains(why), "{:?}", wrong.0);
        tell("wrong", &wrong);
    }
    server.stop();
    let hanging = look(&right, SHORT, None, server.pid());
    assert_eq!(hanging.0.verdict, Verdict::Failed, "{:?}", hanging.0);
    tell("hanging", &hanging);
    server.signal(libc::SIGCONT);
    server.until(&right, Verdict::Ok);
    let pid = server.pid();
    server.end();
    let gone = look(&right, AMPLE, None, pid);
    assert_eq!(gone.0.verdict, Verdict::Failed, "{:?}", gone.0);
    tell("gone", &gone);
    server.start();
    let begun = Instant::now();
    let (back, _) = server.until(&right, Verdict::Ok);
    tell("back", &(back, begun.elapsed()));
}

/// The address of a go-between that delays what the server at `address` says.
fn delayed(address: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (own, address) = (listener.local_addr().unwrap().to_string(), Arc::new(address.to_owned()));
    std::thread::spawn(move || {
        while let Ok((client, _)) = listener.accept() {
            let Ok(server) = TcpStream::connect(address.as_str()) else { continue };
            let (back, forth) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || carry(client, server, Duration::ZERO));
            std::thread::spawn(move || carry(back, forth, DELAY));
        }
    });
    own
}

fn carry(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        std::thread::sleep(delay);
        if to.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Write);
}

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

/// What nginx has to be told to serve `{dir}` on a port.
fn nginx_conf(server: &Server, listen: &str) {
    server.file("fine", "fine");
    let text = format!(
        "daemon off; master_process off; pid {{dir}}/pid; error_log stderr; events {{ }}\nhttp {{ access_log off; \
         client_body_temp_path {{dir}}/b; proxy_temp_path {{dir}}/p; fastcgi_temp_path {{dir}}/f; uwsgi_temp_path {{dir}}/u; \
         scgi_temp_path {{dir}}/s; server {{ listen 127.0.0.1:{{port}} {listen}; root {{dir}}; }} }}\n"
    );
    server.file("conf", &text);
}

#[test]
fn http_of_nginx() {
    let Some(mut server) = Server::new("http", &NGINX) else { return };
    nginx_conf(&server, "");
    let right = |address: &str| ProbeKind::Http(http(format!("http://{address}/fine"), None));
    let wrong = ProbeKind::Http(http(format!("http://{}/nothing", server.address()), None));
    examine(&mut server, &Looks { right: &right, wrong: Some((wrong, "answered with status 404")), delayed: true });
}

#[test]
fn https_of_nginx() {
    let Some(mut server) = Server::new("https", &NGINX) else { return };
    nginx_conf(&server, "ssl; ssl_certificate {dir}/cert; ssl_certificate_key {dir}/key");
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
        &Looks { right: &|address| asked(address, trusted.clone()), wrong: Some((asked(&address, others), "TLS failed")), delayed: true },
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

#[test]
fn network_process_and_command_of_nginx() {
    let Some(mut server) = Server::new("network", &NGINX) else { return };
    nginx_conf(&server, "");
    server.start();
    let port = server.port;
    let network = |max_connections, max_backlog| ProbeKind::Network(NetworkProbe { port, max_connections, max_backlog });
    server.until(&network(Some(0), Some(0)), Verdict::Ok);
    server.stop();
    let waiting: Vec<_> = (0..5).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
    let (full, _) = server.until(&network(None, Some(4)), Verdict::Failed);
    assert_eq!(full.text, format!("5 connections to port {port} wait to be accepted, more than 4"));
    let stopped = look(&ProbeKind::Process, AMPLE, None, server.pid()).0;
    assert!(stopped.verdict == Verdict::Failed && stopped.text.ends_with("is stopped"), "{stopped:?}");
    server.signal(libc::SIGCONT);
    server.until(&network(None, Some(4)), Verdict::Ok);
    server.until(&network(Some(4), None), Verdict::Failed);
    drop(waiting);
    server.end();
    assert_eq!(look(&network(None, None), AMPLE, None, 0).0.text, format!("nobody listens on port {port}"));
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
    examine(&mut server, &Looks { right: &right, wrong: Some((wrong, "WRONGPASS")), delayed: true });
    server.name = "tcp";
    server.end();
    let tcp = |address: &str, expect: &str| {
        ProbeKind::Tcp(TcpProbe { address: address.into(), send: Some("PING\r\n".into()), expect: Some(expect.into()), tls: None })
    };
    let wrong = tcp(&server.address(), "^\\+PONG\r\nmore");
    // Nobody says more: that is a matter of time.
    let short = look(&wrong, SHORT, None, 0);
    assert_eq!(short.0.verdict, Verdict::Failed);
    examine(&mut server, &Looks { right: &|address| tcp(address, "^-NOAUTH"), wrong: None, delayed: true });
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
    examine(&mut server, &Looks { right: &|_| command("secret"), wrong: Some((wrong, "refused")), delayed: false });
    server.name = "process";
    server.end();
    examine(&mut server, &Looks { right: &|_| ProbeKind::Process, wrong: None, delayed: false });
}

#[test]
fn nats() {
    let words = ["nats-server", "-a", "127.0.0.1", "-p", "{port}", "--user", "app", "--pass", "secret"];
    let Some(mut server) = Server::new("nats", &words) else { return };
    let (good, bad) = (server.file("good", "secret\n"), server.file("bad", "guess\n"));
    let right = |address: &str| ProbeKind::Nats(database(address, Some("app"), good.clone()));
    let wrong = ProbeKind::Nats(database(&server.address(), Some("app"), bad));
    examine(&mut server, &Looks { right: &right, wrong: Some((wrong, "Authorization Violation")), delayed: true });
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
    examine(&mut server, &Looks { right: &|address| grpc(address, ""), wrong: Some((wrong, "does not know the service")), delayed: true });
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
    examine(&mut server, &Looks { right: &right, wrong: Some((wrong, "Access denied")), delayed: true });
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
    fs::create_dir(server.path("pg")).unwrap();
    if switch.len() > 1 {
        assert!(Command::new("chown").arg("postgres:postgres").args([server.path("pg"), server.path("good")]).status().unwrap().success());
    }
    let mut initdb = Command::new(switch[0]);
    initdb.args(&switch[1..]).arg(bin.join("initdb")).args(["-N", "-U", "app", "-A", "scram-sha-256", "--pwfile"]).arg(server.path("good"));
    let made = initdb.arg("-D").arg(server.path("pg/data")).current_dir("/").output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let with = |address: &str, password: &Path, query: &str| {
        let probe = database(address, Some("app"), password.into());
        ProbeKind::Postgresql(DatabaseProbe { database: Some("postgres".into()), query: query.into(), ..probe })
    };
    let right = |address: &str| with(address, &good, "SELECT 41 + 1");
    let (wrong, typo) = (with(&server.address(), &bad, "SELECT 1"), with(&server.address(), &good, "SELEC 1"));
    examine(&mut server, &Looks { right: &right, wrong: Some((wrong, "password authentication failed")), delayed: true });
    let answer = look(&right(&server.address()), AMPLE, None, 0).0;
    assert_eq!((answer.values[0].name.as_str(), answer.values[0].value), ("result", 42.0));
    assert!(look(&typo, AMPLE, None, 0).0.text.contains("syntax error"));
    let socket = with(&format!("{}/.s.PGSQL.{}", server.path("pg").display(), server.port), &good, "SELECT 1");
    assert_eq!(look(&socket, AMPLE, None, 0).0.verdict, Verdict::Ok);
}
