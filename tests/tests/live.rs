//! tls-sniff against real peers on the real kernel: what it prints of handshakes by OpenSSL, and what it
//! attaches to and leaves.

use std::process::ExitCode;

use tls_sniff_tests::{
    need::Need,
    runner::{self, test},
};

#[path = "live/attach.rs"]
mod attach;
#[path = "live/backpressure.rs"]
mod backpressure;
#[path = "live/captures.rs"]
mod captures;
#[path = "live/configuration.rs"]
mod configuration;
#[path = "live/dedup.rs"]
mod dedup;
#[path = "live/detached.rs"]
mod detached;
#[path = "live/doctor.rs"]
mod doctor;
#[path = "live/files.rs"]
mod files;
#[path = "live/frames.rs"]
mod frames;
#[path = "live/handshakes.rs"]
mod handshakes;
#[path = "live/interface_metrics.rs"]
mod interface_metrics;
#[path = "live/interfaces.rs"]
mod interfaces;
#[path = "live/logrotate.rs"]
mod logrotate;
#[path = "live/lookups.rs"]
mod lookups;
#[path = "live/metrics.rs"]
mod metrics;
#[path = "live/outcomes.rs"]
mod outcomes;
#[path = "live/output.rs"]
mod output;
#[path = "live/outputs.rs"]
mod outputs;
#[path = "live/reload.rs"]
mod reload;
#[path = "live/replay.rs"]
mod replay;
#[path = "live/rollback.rs"]
mod rollback;
#[path = "live/sandbox.rs"]
mod sandbox;
#[path = "live/segments.rs"]
mod segments;
#[path = "live/tap.rs"]
mod tap;
#[path = "live/tcpdump.rs"]
mod tcpdump;
#[path = "live/waiting.rs"]
mod waiting;

pub(crate) const NETWORK: &[Need] = &[Need::Root, Need::Tool("ip")];
pub(crate) const LOOKED_UP: &[Need] = &[Need::Root, Need::Tool("ip"), Need::Tool("mount")];
pub(crate) const ROTATED: &[Need] =
    &[Need::Root, Need::Tool("ip"), Need::Tool("logrotate"), Need::Tool("gzip")];
pub(crate) const TLS: &[Need] =
    &[Need::Root, Need::Tool("ip"), Need::Tool("ss"), Need::Tool("openssl")];
pub(crate) const ATTACHED: &[Need] =
    &[Need::Root, Need::Tool("ip"), Need::Tool("tc"), Need::Tool("bpftool")];
pub(crate) const RELOADED: &[Need] =
    &[Need::Root, Need::Tool("ip"), Need::Tool("tc"), Need::Tool("ss"), Need::Tool("openssl")];
pub(crate) const DUMPED: &[Need] = &[
    Need::Root,
    Need::Tool("ip"),
    Need::Tool("ss"),
    Need::Tool("openssl"),
    Need::Tool("tcpdump"),
    Need::Tool("tshark"),
    Need::Tool("capinfos"),
    Need::Tool("ethtool"),
];
pub(crate) const ETHTOOL: &[Need] =
    &[Need::Root, Need::Tool("ip"), Need::Tool("ss"), Need::Tool("openssl"), Need::Tool("ethtool")];
pub(crate) const CAPTURED: &[Need] = &[
    Need::Root,
    Need::Tool("ip"),
    Need::Tool("ss"),
    Need::Tool("openssl"),
    Need::Tool("dumpcap"),
    Need::Tool("tcpdump"),
];
pub(crate) const SCRAPED: &[Need] = &[
    Need::Root,
    Need::Tool("ip"),
    Need::Tool("ss"),
    Need::Tool("openssl"),
    Need::Tool("curl"),
    Need::Tool("prometheus"),
    Need::Tool("promtool"),
];
pub(crate) const CORPUS: &[Need] = &[Need::Root, Need::Tool("ip"), Need::Corpus];

