//! Numbers, times and addresses as text, by hand: `std::fmt` costs some ten times as much, and each line has
//! a dozen of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::clock::Timestamp;

const SECONDS_PER_DAY: u64 = 86_400;

/// Seconds of the years 0000 to 9999.
const FOUR_DIGIT_YEARS: std::ops::Range<i64> = -62_167_219_200..253_402_300_800;

/// Writes a number in decimal digits.
pub(crate) fn decimal(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// RFC 3339 in UTC with nine digits of a second: `2026-01-02T03:04:05.678901234Z`.
#[must_use]
pub(crate) fn rfc_3339(Timestamp(ns): Timestamp) -> [u8; 30] {
    let (seconds, fraction) = (ns.div_euclid(1_000_000_000), ns.rem_euclid(1_000_000_000));
    // The years that 64 bits of nanoseconds reach have four digits.
    let second = second(seconds).unwrap_or(*b"1970-01-01T00:00:00");
    let fraction = u32::try_from(fraction).unwrap_or_default();
    let mut text = [b'.'; 30];
    let (start, end) = text.split_at_mut(second.len());
    start.copy_from_slice(&second);
    let [f1, f2] = pair(fraction / 10_000_000);
    let [f3, f4] = pair(fraction / 100_000 % 100);
    let [f5, f6] = pair(fraction / 1000 % 100);
    let [f7, f8] = pair(fraction / 10 % 100);
    let [_, f9] = pair(fraction % 10);
    end.copy_from_slice(&[b'.', f1, f2, f3, f4, f5, f6, f7, f8, f9, b'Z']);
    text
}

/// A second of the Unix epoch as `2026-01-02T03:04:05`; `None` where the year has not four digits.
#[must_use]
pub(crate) fn second(seconds: i64) -> Option<[u8; 19]> {
    if !FOUR_DIGIT_YEARS.contains(&seconds) {
        return None;
    }
    let seconds = u64::try_from(seconds - FOUR_DIGIT_YEARS.start).ok()?;
    let days = u32::try_from(seconds / SECONDS_PER_DAY).ok()?;
    let rest = u32::try_from(seconds % SECONDS_PER_DAY).ok()?;
    let (year, month, day) = civil(days);
    let [c1, c2] = pair(year / 100);
    let [y1, y2] = pair(year % 100);
    let [m1, m2] = pair(month);
    let [d1, d2] = pair(day);
    let [h1, h2] = pair(rest / 3600);
    let [i1, i2] = pair(rest / 60 % 60);
    let [s1, s2] = pair(rest % 60);
    Some([c1, c2, y1, y2, b'-', m1, m2, b'-', d1, d2, b'T', h1, h2, b':', i1, i2, b':', s1, s2])
}

/// Year, month and day of a day since 0000-01-01: Howard Hinnant's `civil_from_days`, in which years begin in
/// March and an era has 400 of them.
const fn civil(days: u32) -> (u32, u32, u32) {
    const DAYS_PER_ERA: u32 = 146_097;
    // An era earlier than it is, so that January and February of the year 0 have one, which is 306 days old.
    let days = days + DAYS_PER_ERA - 60;
    let (era, day_of_era) = (days / DAYS_PER_ERA, days % DAYS_PER_ERA);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let (month, later) = if shifted < 10 { (shifted + 3, 0) } else { (shifted - 9, 1) };
    (year_of_era + era * 400 + later - 400, month, day)
}

/// Two digits of a number below 100.
const fn pair(number: u32) -> [u8; 2] {
    [ascii(number / 10), ascii(number % 10)]
}

/// The digit of a number below 10.
#[expect(clippy::cast_possible_truncation, reason = "a number below 10")]
const fn ascii(number: u32) -> u8 {
    b'0' + number as u8
}

/// Writes an address as `std` shows it: RFC 5952.
pub(crate) fn address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => v4(out, address),
        IpAddr::V6(address) => v6(out, address),
    }
}

fn v4(out: &mut Vec<u8>, address: Ipv4Addr) {
    for (place, octet) in address.octets().into_iter().enumerate() {
        if place > 0 {
            out.push(b'.');
        }
        decimal(out, octet);
    }
}

