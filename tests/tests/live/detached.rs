//! Links that somebody else detaches: nothing comes any more, and the kernel says nothing.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use tls_sniff_tests::{
    frame::{Frame, client_hello},
    need::command,
    packet_socket::PacketSocket,
    poll,
    process::run,
    sniffer::Sniffer,
    veth::VethPair,
};

const SOON: Duration = Duration::from_secs(40);

/// The links that a process has, by number.
fn links(process: u32) -> Result<Vec<String>> {
    let mut links = Vec::new();
    for file in fs::read_dir(format!("/proc/{process}/fdinfo"))? {
        let text = fs::read_to_string(file?.path())?;
        let link = text.lines().find_map(|line| line.strip_prefix("link_id:"));
        links.extend(link.map(|link| link.trim().to_owned()));
    }
    Ok(links)
}

/// `hook`: of ingress. Each link is detached by bpftool; statistics are asked for often enough to notice.
pub(crate) fn attached_again(hook: &str) -> Result<()> {
    let pair = VethPair::new()?;
    let arguments = ["-i", "veth-b", "--hook", hook, "--format", "json", "--stats-interval", "1"];
    let mut sniffer = Sniffer::start(&pair.second.namespace, &arguments)?;
    sniffer.ready()?;
    let socket = PacketSocket::open(&pair.first.namespace, "veth-a")?;
    let told = |sniffer: &mut Sniffer, port: u16| -> Result<()> {
        let frame = Frame::ethernet().ipv4().tcp(port, 443).payload(&client_hello());
        socket.send(&frame.build())?;
        sniffer.wait_for(SOON, |event| event["source_port"] == port).map(drop)
    };
    told(&mut sniffer, 1001)?;
    let attacher = sniffer.attacher()?;
    for (port, which) in [(1002, 0), (1003, 1)] {
        let before = links(attacher)?;
        ensure!(before.len() == 2, "{before:?}");
        let link = before.get(which).context("a link")?;
        run(command("bpftool").args(["link", "detach", "id", link]))?;
        let said = || {
            let stderr = sniffer.stderr();
            let again = stderr.iter().filter(|line| line.contains("attaching again")).count();
            (again == which + 1).then_some(())
        };
        poll::until(SOON, "it to be noticed", said)?;
        poll::try_until(SOON, "links of its own", || {
            let now = links(attacher)?;
            Ok((now.len() == 2 && !now.contains(link)).then_some(()))
        })?;
        told(&mut sniffer, port)?;
    }
    let stopped = sniffer.stop()?;
    ensure!(stopped.status.success(), "{stopped:#?}");
    Ok(())
}
