//! Where a unit's secrets come from. What they are is read when it is started, and never stands in a plan.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::model::UnitPlan;
use super::resolve::{absolute, or};
use crate::base::exit::Signal;
pub use crate::base::isolation::SecretHandover;
use crate::spec::secrets::{OnChange, Part, SecretSpec, SecretsSpec, has_reference, parts};

/// A secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SecretPlan {
    /// Where it comes from.
    pub source: SecretSource,
    /// How the unit gets it.
    #[serde(rename = "as")]
    pub handover: SecretHandover,
    /// What is sent when it has changed; `None`: the unit is started again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<Signal>,
}

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretSource {
    /// A file.
    File(PathBuf),
    /// A credential of the daemon's.
    Credential(String),
}

/// A part of the value of a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValuePart<'a> {
    /// As it stands there.
    Text(&'a str),
    /// What is in a file.
    File(PathBuf),
}

pub(super) fn secrets(spec: &SecretsSpec, text: &impl Fn(&str) -> String, directory: &Path) -> BTreeMap<String, SecretPlan> {
    spec.0.iter().map(|(name, secret)| (name.clone(), secret_plan(&secret.value, text, directory))).collect()
}

fn secret_plan(spec: &SecretSpec, text: &impl Fn(&str) -> String, directory: &Path) -> SecretPlan {
    let source = match (&spec.file, &spec.credential) {
        (Some(file), _) => SecretSource::File(absolute(directory, &text(&file.value.0))),
        // Without either there is a diagnostic.
        (None, credential) => SecretSource::Credential(or(credential, String::new(), |name| text(&name.0))),
    };
    let signal = or(&spec.on_change, None, |change| match change {
        OnChange::Restart => None,
        OnChange::Signal(signal) => Some(*signal),
    });
    SecretPlan { source, handover: or(&spec.handover, SecretHandover::default(), |handover| handover.0), signal }
}

/// `value` with the paths of its references made absolute, or as it is without any.
pub(super) fn with_absolute_references(value: String, directory: &Path) -> String {
    let Ok(parts) = parts(&value).map(|parts| parts.into_iter().map(|part| absolute_part(part, directory)).collect::<String>()) else {
        return value;
    };
    if has_reference(&value) { parts } else { value }
}

fn absolute_part(part: Part<'_>, directory: &Path) -> String {
    match part {
        Part::Text("${file:") => "$${file:".into(),
        Part::Text(text) => text.to_owned(),
        Part::File(path) => format!("${{file:{}}}", absolute(directory, path).display()),
    }
}

/// The parts of a variable's value in a plan.
#[must_use]
pub fn value_parts(value: &str) -> Vec<ValuePart<'_>> {
    // A declaration with a reference that is not closed has a diagnostic, and is never planned.
    let parts = parts(value).unwrap_or_else(|_| vec![Part::Text(value)]);
    let part = |part| match part {
        Part::Text(text) => ValuePart::Text(text),
        Part::File(path) => ValuePart::File(path.into()),
    };
    parts.into_iter().map(part).collect()
}

impl UnitPlan {
    /// Whether it is told anything secret.
    #[must_use]
    pub fn has_secrets(&self) -> bool {
        !self.secrets.is_empty() || self.environment.values().any(|value| has_reference(value))
    }

    /// Its variables without those that hold something secret.
    pub fn open_environment(&self) -> impl Iterator<Item = (&String, &String)> {
        self.environment.iter().filter(|(_, value)| !has_reference(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::plan_of;

    #[test]
    fn plans_hold_references() {
        let unit = "unit: a\nexec: x\nenvironment: {A: \"u:${file:k/a}@h\", B: \"$${file:x}\", C: c}\n\
                    secrets: {b: /k/b, C2: {credential: c, as: environment}, d: {file: d, on_change: {signal: HUP}}}\n";
        let plan = plan_of(&[("units/a.yaml", unit)]);
        let unit = &plan.units["a"];
        assert_eq!(unit.environment["A"], "u:${file:/k/a}@h");
        assert_eq!(value_parts(&unit.environment["A"])[1], ValuePart::File("/k/a".into()));
        let plain: String =
            value_parts(&unit.environment["B"]).iter().map(|part| if let ValuePart::Text(text) = part { text } else { "" }).collect();
        assert_eq!(plain, "${file:x}");
        assert_eq!(unit.open_environment().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["B", "C"]);
        assert_eq!(unit.secrets["b"].source, SecretSource::File("/k/b".into()));
        assert_eq!((unit.secrets["C2"].handover, unit.secrets["d"].signal), (SecretHandover::Environment, Some(Signal::HUP)));
        assert!(unit.has_secrets());
    }
}
