//! The kernel, the privileges, and what the sandbox has to work with.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use aya::{
    maps::MapType,
    programs::ProgramType,
    sys::{BpfHelper, is_helper_supported, is_map_supported},
    util::KernelVersion,
};
use caps::{CapSet, Capability};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use tls_sniff_common::config;

use super::report::{Finding, Level};
use crate::{
    filter::expression::Expression,
    load::{self, LoadOptions},
    privilege,
    sandbox::{Landlock, landlock_available, seccomp_available},
};

/// The oldest kernel that is tested.
const FLOOR: KernelVersion = KernelVersion::new(5, 10, 0);

/// `PROC_USER_INIT_INO`, the number of the initial user namespace.
const INITIAL_USER_NAMESPACE: u64 = 0xefff_fffd;

/// Everything that does not belong to an interface.
pub(super) fn examine() -> Vec<Finding> {
    let version = KernelVersion::current().ok();
    let privileged = privilege::check();
    let mut findings = vec![kernel(version)];
    findings.push(match &privileged {
        Ok(()) => Finding::ok("capabilities", "CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON are there"),
        Err(missing) => {
            Finding::new("capabilities", Level::Problem, missing.to_string()).advise(missing.hint())
        }
    });
    let user_namespace = user_namespace();
    let may_load = privileged.is_ok() && user_namespace.level != Level::Problem;
    findings.extend([
        user_namespace,
        unprivileged_bpf(),
        lockdown(),
        btf(),
        jit(),
        memlock(version),
    ]);
    if may_load {
        let load_bytes = xdp_load_bytes();
        let whole = load_bytes.level == Level::Ok;
        findings.extend([ring_buffer(), load_bytes, programs(whole)]);
    } else {
        let found = "not tried: that needs the capabilities";
        findings.push(Finding::new("programs", Level::Note, found));
    }
    findings.extend([libpcap(), landlock(), seccomp()]);
    findings
}

fn kernel(version: Option<KernelVersion>) -> Finding {
    let release = load::kernel_release();
    match version {
        Some(version) if version < FLOOR => {
            Finding::new("kernel", Level::Problem, format!("Linux {release} is older than 5.10"))
                .advise("live capture needs Linux 5.10 or newer; -r FILE needs no kernel support")
        }
        _ => Finding::ok("kernel", format!("Linux {release}, at least 5.10 is needed")),
    }
}

/// Capabilities of another one are none for BPF.
fn user_namespace() -> Finding {
    match fs::metadata("/proc/self/ns/user") {
        Ok(namespace) if namespace.ino() == INITIAL_USER_NAMESPACE => {
            Finding::ok("user_namespace", "the initial one")
        }
        Ok(_) => Finding::new(
            "user_namespace",
            Level::Problem,
            "not the initial one: its capabilities load no BPF programs",
        )
        .advise(
            "run it on the host, or in a container that is not rootless and has no user namespace",
        ),
        Err(error) => Finding::new(
            "user_namespace",
            Level::Note,
            format!("unknown, /proc does not tell: {error}"),
        ),
    }
}

fn unprivileged_bpf() -> Finding {
    match value("/proc/sys/kernel/unprivileged_bpf_disabled") {
        Ok(Some(0)) => {
            Finding::new("unprivileged_bpf", Level::Note, "any user may load BPF programs")
                .advise("tls-sniff does not need that: sysctl kernel.unprivileged_bpf_disabled=2")
        }
        Ok(Some(_)) => Finding::ok("unprivileged_bpf", "off, as it should be"),
        Ok(None) | Err(_) => Finding::new("unprivileged_bpf", Level::Note, "unknown"),
    }
}

fn lockdown() -> Finding {
    let modes = fs::read_to_string("/sys/kernel/security/lockdown");
    let mode = modes.as_deref().ok().and_then(|modes| modes.split(['[', ']']).nth(1));
    match mode {
        Some("none") => Finding::ok("lockdown", "off"),
        Some(mode) => Finding::new("lockdown", Level::Note, format!("{mode} mode")).advise(
            "no helper that tls-sniff calls is locked; the line `programs` tells whether this kernel agrees",
        ),
        None => {
            Finding::new("lockdown", Level::Note, "unknown, /sys/kernel/security does not tell")
        }
    }
}

fn btf() -> Finding {
    if Path::new("/sys/kernel/btf/vmlinux").exists() {
        Finding::ok("btf", "/sys/kernel/btf/vmlinux")
    } else {
        Finding::new("btf", Level::Note, "the kernel has none; tls-sniff does not need it")
    }
}

