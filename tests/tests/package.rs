//! The Debian package and its service, under a real systemd; and what the program tells a service manager.

use std::process::ExitCode;

use tls_sniff_tests::{
    need::Need,
    runner::{self, test},
};

#[path = "package/deb.rs"]
mod deb;
#[path = "package/notify.rs"]
mod notify;
#[path = "package/service.rs"]
mod service;
#[path = "package/units.rs"]
mod units;

const NETWORK: &[Need] = &[Need::Root, Need::Tool("ip"), Need::Tool("bpftool"), Need::Tool("tc")];
const PACKAGED: &[Need] = &[
    Need::Tool("dpkg-deb"),
    Need::Tool("dpkg-shlibdeps"),
    Need::Tool("gzip"),
    Need::Tool("strip"),
    Need::Tool("lintian"),
];
const MACHINE: &[Need] = &[
    Need::Root,
    Need::Tool("bpftool"),
    Need::Tool("curl"),
    Need::Tool("dpkg-deb"),
    Need::Tool("dpkg-shlibdeps"),
    Need::Tool("gzip"),
    Need::Tool("ip"),
    Need::Tool("journalctl"),
    Need::Tool("man"),
    Need::Tool("nsenter"),
    Need::Tool("openssl"),
    Need::Tool("ss"),
    Need::Tool("strip"),
    Need::Systemd,
    Need::Tool("systemctl"),
    Need::Tool("tc"),
    Need::Tool("unshare"),
];

fn main() -> ExitCode {
    runner::main(vec![
        test("units_are_hardened", &[Need::Tool("systemd-analyze")], units::hardened),
        test("units_differ_in_what_they_watch", &[], units::alike),
        test("manager_is_told", NETWORK, notify::manager_is_told),
        test("manager_is_told_of_no_life_when_the_pipeline_hangs", NETWORK, notify::hanging),
        test("lintian_has_nothing_to_say", PACKAGED, deb::lintian),
        test("notices_of_linked_crates_are_packaged", PACKAGED, deb::licences),
        test("links_of_packaged_documents_lead_somewhere", PACKAGED, deb::links),
        test("package_is_installed_upgraded_and_purged", MACHINE, service::life),
        test("service_is_restarted_when_it_hangs", MACHINE, service::watchdog),
    ])
}
