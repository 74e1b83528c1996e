//! The environment of a unit for people to look at.

use std::sync::Arc;
use std::time::Duration;

use super::prepare::{Places, variables};
use super::secrets;
use crate::actor::confinement::Account;
use crate::actor::context::Context;
use crate::base::secret::{REDACTED, Variable};
use crate::os::foreign::{self, Purpose, Table};
use crate::plan::{ROOT, SecretHandover, UnitPlan};

/// How long whoever asks is made to wait.
const LOOK_WITHIN: Duration = Duration::from_secs(10);

/// What a variable that has one of these in its name mostly holds is a secret, however it is declared.
const TELLING: [&str; 7] = ["PASSWORD", "PASSWD", "SECRET", "TOKEN", "API_KEY", "PRIVATE_KEY", "CREDENTIALS"];

/// What of those is none.
const HARMLESS: &str = "CREDENTIALS_DIRECTORY";

/// The environment of a unit as its next start has it, sorted. Not shown is what comes from `secrets` and references to files, from environment
/// files that not everybody may read, and what by its name is secret.
///
/// # Errors
/// A sentence that says what cannot be had.
pub(crate) async fn environment(context: &Context, plan: Arc<UnitPlan>) -> Result<Vec<Variable>, String> {
    let whose = format!("environment of {}", plan.id);
    let account = Account::of(&plan, context.environment.clone(), (Purpose::Other, &whose, LOOK_WITHIN)).await?;
    // Where its cgroup would be is no matter of its environment.
    let places = Places::new(context, &plan, &ROOT.into(), secrets::Key::new());
    let look = foreign::look((Purpose::Other, Table::Own), &whose, LOOK_WITHIN, move || look(&plan, &places, account));
    look.await.map_err(|hangs| hangs.to_string())?
}

fn look(plan: &UnitPlan, places: &Places, account: Account) -> Result<Vec<Variable>, String> {
    let variables = variables(plan, places, account, 0)?;
    let mut shown: Vec<_> = variables.list.iter().map(|(name, value)| variable(name, value, variables.closed.contains(name))).collect();
    let handed_over = plan.secrets.iter().filter(|(_, secret)| secret.handover == SecretHandover::Environment).map(|(name, _)| name);
    let referring = plan.environment.keys().filter(|name| !plan.open_environment().any(|(open, _)| open == *name));
    shown.extend(handed_over.chain(referring).map(|name| variable(name, "", true)));
    shown.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(shown)
}

fn variable(name: &str, value: &str, is_closed: bool) -> Variable {
    let upper = name.to_ascii_uppercase();
    let redacted = is_closed || name != HARMLESS && TELLING.iter().any(|word| upper.contains(word));
    let value = if redacted { REDACTED } else { value };
    // The number of the run is not known before.
    let value = if name == HARMLESS {
        value.strip_suffix("/0").map_or_else(|| value.to_owned(), |path| format!("{path}/RUN"))
    } else {
        value.into()
    };
    Variable { name: name.to_owned(), value, redacted }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sounds_secret_is_not_shown() {
        let shown = |name, value, closed| variable(name, value, closed).value;
        assert_eq!(shown("PATH", "/bin", false), "/bin");
        assert_eq!(shown("PATH", "/bin", true), "[redacted]");
        assert_eq!(shown("db_password", "x", false), "[redacted]");
        assert_eq!(shown("GITHUB_TOKEN", "x", false), "[redacted]");
        assert_eq!(shown("CREDENTIALS_DIRECTORY", "/run/u/0", false), "/run/u/RUN");
    }
}
