//! The features of a network interface that `ethtool -k` shows, by the same ioctl: read, never set.

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
};

use nix::{
    libc,
    sys::socket::{AddressFamily, SockFlag, SockType, socket},
};

/// `ETHTOOL_GSTRINGS`, `ETHTOOL_GSSET_INFO`, `ETHTOOL_GFEATURES`: linux/ethtool.h.
const GSTRINGS: u32 = 0x1b;
const GSSET_INFO: u32 = 0x37;
const GFEATURES: u32 = 0x3a;

/// `ETH_SS_FEATURES`, the names of features.
const FEATURE_NAMES: u32 = 4;

/// `ETH_GSTRING_LEN`, in words.
const NAME_WORDS: usize = 32 / 4;

/// Which of an interface's features are on.
pub(super) struct Features {
    on: Vec<String>,
}

impl Features {
    /// Those of `interface`.
    ///
    /// # Errors
    ///
    /// If the kernel does not tell.
    pub(super) fn of(interface: &str) -> io::Result<Self> {
        let kernel = Ethtool::open(interface)?;
        let names = kernel.names()?;
        let active = kernel.active(names.len())?;
        let is_on = |number: usize| {
            let word = active.get(number / 32).copied().unwrap_or(0);
            word & (1 << (number % 32)) != 0
        };
        let on = names.into_iter().enumerate().filter(|(number, _)| is_on(*number));
        Ok(Self { on: on.map(|(_, name)| name).collect() })
    }

    /// Whether the feature of this name, as the kernel has it, is on.
    pub(super) fn has(&self, name: &str) -> bool {
        self.on.iter().any(|on| on == name)
    }
}

struct Ethtool {
    socket: OwnedFd,
    name: [libc::c_char; libc::IFNAMSIZ],
}

impl Ethtool {
    fn open(interface: &str) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Inet, SockType::Datagram, flags, None)?;
        let mut name = [0; libc::IFNAMSIZ];
        if interface.len() >= libc::IFNAMSIZ {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        for (to, from) in name.iter_mut().zip(interface.bytes()) {
            *to = libc::c_char::from_ne_bytes([from]);
        }
        Ok(Self { socket, name })
    }

    /// The names of features by their numbers.
    fn names(&self) -> io::Result<Vec<String>> {
        // struct ethtool_sset_info: command, nothing, a mask of 64 bits, then a count for each bit.
        let mut info = [0_u32; 5];
        let mask = (1_u64 << FEATURE_NAMES).to_ne_bytes();
        let (low, high) = mask.split_at(4);
        info[0] = GSSET_INFO;
        info[2] = word(low);
        info[3] = word(high);
        self.call(&mut info)?;
        let count = info[4];
        // struct ethtool_gstrings: command, set, count, names.
        let len = usize::try_from(count).unwrap_or(0).min(1024);
        let mut strings = vec![0_u32; 3 + len * NAME_WORDS];
        for (to, from) in strings.iter_mut().zip([GSTRINGS, FEATURE_NAMES, count]) {
            *to = from;
        }
        self.call(&mut strings)?;
        let names = strings.get(3..).unwrap_or_default().chunks(NAME_WORDS);
        Ok(names.map(text).collect())
    }

    /// The bits of those that are on.
    fn active(&self, count: usize) -> io::Result<Vec<u32>> {
        // struct ethtool_gfeatures: command, number of blocks; each available, requested, active, never_changed.
        let blocks = count.div_ceil(32);
        let mut features = vec![0_u32; 2 + blocks * 4];
        let number = u32::try_from(blocks).unwrap_or(0);
        for (to, from) in features.iter_mut().zip([GFEATURES, number]) {
            *to = from;
        }
        self.call(&mut features)?;
        let blocks = features.get(2..).unwrap_or_default().chunks(4);
        Ok(blocks.map(|block| block.get(2).copied().unwrap_or(0)).collect())
    }

    /// Has the kernel fill in `request`, whose length it knows by what is in it.
    #[expect(unsafe_code, reason = "no safe interface to this ioctl")]
    fn call(&self, request: &mut [u32]) -> io::Result<()> {
        let data = request.as_mut_ptr().cast();
        let mut ifreq = libc::ifreq {
            ifr_name: self.name,
            ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_data: data },
        };
        // SAFETY: ifreq and the request behind it live and are this function's alone until it returns; the callers
        // make requests as long as the counts in them say.
        let answer =
            unsafe { libc::ioctl(self.socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut ifreq) };
        if answer == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

fn word(bytes: &[u8]) -> u32 {
    bytes.try_into().map_or(0, u32::from_ne_bytes)
}

/// A name, up to its first zero.
fn text(words: &[u32]) -> String {
    let bytes = words.iter().flat_map(|word| word.to_ne_bytes());
    let bytes: Vec<u8> = bytes.take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_of_loopback() {
        let features = Features::of("lo").unwrap();
        // As `ethtool -k lo`: on, and fixed to that.
        assert!(features.has("loopback") && features.has("highdma"), "{:?}", features.on);
        assert!(!features.has("rx-lro") && !features.has("rx-gro-hw"));
        assert!(Features::of("no-such").is_err());
        assert!(Features::of("a-name-that-is-too-long").is_err());
    }
}
