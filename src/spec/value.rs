//! The kinds of values fields hold: names, times, sizes, numbers, words, lists.

use std::time::Duration;

use serde_json::json;

use crate::base::choice::Choice;
use crate::base::exit::Signal;
use crate::base::id::name_fault;
use crate::base::quantity::parse_size;
use crate::base::time::{format_duration, parse_duration};

use super::code;
use super::decode::{Cx, Decode};
use super::diagnostic::{Diagnostic, Span, Spanned, did_you_mean, quote};
use super::node::{Kind, Node};

/// Gives a type its JSON Schema, written out.
macro_rules! schema {
    (impl [$($generics:tt)*] $type:ty, $generator:ident => $schema:expr) => {
        impl<$($generics)*> schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                std::any::type_name::<Self>().into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema($generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::Schema::try_from($schema).unwrap_or_default()
            }
        }
    };
    ($type:ty, $generator:ident => $schema:expr) => {
        $crate::spec::value::schema!(impl [] $type, $generator => $schema);
    };
}

pub(crate) use schema;

/// Any text; numbers and booleans are taken as they are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(pub String);

schema!(Text, _generator => json!({"type": ["string", "number", "boolean"]}));

impl Decode for Text {
    const EXPECTED: &'static str = "text";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        cx.text(node, Self::EXPECTED).map(|text| Self(text.to_owned()))
    }
}

/// The name of a unit or supervisor where it is declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(pub String);

schema!(Name, _generator => json!({
    "type": ["string", "integer"], "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]*$", "maxLength": crate::base::id::NAME_MAX, "examples": ["resizer"],
}));

impl Decode for Name {
    const EXPECTED: &'static str = "a name, for example `resizer`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let name = cx.text(node, Self::EXPECTED)?;
        match name_fault(name) {
            None => Some(Self(name.to_owned())),
            Some(why) => cx.bad_value(code::BAD_NAME, node, format!("{} cannot be used: {why}", quote(name))),
        }
    }
}

/// The name of a unit, an instance of one (`resizer@2`) or a supervisor, where it is referred to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference(pub String);

schema!(Reference, _generator => json!({
    "type": ["string", "integer"], "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]*(@[1-9][0-9]*)?$", "examples": ["redis", "resizer@2"],
}));

impl Decode for Reference {
    const EXPECTED: &'static str = "the name of a unit or supervisor, for example `redis`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.text(node, Self::EXPECTED)?;
        let (name, instance) = text.split_once('@').map_or((text, None), |(name, number)| (name, Some(number)));
        // Only the way an instance is shown is taken: `a@01` would be a second name for `a@1`.
        let number_is_good = instance.is_none_or(|n| n.parse::<u32>().is_ok_and(|value| value > 0 && value.to_string() == n));
        match name_fault(name) {
            None if number_is_good => Some(Self(text.to_owned())),
            None => cx.bad_value(code::BAD_NAME, node, format!("{}: after `@` stands the number of an instance, from 1", quote(text))),
            Some(why) => cx.bad_value(code::BAD_NAME, node, format!("{} cannot be a name: {why}", quote(text))),
        }
    }
}

/// `true` or `false`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flag(pub bool);

schema!(Flag, _generator => json!({"type": "boolean"}));

impl Decode for Flag {
    const EXPECTED: &'static str = "`true` or `false`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        match cx.text(node, Self::EXPECTED)? {
            "true" => Some(Self(true)),
            "false" => Some(Self(false)),
            _ => cx.expected(node, Self::EXPECTED),
        }
    }
}

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Int<const MIN: i64, const MAX: i64>(pub i64);

schema!(impl [const MIN: i64, const MAX: i64] Int<MIN, MAX>, _generator => json!({"type": "integer", "minimum": MIN, "maximum": MAX}));

impl<const MIN: i64, const MAX: i64> Int<MIN, MAX> {
    /// The number as a `u32`; ranges of declarations that are not negative fit one.
    #[must_use]
    pub fn to_u32(self) -> u32 {
        u32::try_from(self.0).unwrap_or(0)
    }
}

impl<const MIN: i64, const MAX: i64> Decode for Int<MIN, MAX> {
    const EXPECTED: &'static str = "a whole number, for example `5`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.text(node, Self::EXPECTED)?;
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return cx.expected(node, Self::EXPECTED);
        }
        match text.parse() {
            Ok(number) if (MIN..=MAX).contains(&number) => Some(Self(number)),
            _ => cx.bad_value(code::OUT_OF_RANGE, node, format!("{} is not in the range from {MIN} to {MAX}", quote(text))),
        }
    }
}

/// Any number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Number(pub f64);

schema!(Number, _generator => json!({"type": "number"}));

