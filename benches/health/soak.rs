//! Restarts without end: what is left of each of them in memory.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Fault;
use crate::node::{Memory, Node};

/// So many units fail every two seconds.
const UNITS: u64 = 150;

/// How many restarts a second there are to be at least.
const RATE: f64 = 60.0;

/// Until then memory may grow: rings fill, and everything is done for the first time.
const SETTLED: u64 = 10;

/// How much more there may be then.
const TOLERATED: f64 = 0.02;

/// Units that fail again and again, thirty times as long as another part takes; memory minute by minute.
pub(crate) fn soak(time: Duration) -> Result<String, Fault> {
    let unit = format!("unit: crash\nexec: [sh, -c, 'sleep 2; exit 1']\ninstances: {UNITS}\nrestart: {{backoff: {{kind: none}}}}\n");
    let root = "supervisor: root\nintensity: 1000000\nperiod: 1s\nchildren: [crash]\n".to_owned();
    let node = Node::start(&[("units/crash.yaml", unit), ("supervisors/root.yaml", root)])?;
    println!("minute  restarts/s  brain: resident  anonymous  threads   launcher: resident  anonymous   (KiB)");
    let (minutes, begun) = ((time * 30).as_secs() / 60, Instant::now());
    let (mut brain, mut launcher) = (Vec::new(), Vec::new());
    let (mut before, mut first) = (restarts(&node.status()?), None);
    for minute in 1..=minutes {
        std::thread::sleep((Duration::from_secs(60) * u32::try_from(minute)?).saturating_sub(begun.elapsed()));
        let status = node.status()?;
        let (now, pid) = (restarts(&status), |name: &str| status["daemon"][name].as_u64().ok_or("the daemon tells no process id"));
        let (of_brain, of_launcher) = (Memory::of(pid("pid")?)?, Memory::of(pid("launcher_pid")?)?);
        if *first.get_or_insert(pid("pid")?) != pid("pid")? {
            return Err("the brain has died".into());
        }
        let Memory { resident, anonymous, threads } = of_brain;
        println!(
            "{minute:>6}  {:>10.1}  {resident:>15}  {anonymous:>9}  {threads:>7}  {:>19}  {:>9}",
            (now - before) as f64 / 60.0,
            of_launcher.resident,
            of_launcher.anonymous
        );
        before = now;
        brain.push(of_brain);
        launcher.push(of_launcher);
    }
    let rate = before as f64 / begun.elapsed().as_secs_f64();
    let told = format!("{before} restarts in {minutes} minutes, {rate:.0} a second");
    let figures =
        [growth(&brain, |memory| memory.resident), growth(&brain, |memory| memory.anonymous), growth(&launcher, |memory| memory.resident)];
    let [Some(resident), Some(anonymous), Some(of_launcher)] = figures else {
        return Ok(format!("{told}; too short to say more: memory settles in {SETTLED} minutes"));
    };
    let is_flat = rate >= RATE && [resident, anonymous, of_launcher].iter().all(|growth| *growth <= TOLERATED);
    Ok(format!(
        "{told}; after minute {SETTLED} at most {:+.2} % (anonymous {:+.2} %) in the brain and {:+.2} % in the launcher: {}",
        resident * 100.0,
        anonymous * 100.0,
        of_launcher * 100.0,
        if is_flat { "flat" } else { "NOT flat" }
    ))
}

fn restarts(status: &Value) -> u64 {
    status["units"].as_array().into_iter().flatten().filter_map(|unit| unit["restarts"].as_u64()).sum()
}

/// By how much what was found later exceeds what was found when all had settled.
fn growth(found: &[Memory], figure: impl Fn(&Memory) -> u64) -> Option<f64> {
    let (early, late) = found.split_at_checked(usize::try_from(SETTLED).ok()?)?;
    let settled = figure(early.last()?) as f64;
    Some(late.iter().map(figure).max()? as f64 / settled - 1.0)
}
