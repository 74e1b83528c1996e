//! Specifiers in values: `%i` is the instance's number, `%n` the unit's id, `%%` a percent sign.

/// The longest value after expansion, in bytes: what Linux takes as one argument (`MAX_ARG_STRLEN`).
pub(crate) const VALUE_MAX: usize = 128 << 10;

/// `text` with its specifiers replaced for the unit instance `id`.
///
/// # Errors
/// A sentence that says what is wrong.
pub(crate) fn expand(text: &str, id: &str, instance: Option<u32>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let mut chars = after.chars();
        match (chars.next(), instance) {
            (Some('%'), _) => out.push('%'),
            (Some('n'), _) => out.push_str(id),
            (Some('i'), Some(number)) => out.push_str(&number.to_string()),
            (Some('i'), None) => return Err("`%i` is the number of an instance, but the unit has no `instances`".into()),
            (Some(other), _) => return Err(format!("`%{}` is unknown; write `%%` for a percent sign", other.escape_debug())),
            (None, _) => return Err("a single `%` ends the value; write `%%` for a percent sign".into()),
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
    if out.len() > VALUE_MAX {
        return Err(format!("the value is longer than {} KiB", VALUE_MAX / 1024));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specifiers_expand() {
        let check = |text: &str, instance, expect: Option<&str>| {
            assert_eq!(expand(text, "web@3", instance).ok().as_deref(), expect, "{text}");
        };
        check("plain", None, Some("plain"));
        check("80%i/%n/100%%", Some(3), Some("803/web@3/100%"));
        check("%%i", Some(3), Some("%i"));
        check("%i", None, None);
        check("%x", Some(3), None);
        check("%ä", Some(3), None);
        check("5%", Some(3), None);
        check(&"%n".repeat(VALUE_MAX / 4), Some(3), None);
    }
}
