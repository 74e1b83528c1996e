//! A program that looks, in the manner of Nagios' plugins.

use std::time::Duration;

use super::perfdata;
use crate::base::exit::ExitCause;
use crate::base::outcome::{Outcome, Verdict};
use crate::base::time::format_duration;

/// What a program means that ended so and printed that: 0 ok, 1 degraded, 2 failed, anything else unknown. One that did not end `within` its
/// time has failed.
#[must_use]
pub fn judge(program: &str, end: Option<ExitCause>, printed: &str, within: Duration) -> Outcome {
    let Some(end) = end else { return Outcome::failed(format!("{program} did not end within {}", format_duration(within))) };
    let (text, values) = perfdata::read(printed);
    let verdict = match end {
        ExitCause::Code(0) => Verdict::Ok,
        ExitCause::Code(1) => Verdict::Degraded,
        ExitCause::Code(2) => Verdict::Failed,
        _ => Verdict::Unknown,
    };
    let text = if text.is_empty() && verdict != Verdict::Ok { format!("{program}: {end}") } else { text };
    Outcome { verdict, text, values }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::exit::Signal;

    #[test]
    fn exit_codes_mean_what_nagios_says() {
        let codes = [(0, Verdict::Ok), (1, Verdict::Degraded), (2, Verdict::Failed), (3, Verdict::Unknown), (127, Verdict::Unknown)];
        for (code, verdict) in codes {
            let outcome = judge("p", Some(ExitCause::Code(code)), &format!("me | n={code}"), Duration::ZERO);
            assert_eq!((outcome.verdict, outcome.text.as_str(), outcome.values[0].value), (verdict, "me", f64::from(code)));
        }
        let ended = |end| judge("p", end, "", Duration::from_secs(2));
        assert_eq!(ended(Some(ExitCause::Code(2))), Outcome::failed("p: exit code 2"));
        assert_eq!(ended(Some(ExitCause::Signal { signal: Signal::KILL, core: false })).verdict, Verdict::Unknown);
        assert_eq!(ended(None), Outcome::failed("p did not end within 2s"));
    }
}
