//! From nodes to values: faults are reported and decoding goes on.

use std::collections::BTreeMap;
use std::rc::Rc;

use schemars::JsonSchema;

use super::code;
use super::diagnostic::{Diagnostic, Diagnostics, Span, Spanned, did_you_mean, quote};
use super::node::{Kind, Node};

/// A key that may be missing, with where its value is written.
pub type Field<T> = Option<Spanned<T>>;

/// A value as declarations write it. The schema and the decoder of one type stand together, so that they say the same.
pub(crate) trait Decode: Sized + JsonSchema {
    /// What it must be, with an example: "a time, for example `30s`".
    const EXPECTED: &'static str;

    /// Reads it; `None` after reporting why not.
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self>;
}

/// Where faults go while a document is decoded.
pub(crate) struct Cx<'a> {
    out: &'a mut Diagnostics,
    /// The keys that lead to the value at hand.
    path: Vec<&'static str>,
}

impl<'a> Cx<'a> {
    pub(crate) fn new(out: &'a mut Diagnostics) -> Self {
        Self { out, path: Vec::new() }
    }

    /// Reports a fault.
    pub(crate) fn report(&mut self, diagnostic: Diagnostic) {
        self.out.push(diagnostic);
    }

    /// Reports a value of the wrong kind.
    pub(crate) fn expected<T>(&mut self, node: &Node, expected: &str) -> Option<T> {
        let found = node.describe();
        let message = format!("{} must be {expected}; found {found}", self.subject());
        let help = node.is_null().then(|| "give it a value or remove the key".to_owned());
        self.report(Diagnostic::new(code::WRONG_TYPE, node.span, message).maybe_help(help));
        None
    }

    /// Reports a value that cannot be understood; `why` is a sentence.
    pub(crate) fn bad_value<T>(&mut self, code: &'static str, node: &Node, why: impl std::fmt::Display) -> Option<T> {
        let message = format!("{}: {why}", self.subject());
        self.report(Diagnostic::new(code, node.span, message));
        None
    }

    /// The text of a scalar, or a report that it must be `expected`.
    pub(crate) fn text<'n>(&mut self, node: &'n Node, expected: &str) -> Option<&'n str> {
        match node.text() {
            Some(text) if text.contains('\0') => self.bad_value(code::BAD_VALUE, node, "a NUL character cannot be passed to a program"),
            Some(text) => Some(text),
            None => self.expected(node, expected),
        }
    }

    /// The key at hand for messages: `` `restart.backoff.max` ``.
    pub(crate) fn subject(&self) -> String {
        if self.path.is_empty() { "the document".into() } else { format!("`{}`", self.path.join(".")) }
    }

    /// Decodes the value of `key`.
    fn field<T: Decode>(&mut self, key: &'static str, node: &Node) -> Field<T> {
        self.path.push(key);
        let value = T::decode(node, self);
        self.path.pop();
        value.map(|value| Spanned { value, span: node.span })
    }
}

/// A key of a mapping, as the macro `mapping!` lists it.
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) required: bool,
}

