//! Sizes with units.

/// Reads a size in bytes: `512MiB`, `10MB`, `4096`, `1.5GiB`. Units: `B KB MB GB TB KiB MiB GiB TiB`.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = (&text[..digits], text[digits..].trim());
    let number: f64 = number.parse().map_err(|_| format!("`{text}` is not a size; write for example `10MiB`"))?;
    let factor: f64 = match unit {
        "" | "B" => 1.0,
        "KB" | "kB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "TB" => 1e12,
        "KiB" => 1024.0,
        "MiB" => 1024.0 * 1024.0,
        "GiB" => 1024.0 * 1024.0 * 1024.0,
        "TiB" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        unit => return Err(format!("`{unit}` is not a unit of size; the units are B, KiB, MiB, GiB, TiB, KB, MB, GB and TB")),
    };
    let bytes = number * factor;
    if bytes >= 9e18 {
        return Err(format!("`{text}` is too large"));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked just above; a number has no sign here")]
    Ok(bytes as u64)
}

/// Writes a size for people: `512 B`, `1.5 MiB`.
#[must_use]
pub fn format_size(bytes: u64) -> String {
    let mut unit = "B";
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let mut value = bytes as f64;
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_and_write() {
        for (text, bytes) in [("0", 0), ("4096", 4096), ("10MiB", 10 << 20), ("1.5 KiB", 1536), ("2MB", 2_000_000)] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "MiB", "10 parsecs", "-1", "10Mi B", "99999999999TiB"] {
            assert!(parse_size(bad).is_err(), "{bad:?}");
        }
        assert_eq!(format_size(999), "999 B");
        assert_eq!(format_size(10 << 20), "10.0 MiB");
    }
}
