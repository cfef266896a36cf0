//! Connections of which only a part was seen, or more than there was: what is told of them.

use Party::{Client, Server};

use super::{
    flights::*,
    wire::{Connection, SECOND, Segment, Wire, of, of_wire},
};
use crate::{
    observation::{Outcome, Party},
    session::Limits,
};

#[test]
fn lost_segments() {
    // The ClientHello.
    let one = of(|it| {
        it.lost(Client, &client_1_3())
            .server(&server_1_3())
            .client(&finished_1_3())
            .server(&data(200))
            .close();
    });
    assert_eq!(one.summary(), ("completed", None, "sidID", Some("lost")));
    let one =
        of(|it| it.lost(Client, &client_1_2()).server(&server_1_2()).client(&alert(2, 48)).close());
    assert_eq!(one.summary(), ("alert", Some(Client), "sxknL", Some("lost")));
    let one = of(|it| {
        it.lost(Client, &client_1_2()).server(&server_1_2()).client(&client_1_2_finishes());
        it.server(&server_1_2_finishes()).client(&data(100)).close();
    });
    assert_eq!(one.summary(), ("completed", None, "sxknGIti", Some("lost")));
    // The ServerHello: nobody knows what was chosen.
    let hello = server_1_3()[..127].to_vec();
    let one = of(|it| {
        it.client(&client_1_3()).lost(Server, &hello).server(&[CCS, &data(500)].concat());
        it.client(&[finished_1_3(), data(100)].concat()).server(&data(100)).close();
    });
    assert_eq!((one.outcome, one.partial), (Outcome::Partial, Some("lost")));
    // A part of a certificate, which the client has acknowledged.
    let chain = certificate_to_done();
    let one = of(|it| {
        it.client(&client_1_2()).server(&server_1_2()[..79]).server(&chain[..600]);
        it.lost(Server, &chain[600..900]).server(&chain[900..]).client(&client_1_2_finishes());
        it.server(&server_1_2_finishes()).close();
    });
    assert_eq!((one.outcome, one.partial), (Outcome::Completed, Some("lost")));
}

#[test]
fn cut_packets() {
    let mut wire = Wire::default();
    let mut it = Connection::open(&mut wire, 1, [0, 0]);
    it.client(&client_1_3())
        .server(&server_1_3())
        .client(&finished_1_3())
        .server(&data(200))
        .close();
    let (told, _) = wire.told(Limits::default(), 40 + 64);
    let [one] = &super::wire::handshakes(&told)[..] else { panic!("{told:#?}") };
    assert_eq!((one.outcome, one.partial), (Outcome::Partial, Some("capture_limit")));
    // All that matters is there: what follows is application data.
    let (told, _) = wire.told(Limits::default(), 40 + 300);
    let [one] = &super::wire::handshakes(&told)[..] else { panic!("{told:#?}") };
    assert_eq!(one.summary(), ("completed", None, "CsidID", None));
}

#[test]
fn segments_of_somebody_else() {
    // Far out of the window, and a reset from before what was acknowledged.
    let stray = |it: &mut Connection<'_>, from, flags, distance: u32, payload: &[u8]| {
        let [client, server] = it.next;
        let (sequence, acknowledgement) =
            if from == Client { (client, server) } else { (server, client) };
        let sequence = sequence.wrapping_add(distance);
        it.wire.segment(&Segment {
            from,
            port: it.port,
            sequence,
            acknowledgement,
            flags,
            payload,
        });
    };
    let one = of(|it| {
        it.client(&client_1_3());
        stray(it, Client, 0x18, 0x40_0000, b"x");
        stray(it, Client, 0x04, 0x40_0000, b"");
        it.server(&server_1_3()[..600]);
        stray(it, Server, 0x18, 0x40_0000, b"x");
        stray(it, Client, 0x04, 0_u32.wrapping_sub(100), b"");
        it.server(&server_1_3()[600..]).client(&finished_1_3()).server(&data(200)).close();
    });
    assert_eq!(one.summary(), ("completed", None, "CsidID", None));
}

#[test]
fn ports_that_are_used_again() {
    let whole = |wire: &mut Wire, initial| {
        let mut it = Connection::open(wire, 7, initial);
        it.client(&client_1_3())
            .server(&server_1_3())
            .client(&finished_1_3())
            .server(&data(200))
            .close();
    };
    // Near the old sequence numbers, the old connection over or not.
    let told = of_wire(|wire| {
        whole(wire, [1000, 5000]);
        whole(wire, [60_000, 80_000]);
        Connection::open(wire, 7, [120_000, 160_000]).client(&client_1_3());
        whole(wire, [180_000, 240_000]);
    });
    let outcomes: Vec<_> = told.iter().map(|one| one.outcome.as_str()).collect();
    assert_eq!(outcomes, ["completed", "completed", "no_answer", "completed"]);
}

#[test]
fn overlap_is_told() {
    let hello = client_1_3();
    let one = of(|it| {
        it.client(&hello[..100]);
        let [sequence, acknowledgement] = [it.next[0].wrapping_sub(50), it.next[1]];
        let mut other = hello[50..150].to_vec();
        other[10] ^= 0xff;
        let payload = &other[..];
        it.wire.segment(&Segment {
            from: Client,
            port: it.port,
            sequence,
            acknowledgement,
            flags: 0x18,
            payload,
        });
        it.client(&hello[100..])
            .server(&server_1_3())
            .client(&finished_1_3())
            .server(&data(200))
            .close();
    });
    assert!(one.overlap);
    assert_eq!(one.sni.as_deref(), Some("server.example"), "the first bytes count");
}

#[test]
fn ssl_2_0() {
    // RFC 6101 appendix E: three cipher specs, a challenge of 16 bytes.
    let specs = [1, 0, 0x80, 7, 0, 0xc0, 2, 0, 0x80];
    let hello = [&[0x80, 34, 1, 0, 2, 0, 9, 0, 0, 0, 16][..], &specs, &[0x43; 16]].concat();
    let answer =
        [&[0x80, 30, 4, 0, 1, 0, 2, 0, 0, 0, 3, 0, 16][..], &[7, 0, 0xc0, 0x49], &[0x49; 15]]
            .concat();
    let one = of(|it| it.client(&hello).server(&answer).client(&[0x80, 20, 2, 7, 0, 0xc0]).close());
    assert_eq!((one.summary(), one.version), (("partial", None, "Cs", None), Some(2)));
    let one = of(|it| it.client(&hello).server(&[0x80, 3, 0, 0, 1]).close());
    assert_eq!(one.summary(), ("alert", Some(Server), "Cl", None));
}

#[test]
fn a_clock_that_was_wrong() {
    let told = of_wire(|wire| {
        Connection::open(wire, 1, [0, 0]).wait(100_000_000 * SECOND).client(&client_1_3());
        wire.now -= 100_000_000 * SECOND;
        Connection::open(wire, 2, [0, 0]).client(&client_1_3());
        wire.now += 100 * SECOND;
        Connection::open(wire, 3, [0, 0]).client(&client_1_3());
    });
    let outcomes: Vec<_> = told.iter().map(|one| (one.client_port, one.outcome.as_str())).collect();
    assert_eq!(outcomes, [(1, "no_answer"), (2, "no_answer"), (3, "still_open")]);
}
