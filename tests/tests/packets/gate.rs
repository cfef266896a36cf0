//! The gate in the kernel: which segments of a flow become events, in both directions of one flow.

use std::net::Ipv6Addr;

use anyhow::{Context as _, Result, ensure};
use tls_sniff_common::{counters::Counter, gate};
use tls_sniff_tests::frame::{Frame, flags};

use super::{At, Bench, hello};

/// A flow between port `port` of the client and the server's 443.
#[derive(Clone, Copy)]
struct Flow {
    port: u16,
    v6: bool,
}

const ACK: u8 = flags::ACK;
/// Sequence number of the first payload byte of each side.
const START: u32 = 1001;

impl Flow {
    fn base(self) -> Frame {
        if self.v6 { Frame::ethernet().ipv6() } else { Frame::ethernet().ipv4() }
    }

    fn back(self) -> Frame {
        if self.v6 {
            let [client, server]: [Ipv6Addr; 2] =
                ["fd77:1::1", "fd77:1::2"].map(|it| it.parse().unwrap());
            self.base().addresses(server, client)
        } else {
            self.base().addresses([10, 77, 1, 2], [10, 77, 1, 1])
        }
    }

    /// A segment of the client `at` bytes behind its start.
    fn client(self, at: u32, payload: &[u8]) -> Vec<u8> {
        let frame = self.base().tcp(self.port, 443).seq(START + at).flags(ACK);
        frame.payload(payload).build()
    }

    /// The same of the server.
    fn server(self, at: u32, payload: &[u8]) -> Vec<u8> {
        let frame = self.back().tcp(443, self.port).seq(START + at).flags(ACK);
        frame.payload(payload).build()
    }

    fn syn(self) -> Vec<u8> {
        self.base().tcp(self.port, 443).seq(START - 1).flags(flags::SYN).build()
    }

    fn syn_ack(self) -> Vec<u8> {
        let frame = self.back().tcp(443, self.port).seq(START - 1);
        frame.flags(flags::SYN | ACK).build()
    }

    fn server_flags(self, flags: u8) -> Vec<u8> {
        self.back().tcp(443, self.port).seq(START + 5000).flags(flags).build()
    }

    fn client_flags(self, flags: u8) -> Vec<u8> {
        self.base().tcp(self.port, 443).seq(START + 5000).flags(flags).build()
    }
}

/// Runs frames in turn and compares what each is counted as.
fn run(at: At, bench: &mut Bench, steps: &[(&str, Vec<u8>, Counter)]) -> Result<()> {
    for (name, frame, counter) in steps {
        let seen = bench.run(at, frame)?;
        seen.check(at, *counter).with_context(|| format!("{name}, {at:?}"))?;
    }
    Ok(())
}

const MIDDLE: &[u8] = &[0xab; 600];
const APPLICATION_DATA: &[u8] = &[0x17, 3, 3, 0, 60, 1, 2, 3, 4, 5, 6, 7];

pub(crate) fn segments_of_a_handshake() -> Result<()> {
    use Counter::{ApplicationData, Emitted, NoPayload, NoRecord};
    let mut bench = Bench::default()?;
    let mut port = 2000;
    for at in [At::Xdp, At::In, At::Out] {
        for v6 in [false, true] {
            port += 1;
            let flow = Flow { port, v6 };
            run(
                at,
                &mut bench,
                &[
                    ("before any hello", flow.client(0, MIDDLE), NoRecord),
                    (
                        "data of nobody's handshake",
                        flow.client(0, APPLICATION_DATA),
                        ApplicationData,
                    ),
                    ("SYN", flow.syn(), NoPayload),
                    ("SYN-ACK", flow.syn_ack(), NoPayload),
                    ("a segment that overtook the hello", flow.client(700, MIDDLE), Emitted),
                    ("the hello", flow.client(0, &hello(1500)[..700]), Emitted),
                    ("its second segment", flow.client(700, MIDDLE), Emitted),
                    ("pure acknowledgement", flow.server(0, &[]), NoPayload),
                    ("middle of the answer, early", flow.server(1400, MIDDLE), Emitted),
                    (
                        "encrypted record of the answer",
                        flow.server(2000, APPLICATION_DATA),
                        Emitted,
                    ),
                    ("FIN", flow.client_flags(flags::FIN | ACK), Emitted),
                    ("RST", flow.client_flags(flags::RST), Emitted),
                    ("what was on its way", flow.server(2600, MIDDLE), Emitted),
                ],
            )?;
            // The times of SYN and SYN-ACK come with the hello.
            port += 1;
            let flow = Flow { port, v6 };
            bench.run(at, &flow.syn())?;
            bench.run(at, &flow.syn_ack())?;
            let seen = bench.run(at, &flow.client(0, &hello(200)))?;
            let header = seen.event()?.header;
            ensure!(header.syn_time > 0 && header.syn_time <= header.syn_ack_time);
            ensure!(header.syn_ack_time <= header.timestamp);
            // A first payload that is no hello: the flow is nobody's.
            port += 1;
            let flow = Flow { port, v6 };
            run(
                at,
                &mut bench,
                &[
                    ("SYN", flow.syn(), NoPayload),
                    ("SYN-ACK", flow.syn_ack(), NoPayload),
                    ("HTTP", flow.client(0, MIDDLE), NoRecord),
                    ("more HTTP", flow.client(600, MIDDLE), NoRecord),
                    ("STARTTLS", flow.client(1200, &hello(300)), Emitted),
                    ("answer", flow.server(0, MIDDLE), Emitted),
                ],
            )?;
        }
    }
    Ok(())
}

