//! `tls-sniff doctor` against what `ip` and `ethtool` say.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tls_sniff_tests::{
    netns::Namespace,
    process::run,
    sniffer::{Sniffer, binary},
    veth::VethPair,
};

/// What it says as JSON, and its exit code. `before`: a program and its arguments that run it.
fn doctor(namespace: &Namespace, before: &[&str], flags: &[&str]) -> Result<(Value, Option<i32>)> {
    let binary = binary()?;
    let binary = binary.to_str().context("a path in UTF-8")?;
    let words = [before, &[binary, "doctor", "--format", "json"], flags].concat();
    let (program, arguments) = words.split_first().context("a program")?;
    let mut command: Command = namespace.command(program);
    let output = command.args(arguments).output()?;
    ensure!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok((serde_json::from_slice(&output.stdout)?, output.status.code()))
}

/// The one finding with this id.
fn finding<'a>(report: &'a Value, id: &str) -> Result<&'a Value> {
    let findings = report["findings"].as_array().context("findings")?;
    let mut with_id = findings.iter().filter(|finding| finding["id"] == id);
    let finding = with_id.next().with_context(|| format!("no {id} in {report:#}"))?;
    ensure!(with_id.next().is_none(), "{id} twice in {report:#}");
    Ok(finding)
}

fn level(report: &Value, id: &str) -> Result<String> {
    Ok(finding(report, id)?["level"].as_str().context("a level")?.to_owned())
}

/// Everything is there, and then others have it: each line changes as `ip`, `tc` and `ethtool` say that it should.
pub(crate) fn tells_what_there_is() -> Result<()> {
    let pair = VethPair::new()?;
    let namespace = &pair.second.namespace;
    let flags = ["-i", "veth-b"];
    // The one offload of veth that matters, first on and then off.
    let has_vlan_offload = |report: &Value, wanted: &str| -> Result<()> {
        let shown = run(namespace.command("ethtool").args(["-k", "veth-b"]))?;
        ensure!(shown.contains(&format!("rx-vlan-offload: {wanted}")), "{shown}");
        ensure!(finding(report, "rx_vlan").is_ok() == (wanted == "on"), "{report:#}");
        Ok(())
    };
    let (alone, code) = doctor(namespace, &[], &flags)?;
    has_vlan_offload(&alone, "on")?;
    ensure!(code == Some(0) && alone["capture_works"] == true, "{alone:#}");
    for id in ["kernel", "capabilities", "user_namespace", "programs", "link", "xdp_program", "tcx"]
    {
        ensure!(level(&alone, id)? == "ok", "{id} in {alone:#}");
    }
    ensure!(level(&alone, "xdp_mode")? == "ok", "veth has native XDP: {alone:#}");
    ensure!(finding(&alone, "tc_filters").is_err(), "{alone:#}");

    run(namespace.command("ethtool").args(["-K", "veth-b", "rx-vlan-offload", "off"]))?;
    let mut other = Sniffer::start(namespace, &["-i", "veth-b", "--hook", "xdp"])?;
    other.ready()?;
    let tc = |arguments: &[&str]| run(namespace.command("tc").args(arguments));
    tc(&["qdisc", "add", "dev", "veth-b", "clsact"])?;
    // Classic BPF that matches nothing: other classifiers are not in every kernel.
    let filter = ["filter", "add", "dev", "veth-b", "egress", "bpf", "bytecode", "1,6 0 0 0"];
    tc(&[&filter[..], &["classid", "1:1"]].concat())?;
    let links: Value =
        serde_json::from_str(&namespace.ip(&["-j", "-d", "link", "show", "dev", "veth-b"])?)?;
    let id = links[0]["xdp"]["prog"]["id"].as_u64().context("ip shows the XDP program")?;
    let (report, code) = doctor(namespace, &[], &flags)?;
    ensure!(code == Some(0), "tc works beside it: {report:#}");
    has_vlan_offload(&report, "off")?;
    let xdp = finding(&report, "xdp_program")?;
    let found = xdp["found"].as_str().context("found")?;
    ensure!(xdp["level"] == "warning" && found.contains(&format!("(id {id})")), "{xdp}");
    ensure!(found.contains("tls_sniff_xdp") && xdp["interface"] == "veth-b", "{xdp}");
    ensure!(
        finding(&report, "tcx")?["found"].as_str().is_some_and(|it| it.contains("tls_sniff_out"))
    );
    let filters = finding(&report, "tc_filters")?["found"].as_str().context("found")?.to_owned();
    ensure!(filters.ends_with(": bpf"), "{filters}");
    drop(other.stop()?);
    Ok(())
}

/// It says which capability is missing, or which name no interface has, and its exit code is 1.
pub(crate) fn tells_why_not() -> Result<()> {
    let namespace = Namespace::new()?;
    let dropped = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"];
    let (report, code) = doctor(&namespace, &dropped, &["-i", "lo"])?;
    ensure!(code == Some(1) && report["capture_works"] == false, "{report:#}");
    let capabilities = finding(&report, "capabilities")?;
    ensure!(capabilities["level"] == "problem" && capabilities["advice"].is_string());
    for name in ["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"] {
        ensure!(capabilities["found"].as_str().is_some_and(|found| found.contains(name)));
    }
    // The rest is looked at all the same.
    ensure!(level(&report, "link")? == "ok" && level(&report, "kernel")? == "ok", "{report:#}");

    let (report, code) = doctor(&namespace, &[], &["-i", "no-such", "-i", "lo"])?;
    ensure!(code == Some(1), "{report:#}");
    let missing = finding(&report, "interface")?;
    ensure!(missing["level"] == "problem" && missing["interface"] == "no-such", "{missing}");
    Ok(())
}
