//! One interface: what can be attached, what is attached by others, and which of its offloads matter.

use aya::programs::{SchedClassifier, TcAttachType, loaded_programs};
use futures_util::TryStreamExt as _;
use nix::libc;
use rtnetlink::packet_route::tc::{TcAttribute, TcFilterBpfOption, TcMessage, TcOption};
use tls_sniff_common::headers::LinkLayer;

use super::{
    errno,
    ethtool::Features,
    netdev::xdp_features,
    report::{Finding, Level},
};
use crate::{interfaces::Interface, netlink::Netlink};

/// All that is to be said of `interface`.
pub(super) async fn examine(interface: &Interface, netlink: &Netlink) -> Vec<Finding> {
    let mut findings = vec![link(interface)];
    if let Ok(link) = interface.link {
        findings.push(tcx(interface));
        findings.extend(tc_filters(interface, netlink).await);
        if link == LinkLayer::Ethernet {
            findings.extend([xdp_mode(interface), xdp_program(interface)]);
        }
        findings.extend(offloads(interface));
    }
    findings.into_iter().map(|finding| finding.of(&interface.name)).collect()
}

fn link(interface: &Interface) -> Finding {
    let kind = match interface.link {
        Ok(LinkLayer::Ethernet) => "Ethernet",
        Ok(_) => "IP without an Ethernet header",
        Err(hardware) => {
            let found = format!("its packets (ARP hardware type {hardware}) cannot be walked");
            return Finding::new("link", Level::Warning, found)
                .advise("watch the interface that carries its IP packets instead");
        }
    };
    if interface.up {
        Finding::ok("link", format!("{kind}, up"))
    } else {
        Finding::new("link", Level::Note, format!("{kind}, down"))
            .advise(format!("ip link set {} up", interface.name))
    }
}

/// Whether the kernel has TCX, asked on this interface, and who uses it.
fn tcx(interface: &Interface) -> Finding {
    let mut names = Vec::new();
    for side in [TcAttachType::Ingress, TcAttachType::Egress] {
        match SchedClassifier::query_tcx(&interface.name, side) {
            Ok((_, programs)) => names.extend(programs.iter().map(|program| {
                program.name_as_str().map_or_else(|| format!("id {}", program.id()), str::to_owned)
            })),
            Err(error) => return no_tcx(errno(&error)),
        }
    }
    if names.is_empty() {
        return Finding::ok("tcx", "there (6.6), and nothing attached");
    }
    Finding::new("tcx", Level::Note, format!("there (6.6), attached: {}", names.join(", ")))
        .advise("tls-sniff goes before them; --tc-order last puts it behind")
}

fn no_tcx(errno: Option<i32>) -> Finding {
    match errno {
        Some(libc::EINVAL) => Finding::new(
            "tcx",
            Level::Note,
            "not there (6.6): a filter on a clsact qdisc is used, and a process of its own (tls-guard) removes it at the end",
        ),
        Some(libc::EPERM) => Finding::new("tcx", Level::Note, "unknown: not for this user to see")
            .advise("run it as root to see who else is attached"),
        other => {
            let said = other.map_or_else(String::new, |number| {
                format!(": {}", std::io::Error::from_raw_os_error(number))
            });
            Finding::new("tcx", Level::Note, format!("unknown{said}"))
        }
    }
}

/// Filters of others on the qdisc that clsact and ingress share.
async fn tc_filters(interface: &Interface, netlink: &Netlink) -> Option<Finding> {
    let index = i32::try_from(interface.index).ok()?;
    let mut names = Vec::new();
    for egress in [false, true] {
        let request = netlink.handle().traffic_filter(index).get();
        let request = if egress { request.egress() } else { request.ingress() };
        let filters: Vec<TcMessage> = netlink.answer(request.execute().try_collect()).await.ok()?;
        // A dump lists each priority once without a handle before its filters.
        let filters = filters.iter().filter(|filter| u32::from(filter.header.handle) != 0);
        names.extend(filters.map(filter_name));
    }
    if names.is_empty() {
        return None;
    }
    let found = format!("filters of tc: {}", names.join(", "));
    Some(Finding::new("tc_filters", Level::Note, found).advise(
        "they stay; what they redirect or drop before tls-sniff is not seen: --tc-order says where it goes",
    ))
}

fn filter_name(filter: &TcMessage) -> String {
    let kind = filter.attributes.iter().find_map(|attribute| match attribute {
        TcAttribute::Kind(kind) => Some(kind.clone()),
        _ => None,
    });
    let program = filter.attributes.iter().find_map(|attribute| match attribute {
        TcAttribute::Options(options) => options.iter().find_map(|option| match option {
            TcOption::Bpf(TcFilterBpfOption::ProgName(name)) => Some(name.clone()),
            _ => None,
        }),
        _ => None,
    });
    program.or(kind).unwrap_or_else(|| "of an unknown kind".to_owned())
}

fn xdp_mode(interface: &Interface) -> Finding {
    match xdp_features(interface.index) {
        Some(features) if features.native => {
            let jumbo = if features.fragments { ", also on jumbo frames in pieces" } else { "" };
            Finding::ok("xdp_mode", format!("the driver has native XDP{jumbo}"))
        }
        Some(_) => Finding::new(
            "xdp_mode",
            Level::Note,
            "the driver has no native XDP: --hook xdp runs in the stack, where tc (the default) costs less",
        ),
        None => Finding::new(
            "xdp_mode",
            Level::Note,
            "unknown: kernels before 6.3 do not tell what a driver can do",
        )
        .advise(format!("try it: tls-sniff -i {} --hook xdp --xdp-mode native", interface.name)),
    }
}

fn xdp_program(interface: &Interface) -> Finding {
    let Some(id) = interface.xdp_program else {
        return Finding::ok("xdp_program", "none is attached");
    };
    let program = loaded_programs().filter_map(Result::ok).find(|program| program.id() == id);
    let name = program.as_ref().and_then(|program| program.name_as_str());
    let found = match name {
        Some(name) => format!("{name} (id {id}) is attached: XDP has room for one"),
        None => format!("the program with id {id} is attached: XDP has room for one"),
    };
    Finding::new("xdp_program", Level::Warning, found)
        .advise("--hook tc (the default) works beside it; --hook xdp and --tap do not")
}

/// Features by the kernel's names, and what they do to what is seen.
const OFFLOADS: [(&str, &str, &str); 3] = [
    (
        "lro",
        "rx-lro",
        "segments are merged before any program sees them, and many drivers refuse native XDP then",
    ),
    (
        "gro_hw",
        "rx-gro-hw",
        "segments are merged before any program sees them, and many drivers refuse native XDP then",
    ),
    (
        "rx_vlan",
        "rx-vlan-hw-parse",
        "VLAN tags are taken out of the bytes: XDP and expressions do not see them, tc and --vlan do",
    ),
];

fn offloads(interface: &Interface) -> Vec<Finding> {
    let features = match Features::of(&interface.name) {
        Ok(features) => features,
        Err(error) => {
            return vec![Finding::new("offloads", Level::Note, format!("unknown: {error}"))];
        }
    };
    let on = OFFLOADS.into_iter().filter(|(_, name, _)| features.has(name));
    let findings: Vec<Finding> = on
        .map(|(id, name, effect)| {
            Finding::new(id, Level::Note, format!("{name} is on: {effect}"))
                .advise(format!("where it matters: ethtool -K {} {name} off", interface.name))
        })
        .collect();
    if findings.is_empty() {
        return vec![Finding::ok("offloads", "none that changes what is seen")];
    }
    findings
}
