//! Probes of what this machine knows by itself, of servers that are at work.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ms_supervisor::base::outcome::Verdict;
use ms_supervisor::os::check::Memory;
use ms_supervisor::plan::{FileProbe, HostProbe, InterfaceProbe, LogProbe, NetworkProbe, PortProbe, ProbeKind, ResourcesProbe};

use super::bench::{AMPLE, Looks, Server, State, Undo, examine, look, look_with, tell};
use super::{NGINX, nginx_conf};
use crate::daemon::bench::until;

/// How long a server that has visitors may write nothing.
const SILENCE: Duration = Duration::from_millis(1500);

/// Asks a server for a page again and again, until it is dropped.
struct Visitor {
    is_done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Visitor {
    fn new(address: String, page: &'static str) -> Self {
        let is_done = Arc::new(AtomicBool::new(false));
        let done = Arc::clone(&is_done);
        let visit = move || {
            while !done.load(Ordering::Relaxed) {
                let _ = ask(&address, page);
                std::thread::sleep(Duration::from_millis(20));
            }
        };
        Self { is_done, thread: Some(std::thread::spawn(visit)) }
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        self.is_done.store(true, Ordering::Relaxed);
        let _ = self.thread.take().unwrap().join();
    }
}

/// Asks for a page, and waits for a moment only.
fn ask(address: &str, page: &str) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_millis(100)))?;
    write!(stream, "GET {page} HTTP/1.0\r\n\r\n")?;
    stream.read_to_end(&mut Vec::new()).map(drop)
}

#[test]
fn file_of_nginx() {
    let Some(mut server) = Server::new("file", &NGINX) else { return };
    nginx_conf(&server, "", "access_log {dir}/access;");
    let file = |path: PathBuf, min_size| ProbeKind::File(FileProbe { path, max_age: Some(SILENCE), min_size, max_size: None });
    let _visitor = Visitor::new(server.address(), "/fine");
    let (path, short) = (server.path("access"), file(server.path("access"), Some(1 << 40)));
    let right = |_: &str| file(path.clone(), None);
    let hanging = (Verdict::Failed, "was changed ");
    examine(&mut server, &Looks { wrong: Some((short, "less than 1.0 TiB")), hanging, patient: true, ..Looks::new(&right) });
    let gone = look(&file(server.path("nothing"), None), AMPLE, None, 0).0;
    assert!(gone.verdict == Verdict::Failed && gone.text.ends_with("is not there"), "{gone:?}");
}

#[test]
fn log_of_nginx() {
    let Some(mut server) = Server::new("log", &NGINX) else { return };
    nginx_conf(&server, "", "access_log /dev/stderr;");
    let log = ProbeKind::Log(LogProbe { max_silence: Some(SILENCE), alarm: Some("\\[error\\]".into()) });
    let _visitor = Visitor::new(server.address(), "/fine");
    let right = |_: &str| log.clone();
    let stage = |server: &Server, state: State| -> Option<Undo> {
        if state == State::Wrong {
            until("it answers", || ask(&server.address(), "/nothing").ok());
        }
        None
    };
    let hanging = (Verdict::Failed, "nothing was written into the log for ");
    let looks = Looks { wrong: Some((log.clone(), "[error]")), hanging, stage: &stage, patient: true, ..Looks::new(&right) };
    examine(&mut server, &looks);
}

#[test]
fn network_of_nginx() {
    let Some(mut server) = Server::new("network", &NGINX) else { return };
    nginx_conf(&server, "", "access_log off;");
    let port = server.port;
    let network = |max_connections, max_backlog| {
        ProbeKind::Network(NetworkProbe { port: Some(PortProbe { port, max_connections, max_backlog }), interface: None })
    };
    let stage = |server: &Server, _: State| -> Option<Undo> {
        let waiting: Vec<_> = (0..5).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
        Some(Box::new(move || drop(waiting)))
    };
    let crowd = format!("5 connections to port {port} wait to be accepted, more than 4");
    let right = |_: &str| network(None, Some(4));
    let looks = Looks {
        wrong: Some((network(Some(4), None), "connections, more than 4")),
        hanging: (Verdict::Failed, &crowd),
        stage: &stage,
        patient: true,
        ..Looks::new(&right)
    };
    examine(&mut server, &looks);
    server.end();
    assert_eq!(look(&network(None, None), AMPLE, None, 0).0.text, format!("nobody listens on port {port}"));
}