fn jit() -> Finding {
    match value("/proc/sys/net/core/bpf_jit_enable") {
        Ok(Some(0)) => Finding::new(
            "jit",
            Level::Warning,
            "off: programs are interpreted, several times slower",
        )
        .advise("sysctl net.core.bpf_jit_enable=1"),
        Ok(Some(_)) => Finding::ok("jit", "on"),
        Ok(None) | Err(_) => Finding::new(
            "jit",
            Level::Note,
            "unknown: only root sees it, and only in the initial network namespace",
        )
        .advise("sysctl net.core.bpf_jit_enable should say 1"),
    }
}

/// The number in a file of /proc/sys.
fn value(file: &str) -> std::io::Result<Option<u32>> {
    Ok(fs::read_to_string(file)?.trim().parse().ok())
}

fn memlock(version: Option<KernelVersion>) -> Finding {
    if version.is_none_or(|version| version >= KernelVersion::new(5, 11, 0)) {
        return Finding::ok("memlock", "does not count for BPF maps since 5.11");
    }
    let unlimited =
        getrlimit(Resource::RLIMIT_MEMLOCK).is_ok_and(|(soft, _)| soft == RLIM_INFINITY);
    let raises = caps::has_cap(None, CapSet::Effective, Capability::CAP_SYS_RESOURCE);
    if unlimited || raises.unwrap_or(false) {
        return Finding::ok("memlock", "unlimited, or CAP_SYS_RESOURCE to raise it");
    }
    Finding::new("memlock", Level::Warning, "BPF maps count against RLIMIT_MEMLOCK before 5.11")
        .advise("LimitMEMLOCK=infinity in the unit, or `ulimit -l unlimited`")
}

fn ring_buffer() -> Finding {
    match is_map_supported(MapType::RingBuf) {
        Ok(true) => Finding::ok("ring_buffer", "there"),
        Ok(false) => Finding::new("ring_buffer", Level::Problem, "this kernel has none")
            .advise("it came with Linux 5.8"),
        Err(error) => Finding::new("ring_buffer", Level::Note, format!("unknown: {error}")),
    }
}

fn xdp_load_bytes() -> Finding {
    match is_helper_supported(ProgramType::Xdp, BpfHelper::BPF_FUNC_xdp_load_bytes) {
        Ok(true) => Finding::ok("xdp_load_bytes", "there: XDP sees whole packets"),
        Ok(false) => Finding::new(
            "xdp_load_bytes",
            Level::Note,
            "not there (5.18): with --hook xdp at most 2,048 bytes of a packet, and no jumbo frames in pieces",
        ),
        Err(error) => Finding::new("xdp_load_bytes", Level::Note, format!("unknown: {error}")),
    }
}

/// The real thing, attached nowhere. `whole`: XDP sees whole packets.
fn programs(whole: bool) -> Finding {
    let longest = if whole { config::MAX_CAPTURE_LEN } else { config::MAX_DIRECT_CAPTURE_LEN };
    match load::load(&LoadOptions { xdp: true, capture_len: longest, ..LoadOptions::default() }) {
        Ok(_) => Finding::ok("programs", "all were loaded, and nothing was attached"),
        Err(error) => {
            Finding::new("programs", Level::Problem, error.to_string()).advise(error.hint())
        }
    }
}

fn libpcap() -> Finding {
    match Expression::new("tcp") {
        Ok(_) => Finding::ok("libpcap", "there, for expressions in tcpdump's language"),
        Err(error) => Finding::new("libpcap", Level::Note, error.to_string()).advise(error.hint()),
    }
}

fn landlock() -> Finding {
    match landlock_available() {
        Landlock::Abi(version) => Finding::ok("landlock", format!("version {version}")),
        Landlock::Disabled => Finding::new(
            "landlock",
            Level::Note,
            "switched off: the sandbox leaves files to their permissions",
        )
        .advise("add landlock to lsm=... on the kernel's command line"),
        Landlock::Absent => Finding::new(
            "landlock",
            Level::Note,
            "not in this kernel (5.13): the sandbox leaves files to their permissions",
        ),
    }
}

fn seccomp() -> Finding {
    if seccomp_available() {
        return Finding::ok("seccomp", "there");
    }
    Finding::new(
        "seccomp",
        Level::Note,
        "not in this kernel: the sandbox leaves system calls as they are",
    )
}
