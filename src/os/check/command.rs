//! A program that looks, in the manner of Nagios' plugins.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::time::timeout;

use super::Surroundings;
use super::perfdata;
use crate::base::outcome::{Outcome, Verdict};

/// The most that is read of what it prints, in bytes. It may print more; nobody looks at that.
const OUTPUT_MAX: u64 = 64 << 10;

/// Everything of the program goes when this does.
struct Group(Pid);

impl Drop for Group {
    fn drop(&mut self) {
        // It is empty as a rule.
        let _gone = kill_process_group(self.0, Signal::KILL);
    }
}

/// Runs the program and reads its exit code: 0 ok, 1 degraded, 2 failed, anything else unknown.
pub(super) async fn check(words: &[String], surroundings: &Surroundings, within: Duration) -> Outcome {
    let Some((program, arguments)) = words.split_first() else { return Outcome::unknown("there is no program") };
    let mut command = Command::new(program);
    command.args(arguments).current_dir(&surroundings.directory).env_clear().envs(surroundings.environment.iter().cloned());
    command.env("MS_MAINPID", surroundings.pid.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0).kill_on_drop(true);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return Outcome::unknown(format!("cannot execute {program}: {error}")),
    };
    let group = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())).map(Group);
    let output = child.stdout.take();
    let ended = timeout(within, async {
        let printed = match output {
            Some(output) => read(output).await,
            None => String::new(),
        };
        (printed, child.wait().await)
    });
    let outcome = match ended.await {
        Err(_) => Outcome::failed(format!("{program} did not end within {}", crate::base::time::format_duration(within))),
        Ok((_, Err(error))) => Outcome::unknown(format!("cannot wait for {program}: {error}")),
        Ok((printed, Ok(status))) => {
            let (text, values) = perfdata::read(&printed);
            let verdict = match status.code() {
                Some(0) => Verdict::Ok,
                Some(1) => Verdict::Degraded,
                Some(2) => Verdict::Failed,
                _ => Verdict::Unknown,
            };
            let text = if text.is_empty() && verdict != Verdict::Ok { format!("{program} ended with {status}") } else { text };
            Outcome { verdict, text, values }
        }
    };
    // Its number is free for others once it was waited for: only what hung has a group that is surely its own.
    if child.id().is_none() {
        std::mem::forget(group);
    }
    outcome
}

/// Reads to the end; what is beyond the limit is thrown away.
async fn read(mut output: impl AsyncRead + Unpin) -> String {
    let mut printed = Vec::new();
    // What cannot be read was not printed.
    let _read = (&mut output).take(OUTPUT_MAX).read_to_end(&mut printed).await;
    let _rest = tokio::io::copy(&mut output, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&printed).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::check::tests::surroundings;

    async fn run(script: &str, within: u64) -> Outcome {
        let words = ["sh", "-c", script].map(str::to_owned);
        let environment = vec![("PATH".into(), std::env::var("PATH").unwrap()), ("WHO".into(), "me".into())];
        let surroundings = Surroundings { environment, ..surroundings() };
        check(&words, &surroundings, Duration::from_millis(within)).await
    }

    #[tokio::test]
    async fn exit_codes_mean_what_nagios_says() {
        for (code, verdict) in
            [(0, Verdict::Ok), (1, Verdict::Degraded), (2, Verdict::Failed), (3, Verdict::Unknown), (127, Verdict::Unknown)]
        {
            let outcome = run(&format!("echo \"$WHO $MS_MAINPID | n={code}\"; exit {code}"), 10_000).await;
            assert_eq!((outcome.verdict, outcome.text.as_str(), outcome.values[0].value), (verdict, "me 7", f64::from(code)));
        }
        assert_eq!(run("exit 2", 10_000).await, Outcome::failed("sh ended with exit status: 2"));
        assert_eq!(run("kill -9 $$", 10_000).await.verdict, Verdict::Unknown);
    }

    #[tokio::test]
    async fn what_hangs_is_killed_as_a_whole() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pid");
        let outcome = run(&format!("sleep 1000 & echo $! > {}; wait", file.display()), 200).await;
        assert_eq!(outcome, Outcome::failed("sh did not end within 200ms"));
        let pid: i32 = std::fs::read_to_string(file).unwrap().trim().parse().unwrap();
        let end = crate::os::clock::mono() + Duration::from_secs(10);
        let alive = || std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z"));
        while alive() {
            assert!(crate::os::clock::mono() < end, "it is still there");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn much_output_and_no_program_are_no_trouble() {
        assert_eq!(run("head -c 10000000 /dev/zero; exit 0", 10_000).await.verdict, Verdict::Ok);
        let outcome = check(&["/no/such".into()], &surroundings(), Duration::from_secs(1)).await;
        assert!(outcome.verdict == Verdict::Unknown && outcome.text.starts_with("cannot execute /no/such: "), "{outcome:?}");
    }
}