impl Decode for Number {
    const EXPECTED: &'static str = "a number, for example `0.5`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        // Words for what is no number are read as numbers, too.
        match cx.text(node, Self::EXPECTED)?.parse() {
            Ok(number) if f64::is_finite(number) => Some(Self(number)),
            _ => cx.expected(node, Self::EXPECTED),
        }
    }
}

/// How much of something there is: a number from 0 to 1000000000.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Amount(pub f64);

schema!(Amount, _generator => json!({"type": "number", "minimum": 0, "maximum": 1e9}));

impl Decode for Amount {
    const EXPECTED: &'static str = Number::EXPECTED;

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let Number(number) = Number::decode(node, cx)?;
        if !(0.0..=1e9).contains(&number) {
            return cx.bad_value(code::OUT_OF_RANGE, node, format!("{} is not in the range from 0 to 1000000000", node.describe()));
        }
        Some(Self(number))
    }
}

/// A file mode creation mask, read as octal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Umask(pub u32);

schema!(Umask, _generator => json!({"type": ["string", "integer"], "pattern": "^(0o)?[0-7]{1,4}$", "examples": ["0022", "077"]}));

impl Decode for Umask {
    const EXPECTED: &'static str = "an octal number from 0 to 0777, for example `\"0022\"`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.text(node, Self::EXPECTED)?;
        let digits = text.strip_prefix("0o").unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|byte| (b'0'..=b'7').contains(&byte)) {
            return cx.expected(node, Self::EXPECTED);
        }
        match u32::from_str_radix(digits, 8) {
            Ok(mask) if mask <= 0o777 => Some(Self(mask)),
            _ => cx.bad_value(code::OUT_OF_RANGE, node, format!("{} is not in the range from 0 to 0777", quote(text))),
        }
    }
}

/// A time with its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub Duration);

/// What a time looks like, as a regular expression.
const TIME_PATTERN: &str = r"^([0-9.]+\s*(us|ms|s|sec|m|min|h|d)\s*)+$";

schema!(Time, _generator => json!({"type": "string", "pattern": TIME_PATTERN, "examples": ["200ms", "30s", "1m30s"]}));

impl Decode for Time {
    const EXPECTED: &'static str = "a time, for example `30s`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.text(node, Self::EXPECTED)?;
        time(text, node, cx).map(Self)
    }
}

/// The longest time declarations may name. It is far from where sums of times could overflow.
const TIME_MAX: Duration = Duration::from_secs(366 * 86_400);

fn time(text: &str, node: &Node, cx: &mut Cx<'_>) -> Option<Duration> {
    match parse_duration(text) {
        Ok(time) if time <= TIME_MAX => Some(time),
        Ok(_) => cx.bad_value(code::OUT_OF_RANGE, node, format!("{} is more than {}", quote(text), format_duration(TIME_MAX))),
        Err(why) => cx.bad_value(code::BAD_VALUE, node, why),
    }
}

/// A time longer than nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PositiveTime(pub Duration);

schema!(PositiveTime, _generator => json!({"type": "string", "pattern": TIME_PATTERN, "examples": ["200ms", "30s", "1m30s"]}));

impl Decode for PositiveTime {
    const EXPECTED: &'static str = Time::EXPECTED;

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let Time(time) = Time::decode(node, cx)?;
        if time.is_zero() {
            return cx.bad_value(code::OUT_OF_RANGE, node, "the time must be longer than nothing, for example `30s`");
        }
        Some(Self(time))
    }
}

/// How long something may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeLimit {
    /// No time at all: it is killed.
    BrutalKill,
    /// So long.
    After(Duration),
    /// As long as it takes.
    Infinity,
}

schema!(TimeLimit, _generator => json!({"anyOf": [
    {"type": "string", "pattern": TIME_PATTERN, "examples": ["10s"]},
    {"const": "infinity", "description": "As long as it takes."},
    {"const": "brutal_kill", "description": "It is not asked, but killed."},
]}));

impl Decode for TimeLimit {
    const EXPECTED: &'static str = "a time, `infinity` or `brutal_kill`, for example `10s`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        match cx.text(node, Self::EXPECTED)? {
            "infinity" => Some(Self::Infinity),
            "brutal_kill" => Some(Self::BrutalKill),
            text if text.starts_with(|c: char| c.is_ascii_digit()) => time(text, node, cx).map(Self::After),
            _ => cx.expected(node, Self::EXPECTED),
        }
    }
}

/// A size of at least `MIN` bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size<const MIN: u64>(pub u64);

schema!(impl [const MIN: u64] Size<MIN>, _generator => json!({
    "type": ["string", "integer"], "pattern": r"^[0-9.]+\s*([kKMGT]i?)?B?$", "minimum": MIN, "examples": ["10MiB"],
}));

