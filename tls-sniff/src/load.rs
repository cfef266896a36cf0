//! Loads the kernel programs: picks what this kernel can do, sets the globals, sizes the ring.
//!
//! ```text
//!  probe   ring buffer (5.8)? bpf_xdp_load_bytes (5.18)?
//!  object  the user's expression goes into it
//!  globals CAPTURE_LEN, SNAPLEN, HAS_XDP_LOAD_BYTES, HAS_EXPRESSION, TAP, TAKES_SHORTCUT,
//!          FLOW_SUMMAND, FLOW_FACTOR, the rules
//!  maps    EVENTS and PACKET_SCRATCH by size; PORTS, VLANS, NETWORKS filled before anything is attached
//!  verify  the TC programs unless it is for a tap, one XDP program if XDP is wanted
//! ```
//!
//! All programs that may be needed are loaded at once, also those for interfaces that appear later:
//! whether they load is known before the first packet is watched.

use std::os::fd::{AsFd as _, BorrowedFd};

use aya::{
    Ebpf, EbpfLoader, VerifierLogLevel,
    maps::{Map, MapData, MapType, RingBuf},
    programs::{Program, ProgramError, ProgramType, SchedClassifier, Xdp},
    sys::{BpfHelper, is_helper_supported, is_map_supported},
    util::{KernelVersion, nr_cpus},
};
use tls_sniff_common::{
    config,
    event::EVENT_HEADER_LEN,
    filter,
    flow::{Direction, FlowKey, Hook},
    headers::LinkLayer,
};

mod counters;
mod error;
mod expression;
mod rules;
mod shared;

use self::rules::Globals;
pub use self::{counters::KernelCounters, error::LoadError, shared::SharedMaps};
use crate::filter::{PacketFilter, expression::Expression};

/// The kernel object: the committed one, or a fresh one with the feature `build-ebpf`.
#[cfg(not(feature = "build-ebpf"))]
pub static OBJECT: &[u8] = aya::include_bytes_aligned!("../bpf/tls-sniff.bpf.o");
/// The kernel object: the committed one, or a fresh one with the feature `build-ebpf`.
#[cfg(feature = "build-ebpf")]
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/tls-sniff-ebpf"));

#[cfg(target_endian = "big")]
compile_error!("the kernel object is little-endian: no big-endian machine has been tried yet");

/// What the kernel programs are told.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Payload bytes behind each event header, [`config::MIN_CAPTURE_LEN`]..=[`config::MAX_CAPTURE_LEN`].
    pub capture_len: u32,
    /// Bytes of each packet to copy, up to [`config::MAX_SNAPLEN`]; 0 to copy payload alone.
    pub snaplen: u32,
    /// Which packets are wanted.
    pub filter: PacketFilter,
    /// An expression that packets must match as well, before all else.
    pub expression: Option<Expression>,
    /// Ring buffer size in bytes; the kernel side rounds it up to a power of two of pages.
    pub ring_len: u32,
    /// Load the XDP program too.
    pub xdp: bool,
    /// XDP drops every packet, and no TC program is loaded.
    pub tap: bool,
    /// The key of the flow hash.
    pub flow_key: FlowKey,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            capture_len: config::MAX_CAPTURE_LEN,
            snaplen: 0,
            filter: PacketFilter::default(),
            expression: None,
            ring_len: config::DEFAULT_RING_LEN,
            xdp: false,
            tap: false,
            flow_key: FlowKey::of(random_seed()),
        }
    }
}

impl LoadOptions {
    /// The smallest ring that holds two of the largest events. In a smaller one the largest find no room even if it
    /// is empty, and then nothing wakes its reader to see that they were lost.
    #[must_use]
    pub fn least_ring_len(&self) -> u32 {
        let bytes = (self.capture_len + HEADERS_LEN).max(self.snaplen.min(config::MAX_SNAPLEN));
        let header = u32::try_from(RECORD_HEADER_LEN + EVENT_HEADER_LEN).unwrap_or(u32::MAX);
        header.saturating_add(bytes).saturating_mul(2).next_power_of_two()
    }
}

/// What an event with a packet has before the payload, of all but the oddest packets.
const HEADERS_LEN: u32 = 512;

/// What the kernel's ring puts before each event.
const RECORD_HEADER_LEN: usize = 8;

/// Random bits, which the standard library takes from the kernel for its own hash maps.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(std::process::id())
}

/// The loaded programs and their maps.
pub struct Programs {
    ebpf: Ebpf,
    xdp: &'static str,
}

const XDP_MULTI_BUFFER: &str = "tls_sniff_xdp";
const XDP_SINGLE_BUFFER: &str = "tls_sniff_xdp1";

/// What the names of all programs start with, as `bpftool net` and `tc filter` show them.
pub const PROGRAM_PREFIX: &str = "tls_sniff_";

