//! The qdisc and its filters, by rtnetlink.

use futures_util::{StreamExt as _, TryStreamExt as _};
use nix::libc;
use rtnetlink::{
    packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload},
    packet_route::{
        RouteNetlinkMessage,
        tc::{
            TcAttribute, TcFilterBpf, TcFilterBpfOption, TcHandle, TcHeader, TcMessage, TcOption,
        },
    },
};

use super::OwnerHandle;
use crate::{attach::AttachError, interfaces::Interface, load::PROGRAM_PREFIX, netlink::Netlink};

/// What is at the place of the clsact qdisc must be one: at an `ingress` qdisc a filter for egress is
/// taken for one of ingress.
pub(super) async fn expect_clsact(
    interface: &Interface,
    netlink: &Netlink,
) -> Result<(), AttachError> {
    let index = i32::try_from(interface.index).unwrap_or(i32::MAX);
    let request = netlink.handle().qdisc().get().index(index);
    let qdiscs: Vec<TcMessage> =
        netlink.answer(request.execute().try_collect()).await.map_err(|source| {
            AttachError::Filters { interface: interface.name.clone(), source: Box::new(source) }
        })?;
    let kind = qdiscs
        .iter()
        .filter(|qdisc| qdisc.header.index == index)
        .filter(|qdisc| u32::from(qdisc.header.parent) == CLSACT)
        .flat_map(|qdisc| &qdisc.attributes)
        .find_map(|attribute| match attribute {
            TcAttribute::Kind(kind) => Some(kind.clone()),
            _ => None,
        });
    match kind {
        Some(kind) if kind != "clsact" => {
            Err(AttachError::OtherQdisc { interface: interface.name.clone(), kind })
        }
        _ => Ok(()),
    }
}

/// Removes filters of a tls-sniff that was killed together with its guard.
pub(super) async fn remove_leftovers(
    interface: &Interface,
    netlink: &Netlink,
) -> Result<(), AttachError> {
    let refused = |source: rtnetlink::Error| AttachError::Filters {
        interface: interface.name.clone(),
        source: Box::new(source),
    };
    for filter in filters(netlink, interface.index).await.map_err(refused)? {
        let Some(owner) = filter.owner() else { continue };
        if !owner.is_alive() {
            tracing::info!("{}: removing a filter that a killed tls-sniff left", interface.name);
            filter.remove(netlink).await.map_err(refused)?;
        }
    }
    Ok(())
}

/// A filter on a clsact qdisc.
pub(super) struct Filter {
    header: TcHeader,
    /// `TCA_BPF_NAME`, if it is a BPF filter.
    program: Option<String>,
}

impl Filter {
    /// Whose filter it is, if it is one of tls-sniff.
    pub(super) fn owner(&self) -> Option<OwnerHandle> {
        let ours = self.program.as_deref()?.starts_with(PROGRAM_PREFIX);
        ours.then(|| OwnerHandle(self.header.handle.into()))
    }

    async fn remove(&self, netlink: &Netlink) -> Result<(), rtnetlink::Error> {
        let mut message = TcMessage::default();
        message.header = self.header.clone();
        message.attributes.push(TcAttribute::Kind(TcFilterBpf::KIND.to_owned()));
        let mut request = NetlinkMessage::from(RouteNetlinkMessage::DelTrafficFilter(message));
        request.header.flags = NLM_F_REQUEST | NLM_F_ACK;
        let mut answers = netlink.handle().clone().request(request)?;
        let confirmed = async {
            while let Some(answer) = answers.next().await {
                if let NetlinkPayload::Error(error) = answer.payload
                    && !gone(error.raw_code())
                {
                    return Err(rtnetlink::Error::NetlinkError(error));
                }
            }
            Ok(())
        };
        netlink.answer(confirmed).await
    }
}

/// Somebody else removed it first, or the qdisc (EINVAL) or the interface with it.
const fn gone(code: i32) -> bool {
    matches!(-code, 0 | libc::ENOENT | libc::ENODEV | libc::EINVAL)
}

/// The filters on both sides of an interface's clsact qdisc.
pub(super) async fn filters(
    netlink: &Netlink,
    interface: u32,
) -> Result<Vec<Filter>, rtnetlink::Error> {
    let index = i32::try_from(interface).unwrap_or(i32::MAX);
    let mut filters = Vec::new();
    for egress in [false, true] {
        let request = netlink.handle().traffic_filter(index).get();
        let request = if egress { request.egress() } else { request.ingress() };
        let messages: Vec<TcMessage> = netlink.answer(request.execute().try_collect()).await?;
        filters.extend(messages.into_iter().map(|message| Filter {
            program: message.attributes.iter().find_map(program_name),
            header: message.header,
        }));
    }
    // A dump lists each priority once without a handle before its filters.
    filters.retain(|filter| u32::from(filter.header.handle) != 0);
    Ok(filters)
}

fn program_name(attribute: &TcAttribute) -> Option<String> {
    let TcAttribute::Options(options) = attribute else { return None };
    options.iter().find_map(|option| match option {
        TcOption::Bpf(TcFilterBpfOption::ProgName(name)) => Some(name.clone()),
        _ => None,
    })
}

/// Removes an owner's filters from an interface. One that is gone took its filters with it.
pub(super) async fn clean(
    netlink: &Netlink,
    index: u32,
    created: bool,
    owner: OwnerHandle,
) -> Result<(), rtnetlink::Error> {
    match clean_one(netlink, index, created, owner).await {
        Err(rtnetlink::Error::NetlinkError(error)) if gone(error.raw_code()) => Ok(()),
        cleaned => cleaned,
    }
}

async fn clean_one(
    netlink: &Netlink,
    index: u32,
    created: bool,
    owner: OwnerHandle,
) -> Result<(), rtnetlink::Error> {
    for filter in filters(netlink, index).await? {
        if filter.owner() == Some(owner) {
            filter.remove(netlink).await?;
        }
    }
    // The qdisc was put there for these filters; if others have come to use it, it stays.
    if created && filters(netlink, index).await?.is_empty() {
        let mut request = netlink.handle().qdisc().del(i32::try_from(index).unwrap_or(i32::MAX));
        let header = &mut request.message_mut().header;
        header.parent = TcHandle::from(CLSACT);
        header.handle = TcHandle::from(CLSACT & 0xffff_0000);
        netlink.answer(request.execute()).await?;
    }
    Ok(())
}

/// `TC_H_CLSACT`, linux/pkt_sched.h.
const CLSACT: u32 = 0xffff_fff1;
