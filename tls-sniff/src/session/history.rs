//! Zeek's `ssl_history`: one letter for each message in the order of the wire, upper case from the client
//! (scripts/base/protocols/ssl/main.zeek and its documentation).

use crate::{
    observation::Party,
    tls::{handshake::HandshakeType, message::Message},
};

/// The most letters kept; Zeek has a limit as well.
const MAX_LETTERS: usize = 100;

/// The letters so far.
#[derive(Debug, Default)]
pub(super) struct History {
    letters: String,
    /// Application data is noted once for each side.
    data: [bool; 2],
}

impl History {
    /// Heap bytes held.
    pub(super) const fn memory(&self) -> usize {
        self.letters.capacity()
    }

    pub(super) fn as_str(&self) -> &str {
        &self.letters
    }

    pub(super) fn add(&mut self, party: Party, message: &Message<'_>) {
        let Some(letter) = letter(message) else { return };
        if letter == 'd' {
            let [client, server] = &mut self.data;
            let noted = if party == Party::Client { client } else { server };
            if std::mem::replace(noted, true) {
                return;
            }
        }
        if self.letters.len() < MAX_LETTERS {
            self.letters.push(match party {
                Party::Client => letter.to_ascii_uppercase(),
                Party::Server => letter,
            });
        }
    }
}

/// The letter of a message; none for what is encrypted before application data.
fn letter(message: &Message<'_>) -> Option<char> {
    Some(match message {
        Message::ClientHello(_) | Message::Ssl2ClientHello(_) => 'c',
        Message::ServerHello(hello) if hello.is_hello_retry_request() => 'j',
        Message::ServerHello(_) | Message::Ssl2ServerHello(_) => 's',
        Message::Certificate(_) => 'x',
        Message::ServerKeyExchange(_) => 'k',
        Message::Handshake(handshake_type) => of_type(*handshake_type),
        Message::Alert(_) | Message::EncryptedAlert | Message::UnknownAlert => 'l',
        Message::ChangeCipherSpec => 'i',
        Message::ApplicationData => 'd',
        Message::EncryptedHandshake | Message::UnknownHandshake => return None,
    })
}

const fn of_type(handshake_type: HandshakeType) -> char {
    match handshake_type.0 {
        0 => 'h',
        1 => 'c',
        2 => 's',
        3 => 'v',
        4 => 't',
        5 => 'e',
        6 => 'j',
        8 => 'o',
        11 => 'x',
        12 => 'k',
        13 => 'r',
        14 => 'n',
        15 => 'y',
        16 => 'g',
        20 => 'f',
        21 => 'w',
        22 => 'u',
        23 => 'a',
        24 => 'p',
        254 => 'm',
        _ => 'z',
    }
}
