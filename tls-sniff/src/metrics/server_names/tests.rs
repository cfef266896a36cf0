use super::*;

fn shown(names: &ServerNames) -> Vec<(String, u64)> {
    names.counts().iter().map(|(name, count)| (name.to_string(), *count)).collect()
}

fn count(names: &mut ServerNames, name: &str, times: u64) {
    for _ in 0..times {
        names.count(Some(name.as_bytes()));
    }
}

fn expect(names: &ServerNames, expected: &[(&str, u64)]) {
    let expected: Vec<_> =
        expected.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
    assert_eq!(shown(names), expected);
}

#[test]
fn only_names_that_a_host_can_have() {
    let long = format!("{}.example", "a".repeat(64));
    let whole = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61)].join(".");
    assert_eq!(whole.len(), LONGEST);
    let longer = format!("{whole}d");
    let invalid: [&[u8]; 12] = [
        b"",
        b".",
        b"a..b",
        b".a",
        b"a.",
        b"a b",
        b"a\"b",
        b"a\nb",
        "\u{e9}.example".as_bytes(),
        b"\xff",
        long.as_bytes(),
        longer.as_bytes(),
    ];
    let mut names = ServerNames::new(10);
    for name in invalid {
        names.count(Some(name));
    }
    names.count(None);
    // Else it would add to all others, and they to it.
    names.count(Some(b"OTHER"));
    expect(&names, &[("other", 14)]);
    count(&mut names, &whole, 1);
    count(&mut names, "WWW.Example_1.x--y", 1);
    expect(&names, &[(&whole, 1), ("other", 14), ("www.example_1.x--y", 1)]);
}

#[test]
fn a_name_enters_when_it_has_come_more_often_than_a_shown_one() {
    let mut names = ServerNames::new(2);
    count(&mut names, "a", 5);
    count(&mut names, "b", 3);
    count(&mut names, "c", 3);
    expect(&names, &[("a", 5), ("b", 3), ("other", 3)]);
    count(&mut names, "c", 1);
    // Its counter begins; what was counted elsewhere stays there.
    expect(&names, &[("a", 5), ("c", 1), ("other", 3)]);
    // What had to go is known by its rank, and comes back.
    count(&mut names, "b", 1);
    expect(&names, &[("a", 5), ("c", 1), ("other", 4)]);
    count(&mut names, "b", 1);
    expect(&names, &[("a", 5), ("b", 1), ("other", 4)]);
}

#[test]
fn a_flood_of_names_moves_nothing_and_takes_no_memory() {
    let mut names = ServerNames::new(8);
    for name in 0..8 {
        count(&mut names, &format!("{name}.example"), 2);
    }
    let before = shown(&names);
    for n in 0..HALVE / 2 {
        count(&mut names, &format!("{n}.flood"), 1);
        // Against halving, which happens to all alike.
        count(&mut names, &format!("{}.example", n % 8), 1);
    }
    let after = shown(&names);
    assert!(before.iter().zip(&after).all(|(before, after)| before.0 == after.0), "{after:?}");
    assert_eq!(names.shown.len(), 8);
    assert_eq!(names.sketch.entries.len(), LEAST_SKETCH);
    assert_eq!(names.sketch.by_rank.len(), LEAST_SKETCH);
    let all: u64 = after.iter().map(|(_, count)| count).sum();
    assert_eq!(all, 16 + HALVE, "each handshake is counted once");
}

#[test]
fn what_is_frequent_is_found_among_many() {
    // One in four handshakes is of one of ten names, all others of a new one.
    let mut names = ServerNames::new(10);
    for n in 0..20_000_u64 {
        let name = if n % 4 == 0 { format!("{}.often", n / 4 % 10) } else { format!("{n}.once") };
        names.count(Some(name.as_bytes()));
    }
    let often = shown(&names).iter().filter(|(name, _)| name.ends_with(".often")).count();
    assert_eq!(often, 10);
}

#[test]
fn what_was_frequent_long_ago_makes_room() {
    let mut names = ServerNames::new(1);
    count(&mut names, "old", 40_000);
    for _ in 0..4 {
        count(&mut names, "new", HALVE / 4);
    }
    assert!(shown(&names).iter().any(|(name, _)| name == "new"), "{:?}", shown(&names));
}