/// The TC program for a direction on an interface with this link layer.
#[must_use]
pub const fn tc_program(link: LinkLayer, hook: Hook) -> &'static str {
    match (link, hook.direction()) {
        (LinkLayer::RawIp, Direction::Egress) => "tls_sniff_l3out",
        (LinkLayer::RawIp, _) => "tls_sniff_l3in",
        (_, Direction::Egress) => "tls_sniff_out",
        (_, _) => "tls_sniff_in",
    }
}

const TC_PROGRAMS: [&str; 4] =
    ["tls_sniff_in", "tls_sniff_out", "tls_sniff_l3in", "tls_sniff_l3out"];

/// Loads the programs into the kernel. Nothing is attached yet.
///
/// # Errors
///
/// See [`LoadError`].
pub fn load(options: &LoadOptions) -> Result<Programs, LoadError> {
    load_with(options, None)
}

/// Loads programs that go on with what others know: in their place they lose nothing that both want.
///
/// The flow key must be that of the others. Of a handshake that is under way, rules for records that the others
/// did not have are asked from the next record on.
///
/// # Errors
///
/// See [`LoadError`]; also if the maps have another size.
pub fn load_beside(options: &LoadOptions, maps: &SharedMaps) -> Result<Programs, LoadError> {
    load_with(options, Some(maps))
}

fn load_with(options: &LoadOptions, maps: Option<&SharedMaps>) -> Result<Programs, LoadError> {
    if !is_map_supported(MapType::RingBuf).unwrap_or(true) {
        return Err(LoadError::NoRingBuffer { release: kernel_release() });
    }
    raise_memlock_limit();
    let xdp_load_bytes =
        is_helper_supported(ProgramType::Xdp, BpfHelper::BPF_FUNC_xdp_load_bytes).unwrap_or(false);
    let mut capture_len = options.capture_len;
    if options.xdp && !xdp_load_bytes && capture_len > config::MAX_DIRECT_CAPTURE_LEN {
        capture_len = config::MAX_DIRECT_CAPTURE_LEN;
        tracing::warn!("XDP of this kernel can copy {capture_len} bytes of a packet, not more");
    }
    let rules = options.filter.rules();
    let globals = Globals::of(&rules);
    let networks = u32::try_from(rules.network_set.len()).unwrap_or(u32::MAX).max(1);
    let mut loader = EbpfLoader::new();
    loader
        .verifier_log_level(VerifierLogLevel::STATS)
        .map_max_entries("EVENTS", options.ring_len)
        .map_max_entries("NETWORKS", networks)
        .map_max_entries("PACKET_SCRATCH", packet_scratch_slots(options))
        .override_global(config::CAPTURE_LEN, &capture_len, true)
        .override_global(config::SNAPLEN, &options.snaplen, true)
        .override_global(config::FLOW_SUMMAND, &options.flow_key.summand, true)
        .override_global(config::FLOW_FACTOR, &options.flow_key.factor, true);
    let has_load_bytes = u8::from(xdp_load_bytes);
    loader.override_global(config::HAS_XDP_LOAD_BYTES, &has_load_bytes, true);
    let has_expression = u8::from(options.expression.is_some());
    loader.override_global(config::HAS_EXPRESSION, &has_expression, true);
    let tap = u8::from(options.tap);
    loader.override_global(config::TAP, &tap, true);
    let takes_shortcut = u8::from(options.expression.is_none() && !filter::has_rules(&rules));
    loader.override_global(config::TAKES_SHORTCUT, &takes_shortcut, true);
    globals.set(&mut loader);
    let object = expression::put(OBJECT, options.expression.as_ref(), xdp_load_bytes)?;
    let mut ebpf = loader.load(&object).map_err(|error| LoadError::Object(Box::new(error)))?;
    rules::fill(&mut ebpf, &rules)?;
    if let Some(maps) = maps {
        maps.put_into(&mut ebpf)?;
    }

    let xdp = if xdp_load_bytes { XDP_MULTI_BUFFER } else { XDP_SINGLE_BUFFER };
    let tc = TC_PROGRAMS.into_iter().filter(|_| !options.tap);
    let wanted = tc.chain(options.xdp.then_some(xdp));
    for name in wanted {
        let program = ebpf.program_mut(name).ok_or(LoadError::Missing(name))?;
        let loaded = match program {
            Program::Xdp(program) => program.load(),
            Program::SchedClassifier(program) => program.load(),
            _ => Err(ProgramError::UnexpectedProgramType),
        };
        loaded.map_err(|error| refused(name, &error))?;
    }
    tracing::debug!(xdp_load_bytes, "kernel programs loaded");
    Ok(Programs { ebpf, xdp })
}

