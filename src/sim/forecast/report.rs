//! What is told of it.

use super::*;

impl World<'_> {
    pub(super) fn report(&mut self, id: u32, report: &Report) {
        let Some(one) = self.supervisors.get(&id) else { return };
        let flags = one.machine.flags();
        let (used, intensity, period) = (one.books.in_window(self.now), flags.intensity, format_duration(flags.period));
        let name = one.id.clone();
        let text = match report {
            Report::ChildTerminated { child, restart: true, .. } | Report::StartError { child, .. } if used <= intensity as usize => {
                format!("restarts {child}: {used} of {intensity} restarts within {period}")
            }
            Report::ChildTerminated { child, reason, restart: false } => format!("leaves {child} down: {reason}"),
            Report::ReachedMaxRestartIntensity { child, .. } => {
                let what = match flags.at_limit {
                    AtLimit::Keep => format!("gives up {child} and keeps what runs (degraded)"),
                    AtLimit::Terminate => "gives up".into(),
                    AtLimit::RetryAfter(delay) => format!("tries {child} again only {} later", format_duration(delay)),
                };
                let time = tenths(self.now - Mono(0));
                let limit = format!("more than {intensity} restarts within {period}");
                let first = format!("{name} {what} after {time}: {limit}, the last one of {child}");
                let entry = self.gave_up.entry(name.clone()).or_insert_with(|| (first, Vec::new()));
                entry.1.push(self.now);
                format!("{what}: {limit}")
            }
            Report::ChildStuck { child } => format!("{child} was killed and does not end"),
            Report::ChildTerminated { .. } | Report::StartError { .. } | Report::ChildStarted { .. } | Report::ShutdownError { .. } => {
                return;
            }
        };
        self.timeline.add(self.now, name.as_str(), text);
    }

    /// Everything as text.
    pub(super) fn told(&self, duration: Duration, broken: Option<String>) -> String {
        let mut out = self.timeline.render();
        out.push('\n');
        let width = self.units.keys().map(|id| id.as_str().len()).max().unwrap_or(0).max(4);
        out.push_str(&format!("{:<width$}  {:>8}  {:>9}  at the end\n", "unit", "restarts", "time down"));
        let mut calm = 0;
        for (id, unit) in &self.units {
            let down = unit.down + unit.down_since.map_or(Duration::ZERO, |since| self.now - since);
            if unit.restarts == 0 && down < CALM && unit.standing == Standing::Ready {
                calm += 1;
                continue;
            }
            let state = unit.machine.state().as_str();
            out.push_str(&format!("{:<width$}  {:>8}  {:>9}  {state}\n", id.as_str(), unit.restarts, tenths(down)));
        }
        if calm > 0 {
            out.push_str(&format!("{calm} {} never disturbed\n", if calm == 1 { "unit is" } else { "units are" }));
        }
        out.push('\n');
        for (first, times) in self.gave_up.values() {
            out.push_str(&format!("{first}\n"));
            if let [_, .., last] = times[..] {
                out.push_str(&format!("  and {} times more, the last time after {}\n", times.len() - 1, tenths(last - Mono(0))));
            }
        }
        if self.gave_up.is_empty() {
            out.push_str(&format!("nothing gives up within {}\n", format_duration(duration)));
        }
        out.extend(broken.map(|broken| format!("cut short: {broken}\n")));
        out
    }
}
