//! `secrets` of a unit, and references to secret files in its `environment`: where they are, never what they are.

use serde_json::json;

use crate::base::isolation::SecretHandover;

use super::code;
use super::decode::{Cx, Decode, mapping};
use super::diagnostic::{Diagnostic, Span, Spanned, quote};
use super::node::{Kind, Node};
use super::restart::is_word;
use super::unit::UnitSpec;
use super::value::{OneOf, SignalName, Text, schema};

/// The most secrets of a unit.
const SECRETS_MAX: usize = 64;

/// The longest name, in bytes: as a file may have.
const NAME_MAX: usize = 255;

/// Secrets by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SecretsSpec(pub Vec<(String, Spanned<SecretSpec>)>);

schema!(SecretsSpec, generator => json!({
    "type": "object", "additionalProperties": generator.subschema_for::<SecretSpec>(), "maxProperties": SECRETS_MAX,
    "propertyNames": {"pattern": "^[A-Za-z0-9_][A-Za-z0-9_.-]*$", "maxLength": NAME_MAX},
}));

impl Decode for SecretsSpec {
    const EXPECTED: &'static str = "a mapping of names to sources, for example `{db: {file: /etc/keys/db}}`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let Kind::Mapping(items) = &node.kind else { return cx.expected(node, Self::EXPECTED) };
        if items.len() > SECRETS_MAX {
            return cx.bad_value(code::OUT_OF_RANGE, node, format!("there are more than {SECRETS_MAX} secrets"));
        }
        let mut secrets: Vec<(String, Spanned<SecretSpec>)> = Vec::new();
        for (key, value) in items {
            let Some(name) = key.text().filter(|name| is_name(name)) else {
                let why = format!("{} cannot name a secret: letters, digits, `_`, `-` and `.` do, as for a file", key.describe());
                let _: Option<()> = cx.bad_value(code::BAD_NAME, key, why);
                continue;
            };
            if secrets.iter().any(|(known, _)| known == name) {
                cx.report(Diagnostic::new(code::DUPLICATE_KEY, key.span, format!("the secret {} is given twice", quote(name))));
                continue;
            }
            if let Some(spec) = SecretSpec::decode(value, cx) {
                let is_variable = spec.handover() == SecretHandover::Environment;
                if is_variable && !is_variable_name(name) {
                    let message = format!("the secret {} is handed over as a variable, and cannot name one", quote(name));
                    cx.report(Diagnostic::new(code::BAD_NAME, key.span, message).help("letters, digits and `_` do"));
                }
                secrets.push((name.to_owned(), Spanned { value: spec, span: value.span }));
            }
        }
        Some(Self(secrets))
    }
}

fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    !name.is_empty() && name.len() <= NAME_MAX && name.chars().all(allowed) && !name.starts_with(['.', '-'])
}

fn is_variable_name(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !name.starts_with(|c: char| c.is_ascii_digit())
}

mapping! {
    /// Where a secret comes from, exactly one of `file` and `credential`, and how the unit gets it; a bare path is its `file`. At most 1 MiB.
    SecretSpec: "a path or a mapping, for example `{credential: db-password}`" {
        /// A regular file that belongs to root or the daemon's user and that others cannot read: mode 0600, 0400, or 0640 if its group is the
        /// unit's. Nobody else may write a directory or own a link on the way to it. Relative to the configuration directory.
        file: Text,
        /// A credential the daemon got from systemd (`LoadCredential=`, `SetCredentialEncrypted=`), by name.
        credential: Text,
        /// How the unit gets it. As a file, not as a variable, its children and those who may look at its environment do not get it as well.
        handover as "as": OneOf<SecretHandover> = "file",
        /// What is done when `reload` finds it changed: the unit is started again, or gets the new file and then a signal.
        on_change: OnChange = "restart",
    }
}

schema!(SecretSpec, generator => json!({"anyOf": [{"type": "string"}, Self::mapping_schema(generator)]}));

impl Decode for SecretSpec {
    const EXPECTED: &'static str = "a path or a mapping, for example `{credential: db-password}`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        if is_word(node) {
            let file = Spanned { value: Text::decode(node, cx)?, span: node.span };
            if file.0.is_empty() {
                cx.report(Diagnostic::new(code::BAD_VALUE, node.span, "the source of a secret is empty"));
            }
            return Some(Self { file: Some(file), ..Self::default() });
        }
        let spec = Self::from_mapping(node, cx)?;
        match (node.key("file"), node.key("credential")) {
            (None, None) => {
                let fault = Diagnostic::new(code::MISSING_KEY, node.span, "a secret comes from a `file` or is a `credential`");
                cx.report(fault.help("its value is never written here: this file is not secret"));
            }
            (Some(file), Some(credential)) => {
                let fault = Diagnostic::new(code::CONFLICT, credential.span, "a secret has one source");
                cx.report(fault.related(file.span, "and is a file already").help("remove one of them"));
            }
            _ => {}
        }
        if let Some(empty) = spec.file.iter().chain(&spec.credential).find(|text| text.0.is_empty()) {
            cx.report(Diagnostic::new(code::BAD_VALUE, empty.span, "the source of a secret is empty"));
        }
        if let Some(name) = spec.credential.as_ref().filter(|name| !name.0.is_empty() && !is_name(&name.0)) {
            cx.report(Diagnostic::new(code::BAD_NAME, name.span, format!("{} cannot name a credential", quote(&name.0))));
        }
        if let (SecretHandover::Environment, Some(change)) = (spec.handover(), &spec.on_change)
            && matches!(change.value, OnChange::Signal(_))
        {
            let fault = Diagnostic::new(code::CONFLICT, change.span, "the environment of a process that runs cannot be changed");
            cx.report(fault.help("write `as: file`, or `on_change: restart`"));
        }
        Some(spec)
    }
}