/// One for each CPU that there may be, if packets are asked for.
fn packet_scratch_slots(options: &LoadOptions) -> u32 {
    // Numbers of CPUs that come later are below this one too.
    let cpus = || nr_cpus().ok().and_then(|cpus| u32::try_from(cpus).ok()).unwrap_or(1);
    if options.snaplen == 0 { 1 } else { cpus() }
}

/// Before 5.11 the memory of maps counts against a limit that is 64 KiB by default; raising it needs
/// CAP_SYS_RESOURCE, and where that is missing the map's own error tells more.
fn raise_memlock_limit() {
    use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
    let before_5_11 =
        KernelVersion::current().is_ok_and(|version| version < KernelVersion::new(5, 11, 0));
    if before_5_11
        && let Err(error) = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY)
    {
        tracing::debug!(%error, "RLIMIT_MEMLOCK stays as it is");
    }
}

/// The errno, and of the verifier's log what a person can use: its last lines say what it refused.
fn refused(program: &'static str, error: &ProgramError) -> LoadError {
    let reason = match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            tracing::debug!("verifier log of {program}:\n{log}");
            let said = log.lines().rev().find(|line| {
                let line = line.trim();
                !line.is_empty()
                    && !["processed ", "verification time", "stack depth"]
                        .iter()
                        .any(|statistic| line.starts_with(statistic))
            });
            match said {
                Some(line) => format!("{io_error}: {}", line.trim()),
                None => io_error.to_string(),
            }
        }
        other => other.to_string(),
    };
    LoadError::Program { program, reason }
}

/// `uname -r`, for messages.
#[must_use]
pub fn kernel_release() -> String {
    nix::sys::utsname::uname()
        .map_or_else(|_| "?".to_owned(), |name| name.release().to_string_lossy().into_owned())
}

impl Programs {
    /// The XDP program that was loaded.
    ///
    /// # Errors
    ///
    /// If the object has none.
    pub fn xdp(&mut self) -> Result<&mut Xdp, LoadError> {
        let name = self.xdp;
        self.ebpf
            .program_mut(name)
            .and_then(|program| program.try_into().ok())
            .ok_or(LoadError::Missing(name))
    }

    /// The TC program for a direction and link layer.
    ///
    /// # Errors
    ///
    /// If the object has none.
    pub fn tc(&mut self, link: LinkLayer, hook: Hook) -> Result<&mut SchedClassifier, LoadError> {
        let name = tc_program(link, hook);
        self.ebpf
            .program_mut(name)
            .and_then(|program| program.try_into().ok())
            .ok_or(LoadError::Missing(name))
    }

    /// The maps that programs in the place of these go on with: before any of them is taken.
    ///
    /// # Errors
    ///
    /// If one is not there.
    pub fn shared_maps(&self) -> Result<SharedMaps, LoadError> {
        SharedMaps::of(&self.ebpf)
    }

    /// The ring buffer, for the process that reads it.
    ///
    /// # Errors
    ///
    /// If it is not there.
    pub fn ring_fd(&self) -> Result<BorrowedFd<'_>, LoadError> {
        match self.ebpf.map("EVENTS") {
            Some(Map::RingBuf(map)) => Ok(map.fd().as_fd()),
            _ => Err(LoadError::Missing("EVENTS")),
        }
    }

    /// The ring buffer, once.
    ///
    /// # Errors
    ///
    /// If it is not there or cannot be mapped.
    pub fn take_ring(&mut self) -> Result<RingBuf<MapData>, LoadError> {
        let map = self.ebpf.take_map("EVENTS").ok_or(LoadError::Missing("EVENTS"))?;
        RingBuf::try_from(map)
            .map_err(|source| LoadError::Map { map: "EVENTS", source: Box::new(source) })
    }

    /// The counters, once.
    ///
    /// # Errors
    ///
    /// If they are not there.
    pub fn take_counters(&mut self) -> Result<KernelCounters, LoadError> {
        let map = self.ebpf.take_map("COUNTERS").ok_or(LoadError::Missing("COUNTERS"))?;
        KernelCounters::of(map)
    }

    /// The aya object, for diagnostics and tests.
    pub const fn ebpf_mut(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_holds_two_of_the_largest_events() {
        let least = |capture_len, snaplen| {
            LoadOptions { capture_len, snaplen, ..LoadOptions::default() }.least_ring_len()
        };
        assert_eq!(least(config::MAX_CAPTURE_LEN, 0), 1 << 16);
        assert_eq!(least(config::MIN_CAPTURE_LEN, 65_535), 1 << 18);
        assert_eq!(least(config::MIN_CAPTURE_LEN, config::MAX_SNAPLEN), 1 << 20);
        assert!(least(config::MAX_CAPTURE_LEN, u32::MAX) <= config::DEFAULT_RING_LEN);
        assert!(least(config::MIN_CAPTURE_LEN, 0) <= 4096);
    }
}
