//! What the names in a command mean.

use std::collections::BTreeSet;

use super::dto::{ApiError, Status};
use crate::plan::Plan;

/// The names there are.
#[derive(Debug, Default)]
pub struct Known<'a> {
    units: BTreeSet<&'a str>,
    supervisors: BTreeSet<&'a str>,
}

impl<'a> Known<'a> {
    /// The names of a plan.
    #[must_use]
    pub fn of_plan(plan: &'a Plan) -> Self {
        Self {
            units: plan.units.keys().map(|unit| unit.as_str()).collect(),
            supervisors: plan.supervisors.keys().map(|supervisor| supervisor.as_str()).collect(),
        }
    }

    /// The names of a status.
    #[must_use]
    pub fn of_status(status: &'a Status) -> Self {
        Self {
            units: status.units.iter().map(|unit| unit.unit.as_str()).collect(),
            supervisors: status.supervisors.iter().map(|supervisor| supervisor.supervisor.as_str()).collect(),
        }
    }

    /// Units and supervisors `targets` stand for, each once, in the order they are named first. The name of a unit with instances
    /// stands for all of them.
    ///
    /// # Errors
    /// Some are not known; the nearest known names are in the help.
    pub fn resolve(&self, targets: &[String]) -> Result<Vec<String>, ApiError> {
        let mut found = Vec::new();
        let mut seen = BTreeSet::new();
        let mut unknown = Vec::new();
        for target in targets {
            let meant = self.meant(target);
            if meant.is_empty() {
                unknown.push(target.as_str());
            }
            found.extend(meant.into_iter().filter(|name| seen.insert(*name)).map(str::to_owned));
        }
        if unknown.is_empty() { Ok(found) } else { Err(self.unknown(&unknown)) }
    }

    fn meant(&self, target: &str) -> Vec<&'a str> {
        if let Some(name) = self.supervisors.get(target).or_else(|| self.units.get(target)) {
            return vec![name];
        }
        let mut instances: Vec<_> = self.units.iter().copied().filter(|unit| template(unit) == Some(target)).collect();
        instances.sort_by_key(|unit| (unit.len(), *unit));
        instances
    }

    fn unknown(&self, names: &[&str]) -> ApiError {
        let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
        let near: Vec<_> = names.iter().filter_map(|name| self.nearest(name)).map(|name| format!("`{name}`")).collect();
        let help = if near.is_empty() {
            "`status` lists the units, `tree` the supervisors".to_owned()
        } else {
            format!("did you mean {}?", near.join(" and "))
        };
        ApiError {
            code: "unknown_target".into(),
            message: format!("there is no unit or supervisor called {}", quoted.join(" or ")),
            help: Some(help),
            diagnostics: None,
        }
    }

    fn nearest(&self, word: &str) -> Option<&'a str> {
        if word.len() > crate::base::id::NAME_MAX * 2 {
            return None;
        }
        let limit = word.chars().count().div_ceil(3).max(1);
        let templates = self.units.iter().filter_map(|unit| template(unit));
        let all = self.units.iter().copied().chain(self.supervisors.iter().copied()).chain(templates);
        let near = all.map(|name| (strsim::damerau_levenshtein(word, name), name)).filter(|(distance, _)| *distance <= limit);
        near.min().map(|(_, name)| name)
    }
}

fn template(unit: &str) -> Option<&str> {
    unit.split_once('@').map(|(template, _)| template)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(targets: &[&str]) -> Result<Vec<String>, (String, Option<String>)> {
        let units = ["redis", "resizer@1", "resizer@2", "resizer@10"].into();
        let known = Known { units, supervisors: ["workers"].into() };
        let targets: Vec<_> = targets.iter().map(|&target| target.to_owned()).collect();
        known.resolve(&targets).map_err(|error| (error.message, error.help))
    }

    #[test]
    fn a_template_means_its_instances() {
        assert_eq!(resolve(&["resizer"]).unwrap(), ["resizer@1", "resizer@2", "resizer@10"]);
        assert_eq!(
            resolve(&["workers", "resizer@2", "redis", "resizer"]).unwrap(),
            ["workers", "resizer@2", "redis", "resizer@1", "resizer@10"]
        );
    }

    #[test]
    fn unknown_names_get_help() {
        let (message, help) = resolve(&["redis", "rediss", "worker"]).unwrap_err();
        assert_eq!(message, "there is no unit or supervisor called `rediss` or `worker`");
        assert_eq!(help.as_deref(), Some("did you mean `redis` and `workers`?"));
        assert_eq!(resolve(&["xyzzyx"]).unwrap_err().1.as_deref(), Some("`status` lists the units, `tree` the supervisors"));
    }
}
