//! What the operational tier refuses: settings that are right on a desk and hurt where nobody watches.

use std::time::Duration;

use super::resolve::or;
use crate::base::choice::LogMode;
use crate::base::tier::{Tier, Unsafe};
use crate::spec::restart::BackoffKind;
use crate::spec::supervisor::SupervisorSpec;
use crate::spec::unit::UnitSpec;
use crate::spec::value::TimeLimit;
use crate::spec::{Declared, Diagnostic, Diagnostics, Span, code};

/// A setting that is refused.
type Finding = (Unsafe, Span, String, &'static str);

/// Reports what is too unsafe for the tier, and is not allowed by name.
pub(super) fn check_tier(declared: &Declared, out: &mut Diagnostics) {
    let Some(tier) = declared.daemon.tier.as_ref().filter(|tier| tier.value.0 == Tier::Tier3) else { return };
    let allowed = |rule: Unsafe| declared.daemon.allow.iter().flat_map(|allow| &allow.value.0).any(|word| word.value.0 == rule);
    let daemon = public_listen(declared).into_iter();
    let supervisors = declared.supervisors.iter().filter_map(frequent_restarts);
    let units = declared.units.iter().flat_map(unit);
    for (rule, span, message, help) in daemon.chain(supervisors).chain(units).filter(|finding| !allowed(finding.0)) {
        let fault = Diagnostic::new(code::UNSAFE, span, format!("{message}: too unsafe for {}", tier.value.0));
        let fault = fault.related(tier.span, "the tier is chosen here");
        out.push(fault.help(format!("{help}, or write `allow: [{rule}]` in `daemon.yaml` if it is meant")));
    }
}

fn public_listen(declared: &Declared) -> Option<Finding> {
    let listen = declared.daemon.listen.as_ref()?;
    let address = listen.value.0.filter(|address| !address.ip().is_loopback())?;
    let message = format!("metrics and health are served to everybody who can reach {address}, without asking who it is");
    Some((Unsafe::PublicListen, listen.span, message, "listen on 127.0.0.1 and let a proxy that knows its clients stand before it"))
}

fn frequent_restarts(spec: &SupervisorSpec) -> Option<Finding> {
    let intensity = spec.intensity.as_ref()?;
    let period = or(&spec.period, super::resolve::DEFAULT_PERIOD, |period| period.0);
    let rate = f64::from(intensity.value.to_u32()) / period.as_secs_f64();
    let message = "more than one restart a second is tolerated for ever: a crash loop is never given up";
    (rate > 1.0).then(|| {
        (Unsafe::FrequentRestarts, intensity.span, message.into(), "tolerate fewer restarts (`intensity`) or count longer (`period`)")
    })
}

fn unit(spec: &UnitSpec) -> Vec<Finding> {
    let mut findings = Vec::new();
    let name = spec.unit.as_ref().map_or("", |unit| unit.value.0.as_str());
    if let Some(backoff) = spec.restart.as_ref().and_then(|restart| restart.value.backoff.as_ref())
        && backoff.value.kind() == BackoffKind::None
        && or(&backoff.value.first, Duration::ZERO, |first| first.0).is_zero()
    {
        let message = format!("`{name}` is started again without any delay, however often it fails");
        findings.push((Unsafe::NoBackoff, backoff.span, message, "give `first` a time, or leave `backoff` out"));
    }
    if let Some(timeout) = spec.shutdown.as_ref().and_then(|shutdown| shutdown.value.timeout.as_ref()) {
        match timeout.value {
            TimeLimit::BrutalKill => {
                let message = format!("`{name}` is killed when it is to stop, and cannot finish what it is doing");
                findings.push((Unsafe::BrutalKill, timeout.span, message, "give it a time to stop in"));
            }
            TimeLimit::Infinity => {
                let message = format!("`{name}` may take for ever to stop, and the machine with it");
                findings.push((Unsafe::EndlessStop, timeout.span, message, "give it a time to stop in"));
            }
            TimeLimit::After(_) => {}
        }
    }
    if let Some(mode) = spec.logs.as_ref().and_then(|logs| logs.value.mode.as_ref()).filter(|mode| mode.value.0 == LogMode::None) {
        let message = format!("what `{name}` writes is thrown away: after a failure there is nothing to look at");
        findings.push((Unsafe::NoLogs, mode.span, message, "write `logs: direct`"));
    }
    findings
}
