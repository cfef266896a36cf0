//! libpcap's own compiler and interpreter of filters, as the reference for tls-sniff's.

use std::ffi::{CString, c_char, c_int, c_uint, c_void};

use anyhow::{Context as _, Result, ensure};
use libloading::{Library, Symbol};

/// `struct bpf_program`; the instructions stay libpcap's.
#[repr(C)]
struct BpfProgram {
    len: c_uint,
    instructions: *mut c_void,
}

/// `struct bpf_insn`
#[repr(C)]
struct BpfInsn {
    code: u16,
    jt: u8,
    jf: u8,
    k: u32,
}

type OpenDead = unsafe extern "C" fn(c_int, c_int) -> *mut c_void;
type Compile =
    unsafe extern "C" fn(*mut c_void, *mut BpfProgram, *const c_char, c_int, c_uint) -> c_int;
type Filter = unsafe extern "C" fn(*const c_void, *const u8, c_uint, c_uint) -> c_uint;

/// A filter that libpcap compiled and runs.
pub struct PcapFilter {
    library: Library,
    program: BpfProgram,
}

impl PcapFilter {
    /// Compiles an expression for packets of a `DLT_...`, with optimisation.
    ///
    /// # Errors
    ///
    /// If libpcap is missing or does not take it.
    pub fn new(expression: &str, dlt: i32) -> Result<Self> {
        let text = CString::new(expression)?;
        let mut program = BpfProgram { len: 0, instructions: std::ptr::null_mut() };
        // SAFETY: the types are those of pcap/pcap.h, the handle is used for the one call. Handle and program
        // are not freed: a test process has few of them.
        unsafe {
            let library = Library::new("libpcap.so.0.8").context("libpcap")?;
            let open_dead: Symbol<'_, OpenDead> = library.get("pcap_open_dead")?;
            let compile: Symbol<'_, Compile> = library.get("pcap_compile")?;
            let handle = open_dead(dlt, 262_144);
            let made = compile(handle, &raw mut program, text.as_ptr(), 1, c_uint::MAX);
            ensure!(made == 0, "libpcap does not take {expression:?}");
            Ok(Self { library, program })
        }
    }

    /// A program of code, jt, jf and k for each instruction, which must be one that `bpf_filter` can run: it
    /// checks nothing.
    ///
    /// # Errors
    ///
    /// If libpcap is missing.
    pub fn of(instructions: Vec<(u16, u8, u8, u32)>) -> Result<Self> {
        let copy = |(code, jt, jf, k)| BpfInsn { code, jt, jf, k };
        let instructions: Vec<_> = instructions.into_iter().map(copy).collect();
        let len = c_uint::try_from(instructions.len())?;
        // As with those that libpcap made, nobody frees them.
        let instructions = Box::leak(instructions.into_boxed_slice()).as_mut_ptr().cast();
        // SAFETY: libpcap has no constructor that does more than register itself.
        let library = unsafe { Library::new("libpcap.so.0.8") }.context("libpcap")?;
        Ok(Self { library, program: BpfProgram { len, instructions } })
    }

    /// Runs `bpf_filter` on a packet that had `wire_len` bytes.
    ///
    /// # Errors
    ///
    /// If this libpcap does not export it.
    pub fn matches(&self, packet: &[u8], wire_len: u32) -> Result<bool> {
        let captured = c_uint::try_from(packet.len())?;
        // SAFETY: the program is the one that libpcap made, the packet has the given length.
        let matched = unsafe {
            let filter: Symbol<'_, Filter> = self.library.get("bpf_filter")?;
            filter(self.program.instructions, packet.as_ptr(), wire_len, captured)
        };
        Ok(matched != 0)
    }
}
