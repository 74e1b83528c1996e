//! The parts.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::Fault;
use crate::node::Node;
use crate::server;

/// How long what was just started is left alone.
const SETTLE: Duration = Duration::from_secs(6);

fn root(children: &str) -> (&'static str, String) {
    ("supervisors/root.yaml", format!("supervisor: root\nintensity: 1000000\nperiod: 1s\nchildren: [{children}]\n"))
}

fn count(events: &[Value], kind: &str, wanted: impl Fn(&str) -> bool) -> usize {
    events.iter().filter(|event| event["type"] == kind && event["subject"].as_str().is_some_and(&wanted)).count()
}

/// A thousand units with an HTTP probe each.
pub(crate) fn probes(time: Duration) -> Result<String, Fault> {
    let address = server::serve()?;
    let unit = format!(
        "unit: web\nexec: sleep 100000\ninstances: 1000\nlogs: none\nprobes: [{{http: \"http://{address}/health\", period: 5s, timeout: 1s}}]\n"
    );
    let node = Node::start(&[("units/web.yaml", unit), root("web")])?;
    std::thread::sleep(SETTLE);
    // How often each probe was late, and how often it was made.
    let sums = || -> Result<(u64, u64), Fault> {
        let status = node.status()?;
        let probes: Vec<&Value> = status["units"].as_array().into_iter().flatten().map(|unit| &unit["probes"][0]).collect();
        let runs = |probe: &&Value| probe["runs"].as_array().into_iter().flatten().filter_map(Value::as_u64).sum::<u64>();
        Ok((probes.iter().filter_map(|probe| probe["late"].as_u64()).sum(), probes.iter().map(runs).sum()))
    };
    let (late_before, made_before) = sums()?;
    let (used_before, begun) = (node.processor_time()?, Instant::now());
    std::thread::sleep(time);
    let (used, took) = (node.processor_time()? - used_before, begun.elapsed());
    let (late, made) = sums()?;
    let failed = count(&node.events()?, "ProbeChanged", |_| true);
    Ok(format!(
        "{} probes of 1000 units in {:.0} s; {} began late by more than 10 % of the period; {:.2} % of one core; {} units failing",
        made - made_before,
        took.as_secs_f64(),
        late - late_before,
        used.as_secs_f64() / took.as_secs_f64() * 100.0,
        failed.saturating_sub(1000),
    ))
}

/// A dependency that comes up and fails without end, and those that need it.
pub(crate) fn storm(time: Duration) -> Result<String, Fault> {
    let mut units = String::from("unit: db\nexec: [sh, -c, 'sleep 0.2; exit 1']\nrestart: {backoff: {kind: none}}\n");
    let mut children = String::from("db");
    for (number, how) in (1..=20).zip(["binds", "requires"].into_iter().cycle()) {
        units += &format!("---\nunit: web{number}\nexec: sleep {number}0000\n{how}: db\n");
        children += &format!(", web{number}");
    }
    let node = Node::start(&[("units/all.yaml", units), root(&children)])?;
    std::thread::sleep(time);
    let events = node.events()?;
    let minutes = time.as_secs_f64() / 60.0;
    let (flaps, starts) = (count(&events, "UnitActive", |unit| unit == "db"), count(&events, "UnitActive", |unit| unit != "db"));
    Ok(format!(
        "{:.0} starts a minute of the dependency, {:.1} a minute of all its 20 dependents (10 bind, 10 require); a restart of each with each would be {:.0}",
        flaps as f64 / minutes,
        starts as f64 / minutes,
        flaps as f64 / minutes * 20.0
    ))
}

/// A unit that works hard and fails.
pub(crate) fn crash_loop(time: Duration) -> Result<String, Fault> {
    let work = "exec: [sh, -c, 'end=$(($(date +%%s%%N) + 300000000)); while [ $(date +%%s%%N) -lt $end ]; do :; done; exit 1']";
    let unit = format!("unit: crash\n{work}\nrestart: {{backoff: adaptive}}\n");
    let node = Node::start(&[("units/crash.yaml", unit), root("crash")])?;
    // What fails once is started again at once, and does not pay for that.
    let begun = |number: usize| {
        let starts = move |event: &&Value| event["type"] == "UnitStarting";
        move |events: &[Value]| events.iter().filter(starts).nth(number).cloned()
    };
    let second = begun(1);
    while second(&node.events()?).is_none() {
        std::thread::sleep(Duration::from_millis(100));
    }
    let used_before = node.processor_time()?;
    std::thread::sleep(time * 2);
    let events = node.events()?;
    let exits: Vec<&Value> = events.iter().filter(|event| event["type"] == "UnitExited").skip(1).collect();
    let second_of = |event: &Value, name: &str| event["data"]["usage"][name].as_f64().unwrap_or(0.0);
    let used: f64 = exits.iter().map(|event| second_of(event, "user") + second_of(event, "system")).sum();
    let own = node.processor_time()?.saturating_sub(used_before).as_secs_f64();
    let share = |used: f64| used / (time * 2).as_secs_f64() * 100.0;
    Ok(format!(
        "{} failures in {:.0} s used {used:.2} s: {:.2} % of one core; the supervisor {:.2} %",
        exits.len(),
        (time * 2).as_secs_f64(),
        share(used),
        share(own)
    ))
}

/// A unit that stands still.
pub(crate) fn hung(_: Duration) -> Result<String, Fault> {
    let unit = "unit: a\nexec: sleep 100000\nshutdown: 500ms\nprobes: [{process: true, period: 1s, failure_threshold: 3}]\n";
    let node = Node::start(&[("units/a.yaml", unit.into()), root("a")])?;
    node.until("probe that passes", |event| event["type"] == "ProbeChanged")?;
    let pid =
        node.status()?["units"][0]["pid"].as_u64().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)).ok_or("it has no process")?;
    let stopped = jiff::Timestamp::now();
    kill_process(pid, Signal::STOP)?;
    let after = |event: &Value| -> Result<i64, Fault> {
        let at: jiff::Timestamp = event["time"].as_str().unwrap_or_default().parse()?;
        Ok(at.as_millisecond() - stopped.as_millisecond())
    };
    let found = node.until("verdict", |event| event["type"] == "UnitUnwell")?;
    let exited = node.until("end", |event| event["type"] == "UnitExited")?;
    let again = node.until("new start", |event| event["type"] == "UnitActive" && event["data"]["pid"] != pid.as_raw_nonzero().get())?;
    let dump = std::fs::metadata(found["data"]["incident"].as_str().unwrap_or_default())?.len();
    Ok(format!(
        "found and looked at after {} ms (asked each second, three times; {dump} bytes of evidence), gone after {} ms (asked to end, killed 500 ms later), up again after {} ms",
        after(&found)?,
        after(&exited)?,
        after(&again)?
    ))
}
