//! Limits beside what is used, for people.

use crate::api::dto::Status;
use crate::base::limit::ControlFile;
use crate::base::quantity::format_size;
use crate::event::{GroupUse, LimitStatus, LimitsUnavailable};

/// Declared limits that have no effect here, a line for each reason.
pub(super) fn trouble(unavailable: &[LimitsUnavailable]) -> String {
    unavailable.iter().map(|one| format!("limits: {}", one.text())).collect::<Vec<_>>().join("\n")
}

/// The rows of a unit: what it uses, with what it may.
pub(super) fn rows(used: Option<&GroupUse>, limits: &[LimitStatus]) -> Vec<(&'static str, String)> {
    let none = GroupUse::default();
    let used = used.unwrap_or(&none);
    let holds =
        |file: ControlFile| limits.iter().find(|one| one.limit == file.limit() && one.refused.is_none()).map(|one| one.wanted.as_str());
    let shown = |text: &str| text.parse().map_or_else(|_| text.to_owned(), format_size);
    let declared = |file: ControlFile| limits.iter().find(|one| one.limit == file.limit()).and_then(|one| one.declared.as_deref());
    let adjusted = |declared: String| format!(" (adjusted, declared {declared})");
    let size = |file| {
        let size = holds(file).map(shown)?;
        Some(format!("{size}{}", declared(file).map(|text| adjusted(shown(text))).unwrap_or_default()))
    };
    let all = |parts: Vec<Option<String>>| parts.into_iter().flatten().collect::<Vec<_>>().join(", ");
    let bounds = [
        (ControlFile::MemoryMin, "min"),
        (ControlFile::MemoryLow, "low"),
        (ControlFile::MemoryHigh, "high"),
        (ControlFile::MemoryMax, "max"),
        (ControlFile::MemorySwapMax, "swap max"),
    ];
    let mut memory = vec![used.memory.map(format_size), used.memory_peak.map(|peak| format!("{} at most", format_size(peak)))];
    memory.extend(bounds.map(|(file, name)| size(file).map(|size| format!("{name} {size}"))));
    memory.push(used.oom_kills.filter(|kills| *kills > 0).map(|kills| format!("{kills} killed")));
    let cpu = vec![
        used.cpu.map(|seconds| format!("{seconds:.1}s")),
        used.throttled.filter(|seconds| *seconds > 0.0).map(|seconds| format!("{seconds:.1}s throttled")),
        holds(ControlFile::CpuMax).and_then(share).map(|share| format!("max {share}")),
        holds(ControlFile::CpuWeight).map(|weight| {
            let declared = declared(ControlFile::CpuWeight).map(|text| adjusted(text.to_owned()));
            format!("weight {weight}{}", declared.unwrap_or_default())
        }),
        holds(ControlFile::CpusetCpus).map(|cpus| format!("on {cpus}")),
    ];
    let tasks = vec![used.tasks.map(|tasks| tasks.to_string()), holds(ControlFile::PidsMax).map(|most| format!("max {most}"))];
    let io = vec![
        used.read.map(|bytes| format!("{} read", format_size(bytes))),
        used.written.map(|bytes| format!("{} written", format_size(bytes))),
        holds(ControlFile::IoWeight).map(|weight| weight.replace("default", "weight")),
        holds(ControlFile::IoMax).map(|limit| format!("max {limit}")),
    ];
    let mut rows = vec![("Memory", all(memory)), ("CPU", all(cpu)), ("Tasks", all(tasks)), ("IO", all(io))];
    let refused = limits.iter().filter_map(|one| Some(format!("{}: {}", one.limit, one.refused.as_ref()?)));
    rows.extend(refused.map(|text| ("No limit", text)));
    rows
}

/// What supervisors that were asked for use with all that is below them, and may use.
pub(super) fn supervisors(status: &Status) -> String {
    let mut out = Vec::new();
    for supervisor in &status.supervisors {
        let name = supervisor.supervisor.as_str();
        let rows: Vec<_> = rows(status.used.get(name), &supervisor.limits).into_iter().filter(|(_, text)| !text.is_empty()).collect();
        if !rows.is_empty() {
            out.push(format!("{name}, all that is below it together"));
            out.extend(rows.into_iter().map(|(name, text)| format!("{name:>11}: {text}")));
        }
    }
    out.join("\n")
}

/// `50000 100000` as `50 %`.
fn share(value: &str) -> Option<String> {
    let (quota, period) = value.split_once(' ')?;
    let share = quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?;
    Some(format!("{:.0} %", share * 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limit::Setting;

    #[test]
    fn limits_stand_beside_use() {
        let status = |file: ControlFile, wanted: &str, refused: Option<&str>| {
            let Setting { file, value } = Setting::new(file, wanted);
            LimitStatus { limit: file.limit().into(), wanted: value, refused: refused.map(str::to_owned), declared: None }
        };
        let adjusted = |file, wanted, declared: &str| LimitStatus { declared: Some(declared.into()), ..status(file, wanted, None) };
        let limits = [
            adjusted(ControlFile::MemoryHigh, "536870912", "268435456"),
            adjusted(ControlFile::CpuWeight, "150", "100"),
            status(ControlFile::MemoryMax, "67108864", None),
            status(ControlFile::CpuMax, "150000 100000", None),
            status(ControlFile::PidsMax, "64", None),
            status(ControlFile::CpusetCpus, "7", Some("Numerical result out of range")),
        ];
        let used = GroupUse { memory: Some(12 << 20), memory_peak: Some(30 << 20), cpu: Some(1.25), tasks: Some(3), ..GroupUse::default() };
        let lines: Vec<_> = rows(Some(&used), &limits).into_iter().map(|(name, text)| format!("{name}: {text}")).collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        Memory: 12.0 MiB, 30.0 MiB at most, high 512.0 MiB (adjusted, declared 256.0 MiB), max 64.0 MiB
        CPU: 1.2s, max 150 %, weight 150 (adjusted, declared 100)
        Tasks: 3, max 64
        IO: 
        No limit: cpuset: Numerical result out of range
        ");
    }
}
