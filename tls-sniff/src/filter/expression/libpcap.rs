//! The system's libpcap, loaded when there is an expression to compile.
//!
//! Nothing of it is needed to build this program, nor to run it without an expression. The four functions
//! used have been the same since libpcap 0.8.

#![expect(unsafe_code, reason = "libpcap is C")]

use std::{
    ffi::{CStr, CString, c_char, c_int, c_uint, c_void},
    sync::{Arc, Mutex, PoisonError},
};

use libloading::{Library, Symbol};
use serde::{Deserialize, Serialize};

use super::Instruction;

/// By Debian's name and by everybody else's.
const NAMES: [&str; 2] = ["libpcap.so.0.8", "libpcap.so.1"];

/// The longest packet; also what a match returns.
const SNAPLEN: c_int = 262_144;

/// `PCAP_NETMASK_UNKNOWN`: only `ip broadcast` asks for it.
const NETMASK_UNKNOWN: c_uint = u32::MAX;

/// Before 1.8 the compiler kept its state in global variables.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// What packets start with, for the compiler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LinkType {
    /// Ethernet.
    Ethernet,
    /// Nothing before the IP header.
    RawIp,
    /// Linux cooked capture.
    LinuxSll,
    /// Linux cooked capture v2; from libpcap 1.10.
    LinuxSll2,
}

impl LinkType {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Ethernet, Self::RawIp, Self::LinuxSll, Self::LinuxSll2];

    /// `DLT_...`, as it is on Linux.
    const fn dlt(self) -> c_int {
        match self {
            Self::Ethernet => 1,
            Self::RawIp => 12,
            Self::LinuxSll => 113,
            Self::LinuxSll2 => 276,
        }
    }
}

/// `struct bpf_insn`
#[repr(C)]
struct BpfInsn {
    code: u16,
    jt: u8,
    jf: u8,
    k: u32,
}

/// `struct bpf_program`
#[repr(C)]
struct BpfProgram {
    len: c_uint,
    instructions: *mut BpfInsn,
}

/// `pcap_t`
type Pcap = *mut c_void;
type OpenDead = unsafe extern "C" fn(c_int, c_int) -> Pcap;
type Compile = unsafe extern "C" fn(Pcap, *mut BpfProgram, *const c_char, c_int, c_uint) -> c_int;
type GetErr = unsafe extern "C" fn(Pcap) -> *const c_char;
type FreeCode = unsafe extern "C" fn(*mut BpfProgram);
type Close = unsafe extern "C" fn(Pcap);

/// libpcap, loaded.
#[derive(Clone, Debug)]
pub(super) struct Libpcap(Arc<Library>);

/// Its functions.
struct Functions<'a> {
    open_dead: Symbol<'a, OpenDead>,
    compile: Symbol<'a, Compile>,
    get_err: Symbol<'a, GetErr>,
    free_code: Symbol<'a, FreeCode>,
    close: Symbol<'a, Close>,
}

impl Libpcap {
    /// Loads the system's libpcap.
    pub(super) fn load() -> Result<Self, String> {
        Self::open(&NAMES)
    }

    /// Loads the first of `names` that there is; the linker's last word if there is none.
    fn open(names: &[&str]) -> Result<Self, String> {
        let mut reason = "no name to look for".to_owned();
        for name in names {
            // SAFETY: libpcap has no constructor that does more than register itself.
            match unsafe { Library::new(*name) } {
                Ok(library) => return Ok(Self(Arc::new(library))),
                Err(error) => reason = said(&error),
            }
        }
        Err(reason)
    }

    fn functions(&self) -> Result<Functions<'_>, libloading::Error> {
        let Self(library) = self;
        // SAFETY: the types are those of pcap/pcap.h.
        unsafe {
            Ok(Functions {
                open_dead: library.get("pcap_open_dead")?,
                compile: library.get("pcap_compile")?,
                get_err: library.get("pcap_geterr")?,
                free_code: library.get("pcap_freecode")?,
                close: library.get("pcap_close")?,
            })
        }
    }

    /// Compiles an expression with optimisation; libpcap's words, in one line, if it does not like it.
    pub(super) fn compile(&self, text: &str, link: LinkType) -> Result<Vec<Instruction>, String> {
        let functions = self.functions().map_err(|error| said(&error))?;
        let text = CString::new(text).map_err(|_| "it has a zero byte".to_owned())?;
        let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the handle is closed below and not used behind that, the program freed once it was made,
        // and the message copied before the handle it belongs to is closed.
        unsafe {
            let pcap = (functions.open_dead)(link.dlt(), SNAPLEN);
            if pcap.is_null() {
                return Err("libpcap has no memory".to_owned());
            }
            let mut program = BpfProgram { len: 0, instructions: std::ptr::null_mut() };
            let made =
                (functions.compile)(pcap, &raw mut program, text.as_ptr(), 1, NETMASK_UNKNOWN);
            let result = if made == 0 {
                let instructions = copied(&program);
                (functions.free_code)(&raw mut program);
                Ok(instructions)
            } else {
                Err(one_line(CStr::from_ptr((functions.get_err)(pcap))))
            };
            (functions.close)(pcap);
            result
        }
    }
}

/// The instructions of a program.
///
/// # Safety
///
/// `program` must be one that libpcap made and did not free yet.
unsafe fn copied(program: &BpfProgram) -> Vec<Instruction> {
    if program.instructions.is_null() {
        return Vec::new();
    }
    let len = usize::try_from(program.len).unwrap_or(0);
    // SAFETY: libpcap allocated `len` instructions there.
    let instructions = unsafe { std::slice::from_raw_parts(program.instructions, len) };
    let copy = |it: &BpfInsn| Instruction { code: it.code, jt: it.jt, jf: it.jf, k: it.k };
    instructions.iter().map(copy).collect()
}

/// What the linker said, which is behind libloading's words.
fn said(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

fn one_line(message: &CStr) -> String {
    let message = message.to_string_lossy();
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_is_said_by_name() {
        let reason = Libpcap::open(&["libpcap-that-is-not-there.so.1"]).unwrap_err();
        assert!(reason.contains("libpcap-that-is-not-there.so.1"), "{reason}");
        let error = super::super::ExpressionError::NoLibpcap(reason);
        assert!(error.to_string().starts_with("an expression needs libpcap"), "{error}");
        assert!(error.hint().contains("libpcap0.8"));
    }

    #[test]
    fn compiles() {
        let instructions = Libpcap::load().unwrap().compile("ip", LinkType::Ethernet).unwrap();
        // ldh [12]; jeq #0x800 jt 0 jf 1; ret #262144; ret #0
        let expected = [(0x28, 0, 0, 12), (0x15, 0, 1, 0x800), (6, 0, 0, 262_144), (6, 0, 0, 0)];
        let expected = expected.map(|(code, jt, jf, k)| Instruction { code, jt, jf, k });
        assert_eq!(instructions, expected);
    }
}