impl SecretSpec {
    fn handover(&self) -> SecretHandover {
        self.handover.as_ref().map_or(SecretHandover::File, |handover| handover.0)
    }
}

/// What is done when a secret has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnChange {
    /// The unit is started again.
    Restart,
    /// Its main process gets a signal.
    Signal(crate::base::exit::Signal),
}

schema!(OnChange, generator => {
    let mapping = ChangeSignal::mapping_schema(generator);
    json!({"anyOf": [{"const": "restart", "description": "The unit is started again."}, mapping]})
});

impl Decode for OnChange {
    const EXPECTED: &'static str = "`restart` or a signal, for example `{signal: SIGHUP}`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        match node.text() {
            Some("restart") => Some(Self::Restart),
            _ if matches!(node.kind, Kind::Mapping(_)) => {
                ChangeSignal::from_mapping(node, cx)?.signal.map(|signal| Self::Signal(signal.value.0))
            }
            _ => cx.expected(node, Self::EXPECTED),
        }
    }
}

mapping! {
    /// The main process is told of a new secret.
    ChangeSignal: "`restart` or a signal, for example `{signal: SIGHUP}`" {
        /// The signal it gets once the new file is in its place.
        signal: SignalName = required,
    }
}

/// A part of a value of a variable: text, or a file whose content stands in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    Text(&'a str),
    File(&'a str),
}

/// What begins a reference to a file.
const FILE: &str = "${file:";

/// The parts of a value: `${file:PATH}` refers to a file, `$${file:` is the same characters as text.
///
/// # Errors
/// A sentence that says what is wrong.
pub(crate) fn parts(value: &str) -> Result<Vec<Part<'_>>, String> {
    let mut parts = Vec::new();
    let mut rest = value;
    while let Some(at) = rest.find(FILE) {
        let (before, after) = (&rest[..at], &rest[at + FILE.len()..]);
        if let Some(escaped) = before.strip_suffix('$') {
            parts.extend([Part::Text(escaped), Part::Text(FILE)]);
            rest = after;
            continue;
        }
        let Some((path, behind)) = after.split_once('}') else {
            return Err(format!("`{FILE}` is not closed by `}}`; write `$${{file:` for the characters themselves"));
        };
        if path.is_empty() {
            return Err(format!("`{FILE}` names no file"));
        }
        parts.extend([Part::Text(before), Part::File(path)]);
        rest = behind;
    }
    parts.push(Part::Text(rest));
    Ok(parts)
}

/// Whether a value refers to a file.
pub(crate) fn has_reference(value: &str) -> bool {
    parts(value).is_ok_and(|parts| parts.iter().any(|part| matches!(part, Part::File(_))))
}

impl UnitSpec {
    /// Secrets stand where they cannot be seen, and variables are given once.
    pub(super) fn check_secrets(&self, cx: &mut Cx<'_>) {
        let variables = || self.environment.iter().flat_map(|variables| &variables.0);
        for (_, value) in variables() {
            if let Err(why) = parts(&value.value) {
                cx.report(Diagnostic::new(code::BAD_VALUE, value.span, format!("`environment`: {why}")));
            }
        }
        let words = self.exec.iter().flat_map(|exec| &exec.0);
        for word in words.filter(|word| has_reference(&word.value)) {
            let fault =
                Diagnostic::new(code::CONFLICT, word.span, "a secret cannot stand in `exec`: everybody on the machine can see arguments");
            cx.report(fault.help("write it in `environment`, or hand it over as a file by `secrets`"));
        }
        for (name, secret) in self.secrets.iter().flat_map(|secrets| &secrets.0) {
            let twice = variables().find(|(variable, _)| variable == name);
            if let Some((_, given)) = twice.filter(|_| secret.handover() == SecretHandover::Environment) {
                let fault = Diagnostic::new(code::CONFLICT, secret.span, format!("the variable {} is given by `environment`", quote(name)));
                cx.report(fault.related(given.span, "given here").help("remove one of them"));
            }
        }
    }

    /// The texts of `secrets` that may hold specifiers.
    pub(super) fn secret_texts(&self) -> impl Iterator<Item = (Span, String)> {
        let secrets = self.secrets.iter().flat_map(|secrets| &secrets.0);
        secrets.flat_map(|(_, secret)| secret.file.iter().chain(&secret.credential)).map(|text| (text.span, text.value.0.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_found() {
        let text = |value| parts(value).map(|parts| format!("{parts:?}").replace("Text(\"\"), ", "")).unwrap_or_else(|why| why);
        for (value, expect) in [
            ("plain $x ${y}", r#"[Text("plain $x ${y}")]"#),
            ("a${file:/b}c", r#"[Text("a"), File("/b"), Text("c")]"#),
            ("${file:/b}${file:c}", r#"[File("/b"), File("c"), Text("")]"#),
            ("$${file:/b}", r#"[Text("${file:"), Text("/b}")]"#),
            ("${file:}", "`${file:` names no file"),
            ("${file:/b", "`${file:` is not closed by `}`; write `$${file:` for the characters themselves"),
        ] {
            assert_eq!(text(value), expect, "{value}");
        }
        assert!(has_reference("x${file:y}") && !has_reference("$${file:y}"));
    }

    #[test]
    fn names_are_those_of_files() {
        assert!(["db", "DB_PASSWORD", "a.b-c"].into_iter().all(is_name));
        assert!(["", ".", "..", ".x", "-x", "a/b", "ä", &"a".repeat(256)].into_iter().all(|name| !is_name(name)));
        assert!(is_variable_name("DB_1") && !is_variable_name("1DB") && !is_variable_name("a-b"));
    }
}