impl<const MIN: u64> Decode for Size<MIN> {
    const EXPECTED: &'static str = "a size, for example `10MiB`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.text(node, Self::EXPECTED)?;
        match parse_size(text) {
            Ok(size) if size >= MIN => Some(Self(size)),
            Ok(_) => cx.bad_value(code::OUT_OF_RANGE, node, format!("{} is less than {} KiB", quote(text), MIN / 1024)),
            Err(why) => cx.bad_value(code::BAD_VALUE, node, why),
        }
    }
}

/// A signal by name or number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalName(pub Signal);

schema!(SignalName, _generator => json!({
    "type": ["string", "integer"], "pattern": r"^((SIG)?[A-Z][A-Z0-9]*(\+[0-9]+)?|[0-9]+)$", "minimum": 1, "maximum": 64, "examples": ["SIGTERM"],
}));

impl Decode for SignalName {
    const EXPECTED: &'static str = "a signal, for example `SIGTERM`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.text(node, Self::EXPECTED)?;
        match Signal::parse(text) {
            Some(signal) => Some(Self(signal)),
            None => {
                let message = format!("{}: there is no signal {}", cx.subject(), quote(text));
                let help = did_you_mean(&text.to_ascii_uppercase(), Signal::names());
                cx.report(Diagnostic::new(code::BAD_VALUE, node.span, message).maybe_help(help));
                None
            }
        }
    }
}

/// One word out of a closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OneOf<T>(pub T);

schema!(impl [T: Choice] OneOf<T>, _generator => one_of::<T>());

/// The schema of a choice, with what each word means.
pub(crate) fn one_of<T: Choice>() -> serde_json::Value {
    let words: Vec<_> = T::ALL.iter().map(|(_, word, meaning)| json!({"const": word, "description": meaning.trim_start()})).collect();
    json!({"oneOf": words})
}

/// The value of a choice, or a report that names its words.
pub(crate) fn choose<T: Choice>(node: &Node, cx: &mut Cx<'_>) -> Option<T> {
    let words: Vec<_> = T::words().map(quote).collect();
    let expected = format!("one of {}", words.join(", "));
    let text = cx.text(node, &expected)?;
    let value = T::from_word(text);
    if value.is_none() {
        let message = format!("{} must be {expected}; found {}", cx.subject(), quote(text));
        cx.report(Diagnostic::new(code::BAD_VALUE, node.span, message).maybe_help(did_you_mean(text, T::words())));
    }
    value
}

impl<T: Choice> Decode for OneOf<T> {
    const EXPECTED: &'static str = "a word";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        choose(node, cx).map(Self)
    }
}

/// One value or a list of values.
#[derive(Clone, Debug, PartialEq)]
pub struct OneOrMany<T>(pub Vec<Spanned<T>>);

schema!(impl [T: schemars::JsonSchema] OneOrMany<T>, generator => {
    let one = generator.subschema_for::<T>();
    json!({"anyOf": [one, {"type": "array", "items": one}]})
});

impl<T: Decode> Decode for OneOrMany<T> {
    const EXPECTED: &'static str = "a value or a list";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        match &node.kind {
            Kind::Sequence(items) => {
                let spanned = |item: &std::rc::Rc<Node>| T::decode(item, cx).map(|value| Spanned { value, span: item.span });
                Some(Self(items.iter().filter_map(spanned).collect()))
            }
            Kind::Scalar { .. } if !node.is_null() => T::decode(node, cx).map(|value| Self(vec![Spanned { value, span: node.span }])),
            _ => cx.expected(node, &format!("{}, or a list of such", T::EXPECTED)),
        }
    }
}

/// Names with text values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Environment(pub Vec<(String, Spanned<String>)>);

schema!(Environment, _generator => json!({"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}));

impl Decode for Environment {
    const EXPECTED: &'static str = "a mapping of names to values, for example `{PORT: 8080}`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let Some(items) = node.entries() else { return cx.expected(node, Self::EXPECTED) };
        let mut seen: std::collections::BTreeMap<&str, Span> = std::collections::BTreeMap::new();
        let mut pairs = Vec::new();
        for (key, value) in items {
            let Some(name) = key.text().filter(|name| !name.is_empty() && !name.contains(['=', '\0'])) else {
                let _: Option<()> = cx.bad_value(code::BAD_NAME, key, format!("{} cannot name a variable", key.describe()));
                continue;
            };
            if let Some(first) = seen.insert(name, key.span) {
                let fault = Diagnostic::new(code::DUPLICATE_KEY, key.span, format!("the variable {} is given twice", quote(name)));
                cx.report(fault.label("given again here").related(first, "first given here"));
            }
            if value.is_null() {
                let message = format!("{}: the variable {} has no value", cx.subject(), quote(name));
                cx.report(Diagnostic::new(code::WRONG_TYPE, key.span, message).help("write `\"\"` for an empty value"));
            } else if let Some(text) = cx.text(value, "text for each variable") {
                pairs.push((name.to_owned(), Spanned { value: text.to_owned(), span: value.span }));
            }
        }
        Some(Self(pairs))
    }
}
