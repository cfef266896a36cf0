//! How handshakes end.

use Party::{Client, Server};

use super::{
    flights::*,
    wire::{Connection, Handshake, SECOND, Told, Wire, of, of_wire},
};
use crate::{
    observation::{Outcome, Party},
    session::Limits,
    tls::tests::{bytes, vectors::TLS_1_3_RESUMING_CLIENT},
};

#[test]
fn completed() {
    let one = of(|it| {
        it.client(&client_1_3())
            .server(&server_1_3())
            .client(&finished_1_3())
            .server(&data(200))
            .close()
    });
    assert_eq!(one.summary(), ("completed", None, "CsidID", None));
    assert_eq!((one.version, one.sni.as_deref()), (Some(0x0304), Some("server.example")));
    // No compatibility mode, a client certificate, all in one segment.
    let flight = [data(900), data(264), data(69)].concat();
    let one = of(|it| {
        it.client(&client_1_3()).server(&server_1_3()).client(&flight).server(&data(200)).close()
    });
    assert_eq!(one.summary(), ("completed", None, "CsidD", None));
    // A session resumed: the server is first.
    let one = of(|it| {
        let abbreviated = [server_1_2()[..79].to_vec(), CCS.to_vec(), finished()].concat();
        let finish = [CCS.to_vec(), finished()].concat();
        it.client(&client_1_2()).server(&abbreviated).client(&finish).close();
    });
    assert_eq!(one.summary(), ("completed", None, "CsiI", None));
    // A client that does not wait for the server's Finished (RFC 7918), and a long request of it.
    let one = of(|it| {
        it.client(&client_1_2()).server(&server_1_2()).client(&client_1_2_finishes());
        for _ in 0..20 {
            it.client(&data(1300));
        }
        it.server(&server_1_2_finishes()).close();
    });
    assert_eq!(one.summary(), ("completed", None, "CsxknGIDti", None));
    // Nobody said more than the handshake, and silence followed.
    let told = of_wire(|wire| {
        Connection::open(wire, 1, [0, 0])
            .client(&client_1_3())
            .server(&server_1_3())
            .client(&finished_1_3());
        Connection::open(wire, 2, [0, 0]).wait(2 * SECOND).client(&client_1_3());
    });
    assert_eq!((told[0].client_port, told[0].outcome), (1, Outcome::Completed));
    assert_eq!((told[1].client_port, told[1].outcome), (2, Outcome::StillOpen));
}

#[test]
fn encrypted_messages_of_tls_1_3_are_told_as_such() {
    let mut wire = Wire::default();
    Connection::open(&mut wire, 1, [0, 0])
        .client(&client_1_3())
        .server(&server_1_3())
        .client(&[CCS.to_vec(), data(25), data(69), data(100)].concat())
        .server(&data(200));
    let (told, _) = wire.told(Limits::default(), usize::MAX);
    let of = |port: u16, what: &str| {
        let is = |it: &&Told| matches!(it, Told::Message(from, text) if *from == port && text.contains(what));
        told.iter().filter(is).count()
    };
    // EncryptedExtensions to Finished; Certificate and Finished.
    assert_eq!((of(443, "EncryptedHandshake"), of(1, "EncryptedHandshake")), (1, 2));
    // What follows is what it says.
    assert_eq!((of(443, "message: ApplicationData"), of(1, "message: ApplicationData")), (1, 1));
}

#[test]
fn early_data_hides_where_the_handshake_ends() {
    let hello = bytes(TLS_1_3_RESUMING_CLIENT);
    let answer = [server_1_3(), data(53)].concat();
    let early = |it: &mut Connection<'_>| {
        it.client(&hello).client(&[CCS, &data(1000)].concat()).server(&answer).client(&data(1400));
    };
    // EndOfEarlyData and Finished.
    let one = of(|it| {
        early(it);
        it.client(&[data(21), data(53)].concat()).server(&data(300)).close();
    });
    assert_eq!(one.summary(), ("completed", None, "CIDsid", None));
    // Refused: Finished alone.
    let one = of(|it| {
        early(it);
        it.client(&data(69)).server(&data(300)).close();
    });
    assert_eq!(one.outcome, Outcome::Completed);
    let one = of(|it| {
        early(it);
        it.rst(Server);
    });
    assert_eq!(one.outcome, Outcome::Reset { by: Server });
}

#[test]
fn alerts() {
    let ended = |one: &Handshake| match one.outcome {
        Outcome::Alert { by, alert } => Some((by, alert.map(|alert| alert.description.0))),
        _ => None,
    };
    let one = of(|it| it.client(&client_1_2()).server(&alert(2, 40)).close());
    assert_eq!(ended(&one), Some((Server, Some(40))));
    let one = of(|it| it.client(&client_1_3()).server(&server_1_3()).client(&alert(2, 42)).close());
    assert_eq!(ended(&one), Some((Client, Some(42))));
    // A warning first: the fatal one is the reason.
    let one = of(|it| {
        let answer = [alert(1, 112), server_1_2()].concat();
        it.client(&client_1_2()).server(&answer).client(&alert(2, 48)).close();
    });
    assert_eq!((ended(&one), one.history.as_str()), (Some((Client, Some(48))), "ClsxknL"));
    let one =
        of(|it| it.client(&client_1_2()).server(&[alert(1, 112), server_1_2()].concat()).close());
    assert_eq!(one.outcome, Outcome::Closed { by: Client });
    // Other warnings explain an end.
    let one = of(|it| it.client(&client_1_2()).server(&server_1_2()).client(&alert(1, 90)).close());
    assert_eq!(ended(&one), Some((Client, Some(90))));
    // An encrypted one before the server's Finished.
    let one = of(|it| {
        it.client(&client_1_2()).server(&server_1_2()).client(&client_1_2_finishes());
        it.server(&record(21, &[0x77; 26])).fin(Server).fin(Client);
    });
    assert_eq!(ended(&one), Some((Server, None)));
    // After the server's FIN.
    let one = of(|it| {
        it.client(&client_1_2())
            .server(&server_1_2())
            .fin(Server)
            .client(&alert(2, 46))
            .fin(Client);
    });
    assert_eq!(ended(&one), Some((Client, Some(46))));
    // But not one that only says that this should not have been the end.
    let one = of(|it| {
        it.client(&client_1_3()).fin(Server).client(&alert(2, 50)).fin(Client);
    });
    assert_eq!(one.summary(), ("closed", Some(Server), "CL", None));
    // A hello that nobody can read is a hello.
    let one = of(|it| it.client(&handshake(1, &[3, 3, 9, 9])).server(&alert(2, 50)).close());
    assert_eq!(ended(&one), Some((Server, Some(50))));
}

