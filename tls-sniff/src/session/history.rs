//! Zeek's `ssl_history`: one letter for each message in the order of the wire, upper case from the client
//! (scripts/base/protocols/ssl/main.zeek and its documentation).

use super::unknown::ALLOCATION;
use crate::{
    observation::Party,
    tls::{handshake::HandshakeType, message::Message},
};

/// The most letters kept; Zeek has a limit as well.
const MAX_LETTERS: usize = 100;

/// As many letters as a handshake mostly has.
const FEW: usize = 13;

/// The letters so far: ASCII.
#[derive(Debug, Default)]
pub(super) struct History {
    few: [u8; FEW],
    /// How many there are.
    length: u8,
    /// Application data is noted once for each side.
    data: [bool; 2],
    /// All of them, once they are no longer few.
    many: Option<Box<[u8; MAX_LETTERS]>>,
}

impl History {
    /// Heap bytes held.
    pub(super) fn memory(&self) -> usize {
        self.many.as_ref().map_or(0, |_| MAX_LETTERS + ALLOCATION)
    }

    pub(super) fn as_str(&self) -> &str {
        let all: &[u8] = self.many.as_ref().map_or(&self.few, |many| &many[..]);
        let letters = all.get(..self.length.into()).unwrap_or_default();
        std::str::from_utf8(letters).unwrap_or_default()
    }

    pub(super) fn add(&mut self, party: Party, message: &Message<'_>) {
        let Some(letter) = letter(message) else { return };
        if letter == b'd' {
            let [client, server] = &mut self.data;
            let noted = if party == Party::Client { client } else { server };
            if std::mem::replace(noted, true) {
                return;
            }
        }
        self.push(match party {
            Party::Client => letter.to_ascii_uppercase(),
            Party::Server => letter,
        });
    }

    fn push(&mut self, letter: u8) {
        let place = usize::from(self.length);
        if place == FEW && self.many.is_none() {
            let mut many = Box::new([0; MAX_LETTERS]);
            many.iter_mut().zip(self.few).for_each(|(many, few)| *many = few);
            self.many = Some(many);
        }
        let all: &mut [u8] = self.many.as_mut().map_or(&mut self.few, |many| &mut many[..]);
        if let Some(free) = all.get_mut(place) {
            *free = letter;
            self.length += 1;
        }
    }
}

/// The letter of a message; none for what is encrypted before application data.
fn letter(message: &Message<'_>) -> Option<u8> {
    Some(match message {
        Message::ClientHello(_) | Message::Ssl2ClientHello(_) => b'c',
        Message::ServerHello(hello) if hello.is_hello_retry_request() => b'j',
        Message::ServerHello(_) | Message::Ssl2ServerHello(_) => b's',
        Message::Certificate(_) => b'x',
        Message::ServerKeyExchange(_) => b'k',
        Message::Handshake(handshake_type) => of_type(*handshake_type),
        Message::Alert(_) | Message::EncryptedAlert | Message::UnknownAlert => b'l',
        Message::ChangeCipherSpec => b'i',
        Message::ApplicationData => b'd',
        Message::EncryptedHandshake | Message::UnknownHandshake => return None,
    })
}

const fn of_type(handshake_type: HandshakeType) -> u8 {
    match handshake_type.0 {
        0 => b'h',
        1 => b'c',
        2 => b's',
        3 => b'v',
        4 => b't',
        5 => b'e',
        6 => b'j',
        8 => b'o',
        11 => b'x',
        12 => b'k',
        13 => b'r',
        14 => b'n',
        15 => b'y',
        16 => b'g',
        20 => b'f',
        21 => b'w',
        22 => b'u',
        23 => b'a',
        24 => b'p',
        254 => b'm',
        _ => b'z',
    }
}
