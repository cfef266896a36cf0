//! Where metrics are served: `PORT`, `:PORT`, `HOST:PORT`, `[IPV6]:PORT`.

use std::{fmt, io, net::TcpListener, str::FromStr};

/// Without a host: metrics are for this machine unless somebody says otherwise.
const LOOPBACK: &str = "127.0.0.1";

/// A host, by name or address, and a TCP port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Without the brackets of IPv6.
    host: String,
    port: u16,
}

/// What is no address.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AddressError {
    /// No number, or none of a port.
    #[error("{0:?} is no port; it is PORT, HOST:PORT or [IPV6]:PORT")]
    Port(String),
    /// An IPv6 address without brackets, or with one of them, or nothing.
    #[error("{0:?} is no host; an IPv6 address stands in brackets: [::1]:9921")]
    Host(String),
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
        // Not u16's own parser alone, which takes a sign.
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|_| digits);
        let port = port.ok_or_else(|| AddressError::Port(text.to_owned()))?;
        let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match (host, inside) {
            ("", _) => LOOPBACK,
            (_, Some(inside)) if inside.parse::<std::net::Ipv6Addr>().is_ok() => inside,
            (name, None) if !name.contains([':', '[', ']', '/', ' ']) => name,
            _ => return Err(AddressError::Host(host.to_owned())),
        };
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl Address {
    /// Listens there; of the addresses of a name at the first that can be had.
    pub(super) fn listen(&self) -> io::Result<TcpListener> {
        let listener = TcpListener::bind((self.host.as_str(), self.port))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_on_loopback() {
        for (text, shown) in [
            ("9921", "127.0.0.1:9921"),
            (":9921", "127.0.0.1:9921"),
            ("0.0.0.0:0", "0.0.0.0:0"),
            ("localhost:9921", "localhost:9921"),
            ("[::1]:9921", "[::1]:9921"),
            ("[::]:65535", "[::]:65535"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_address_is_said() {
        for text in ["", ":", "host", "host:", "65536", "-1", "+1", "host:http", "1.2.3.4"] {
            assert_eq!(text.parse::<Address>(), Err(AddressError::Port(text.to_owned())));
        }
        for (text, host) in [
            ("::1:9921", "::1"),
            ("[::1:9921", "[::1"),
            ("[x]:1", "[x]"),
            ("[]:1", "[]"),
            ("a b:1", "a b"),
            ("http://a:1", "http://a"),
        ] {
            assert_eq!(text.parse::<Address>(), Err(AddressError::Host(host.to_owned())));
        }
    }
}