#[test]
fn the_network_is_the_one_the_unit_has() {
    let mut command = Command::new("unshare");
    let Ok(mut apart) = command.args(["--net", "sleep", "1000"]).stderr(std::process::Stdio::null()).spawn() else {
        println!("SKIPPED: unshare is not installed");
        return;
    };
    let space = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    let pid = apart.id();
    let is_apart = until("it has a network of its own, or may not", || {
        let ended = apart.try_wait().unwrap().is_some();
        (ended || space(&pid.to_string()) != space("self")).then_some(!ended)
    });
    if !is_apart {
        println!("SKIPPED: only root may make a network of its own");
        return;
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let port =
        ProbeKind::Network(NetworkProbe { port: Some(PortProbe { port, max_connections: None, max_backlog: None }), interface: None });
    assert_eq!(look(&port, AMPLE, None, std::process::id()).0.verdict, Verdict::Ok);
    let elsewhere = look(&port, AMPLE, None, pid).0;
    assert!(elsewhere.verdict == Verdict::Failed && elsewhere.text.starts_with("nobody listens on port "), "{elsewhere:?}");
    // Nothing has ever gone through its loopback, and nothing does.
    let name = "lo".to_owned();
    let interface = Some(InterfaceProbe { name, max_receive: Some(1024), max_transmit: None, max_errors: Some(0.0) });
    let (kind, mut memory) = (ProbeKind::Network(NetworkProbe { port: None, interface }), Memory::default());
    let mut look = || look_with(&kind, AMPLE, None, (pid, "/".as_ref()), &mut memory).0;
    assert_eq!(look().verdict, Verdict::Unknown);
    let quiet = look();
    assert!(quiet.verdict == Verdict::Ok && quiet.values.iter().all(|value| value.value == 0.0), "{quiet:?}");
    apart.kill().unwrap();
    apart.wait().unwrap();
}

#[test]
fn resources_of_redis() {
    let words = ["redis-server", "--port", "{port}", "--bind", "127.0.0.1", "--save", ""];
    let Some(mut server) = Server::new("resources", &words) else { return };
    let limited = ProbeKind::Resources(ResourcesProbe { memory: Some(64 << 20), ..ResourcesProbe::default() });
    let say = |address: &str, words: &str| {
        let mut stream = until("it listens", || TcpStream::connect(address).ok());
        write!(stream, "{words}\r\n").unwrap();
        BufReader::new(stream).read_line(&mut String::new()).unwrap();
    };
    // Its pages are used: they are filled with zeros.
    let stage = |server: &Server, state: State| -> Option<Undo> {
        let address = server.address();
        (state == State::Wrong).then(|| {
            say(&address, "SETRANGE much 100000000 x");
            Box::new(move || ["FLUSHALL SYNC", "MEMORY PURGE"].iter().for_each(|words| say(&address, words))) as Undo
        })
    };
    let right = |_: &str| limited.clone();
    // One that stands still uses no more than before.
    let hanging = (Verdict::Ok, "");
    let looks = Looks { wrong: Some((limited.clone(), " of memory, more than 64.0 MiB")), hanging, stage: &stage, ..Looks::new(&right) };
    examine(&mut server, &looks);
}

/// A file system of two mebibytes, until it is dropped.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn new() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(directory.path()).output();
        mounted.is_ok_and(|mounted| mounted.status.success()).then_some(Self(directory))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn host_whose_disk_is_full() {
    let Some(tmpfs) = Tmpfs::new() else {
        println!("SKIPPED: only root may mount a file system that is small enough to be filled");
        return;
    };
    let limits = HostProbe { disk_free: Some(0.1), inodes_free: Some(0.1), path: tmpfs.0.path().into(), ..HostProbe::default() };
    let kind = ProbeKind::Host(limits);
    let look = || look(&kind, AMPLE, None, 0);
    look();
    let up = look();
    assert_eq!(up.0.verdict, Verdict::Ok, "{:?}", up.0);
    println!();
    tell("host", "up", &up);
    let full = fs::write(tmpfs.0.path().join("much"), vec![1; 4 << 20]).unwrap_err();
    assert_eq!(full.raw_os_error(), Some(libc::ENOSPC));
    let wrong = look();
    assert!(wrong.0.verdict == Verdict::Failed && wrong.0.text.starts_with("0.0 % of the file system of "), "{:?}", wrong.0);
    tell("host", "wrong", &wrong);
    let begun = Instant::now();
    fs::remove_file(tmpfs.0.path().join("much")).unwrap();
    let (back, _) = look();
    assert_eq!(back.verdict, Verdict::Ok, "{back:?}");
    tell("host", "back", &(back, begun.elapsed()));
}
