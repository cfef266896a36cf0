//! Sizes and ages, as operators write them.

const SIZES: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

const AGES: [(&str, u64); 5] =
    [("w", 7 * 24 * 3600), ("d", 24 * 3600), ("h", 3600), ("m", 60), ("s", 1)];

/// Bytes of `100MiB`, `100M`, `100MB`, `100`.
pub(super) fn parse_size(text: &str) -> Result<u64, &'static str> {
    let (number, unit) = split(text);
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => Some(1),
        "k" | "kib" => Some(1 << 10),
        "m" | "mib" => Some(1 << 20),
        "g" | "gib" => Some(1 << 30),
        "kb" => Some(1_000),
        "mb" => Some(1_000_000),
        "gb" => Some(1_000_000_000),
        _ => None,
    };
    product(number, factor).ok_or("a number of bytes, such as 100MiB, 64K or 1G")
}

/// Seconds of `1d`.
pub(super) fn parse_age(text: &str) -> Result<u64, &'static str> {
    let (number, unit) = split(text);
    let factor = AGES.iter().find(|(name, _)| *name == unit).map(|(_, seconds)| *seconds);
    product(number, factor).ok_or("a number with s, m, h, d or w, such as 12h or 1d")
}

pub(super) fn show_size(bytes: u64) -> String {
    show(bytes, &SIZES)
}

pub(super) fn show_age(seconds: u64) -> String {
    show(seconds, &AGES)
}

fn split(text: &str) -> (&str, &str) {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    text.split_at_checked(digits).unwrap_or((text, ""))
}

fn product(number: &str, factor: Option<u64>) -> Option<u64> {
    number.parse::<u64>().ok()?.checked_mul(factor?).filter(|product| *product > 0)
}

/// In the largest unit that leaves no rest.
fn show(number: u64, units: &[(&str, u64)]) -> String {
    match units.iter().find(|(_, factor)| number.is_multiple_of(*factor)) {
        Some((unit, factor)) => format!("{}{unit}", number / factor),
        None => number.to_string(),
    }
}