#[test]
fn alerts_that_are_inferred() {
    let inferred = |by| Outcome::ProbableEncryptedAlert { by };
    let begin = |it: &mut Connection<'_>| {
        it.client(&client_1_3()).server(&server_1_3());
    };
    let refuses = [CCS.to_vec(), data(19)].concat();
    let one = of(|it| {
        begin(it);
        it.client(&refuses).close();
    });
    assert_eq!(one.outcome, inferred(Client));
    let one = of(|it| {
        begin(it);
        it.client(&refuses).rst(Client);
    });
    assert_eq!(one.outcome, inferred(Client));
    // A server that wants a certificate, after a long request.
    let one = of(|it| {
        begin(it);
        it.client(&[CCS.to_vec(), data(25), data(69)].concat());
        for _ in 0..10 {
            it.client(&data(1400));
        }
        it.server(&data(19)).fin(Server).fin(Client);
    });
    assert_eq!(one.outcome, inferred(Server));
    // The client has read it and closes before the server does.
    let one = of(|it| {
        begin(it);
        it.client(&finished_1_3()).client(&data(40)).server(&data(19)).fin(Client).fin(Server);
    });
    assert_eq!(one.outcome, inferred(Server));
    // A close_notify that answers one is no alert before the end, and neither is a short answer.
    let one = of(|it| {
        begin(it);
        it.client(&[finished_1_3(), data(300)].concat()).client(&data(19)).fin(Client);
        it.server(&data(19)).fin(Server);
    });
    assert_eq!(one.outcome, Outcome::Completed);
    let one = of(|it| {
        begin(it);
        it.client(&finished_1_3()).server(&data(22)).fin(Server).fin(Client);
    });
    assert_eq!(one.outcome, Outcome::Completed);
}

#[test]
fn ended_before_it_was_completed() {
    let one = of(|it| it.client(&client_1_3()).fin(Server).close());
    assert_eq!(one.summary(), ("closed", Some(Server), "C", None));
    let one = of(|it| {
        it.client(&client_1_2()).server(&server_1_2()).rst(Client);
    });
    assert_eq!(one.summary(), ("reset", Some(Client), "Csxkn", None));
    // The client is through, the server does not want it.
    let one = of(|it| {
        it.client(&client_1_3()).server(&server_1_3()).client(&finished_1_3()).rst(Server);
    });
    assert_eq!(one.outcome, Outcome::Reset { by: Server });
    // A client that only closes its half is answered.
    let one = of(|it| {
        it.client(&client_1_3()).fin(Client).wait(2 * SECOND).server(&server_1_3()).fin(Server);
    });
    assert_eq!(one.summary(), ("closed", Some(Client), "Csid", None));
}

#[test]
fn silence() {
    let late = |it: &mut Connection<'_>| it.wire.now += 31 * SECOND;
    let told = of_wire(|wire| {
        let mut it = Connection::open(wire, 1, [0, 0]);
        it.client(&client_1_3());
        late(&mut it);
        // Whoever answers now makes no other handshake.
        it.server(&server_1_3());
        Connection::open(wire, 2, [0, 0]).client(&client_1_3());
    });
    let outcomes: Vec<_> = told.iter().map(|one| (one.client_port, one.outcome)).collect();
    assert_eq!(outcomes, [(1, Outcome::NoAnswer), (2, Outcome::StillOpen)]);
    let told = of_wire(|wire| {
        let mut it = Connection::open(wire, 1, [0, 0]);
        it.client(&client_1_2()).server(&server_1_2());
        late(&mut it);
        Connection::open(wire, 2, [0, 0]).client(&client_1_3());
    });
    assert_eq!(told[0].outcome, Outcome::TimedOut);
}

#[test]
fn no_tls() {
    let one = of(|it| it.client(&client_1_3()).server(b"HTTP/1.1 400 Bad Request\r\n\r\n").close());
    assert_eq!(one.summary(), ("not_tls", None, "C", None));
    let one = of(|it| {
        it.client(&client_1_3()).server(b"HTTP/1.1 400").server(b" Bad Request\r\n\r\n");
    });
    assert_eq!(one.outcome, Outcome::NotTls);
    // A server's last word before STARTTLS that its client did not wait for.
    let one = of(|it| {
        it.client(&client_1_3()).server(b"220 go\r\n").server(&server_1_3());
        it.client(&finished_1_3()).server(&data(200)).close();
    });
    assert_eq!(one.summary(), ("completed", None, "CsidID", None));
}
