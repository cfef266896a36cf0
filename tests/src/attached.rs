//! What is attached to the interface `veth-b` of a namespace.

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::{netns::Namespace, process::run};

/// XDP programs on the interfaces of a namespace, as bpftool sees them.
///
/// # Errors
///
/// If it cannot be asked.
pub fn xdp(namespace: &Namespace) -> Result<usize> {
    let shown = run(namespace.command("bpftool").args(["--json", "net"]))?;
    let shown: Value = serde_json::from_str(&shown)?;
    Ok(shown[0]["xdp"].as_array().context("bpftool net has a list xdp")?.len())
}

/// Filters on the clsact qdisc of veth-b and the qdisc itself: older bpftools do not show TCX.
///
/// # Errors
///
/// If it cannot be asked.
pub fn clsact(namespace: &Namespace) -> Result<String> {
    let mut all = String::new();
    for arguments in [
        ["filter", "show", "dev", "veth-b", "ingress"].as_slice(),
        &["filter", "show", "dev", "veth-b", "egress"],
        &["qdisc", "show", "dev", "veth-b", "clsact"],
    ] {
        all += &run(namespace.command("tc").args(arguments)).unwrap_or_default();
    }
    Ok(all)
}

/// TCX programs on veth-b in both directions, by the kernel's own query.
///
/// # Errors
///
/// If it cannot be asked.
pub fn tcx(namespace: &Namespace) -> Result<usize> {
    use aya::programs::{SchedClassifier, TcAttachType};
    namespace.enter(|| {
        let mut count = 0;
        for side in [TcAttachType::Ingress, TcAttachType::Egress] {
            count += SchedClassifier::query_tcx("veth-b", side)?.1.len();
        }
        Ok(count)
    })?
}

/// How many programs there are on veth-b, by all the ways of looking.
///
/// # Errors
///
/// If it cannot be asked.
pub fn programs(namespace: &Namespace) -> Result<usize> {
    let filters = clsact(namespace)?.matches("name tls_sniff_").count();
    Ok(filters + tcx(namespace)? + xdp(namespace)?)
}
