//! scratch: quick2 rounds dir... : pinned programs against trivial
use nix::libc;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use tls_sniff_tests::frame::{Frame, client_hello};
fn bpf(cmd: i32, attr: *const u64, len: usize) -> i64 {
    unsafe { libc::syscall(libc::SYS_bpf, cmd, attr, len) }
}
fn trivial(kind: u32, ret: i32) -> OwnedFd {
    let insns: [u64; 2] = [0xb7 | (u64::from(ret as u32) << 32), 0x95];
    let lic = b"GPL\0";
    let mut attr = [0u64; 16];
    attr[0] = u64::from(kind) | (2u64 << 32);
    attr[1] = insns.as_ptr() as u64;
    attr[2] = lic.as_ptr() as u64;
    let fd = bpf(5, attr.as_ptr(), 128);
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}
fn pinned(path: &str) -> OwnedFd {
    let p = std::ffi::CString::new(path).unwrap();
    let attr = [p.as_ptr() as u64, 0, 0];
    let fd = bpf(7, attr.as_ptr(), 24);
    assert!(fd >= 0, "{path} {}", std::io::Error::last_os_error());
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
    let r = bpf(10, (&mut a as *mut A).cast(), size_of::<A>());
    assert!(r >= 0, "{}", std::io::Error::last_os_error());
    a.duration
}
fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let rounds: usize = args[0].parse().unwrap();
    let tcp = |a, b| Frame::ethernet().ipv4().tcp(a, b);
    let bulk = vec![0x5a; 1446];
    let mut app = vec![0x17, 3, 3, 0x40, 0];
    app.resize(1446, 0x77);
    let mut hello = client_hello();
    hello.resize(512, 0);
    let f = |f: Frame| f.build();
    let v6 = |a, b| Frame::ethernet().vlan(0x8100, 5).ipv6().tcp(a, b);
    let packets: Vec<(&str, Vec<u8>)> = vec![
        ("UDP", f(Frame::ethernet().ipv4().udp(1, 443).payload(&[1; 30]))),
        ("SYN", f(tcp(40000, 443).flags(2))),
        ("ACK", f(tcp(40001, 443).flags(16).ack(1))),
        ("bulk", f(tcp(40002, 443).payload(&bulk))),
        ("app", f(tcp(40003, 443).payload(&app))),
        ("6UDP", f(Frame::ethernet().vlan(0x8100, 5).ipv6().udp(1, 443).payload(&[1; 30]))),
        ("6SYN", f(v6(40000, 443).flags(2))),
        ("6bulk", f(v6(40002, 443).payload(&bulk))),
        ("6app", f(v6(40003, 443).payload(&app))),
    ];
    for (name, kind, ret) in [("tls_sniff_in", 3, -1), ("tls_sniff_xdp", 6, 2)] {
        let mut progs = vec![("trivial", trivial(kind, ret))];
        for dir in &args[1..] {
            progs.push((dir.rsplit('/').next().unwrap(), pinned(&format!("{dir}/{name}"))));
        }
        let mut least = vec![vec![u32::MAX; packets.len()]; progs.len()];
        for _ in 0..rounds {
            for (i, (_, p)) in packets.iter().enumerate() {
                for (j, (_, fd)) in progs.iter().enumerate() {
                    least[j][i] = least[j][i].min(run_fd(fd, p, 20000));
                }
            }
        }
        print!("{name:14}");
        for (n, _) in &packets {
            print!("{n:>8}");
        }
        println!();
        for ((n, _), row) in progs.iter().zip(&least) {
            print!("{n:14}");
            for c in row {
                print!("{c:>8}");
            }
            println!();
        }
    }
}
