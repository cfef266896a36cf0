//! Any segmentation, reordering and repetition of a handshake gives the same observations.

use proptest::{prelude::*, sample::Index};
use tls_sniff_common::flow::flags;

use super::{
    flights::*,
    wire::{Connection, Handshake, Segment, Told, Wire},
};
use crate::{observation::Party, session::Limits};

/// Who says it, what, and into how many segments it may be cut: the kernel lets only a few segments pass
/// once the client is through.
type Flight = (Party, Vec<u8>, usize);

const MANY: usize = 60;
const FEW: usize = 5;

use Party::{Client, Server};

fn tls_1_3(hello: Vec<u8>) -> Vec<Flight> {
    vec![
        (Client, hello, MANY),
        (Server, server_1_3(), MANY),
        (Client, [CCS, &data(69)].concat(), FEW),
        (Server, data(200), 1),
    ]
}

fn tls_1_2() -> Vec<Flight> {
    vec![
        (Client, client_1_2(), MANY),
        (Server, server_1_2(), MANY),
        (Client, client_1_2_finishes(), FEW),
        (Server, server_1_2_finishes(), FEW),
    ]
}

/// 1.9 kB, as with the key share of X25519MLKEM768; 0x16 everywhere, as a continuation would start.
fn large_hello() -> Vec<u8> {
    with_extension(
        &client_1_3(),
        51,
        &[&[0x04, 0xc6, 0x11, 0xec, 0x04, 0xc0][..], &[0x16; 1216]].concat(),
    )
}

fn retried() -> Vec<Flight> {
    vec![
        (Client, client_1_3(), MANY),
        (Server, hello_retry_request(), MANY),
        (Client, [CCS.to_vec(), large_hello()].concat(), MANY),
        (Server, [bytes_of_hello(), data(700)].concat(), FEW),
        (Client, data(69), FEW),
        (Server, data(200), 1),
    ]
}

fn bytes_of_hello() -> Vec<u8> {
    let whole = server_1_3();
    whole[..whole.len() - CCS.len() - data(700).len()].to_vec()
}

fn conversations() -> Vec<Vec<Flight>> {
    vec![
        tls_1_3(client_1_3()),
        tls_1_3(large_hello()),
        tls_1_3(in_records(&large_hello(), 100)),
        tls_1_2(),
        retried(),
        vec![(Client, client_1_2(), MANY), (Server, alert(2, 40), FEW)],
        {
            let mut starttls = vec![
                (Server, b"220 mail.example ESMTP\r\n".to_vec(), 1),
                (Client, b"EHLO client\r\n".to_vec(), 1),
                (Server, b"250 STARTTLS\r\n".to_vec(), 1),
                (Client, b"STARTTLS\r\n".to_vec(), 1),
                (Server, b"220 go ahead\r\n".to_vec(), 1),
            ];
            starttls.extend(tls_1_2());
            starttls
        },
    ]
}

/// The last of them.
const STARTTLS: usize = 6;

/// How one flight is cut, and in which order its pieces arrive.
#[derive(Clone, Debug)]
struct Plan {
    cuts: Vec<Index>,
    /// Cut before and behind this byte 0x16, if there is one.
    around: Option<Index>,
    /// A number that shuffles.
    order: u64,
    again: Vec<Index>,
}

fn plan() -> impl Strategy<Value = Plan> {
    let indices = |up_to: usize| prop::collection::vec(any::<Index>(), 0..up_to);
    (indices(MANY), any::<Option<Index>>(), any::<u64>(), indices(3))
        .prop_map(|(cuts, around, order, again)| Plan { cuts, around, order, again })
}

/// Pieces as offset and length, in the order of arrival.
fn pieces(flight: &Flight, plan: &Plan, in_order: bool) -> Vec<(usize, usize)> {
    let (_, bytes, most) = flight;
    let mut cuts: Vec<usize> = plan.cuts.iter().map(|cut| cut.index(bytes.len())).collect();
    cuts.truncate(most.saturating_sub(3));
    let marks: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] == 0x16).collect();
    if let Some(around) = plan.around.filter(|_| *most > 2 && !marks.is_empty()) {
        let at = marks[around.index(marks.len())];
        cuts.extend([at, at + 1]);
    }
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    cuts.dedup();
    let mut pieces: Vec<_> = cuts.windows(2).map(|cut| (cut[0], cut[1] - cut[0])).collect();
    if !in_order {
        let key = |at: usize| (plan.order ^ at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        pieces.sort_by_cached_key(|(at, _)| key(*at));
    }
    // Repeated, and longer than the first time: a sender packs anew what it sends again.
    for again in plan.again.iter().filter(|_| *most > 1) {
        let (from, length) = pieces[again.index(pieces.len())];
        pieces.push((from, (2 * length).min(bytes.len() - from)));
    }
    pieces
}

/// Observations of one conversation, whose flights are cut as planned.
fn told(conversation: &[Flight], plans: &[Plan], initial: [u32; 2], in_order: bool) -> Vec<Told> {
    let mut wire = Wire::default();
    let mut connection = Connection::open(&mut wire, 40000, initial);
    let whole = Plan { cuts: Vec::new(), around: None, order: 0, again: Vec::new() };
    for (at, flight) in conversation.iter().enumerate() {
        let (from, bytes, _) = flight;
        let [client, server] = connection.next;
        let (first, acknowledgement) =
            if *from == Client { (client, server) } else { (server, client) };
        for (offset, length) in pieces(flight, plans.get(at).unwrap_or(&whole), in_order) {
            let sequence = first.wrapping_add(u32::try_from(offset).unwrap());
            connection.wire.segment(&Segment {
                from: *from,
                port: 40000,
                sequence,
                acknowledgement,
                flags: flags::ACK,
                payload: &bytes[offset..offset + length],
            });
        }
        connection.lost(*from, bytes);
    }
    connection.close();
    wire.told(Limits::default(), usize::MAX).0
}

fn one_handshake(told: &[Told]) -> Handshake {
    let [one] = &super::wire::handshakes(told)[..] else { panic!("{told:#?}") };
    one.clone()
}

#[test]
fn conversations_are_understood() {
    let outcomes = conversations().into_iter().map(|conversation| {
        let handshake = one_handshake(&told(&conversation, &[], [1, 2], true));
        (handshake.outcome.as_str(), handshake.history.clone(), handshake.partial)
    });
    let expected = [
        ("completed", "CsidID"),
        ("completed", "CsidID"),
        ("completed", "CsidID"),
        ("completed", "CsxknGIti"),
        ("completed", "CjiICsdD"),
        ("alert", "Cl"),
        ("completed", "CsxknGIti"),
    ];
    let expected = expected.map(|(outcome, history)| (outcome, history.to_owned(), None));
    assert_eq!(outcomes.collect::<Vec<_>>(), expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_segmentation_order_and_repetition_is_told_alike(
        which in 0..=STARTTLS,
        plans in prop::collection::vec(plan(), 9),
        initial: [u32; 2],
        in_order: bool,
    ) {
        let conversation = &conversations()[which];
        // What overtakes a hello in mid-connection is nothing to the gate, which knows no such flow.
        let in_order = in_order || which == STARTTLS;
        let expected = told(conversation, &[], initial, true);
        let got = told(conversation, &plans, initial, in_order);
        let flights = conversation.iter().zip(&plans);
        let cut: Vec<_> = flights.map(|(flight, plan)| pieces(flight, plan, in_order)).collect();
        let differs = got.iter().zip(&expected).find(|(got, expected)| got != expected);
        prop_assert!(got == expected, "{:?}\n{} of {}: {:?}", differs, got.len(), expected.len(), cut);
    }
}
