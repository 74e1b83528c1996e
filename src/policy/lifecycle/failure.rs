//! What a failure was, and what is declared for it.

use super::{Effect, Lifecycle, State, UNFIT_WEIGHT, Verdict};
use crate::base::choice::FailureClass;
use crate::base::exit::{ExitCause, ExitReason, Signal};
use crate::base::time::Mono;
use crate::plan::{FailureCause, Response, SuccessExit};
use crate::policy::backoff::Failure;

impl Lifecycle {
    pub(super) fn spawn_failed(&mut self, now: Mono, why: &str, out: &mut Vec<Effect>) {
        if self.state != State::Spawning {
            return;
        }
        self.failure = Failure { weight: UNFIT_WEIGHT, ..Failure::default() };
        self.failed = Some((FailureClass::Config, None));
        out.push(Effect::LeaveGate);
        self.enter(State::Stopped, None, out);
        if std::mem::take(&mut self.stop_wanted) {
            self.judge(now, &Verdict::Silent, out);
            return out.push(Effect::Ended(ExitReason::Shutdown));
        }
        let verdict = Verdict::StartFailed(ExitReason::error(why));
        self.judge(now, &verdict, out);
        self.tell(verdict, out);
    }

    /// Tells the supervisor, unless the failure is one after which it is to stay down.
    pub(super) fn tell(&mut self, verdict: Verdict, out: &mut Vec<Effect>) {
        let was_up = verdict != Verdict::Silent && std::mem::take(&mut self.is_up);
        let is_asked = verdict == Verdict::Ended(ExitReason::Shutdown);
        out.push(match (verdict, self.response()) {
            (Verdict::Ended(reason) | Verdict::StartFailed(reason), Some((cause, Response::Stop))) if !is_asked => {
                Effect::GiveUp(cause, reason)
            }
            (Verdict::Ended(reason), _) => Effect::Ended(reason),
            (Verdict::StartFailed(reason), _) if was_up => Effect::Ended(reason),
            (Verdict::StartFailed(reason), _) => Effect::StartFailed(reason),
            (Verdict::Silent, _) => return,
        });
    }

    /// What is declared for the failure of the latest run. An end that counts as success is none, unless it is named exactly. Who says
    /// nothing of `oom` means it by `crash`.
    pub(super) fn response(&self) -> Option<(FailureCause, Response)> {
        let (class, exit) = self.failed?;
        let is_success =
            matches!(class, FailureClass::Crash | FailureClass::Oom) && exit.is_some_and(|cause| self.reason(cause) == ExitReason::Normal);
        let is_named = self.plan.restart.on.iter().any(|(cause, _)| *cause == FailureCause::Class(class));
        let class = if class == FailureClass::Oom && !is_named { FailureClass::Crash } else { class };
        let fits = |cause: &FailureCause| match (cause, exit) {
            (FailureCause::Class(wanted), _) => *wanted == class && !is_success,
            (FailureCause::Exit(wanted), Some(cause)) => is_exit(*wanted, cause),
            (FailureCause::Exit(_), None) => false,
        };
        self.plan.restart.on.iter().find(|(cause, _)| fits(cause)).copied()
    }

    /// What an exit means in OTP's terms.
    pub(super) fn reason(&self, cause: ExitCause) -> ExitReason {
        match cause {
            ExitCause::Code(0) => ExitReason::Normal,
            _ if self.plan.success_exit.iter().any(|wanted| is_exit(*wanted, cause)) => ExitReason::Normal,
            ExitCause::Signal { signal: Signal::KILL, .. } => ExitReason::Killed,
            _ => ExitReason::error(cause),
        }
    }
}

/// Whether a process ended in this way.
fn is_exit(wanted: SuccessExit, cause: ExitCause) -> bool {
    match (wanted, cause) {
        (SuccessExit::Code(wanted), ExitCause::Code(code)) => wanted == code,
        (SuccessExit::Signal(wanted), ExitCause::Signal { signal, .. }) => wanted == signal,
        _ => false,
    }
}
