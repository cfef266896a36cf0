//! `tls-sniff doctor`: what this kernel, these privileges and these interfaces allow, and what to do about the rest.
//!
//! It only looks: programs are loaded, if the privileges are there, but attached nowhere.

mod ethtool;
mod host;
mod interface;
mod netdev;
mod report;

use std::{error::Error as StdError, io};

use crate::{
    attacher::Selection,
    error::Error,
    interfaces::{Interface, Interfaces},
};

pub use self::report::{Finding, Level, Report};

/// What to look at.
#[derive(Clone, Debug)]
pub struct DoctorOptions {
    /// Interfaces.
    pub selection: Selection,
}

/// Looks at everything. Must run inside a tokio runtime.
///
/// # Errors
///
/// If the interfaces cannot be listed.
pub async fn examine(options: &DoctorOptions) -> Result<Report, Error> {
    let mut findings = host::examine();
    let interfaces = Interfaces::open()?;
    let found = interfaces.list().await?;
    let mut watchable = false;
    for interface in found.iter().filter(|interface| options.selection.wants(interface)) {
        watchable |= interface.link.is_ok();
        findings.extend(interface::examine(interface, interfaces.netlink()).await);
    }
    findings.extend(missing(&options.selection, &found).into_iter().map(|name| {
        Finding::new("interface", Level::Problem, "there is no interface of this name")
            .advise("`ip link` shows those that there are; -i any watches all, also later ones")
            .of(name)
    }));
    if !watchable {
        findings.push(
            Finding::new("interface", Level::Problem, "no interface can be watched")
                .advise("bring one up: ip link set IFACE up"),
        );
    }
    Ok(Report { findings })
}

/// Names that no interface has.
fn missing<'a>(selection: &'a Selection, found: &[Interface]) -> Vec<&'a str> {
    let Selection::Named(names) = selection else { return Vec::new() };
    let is_there = |name: &str| found.iter().any(|interface| interface.name == name);
    names.iter().map(String::as_str).filter(|name| !is_there(name)).collect()
}

/// What the system said at the bottom of it.
fn errno(error: &(dyn StdError + 'static)) -> Option<i32> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(number) = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return Some(number);
        }
        cause = error.source();
    }
    None
}
