//! Any way of cutting, repeating and reordering bytes gives the same bytes.

use proptest::prelude::*;

use super::{DIRECTION_BUDGET, Gap, Inserted, Stream};

fn insert(stream: &mut Stream, sequence: u32, bytes: &[u8]) -> Inserted {
    stream.insert(sequence, bytes, bytes.len().try_into().unwrap())
}

#[test]
fn segments_out_of_order_join_over_the_wrap_of_sequence_numbers() {
    let start = u32::MAX - 2;
    let mut stream = Stream::new(start);
    assert_eq!(insert(&mut stream, 3, b"ghi"), Inserted::default());
    assert_eq!((stream.bytes(), stream.gap()), (&b""[..], Some(Gap::Unseen)));
    insert(&mut stream, start, b"abc");
    assert_eq!(stream.bytes(), b"abc");
    insert(&mut stream, 0, b"def");
    assert_eq!((stream.bytes(), stream.gap()), (&b"abcdefghi"[..], None));
    assert_eq!(stream.position(), start);
    stream.advance(4);
    assert_eq!((stream.bytes(), stream.position()), (&b"efghi"[..], 1));
}

#[test]
fn first_bytes_win_and_a_conflict_is_told() {
    let mut stream = Stream::new(100);
    insert(&mut stream, 100, b"abcd");
    assert!(!insert(&mut stream, 102, b"cdef").conflict);
    assert!(insert(&mut stream, 104, b"eXgh").conflict);
    assert_eq!(stream.bytes(), b"abcdefgh");
    // Among what waits, too.
    insert(&mut stream, 110, b"kl");
    assert!(insert(&mut stream, 109, b"jKlm").conflict);
    assert!(!insert(&mut stream, 108, b"ij").conflict);
    assert_eq!(stream.bytes(), b"abcdefghijklm");
    // What was read already cannot be compared any more; what is left is.
    stream.advance(6);
    assert!(!insert(&mut stream, 100, b"ABCDEFgh").conflict);
    assert!(insert(&mut stream, 100, b"ABCDEFGh").conflict);
}

#[test]
fn what_is_skipped_is_not_waited_for() {
    let mut stream = Stream::new(0);
    insert(&mut stream, 0, b"ab");
    insert(&mut stream, 8, b"ij");
    stream.advance(9);
    assert_eq!((stream.bytes(), stream.gap(), stream.position()), (&b"j"[..], None, 9));
    insert(&mut stream, 2, b"cdefgh");
    assert_eq!(stream.bytes(), b"j");
}

#[test]
fn a_cut_segment_is_a_hole_that_a_copy_fills() {
    let mut stream = Stream::new(0);
    stream.insert(0, b"ab", 6);
    assert_eq!((stream.bytes(), stream.gap()), (&b"ab"[..], Some(Gap::Cut)));
    let mut filled = Stream::new(0);
    filled.insert(0, b"ab", 6);
    insert(&mut filled, 0, b"abcdef");
    assert_eq!((filled.bytes(), filled.gap()), (&b"abcdef"[..], None));
    assert!(!stream.skip_gap(|_| true));
    assert_eq!((stream.bytes(), stream.gap(), stream.position()), (&b""[..], None, 6));
    insert(&mut stream, 6, b"gh");
    assert_eq!(stream.bytes(), b"gh");
}

#[test]
fn a_gap_can_be_given_up() {
    let mut stream = Stream::new(0);
    insert(&mut stream, 0, b"ab");
    insert(&mut stream, 4, b"ef");
    assert_eq!(stream.gap_end(), Some(4));
    assert!(stream.skip_gap(|_| true));
    assert_eq!((stream.bytes(), stream.position(), stream.gap()), (&b"ef"[..], 4, None));
    // With the first segment that will do.
    insert(&mut stream, 8, b"ij");
    insert(&mut stream, 10, b"kl");
    insert(&mut stream, 14, b"op");
    assert!(stream.skip_gap(|bytes| bytes == b"kl"));
    assert_eq!(
        (stream.bytes(), stream.position(), stream.gap()),
        (&b"kl"[..], 10, Some(Gap::Unseen))
    );
    assert!(!stream.skip_gap(|_| false));
    assert_eq!((stream.bytes(), stream.position(), stream.gap()), (&b""[..], 16, None));
}

#[test]
fn memory_has_a_limit() {
    let mut stream = Stream::new(0);
    let refused =
        (0..10_000u32).filter(|piece| stream.insert(piece * 2000 + 1, &[7; 1400], 1400).refused);
    assert!(refused.count() > 9000);
    assert!(stream.memory() <= 2 * DIRECTION_BUDGET, "{}", stream.memory());
    // Far away is another connection.
    assert!(insert(&mut stream, 1 << 30, b"x").refused);
    assert!(!stream.is_near(1 << 30));
}

proptest! {
    #[test]
    fn any_segmentation_order_and_repetition(
        start: u32,
        bytes in proptest::collection::vec(any::<u8>(), 1..400),
        pieces in proptest::collection::vec((any::<prop::sample::Index>(), 1usize..90), 0..60),
        last in 1usize..50,
    ) {
        let mut stream = Stream::new(start);
        let mut put = |from: usize, length: usize| {
            let to = (from + length).min(bytes.len());
            let sequence = start.wrapping_add(from.try_into().unwrap());
            let inserted = insert(&mut stream, sequence, &bytes[from..to]);
            prop_assert_eq!(inserted, Inserted::default());
            Ok(())
        };
        for (from, length) in pieces {
            put(from.index(bytes.len()), length)?;
        }
        // And in the end everything once, from behind.
        for from in (0..bytes.len()).step_by(last).rev() {
            put(from, last)?;
        }
        prop_assert_eq!(stream.bytes(), &bytes[..]);
        prop_assert_eq!((stream.gap(), stream.pending()), (None, 0));
    }

    #[test]
    fn nothing_makes_it_panic_or_grow(
        segments in proptest::collection::vec((0u32..3000, 0usize..300, 0u32..400, 0u8..4), 0..80),
    ) {
        let mut stream = Stream::new(1500);
        for (sequence, length, more, what) in segments {
            let bytes = vec![what; length];
            stream.insert(sequence, &bytes, u32::try_from(length).unwrap() + more);
            match what {
                0 => stream.advance(length),
                1 => drop(stream.skip_gap(|bytes| bytes.len() > 100)),
                _ => {}
            }
            prop_assert!(stream.bytes().len() + stream.pending() <= DIRECTION_BUDGET);
        }
    }
}
