//! One measurement in a process of its own, seen from outside and from inside.

use std::process::{Command, Stdio};
use std::time::Instant;

use crate::Fault;
use crate::column::{Column, Job, Mode};
use crate::erlang::Erlang;
use crate::{ours, plain};

/// The word that makes this program such a process.
pub(crate) const MODE: &str = "measure";

/// Runs a measurement. Returns its rows and values.
pub(crate) fn outside(column: Column, job: Job, threads: usize, erlang: Option<&Erlang>) -> Result<Vec<(&'static str, f64)>, Fault> {
    let mut command = match erlang {
        Some(erlang) if column.is_erlang() => erlang.command(threads),
        _ => {
            let mut command = Command::new(std::env::current_exe()?);
            command.arg(MODE);
            command
        }
    };
    command.args([column.name(), job.mode.name(), &job.count.to_string(), &threads.to_string()]);
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    let text = String::from_utf8(output.stdout)?;
    if !output.status.success() {
        return Err(format!("{}: {}", output.status, text.trim()).into());
    }
    let values = text.split_whitespace().map(str::parse).collect::<Result<Vec<f64>, _>>()?;
    if values.len() != job.rows().len() {
        return Err(format!("it told {values:?}").into());
    }
    Ok(job.rows().iter().copied().zip(values).collect())
}

/// Measures in this process, and tells the values in the order of [`Job::rows`].
pub(crate) fn inside(mut words: impl Iterator<Item = String>) -> Result<(), Fault> {
    let mut word = || words.next().ok_or("measure COLUMN MODE COUNT THREADS");
    let column = Column::named(&word()?).ok_or("there is no such column")?;
    let mode = Mode::named(&word()?).ok_or("there is no such mode")?;
    let job = Job { mode, count: word()?.parse()? };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(word()?.parse()?).enable_all().build()?;
    // On a worker, as any caller would be: the main thread is none.
    let measured = runtime.spawn(async move {
        match column {
            Column::Ractor => plain::measure(job).await,
            Column::Task | Column::Actor | Column::Dynamic => ours::measure(column, job).await,
            Column::Erlang | Column::GenServer | Column::Simple => Err("that is Erlang's to measure".into()),
        }
    });
    for value in runtime.block_on(measured)?? {
        println!("{value}");
    }
    runtime.shutdown_background();
    Ok(())
}

/// How many per second, if `count` took until now.
pub(crate) fn rate(count: usize, since: Instant) -> f64 {
    count as f64 / since.elapsed().as_secs_f64()
}

/// Milliseconds until now.
pub(crate) fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// The resident set of this process, in bytes.
pub(crate) fn resident() -> Result<f64, Fault> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("the kernel tells no resident set")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? * 1024.0)
}
