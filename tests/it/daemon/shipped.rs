//! Who else has the log file open: programs that follow it, and the unit itself.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::bench::{Daemon, kill, until};

const LOG: &str = ".ms-supervisor/logs/a.log";

/// Lines of a hundred bytes, up to a number; then it waits.
fn unit(logs: &str, last: u32, pause: &str) -> String {
    let script =
        format!("i=0; while [ $i -lt {last} ]; do i=$((i+1)); printf \"%%099d\\n\" $i; {pause}; done; touch done; exec sleep 1000");
    format!("unit: a\nlogs: {logs}\nexec: [sh, -c, '{script}']\n")
}

/// A program that follows the log. Dropping it ends it.
struct Follower(Child);

impl Follower {
    fn tail(daemon: &Daemon) -> Self {
        let out = fs::File::create(daemon.path("tail.out")).unwrap();
        let mut tail = Command::new("tail");
        tail.args(["-n", "+1", "-F"]).arg(daemon.path(LOG)).stdout(out).stderr(Stdio::null());
        Self(tail.spawn().unwrap())
    }

    /// rsyslog with its imfile, if it is there.
    fn rsyslog(daemon: &Daemon) -> Option<Self> {
        let directory = daemon.path("rsyslog");
        fs::create_dir_all(&directory).unwrap();
        let (work, log, out) = (directory.display(), daemon.path(LOG), daemon.path("rsyslog.out"));
        let text = format!(
            "global(workDirectory=\"{work}\")\nmodule(load=\"imfile\")\n\
             template(name=\"raw\" type=\"string\" string=\"%msg%\\n\")\n\
             ruleset(name=\"out\") {{ action(type=\"omfile\" file=\"{}\" template=\"raw\") }}\n\
             input(type=\"imfile\" file=\"{}\" tag=\"a\" ruleset=\"out\")\n",
            out.display(),
            log.display()
        );
        let config = directory.join("rsyslog.conf");
        fs::write(&config, text).unwrap();
        let mut rsyslog = Command::new("rsyslogd");
        rsyslog.args(["-n", "-f"]).arg(config).arg("-i").arg(directory.join("pid")).stdout(Stdio::null()).stderr(Stdio::null());
        match rsyslog.spawn() {
            Ok(child) => Some(Self(child)),
            Err(_) => {
                println!("SKIPPED: rsyslogd is not installed");
                None
            }
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        kill(self.0.id(), 15);
        drop(self.0.wait());
    }
}

fn numbers(path: &Path) -> Vec<u32> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().filter_map(|line| line.trim().parse().ok()).collect()
}

#[test]
fn who_follows_a_shipped_log_sees_each_line_once() {
    const LAST: u32 = 30_000;
    let daemon = Daemon::up(&[(
        "units/a.yaml",
        &unit("{shipped: true, max_size: 256KiB, keep: 100}", LAST, "[ $((i %% 50)) -ne 0 ] || sleep 0.01"),
    )]);
    let tail = Follower::tail(&daemon);
    let rsyslog = Follower::rsyslog(&daemon);
    let mut followers = vec![("tail -F", "tail.out")];
    followers.extend(rsyslog.is_some().then_some(("rsyslog", "rsyslog.out")));
    for _ in 0..3 {
        until("it has grown", || (fs::metadata(daemon.path(LOG)).map_or(0, |log| log.len()) > 20_000).then_some(()));
        // Who is a whole file behind cannot know of the one between: rsyslog looks at names.
        for (who, out) in &followers {
            let seen = numbers(&daemon.path(out)).len();
            until(who, || (numbers(&daemon.path(out)).len() > seen).then_some(()));
        }
        daemon.ok(&["rotate", "a"]);
    }
    until("all is written", || daemon.path("done").exists().then_some(()));
    for (who, out) in followers {
        until(who, || (numbers(&daemon.path(out)).last() == Some(&LAST)).then_some(()));
        let seen = numbers(&daemon.path(out));
        let missing = (1..=LAST).filter(|number| seen.binary_search(number).is_err()).count();
        println!("{who}: {} lines, {missing} missing", seen.len());
        assert_eq!((seen.len(), missing), (LAST as usize, 0), "{who}");
    }
    drop(tail);
}

/// Why a log that is shipped cannot be a direct one: `check` refuses it for what is shown here.
#[test]
fn who_follows_a_direct_log_sees_lines_again() {
    let daemon = Daemon::up(&[("units/a.yaml", &unit("direct", 100, ":"))]);
    if daemon.printed().contains("cannot rotate a log under its writer") {
        println!("SKIPPED: the file system cannot collapse");
        return;
    }
    let _tail = Follower::tail(&daemon);
    until("it is followed", || (numbers(&daemon.path("tail.out")).len() == 100).then_some(()));
    assert!(daemon.ok(&["rotate", "a"]).contains("rotated 8.0 KiB"));
    until("tail believes that the file began anew", || (numbers(&daemon.path("tail.out")).len() > 100).then_some(()));
    assert_eq!(daemon.ok(&["logs", "a"]).lines().count(), 100);
    daemon.write("units/a.yaml", &unit("{mode: direct, shipped: true}", 100, ":"));
    let refused = daemon.cli(&["check"]);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("lose or repeat lines"));
}

#[test]
fn a_unit_of_another_user_can_open_its_output_anew() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: to run as another user takes root");
        return;
    }
    let unit = |name: &str, mode: &str| {
        let script = "echo first; echo again >> /dev/stdout; echo error >> /dev/stderr; echo last; exec sleep 1000";
        format!("unit: {name}\nuser: nobody\nworking_directory: /\nlogs: {mode}\nexec: [sh, -c, '{script}']\n")
    };
    let daemon = Daemon::up(&[("units/all.yaml", &format!("{}---\n{}", unit("direct", "direct"), unit("pipe", "pipe")))]);
    for name in ["direct", "pipe"] {
        until("it has written", || daemon.read(&format!(".ms-supervisor/logs/{name}.log")).contains("last").then_some(()));
        assert_eq!(daemon.read(&format!(".ms-supervisor/logs/{name}.log")), "first\nagain\nerror\nlast\n", "{name}");
    }
}