pub(crate) fn closes() -> Result<()> {
    use Counter::{ApplicationData, Emitted, NoPayload, NoRecord};
    let mut bench = Bench::default()?;
    for (port, at) in (3000..).zip([At::Xdp, At::In, At::Out]) {
        let flow = Flow { port, v6: port % 2 == 0 };
        run(at, &mut bench, &[("hello", flow.client(0, &hello(300)), Emitted)])?;
        // The server may say what it likes; once the client is through, a few segments more.
        for _ in 0..20 {
            run(at, &mut bench, &[("server", flow.server(0, APPLICATION_DATA), Emitted)])?;
        }
        for _ in 0..gate::TAIL {
            run(at, &mut bench, &[("client", flow.client(305, APPLICATION_DATA), Emitted)])?;
        }
        run(
            at,
            &mut bench,
            &[("client, later", flow.client(305, APPLICATION_DATA), ApplicationData)],
        )?;
        // Its long request leaves the server its own say.
        for _ in 0..gate::TAIL {
            run(at, &mut bench, &[("server, later", flow.server(0, MIDDLE), Emitted)])?;
        }
        let over = [
            ("server, too late", flow.server(0, MIDDLE), NoRecord),
            ("its reset", flow.server_flags(flags::RST), NoPayload),
        ];
        run(at, &mut bench, &over)?;
        // The second hello behind a ChangeCipherSpec is whole, however many segments it has.
        let flow = Flow { port: port + 200, v6: false };
        run(
            at,
            &mut bench,
            &[
                ("hello", flow.client(0, &hello(300)), Emitted),
                ("ChangeCipherSpec", flow.client(305, &[0x14, 3, 3, 0, 1, 1]), Emitted),
            ],
        )?;
        for _ in 0..3 * gate::TAIL {
            run(at, &mut bench, &[("second hello", flow.client(311, MIDDLE), Emitted)])?;
        }
        // A flow that never ends its handshake has a budget.
        let flow = Flow { port: port + 100, v6: false };
        run(at, &mut bench, &[("hello", flow.client(0, &hello(300)), Emitted)])?;
        let segments = gate::DIRECTION_BUDGET / MIDDLE.len() as u64;
        for _ in 0..segments {
            run(at, &mut bench, &[("server", flow.server(0, MIDDLE), Emitted)])?;
        }
        run(at, &mut bench, &[("beyond", flow.server(0, MIDDLE), NoRecord)])?;
    }
    Ok(())
}

pub(crate) fn makes_room() -> Result<()> {
    let mut bench = Bench::default()?;
    let at = At::Out;
    let before = bench.counters(at)?;
    let flow = |number: u32| {
        let [_, high, middle, low] = number.to_be_bytes();
        let frame = Frame::ethernet().ipv4().addresses([10, high, middle, low], [10, 77, 1, 2]);
        frame.tcp(40000, 443).seq(START).flags(ACK).payload(&hello(20)).build()
    };
    // Twice as many flows as there are places, all in their handshake.
    let flows = 2 * u32::try_from(gate::BUCKETS * gate::WAYS)?;
    for number in 0..flows {
        bench.program_run(at, &flow(number))?;
        if number % 256 == 0 {
            bench.take_events();
        }
    }
    let after = bench.counters(at)?;
    let moved = |counter: Counter| after[counter.index()] - before[counter.index()];
    let places = u64::try_from(gate::BUCKETS * gate::WAYS)?;
    ensure!(moved(Counter::Emitted) + moved(Counter::RingFull) == u64::from(flows));
    let evicted = moved(Counter::FlowEvicted);
    // Not every bucket is full when the first ones overflow.
    ensure!(evicted >= u64::from(flows) - places, "{evicted} made room");
    ensure!(evicted < u64::from(flows) - places / 2, "{evicted} made room");
    Ok(())
}