fn v6(out: &mut Vec<u8>, address: Ipv6Addr) {
    if let Some(inner) = address.to_ipv4_mapped() {
        out.extend_from_slice(b"::ffff:");
        return v4(out, inner);
    }
    let segments = address.segments();
    let (zeros, length) = longest_zeros(&segments);
    if length < 2 {
        return hextets(out, segments.iter());
    }
    hextets(out, segments.iter().take(zeros));
    out.extend_from_slice(b"::");
    hextets(out, segments.iter().skip(zeros + length));
}

/// Where the longest run of zeros starts, the first of several, and its length.
fn longest_zeros(segments: &[u16; 8]) -> (usize, usize) {
    let (mut longest, mut current) = ((0, 0), (0, 0));
    for (place, segment) in segments.iter().enumerate() {
        current = match (*segment, current) {
            (0, (_, 0)) => (place, 1),
            (0, (start, length)) => (start, length + 1),
            _ => (0, 0),
        };
        if current.1 > longest.1 {
            longest = current;
        }
    }
    longest
}

/// Hexadecimal without leading zeros, joined by colons.
fn hextets<'a>(out: &mut Vec<u8>, segments: impl Iterator<Item = &'a u16>) {
    for (place, segment) in segments.enumerate() {
        if place > 0 {
            out.push(b':');
        }
        let digits = hexadecimal(*segment);
        let leading = (segment.leading_zeros() as usize / 4).min(3);
        out.extend_from_slice(digits.get(leading..).unwrap_or_default());
    }
}

/// Four hexadecimal digits.
pub(crate) const fn hexadecimal(number: u16) -> [u8; 4] {
    let [high, low] = number.to_be_bytes();
    [nibble(high >> 4), nibble(high), nibble(low >> 4), nibble(low)]
}

/// The hexadecimal digit of the lower four bits.
pub(crate) const fn nibble(number: u8) -> u8 {
    let number = number & 0x0f;
    if number < 10 { b'0' + number } else { b'a' + number - 10 }
}

/// The hexadecimal digits of bytes.
pub(crate) fn pairs(bytes: &[u8]) -> impl Iterator<Item = u8> {
    bytes.iter().flat_map(|byte| [nibble(byte >> 4), nibble(*byte)])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn as_jiff_shows(ns: i64) {
        let by_hand = rfc_3339(Timestamp(ns));
        let jiff = jiff::Timestamp::from_nanosecond(i128::from(ns)).unwrap();
        assert_eq!(String::from_utf8_lossy(&by_hand), format!("{jiff:.9}"), "{ns}");
    }

    #[test]
    fn every_day_of_four_centuries() {
        for day in -100_000..100_000_i64 {
            as_jiff_shows(day * 86_400_000_000_000 - 1);
            as_jiff_shows(day * 86_400_000_000_000);
        }
        as_jiff_shows(i64::MIN);
        as_jiff_shows(i64::MAX);
    }

    #[test]
    fn seconds_to_the_ends_of_four_digits() {
        for seconds in [FOUR_DIGIT_YEARS.start, FOUR_DIGIT_YEARS.end - 2 * 86_400, -1, 0] {
            let jiff = jiff::Timestamp::from_second(seconds).unwrap().to_string();
            let by_hand = second(seconds).unwrap();
            assert_eq!(format!("{}Z", String::from_utf8_lossy(&by_hand)), jiff);
        }
        assert_eq!(second(FOUR_DIGIT_YEARS.start - 1), None);
        assert_eq!(second(FOUR_DIGIT_YEARS.end), None);
        assert_eq!(&second(FOUR_DIGIT_YEARS.end - 1).unwrap(), b"9999-12-31T23:59:59");
    }

    proptest! {
        #[test]
        fn times_as_jiff_shows_them(ns: i64) {
            as_jiff_shows(ns);
        }

        #[test]
        fn addresses_as_std_shows_them(
            octets: [u8; 4],
            segments in proptest::array::uniform8(prop_oneof![Just(0), any::<u16>(), 0..300_u16]),
        ) {
            for ip in [
                IpAddr::from(octets),
                IpAddr::from(segments),
                IpAddr::from(Ipv4Addr::from(octets).to_ipv6_mapped()),
            ] {
                prop_assert_eq!(shown(|out| address(out, ip)), ip.to_string());
            }
        }
    }
}