/// The entries of a mapping whose keys have been checked.
pub(crate) struct Entries(BTreeMap<&'static str, Rc<Node>>);

impl Entries {
    /// Checks the keys of `node` against `keys`; `None` if it is no mapping.
    pub(crate) fn of(node: &Node, keys: &'static [Key], expected: &str, cx: &mut Cx<'_>) -> Option<Self> {
        let Kind::Mapping(items) = &node.kind else { return cx.expected(node, expected) };
        let mut found: BTreeMap<&'static str, (Span, Rc<Node>)> = BTreeMap::new();
        for (key, value) in items {
            let Some(name) = key.text() else {
                let message = format!("a key must be a word; found {}", key.describe());
                cx.report(Diagnostic::new(code::WRONG_TYPE, key.span, message));
                continue;
            };
            let Some(known) = keys.iter().find(|known| known.name == name) else {
                unknown_key(name, key.span, keys, cx);
                continue;
            };
            if let Some((first, _)) = found.get(known.name) {
                let fault = Diagnostic::new(code::DUPLICATE_KEY, key.span, format!("the key `{name}` is given twice"));
                cx.report(fault.label("given again here").related(*first, "first given here"));
                continue;
            }
            if value.is_reset() {
                continue;
            }
            found.insert(known.name, (key.span, Rc::clone(value)));
        }
        let missing: Vec<_> = keys.iter().filter(|key| key.required && !found.contains_key(key.name)).map(|key| quote(key.name)).collect();
        if !missing.is_empty() {
            let what = if cx.path.is_empty() { String::new() } else { format!(" in {}", cx.subject()) };
            let message = format!("{} must be given{what}", missing.join(" and "));
            let span = items.first().map_or(node.span, |(key, _)| key.span);
            cx.report(Diagnostic::new(code::MISSING_KEY, span, message));
        }
        Some(Self(found.into_iter().map(|(name, (_, value))| (name, value)).collect()))
    }

    /// Decodes the value of `key`, if it is given.
    pub(crate) fn field<T: Decode>(&self, key: &'static str, cx: &mut Cx<'_>) -> Field<T> {
        cx.field(key, self.0.get(key)?)
    }
}

fn unknown_key(name: &str, span: Span, keys: &'static [Key], cx: &mut Cx<'_>) {
    let names = || keys.iter().map(|key| key.name);
    let help = did_you_mean(name, names()).unwrap_or_else(|| format!("the keys are {}", names().collect::<Vec<_>>().join(", ")));
    let place = if cx.path.is_empty() { String::new() } else { format!(" in {}", cx.subject()) };
    cx.report(Diagnostic::new(code::UNKNOWN_KEY, span, format!("there is no key {}{place}", quote(name))).help(help));
}

/// Makes a mapping from one definition: the struct, its keys, its schema and its decoder.
///
/// A field is `name: Type`, then optionally `as "key"` before the colon where the key is no Rust name, and `= default` (as JSON;
/// what is assumed when the key is missing, for readers: it is applied in `plan`) or `= required`. Doc comments become descriptions.
macro_rules! mapping {
    (
        $(#[doc = $about:literal])+
        $name:ident: $expected:literal {
            $($(#[doc = $doc:literal])+ $field:ident $(as $key:literal)? : $type:ty $(= $default:tt)?),+ $(,)?
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $name {
            $($(#[doc = $doc])+ pub $field: $crate::spec::decode::Field<$type>),+
        }

        impl $name {
            const KEYS: &'static [$crate::spec::decode::Key] = &[
                $($crate::spec::decode::Key {
                    name: mapping!(@key $field $($key)?),
                    required: mapping!(@required $($default)?),
                }),+
            ];

            /// Decodes it from a mapping.
            fn from_mapping(node: &$crate::spec::node::Node, cx: &mut $crate::spec::decode::Cx<'_>) -> Option<Self> {
                let entries = $crate::spec::decode::Entries::of(node, Self::KEYS, $expected, cx)?;
                Some(Self { $($field: entries.field(mapping!(@key $field $($key)?), cx)),+ })
            }

            /// The schema of the mapping.
            fn mapping_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let mut properties = serde_json::Map::new();
                $(
                    let schema = generator.subschema_for::<$type>();
                    let default: Option<serde_json::Value> = mapping!(@default $($default)?);
                    properties.insert(mapping!(@key $field $($key)?).into(), $crate::spec::schema::property(schema, concat!($($doc),+), default));
                )+
                $crate::spec::schema::object(concat!($($about),+), properties, Self::KEYS)
            }
        }
    };
    (@key $field:ident) => { stringify!($field) };
    (@key $field:ident $key:literal) => { $key };
    (@required required) => { true };
    (@required $($default:tt)?) => { false };
    (@default required) => { None };
    (@default $default:tt) => { Some(serde_json::json!($default)) };
    (@default) => { None };
}

pub(crate) use mapping;
