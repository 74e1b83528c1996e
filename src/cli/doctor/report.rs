//! Findings for people and for programs.

use serde::Serialize;

use crate::base::finding::{Finding, Severity};
use crate::cli::Session;
use crate::cli::exit::{Ending, Exit, json};
use crate::cli::output::Look;

/// What the exit codes mean, for `--help`.
pub(in crate::cli) const HELP: &str = "Exit codes of this command:
  0  nothing but what is fine, and notes
  1  there are warnings: it works, but not as well, or not for long
  2  there are errors: something does not work";

/// The same for programs, in the order in which people would read it.
#[derive(Serialize)]
struct Report<'a> {
    worst: Severity,
    findings: &'a [Finding],
}

/// Tells what was found; the exit code is that of the worst.
pub(super) fn tell(session: &mut Session, findings: &[Finding], verbose: bool, as_json: bool) -> Ending {
    let worst = findings.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Ok);
    if as_json {
        json(&mut session.out, &Report { worst, findings })?;
    } else {
        let text = text(session.out.look, findings, verbose);
        session.out.text(&text)?;
    }
    Ok(Exit::Judged(match worst {
        Severity::Ok | Severity::Note => 0,
        Severity::Warning => 1,
        Severity::Error => 2,
    }))
}

/// Grouped, in the order in which groups come; what is fine is only counted unless all is asked for.
fn text(look: Look, findings: &[Finding], verbose: bool) -> String {
    let mut groups: Vec<&str> = Vec::new();
    for finding in findings {
        if !groups.contains(&finding.group) {
            groups.push(finding.group);
        }
    }
    let mut out = String::new();
    for group in groups {
        let of_group = || findings.iter().filter(|finding| finding.group == group);
        let fine = of_group().filter(|finding| finding.severity == Severity::Ok).count();
        out.push_str(&look.bold(group));
        if fine > 0 && !verbose {
            out.push_str(&look.dim(&format!("  {fine} fine")));
        }
        out.push('\n');
        for finding in of_group().filter(|finding| verbose || finding.severity != Severity::Ok) {
            out.push_str(&lines(look, finding));
        }
    }
    let count = |severity: Severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let plural = |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
    out.push_str(&format!(
        "{}, {}, {}; {} fine\n",
        plural(count(Severity::Error), "error"),
        plural(count(Severity::Warning), "warning"),
        plural(count(Severity::Note), "note"),
        count(Severity::Ok)
    ));
    out
}

fn lines(look: Look, finding: &Finding) -> String {
    let word = match finding.severity {
        Severity::Ok => look.state("active", "ok"),
        Severity::Note => look.dim("note"),
        Severity::Warning => look.state("waiting", "warning"),
        Severity::Error => look.state("failed", "error"),
    };
    let why = if finding.why.is_empty() { String::new() } else { format!(": {}", finding.why) };
    let cure = finding.cure.as_ref().map(|cure| format!("    help: {cure}\n")).unwrap_or_default();
    format!("  {word}: {}{why}\n{cure}", finding.found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_fine_is_counted() {
        let findings = [
            Finding::ok("kernel", "kernel.version", "Linux 6.18"),
            Finding::new(Severity::Warning, "clock", "clock.synchronized", "nobody keeps the clock right", "stamps differ")
                .cure("timedatectl set-ntp true"),
            Finding::ok("clock", "clock.date", "the clock has been set"),
        ];
        let plain = Look { color: false, width: None };
        let expect = "kernel  1 fine\nclock  1 fine\n  warning: nobody keeps the clock right: stamps differ\n    help: timedatectl set-ntp true\n0 errors, 1 warning, 0 notes; 2 fine\n";
        assert_eq!(text(plain, &findings, false), expect);
        assert!(text(plain, &findings, true).starts_with("kernel\n  ok: Linux 6.18\nclock\n"), "{}", text(plain, &findings, true));
    }
}