fn main() -> ExitCode {
    runner::main(vec![
        test("handshakes_at_tc_over_ipv4", TLS, || handshakes::every_version("tc", false)),
        test("handshakes_at_tc_over_ipv6", TLS, || handshakes::every_version("tc", true)),
        test("handshakes_at_xdp_over_ipv4", TLS, || handshakes::every_version("xdp", false)),
        test("handshakes_at_xdp_over_ipv6", TLS, || handshakes::every_version("xdp", true)),
        test("handshakes_on_loopback_at_tc", TLS, || handshakes::loopback("tc")),
        test("handshakes_on_loopback_at_xdp", TLS, || handshakes::loopback("xdp")),
        test("handshakes_by_expression_at_tc", TLS, || handshakes::by_expression("tc")),
        test("handshakes_by_expression_at_xdp", TLS, || handshakes::by_expression("xdp")),
        test("handshake_that_fails_shows_the_alert", TLS, handshakes::failed),
        test("hello_larger_than_a_segment_is_whole_at_egress", TLS, handshakes::large_hello),
        test("client_that_refuses_a_certificate", TLS, outcomes::client_refuses),
        test("server_that_wants_a_certificate", TLS, outcomes::server_refuses),
        test("resumed_sessions", TLS, outcomes::resumed),
        test("hello_retry_request", TLS, outcomes::retried),
        test("servers_that_speak_no_tls", TLS, outcomes::no_tls),
        test("server_that_does_not_answer", TLS, outcomes::no_answer),
        test("large_hello_over_small_segments_at_tc", DUMPED, || segments::large_hello("tc")),
        test("large_hello_over_small_segments_at_xdp", DUMPED, || segments::large_hello("xdp")),
        test("jumbo_frame_at_native_xdp", NETWORK, || segments::jumbo("native")),
        test("jumbo_frame_at_generic_xdp", NETWORK, || segments::jumbo("generic")),
        test("tcpdump_filters_at_tc", DUMPED, tcpdump::same_filters_at_tc),
        test("tcpdump_filters_at_xdp", DUMPED, tcpdump::same_filters_at_xdp),
        test("tcpdump_filters_over_ipv6", DUMPED, tcpdump::over_ipv6),
        test("records_in_mid_segment_at_tc", DUMPED, || tcpdump::in_mid_segment("tc")),
        test("records_in_mid_segment_at_xdp", DUMPED, || tcpdump::in_mid_segment("xdp")),
        test("capture_scopes_at_tc", DUMPED, || captures::scopes("tc")),
        test("capture_scopes_at_xdp", DUMPED, || captures::scopes("xdp")),
        test("capture_comments_and_interfaces", DUMPED, captures::comments),
        test("capture_of_a_bridge_has_each_packet_once", DUMPED, captures::bridged_once),
        test("capture_rotates_under_load_without_loss", DUMPED, captures::rotation_under_load),
        test("capture_goes_on_without_a_reader_of_events", DUMPED, captures::without_readers),
        test("capture_of_loopback_has_each_packet_once", DUMPED, captures::loopback_once),
        test("capture_with_secrets_is_decrypted", DUMPED, captures::secrets),
        test("bridged_handshake_is_told_once", TLS, dedup::bridge),
        test("routed_handshake_is_told_once", TLS, dedup::router),
        test("loopback_handshake_is_told_once", TLS, dedup::loopback),
        test("tunnelled_handshake_is_told_once", TLS, dedup::tunnel),
        test("segments_cut_differently_are_told_once", ETHTOOL, dedup::cut_differently),
        test("files_of_several_interfaces_are_told_once", CAPTURED, dedup::from_files),
        test("any_port_is_recognised", TLS, handshakes::any_port),
        test("corpus_replayed_at_tc_as_from_the_file", CORPUS, || {
            replay::corpus_like_offline("tc")
        }),
        test("corpus_replayed_at_xdp_as_from_the_file", CORPUS, || {
            replay::corpus_like_offline("xdp")
        }),
        test("tagged_frames_at_tc", NETWORK, || frames::tagged("tc")),
        test("tagged_frames_at_xdp", NETWORK, || frames::tagged("xdp")),
        test("counters_add_up_to_the_packets_sent", NETWORK, frames::counters_add_up),
        test("application_data_when_asked", NETWORK, frames::application_data),
        test("expression_at_tc", NETWORK, || frames::expression("tc")),
        test("expression_at_xdp", NETWORK, || frames::expression("xdp")),
        test("interface_without_link_layer", NETWORK, frames::without_link_layer),
        test("terminated_leaves_nothing_by_tcx", ATTACHED, || attach::terminated("tcx")),
        test("terminated_leaves_nothing_by_clsact", ATTACHED, || attach::terminated("clsact")),
        test("killed_leaves_nothing_by_tcx", ATTACHED, || attach::killed("tc", "tcx")),
        test("killed_leaves_nothing_by_clsact", ATTACHED, || attach::killed("tc", "clsact")),
        test("killed_leaves_nothing_by_xdp", ATTACHED, || attach::killed("xdp", "auto")),
        test("killed_attacher_is_told_by_tcx", ATTACHED, || attach::attacher_killed("tcx")),
        test("killed_attacher_is_told_by_clsact", ATTACHED, || attach::attacher_killed("clsact")),
        test("stopped_attacher_is_given_up", ATTACHED, attach::attacher_stopped),
        test("ingress_qdisc_is_refused", ATTACHED, attach::ingress_qdisc),
        test("interface_that_leaves_comes_back", ATTACHED, attach::leaves_and_comes_back),
        test("filters_that_others_remove_come_back", ATTACHED, attach::removed_by_others),
        test("killed_guard_is_made_up_for", ATTACHED, attach::guard_killed),
        test("killed_guard_is_replaced", ATTACHED, attach::guard_replaced),
        test("killed_with_its_guard_is_swept_by_the_next", ATTACHED, attach::guard_killed_too),
        test("clsact_guard_leaves_what_is_not_its_own", ATTACHED, attach::leaves_others_alone),
        test("a_changed_configuration_is_followed_or_refused", NETWORK, configuration::followed),
        test("links_that_were_detached_at_tc", ATTACHED, || detached::attached_again("tc")),
        test("links_that_were_detached_at_xdp", ATTACHED, || detached::attached_again("xdp")),
        test("a_reload_that_one_interface_refuses_is_undone", ATTACHED, rollback::all_or_none),
        test("filters_change_without_a_gap_by_tcx", RELOADED, || reload::swapped("tc", "tcx")),
        test("filters_change_without_a_gap_by_clsact", RELOADED, || {
            reload::swapped("tc", "clsact")
        }),
        test("filters_change_without_a_gap_by_xdp", RELOADED, || reload::swapped("xdp", "auto")),
        test("two_at_once_by_tcx", TLS, || attach::two_at_once("tcx")),
        test("two_at_once_by_clsact", TLS, || attach::two_at_once("clsact")),
        test("xdp_that_is_taken_is_named", NETWORK, attach::xdp_taken),
        test("native_and_generic_xdp", ATTACHED, attach::xdp_modes),
        test("any_follows_interfaces", TLS, interfaces::any_follows),
        test("named_interface_comes_back", TLS, interfaces::named_comes_back),
        test("no_such_interface", NETWORK, interfaces::no_such),
        test(
            "missing_capabilities_are_named",
            &[Need::Root, Need::Tool("setpriv")],
            output::unprivileged,
        ),
        test(
            "least_capabilities_suffice",
            &[Need::Root, Need::Tool("ip"), Need::Tool("setpriv")],
            output::least_capabilities,
        ),
        test("process_that_is_taken_over_can_do_nothing", TLS, sandbox::can_do_nothing),
        test("names_are_looked_up_without_capabilities", LOOKED_UP, lookups::without_capabilities),
        test(
            "a_reload_that_waits_for_names_holds_nothing_up",
            LOOKED_UP,
            waiting::holds_nothing_up,
        ),
        test("a_reload_that_is_asked_for_too_late_is_one_more", ATTACHED, waiting::too_late),
        test("names_are_looked_up_by_the_next_connector", LOOKED_UP, lookups::connector_killed),
        test(
            "doctor_tells_what_there_is",
            &[Need::Root, Need::Tool("ip"), Need::Tool("tc"), Need::Tool("ethtool")],
            doctor::tells_what_there_is,
        ),
        test(
            "doctor_tells_why_not",
            &[Need::Root, Need::Tool("ip"), Need::Tool("setpriv")],
            doctor::tells_why_not,
        ),
        test("count_stops_after_so_many", NETWORK, output::count),
        test("interrupt_prints_stats", NETWORK, output::interrupt),
        test("closed_pipe_ends_quietly", NETWORK, output::closed_pipe),
        test("text_is_aligned", NETWORK, output::text),
        test("outputs_agree_and_are_opened_again", NETWORK, outputs::agree),
        test("files_are_rotated_by_logrotate", ROTATED, logrotate::renames),
        test("output_that_stalls_stops_nobody", NETWORK, outputs::stalled),
        test("output_whose_file_is_removed", NETWORK, files::removed),
        test("output_that_loses_events_sums_them_up", NETWORK, files::losses_are_summed_up),
        test("tap_lets_nothing_pass", NETWORK, tap::nothing_passes),
        test("tap_is_refused_where_it_would_cut_off", NETWORK, tap::only_unused),
        test("silence_costs_nothing", NETWORK, backpressure::idle),
        test("reset_before_silence_is_told", NETWORK, backpressure::reset_and_silence),
        test("ring_without_room_is_made_larger", NETWORK, backpressure::tiny_ring),
        test("slow_reader_of_events", NETWORK, backpressure::slow_reader),
        test("stopped_process", NETWORK, backpressure::stopped_process),
        test("flood_without_end", NETWORK, backpressure::endless_flood),
        test(
            "full_disk_is_told_while_it_lasts",
            &[Need::Root, Need::Tool("ip"), Need::Tool("unshare"), Need::Tool("mount")],
            backpressure::full_disk,
        ),
        test("metrics_as_prometheus_scrapes_them", SCRAPED, metrics::scraped),
        test(
            "metrics_by_interface_and_direction",
            &[Need::Root, Need::Tool("ip"), Need::Tool("curl")],
            interface_metrics::events,
        ),
        test("alerts_and_dashboard", &[Need::Tool("promtool")], metrics::packaged),
        test("statistics_every_second", NETWORK, backpressure::periodic),
    ])
}
