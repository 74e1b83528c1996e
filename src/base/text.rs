//! Text that others have written, and what of it is shown.

use std::borrow::Cow;

/// What stands for something that is not shown.
pub const HIDDEN: &str = "(hidden)";

/// `text` as a terminal may have it: what would move its cursor, change its title, its clipboard or the direction of writing is replaced by
/// U+FFFD. Newlines and tabs stay.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    let is_unfit = |c: char| is_control(c) && !matches!(c, '\n' | '\t');
    if text.contains(is_unfit) { text.replace(is_unfit, "\u{fffd}").into() } else { text.into() }
}

/// The same in a single line.
#[must_use]
pub fn visible_line(text: &str) -> Cow<'_, str> {
    if text.contains(is_control) { text.replace(is_control, "\u{fffd}").into() } else { text.into() }
}

/// Whether a terminal does something else with it than show it.
#[must_use]
pub const fn is_control(c: char) -> bool {
    matches!(c, '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Every text in `value`, as a terminal may have it.
#[cfg(feature = "daemon")]
pub fn make_visible(value: &mut serde_json::Value) {
    use serde_json::Value;
    match value {
        Value::String(text) => {
            if let Cow::Owned(shown) = visible(text) {
                *text = shown;
            }
        }
        Value::Array(values) => values.iter_mut().for_each(make_visible),
        Value::Object(values) => values.values_mut().for_each(make_visible),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A URL without what may be secret in it: a user's name and password, and what is asked for.
#[must_use]
pub fn url_shown(url: &str) -> String {
    let (start, rest) = host_of(url);
    match rest.split_once(['?', '#']) {
        Some((path, _)) => format!("{start}{path}?{HIDDEN}"),
        None => format!("{start}{rest}"),
    }
}

/// The host of a URL: of one whose path says who may use it, as those of webhooks do, no more is shown.
#[must_use]
pub fn url_host(url: &str) -> String {
    let (start, rest) = host_of(url);
    if matches!(rest, "" | "/") { start } else { format!("{start}/{HIDDEN}") }
}

/// Scheme and host, and what comes after them.
fn host_of(url: &str) -> (String, &str) {
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    let host = authority.rsplit_once('@').map_or(authority, |(_user, host)| host);
    (if scheme.is_empty() { host.to_owned() } else { format!("{scheme}://{host}") }, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_a_terminal_but_text() {
        let check = |text: &str, expect: &str| assert_eq!(visible(text), expect);
        check("ok\x1b]0;x\x07\x1b[2J", "ok\u{fffd}]0;x\u{fffd}\u{fffd}[2J");
        check("a\r\x08b\u{9b}31m\u{202e}c\x7f", "a\u{fffd}\u{fffd}b\u{fffd}31m\u{fffd}c\u{fffd}");
        check("a\tb\nä €", "a\tb\nä €");
        assert_eq!(visible_line("a\nb"), "a\u{fffd}b");
    }

    #[cfg(feature = "daemon")]
    #[test]
    fn every_text_of_an_answer_is_made_visible() {
        let mut value = serde_json::json!({"a": ["\x1b", 1, {"b": "x\x07"}], "c": "fine"});
        make_visible(&mut value);
        assert_eq!(value, serde_json::json!({"a": ["\u{fffd}", 1, {"b": "x\u{fffd}"}], "c": "fine"}));
    }

    #[test]
    fn urls_are_shown_without_secrets() {
        for (url, shown, host) in [
            ("http://127.0.0.1:80/health?key=1", "http://127.0.0.1:80/health?(hidden)", "http://127.0.0.1:80/(hidden)"),
            ("https://u:p@h/x", "https://h/x", "https://h/(hidden)"),
            ("https://h", "https://h", "https://h"),
            ("https://h/", "https://h/", "https://h"),
            ("https://h?a@b#c", "https://h?(hidden)", "https://h/(hidden)"),
            ("nonsense", "nonsense", "nonsense"),
        ] {
            assert_eq!((url_shown(url).as_str(), url_host(url).as_str()), (shown, host), "{url}");
        }
    }
}
