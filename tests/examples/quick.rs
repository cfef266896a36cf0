//! scratch
use anyhow::Result;
use aya::programs::{TestRun as _, TestRunOptions};
use nix::libc;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use tls_sniff::load::{LoadOptions, Programs, load};
use tls_sniff_common::{flow::Hook, headers::LinkLayer};
use tls_sniff_tests::frame::{Frame, client_hello};

fn trivial(kind: u32, ret: i32) -> OwnedFd {
    let insns: [u64; 2] = [0xb7 | (u64::from(ret as u32) << 32), 0x95];
    let lic = b"GPL\0";
    let mut attr = [0u64; 16];
    attr[0] = u64::from(kind) | (2u64 << 32);
    attr[1] = insns.as_ptr() as u64;
    attr[2] = lic.as_ptr() as u64;
    let fd = unsafe { libc::syscall(libc::SYS_bpf, 5, attr.as_ptr(), 128) };
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}
fn run_fd(fd: &OwnedFd, packet: &[u8], repeat: u32) -> u32 {
    let mut out = vec![0u8; packet.len() + 256];
    #[repr(C)]
    struct A {
        fd: u32,
        retval: u32,
        in_len: u32,
        out_len: u32,
        din: u64,
        dout: u64,
        repeat: u32,
        duration: u32,
        rest: [u64; 6],
    }
    let mut a = A {
        fd: fd.as_raw_fd() as u32,
        retval: 0,
        in_len: packet.len() as u32,
        out_len: out.len() as u32,
        din: packet.as_ptr() as u64,
        dout: out.as_mut_ptr() as u64,
        repeat,
        duration: 0,
        rest: [0; 6],
    };
    let r = unsafe { libc::syscall(libc::SYS_bpf, 10, &mut a as *mut A, size_of::<A>()) };
    assert!(r >= 0, "{}", std::io::Error::last_os_error());
    a.duration
}
const REPEAT: u32 = 20_000;
fn ours(p: &mut Programs, xdp: bool, packet: &[u8], repeat: u32) -> Result<u32> {
    let o = TestRunOptions { data_in: Some(packet), repeat, ..TestRunOptions::default() };
    let r = if xdp {
        p.xdp()?.test_run(o)?
    } else {
        p.tc(LinkLayer::Ethernet, Hook::TcIngress)?.test_run(o)?
    };
    Ok(r.duration.as_nanos() as u32)
}
fn main() -> Result<()> {
    let rounds: usize = std::env::args().nth(1).map_or(15, |n| n.parse().unwrap());
    let mut p = load(&LoadOptions { xdp: true, ring_len: 64 << 20, ..LoadOptions::default() })?;
    let mut ring = p.take_ring()?;
    let tcp = |a, b| Frame::ethernet().ipv4().tcp(a, b);
    let bulk = vec![0x5a; 1446];
    let mut app = vec![0x17, 3, 3, 0x40, 0];
    app.resize(1446, 0x77);
    let mut hello = client_hello();
    let n = hello.len();
    println!("hello {n}");
    hello.resize(512, 0);
    let f = |f: Frame| f.build();
    let v6 = |a, b| Frame::ethernet().vlan(0x8100, 5).ipv6().tcp(a, b);
    let packets: Vec<(&str, Vec<u8>, bool)> = vec![
        ("UDP", f(Frame::ethernet().ipv4().udp(1, 443).payload(&[1; 30])), false),
        ("SYN", f(tcp(40000, 443).flags(2)), false),
        ("ACK", f(tcp(40001, 443).flags(16).ack(1)), false),
        ("bulk", f(tcp(40002, 443).payload(&bulk)), false),
        ("app", f(tcp(40003, 443).payload(&app)), false),
        ("hello512", f(tcp(40004, 443).payload(&hello)), true),
        ("6 UDP", f(Frame::ethernet().vlan(0x8100, 5).ipv6().udp(1, 443).payload(&[1; 30])), false),
        ("6 SYN", f(v6(40000, 443).flags(2)), false),
        ("6 bulk", f(v6(40002, 443).payload(&bulk)), false),
        ("6 app", f(v6(40003, 443).payload(&app)), false),
        ("6 hello512", f(v6(40004, 443).payload(&hello)), true),
    ];
    let tx = trivial(6, 2);
    let tt = trivial(3, -1);
    for xdp in [false, true] {
        let mut least = vec![[u32::MAX; 2]; packets.len()];
        for _ in 0..rounds {
            for (cell, (_, packet, emits)) in least.iter_mut().zip(&packets) {
                let repeat = if *emits { 2000 } else { REPEAT };
                cell[0] = cell[0].min(run_fd(if xdp { &tx } else { &tt }, packet, repeat));
                cell[1] = cell[1].min(ours(&mut p, xdp, packet, repeat)?);
                while ring.next().is_some() {}
            }
        }
        print!("{}", if xdp { "XDP" } else { "TC " });
        for (c, (name, ..)) in least.iter().zip(&packets) {
            print!("  {name} {}/{}={:.2}", c[1], c[0], f64::from(c[1]) / f64::from(c[0]));
        }
        println!();
    }
    Ok(())
}
