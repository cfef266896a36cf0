//! The reassembler against a model: a map of sequence numbers to the first byte that was given for each.

use std::collections::BTreeMap;

use tls_sniff::reassembly::{DIRECTION_BUDGET, Gap, Stream};

/// Operations of four bytes: what, distance from the start (2), length.
///
/// The model knows nothing of budgets, which these operations do not reach: at most 512 segments of 255 bytes
/// within 64 kB.
pub fn reassembly(bytes: &[u8]) {
    let [s0, s1, s2, s3, rest @ ..] = bytes else { return };
    let start = u32::from_be_bytes([*s0, *s1, *s2, *s3]);
    let mut stream = Stream::new(start);
    // By distance from `start`.
    let mut model: BTreeMap<u32, u8> = BTreeMap::new();
    let mut next = 0;
    for operation in rest.chunks_exact(4).take(512) {
        let [what, high, low, length] = *operation else { continue };
        let from = u32::from(u16::from_be_bytes([high, low]));
        match what {
            0..=1 => {
                // What was read, or skipped, is gone.
                let length = usize::from(length);
                let unread = stream.bytes().len();
                stream.advance(length);
                let first = next - u32::try_from(unread).expect("small");
                next = next.max(first + u32::try_from(length).expect("small"));
            }
            _ => {
                let segment: Vec<u8> = (0..length).map(|at| what ^ at).collect();
                insert(&mut stream, &mut model, start, from, &segment, next);
            }
        }
        while model.contains_key(&next) {
            next += 1;
        }
        check(&stream, &model, start, next);
    }
}

fn insert(
    stream: &mut Stream,
    model: &mut BTreeMap<u32, u8>,
    start: u32,
    from: u32,
    segment: &[u8],
    next: u32,
) {
    let length = u32::try_from(segment.len()).expect("small");
    let inserted = stream.insert(start.wrapping_add(from), segment, length);
    assert!(!inserted.refused, "within the budget");
    for (at, byte) in (from..).zip(segment) {
        // What comes for a byte that was passed is not looked at.
        if at >= next {
            model.entry(at).or_insert(*byte);
        }
    }
}

fn check(stream: &Stream, model: &BTreeMap<u32, u8>, start: u32, next: u32) {
    assert_eq!(
        stream.position().wrapping_sub(start) + u32::try_from(stream.bytes().len()).expect("small"),
        next
    );
    let first = stream.position().wrapping_sub(start);
    let expected = (first..next).map(|at| model.get(&at).copied());
    assert!(stream.bytes().iter().copied().map(Some).eq(expected), "bytes in order");
    let waiting = model.range(next..).count();
    assert_eq!(stream.pending(), waiting);
    assert_eq!(stream.gap(), (waiting > 0).then_some(Gap::Unseen));
    assert!(stream.memory() < 4 * DIRECTION_BUDGET);
}
