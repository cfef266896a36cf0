//! What a packet's comment in a capture says: the messages that it completes, in Wireshark's words.

use std::fmt::Write as _;

use crate::{
    observation::{Facts, HandshakeObservation, MessageObservation, Outcome},
    tls::{
        message::Message,
        names::{CipherSuite, Printable, ProtocolVersion},
    },
};

/// The comment for a message; `None` of what is no message: application data, ChangeCipherSpec.
#[must_use]
pub fn message(it: &MessageObservation<'_>) -> Option<String> {
    let mut text = String::new();
    match &it.said.message {
        Message::ClientHello(_) | Message::Ssl2ClientHello(_) => {
            text.push_str("ClientHello");
            if let Facts::Client(client) = it.facts {
                if let Some(name) = client.sni() {
                    add(&mut text, format_args!(" sni={}", Printable(name)));
                }
                if let Some(prints) = &client.fingerprints {
                    add(&mut text, format_args!(" ja4={}", prints.ja4()));
                }
            }
        }
        Message::ServerHello(hello) => {
            let retry = hello.is_hello_retry_request();
            text.push_str(if retry { "HelloRetryRequest" } else { "ServerHello" });
            if let Some(version) = hello.selected_version() {
                add(&mut text, format_args!(" {}", ProtocolVersion(version)));
            }
            add(&mut text, format_args!(" {}", CipherSuite(hello.cipher_suite)));
        }
        Message::Ssl2ServerHello(_) => text.push_str("ServerHello SSL 2.0"),
        Message::Certificate(_) => {
            text.push_str("Certificate");
            if let Facts::Chain(chain) = it.facts
                && let Some(Ok(leaf)) = chain.leaf().map(|leaf| &leaf.x509)
            {
                let days = leaf.days_left(chain.seen);
                add(&mut text, format_args!(" {} ({days} days left)", leaf.subject));
            }
        }
        Message::ServerKeyExchange(_) => text.push_str("ServerKeyExchange"),
        Message::Handshake(kind) => camel_case(&kind.to_string(), &mut text),
        Message::Alert(alert) => {
            add(&mut text, format_args!("Alert {} {}", alert.level, alert.description));
        }
        Message::EncryptedAlert => text.push_str("Alert (encrypted)"),
        Message::EncryptedHandshake => text.push_str("Handshake (encrypted)"),
        Message::UnknownHandshake
        | Message::UnknownAlert
        | Message::ChangeCipherSpec
        | Message::ApplicationData => return None,
    }
    if let Some(partial) = it.said.partial {
        add(&mut text, format_args!(" (partial: {})", partial.as_str()));
    }
    if let Some(malformed) = it.said.malformed {
        add(&mut text, format_args!(" (malformed: {malformed})"));
    }
    Some(text)
}

/// The comment for the packet with which a handshake was over.
#[must_use]
pub fn handshake(it: &HandshakeObservation<'_>) -> String {
    let mut text = format!("TLS handshake {}", it.outcome.as_str());
    if let Outcome::Alert { alert: Some(alert), .. } = it.outcome {
        add(&mut text, format_args!(" {}", alert.description));
    }
    if let Some(by) = it.outcome.by() {
        add(&mut text, format_args!(" by {}", by.as_str()));
    }
    if let Some(ns) = it.duration {
        add(&mut text, format_args!(" in {} us", ns / 1000));
    }
    text
}

/// Writing to memory does not fail.
fn add(text: &mut String, words: std::fmt::Arguments<'_>) {
    let _infallible = text.write_fmt(words);
}

/// `server_hello_done` as `ServerHelloDone`; what has no name stays as it is.
fn camel_case(name: &str, text: &mut String) {
    for word in name.split('_') {
        let mut letters = word.chars();
        text.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        text.push_str(letters.as_str());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_in_wireshark() {
        for (name, shown) in
            [("server_hello_done", "ServerHelloDone"), ("finished", "Finished"), ("0x63", "0x63")]
        {
            let mut text = String::new();
            camel_case(name, &mut text);
            assert_eq!(text, shown);
        }
    }
}
