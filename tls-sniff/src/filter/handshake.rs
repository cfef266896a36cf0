//! Tests of whole handshakes, made here on what was understood of them: each one as soon as what it asks for
//! was seen.
//!
//! ```text
//!  ClientHello   --sni --ja4                       ┐
//!  ServerHello   --tls-version --cipher --alpn     ├ all must say yes; the first no decides
//!  the end       --outcome --weak                  ┘ what is not known by then is a no
//! ```

use std::{borrow::Cow, iter, str::FromStr};

use super::{
    glob::{Glob, wants},
    value::ValueError,
};
use crate::{
    observation::{Facts, HandshakeObservation, MessageObservation, Observation, Outcome},
    tls::{
        facts::{ClientFacts, ServerFacts},
        names::{CipherSuite, ProtocolVersion},
    },
};

/// Which handshakes are wanted. Empty lists want all.
#[derive(Clone, Debug, Default)]
pub struct HandshakeFilter {
    /// The negotiated version.
    pub versions: Vec<Version>,
    /// The server name of the ClientHello.
    pub sni: Vec<Glob>,
    /// The protocol that the server chose; of TLS 1.3, which encrypts that, what the client offered.
    pub alpn: Vec<Glob>,
    /// The cipher suite, by its IANA name or as `0x1301`.
    pub ciphers: Vec<Glob>,
    /// JA4 of the ClientHello.
    pub ja4: Vec<Glob>,
    /// How it ended.
    pub outcomes: Vec<OutcomeClass>,
    /// Only what has a weakness.
    pub weak: bool,
}

/// A negotiated version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version(u16);

impl FromStr for Version {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text {
            "ssl2" => Ok(Self(0x0002)),
            "ssl3" => Ok(Self(0x0300)),
            "1.0" => Ok(Self(0x0301)),
            "1.1" => Ok(Self(0x0302)),
            "1.2" => Ok(Self(0x0303)),
            "1.3" => Ok(Self(0x0304)),
            _ => Err(ValueError::Version(text.to_owned())),
        }
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        ProtocolVersion(self.0).fmt(f)
    }
}

impl Version {
    /// Drafts of TLS 1.3 are TLS 1.3.
    fn is(self, version: u16) -> bool {
        self.0 == version || (self.0 == TLS_1_3 && version >> 8 == 0x7f)
    }
}

const TLS_1_3: u16 = 0x0304;

/// How a handshake ended, or `failed`: in any way but completed, as far as its end was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum OutcomeClass {
    /// Both sides are through
    Completed,
    /// Any of alert, probable_encrypted_alert, reset, closed, timed_out, no_answer, not_tls
    Failed,
    /// An alert ended it
    Alert,
    /// TLS 1.3: what looks like an alert ended it
    ProbableEncryptedAlert,
    /// RST
    Reset,
    /// FIN
    Closed,
    /// Silence after the server's answer
    TimedOut,
    /// The server never answered
    NoAnswer,
    /// The server's answer is no TLS
    NotTls,
    /// The run or the file ended first
    StillOpen,
    /// Too little was seen to tell
    Partial,
}

impl OutcomeClass {
    const fn holds(self, outcome: Outcome) -> bool {
        match self {
            Self::Completed => matches!(outcome, Outcome::Completed),
            Self::Failed => outcome.is_failure(),
            Self::Alert => matches!(outcome, Outcome::Alert { .. }),
            Self::ProbableEncryptedAlert => {
                matches!(outcome, Outcome::ProbableEncryptedAlert { .. })
            }
            Self::Reset => matches!(outcome, Outcome::Reset { .. }),
            Self::Closed => matches!(outcome, Outcome::Closed { .. }),
            Self::TimedOut => matches!(outcome, Outcome::TimedOut),
            Self::NoAnswer => matches!(outcome, Outcome::NoAnswer),
            Self::NotTls => matches!(outcome, Outcome::NotTls),
            Self::StillOpen => matches!(outcome, Outcome::StillOpen),
            Self::Partial => matches!(outcome, Outcome::Partial),
        }
    }
}

/// What is known so far of whether a connection is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// By the tests of the ClientHello.
    hello: Option<bool>,
    /// By those of the ServerHello.
    answer: Option<bool>,
    /// Whether the client offers a protocol that is wanted.
    offers: bool,
    /// All tests, once that can be said.
    decided: Option<bool>,
}

impl Judgement {
    /// Whether the connection is wanted, once that is known.
    #[must_use]
    pub const fn decided(&self) -> Option<bool> {
        self.decided
    }
}

impl HandshakeFilter {
    /// Whether all handshakes are wanted.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        !self.asks_hello() && !self.asks_answer() && !self.asks_end()
    }

    const fn asks_hello(&self) -> bool {
        !self.sni.is_empty() || !self.ja4.is_empty()
    }

    const fn asks_answer(&self) -> bool {
        !self.versions.is_empty() || !self.ciphers.is_empty() || !self.alpn.is_empty()
    }

    const fn asks_end(&self) -> bool {
        !self.outcomes.is_empty() || self.weak
    }

    /// What is known of a connection before anything was seen of it.
    #[must_use]
    pub fn begin(&self) -> Judgement {
        Judgement {
            hello: (!self.asks_hello()).then_some(true),
            answer: (!self.asks_answer()).then_some(true),
            offers: false,
            decided: self.is_empty().then_some(true),
        }
    }

    /// Adds what an observation of the connection tells.
    pub fn learn(&self, judgement: &mut Judgement, observation: &Observation<'_>) {
        if judgement.decided.is_some() {
            return;
        }
        match observation {
            Observation::Message(message) => self.learn_message(judgement, message),
            Observation::Handshake(handshake) => {
                judgement.decided = Some(self.wants(handshake));
                return;
            }
            Observation::Segment(_) => return,
        }
        judgement.decided = match (judgement.hello, judgement.answer) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) if !self.asks_end() => Some(true),
            _ => None,
        };
    }

    fn learn_message(&self, judgement: &mut Judgement, message: &MessageObservation<'_>) {
        match message.facts {
            // What is cut off may be what is asked for.
            Facts::Client(client) if message.said.partial.is_none() => {
                judgement.hello = judgement.hello.or_else(|| Some(self.wants_hello(client)));
                judgement.offers = self.offers(client);
            }
            Facts::Server(server) if message.said.partial.is_none() => {
                let wanted = || self.wants_answer(server, server.version, judgement.offers);
                judgement.answer = judgement.answer.or_else(|| Some(wanted()));
            }
            _ => {}
        }
    }

    /// Whether a handshake that is over is wanted.
    #[must_use]
    pub fn wants(&self, handshake: &HandshakeObservation<'_>) -> bool {
        let client = handshake.client_hello;
        let hello = !self.asks_hello() || client.is_some_and(|client| self.wants_hello(client));
        let answer = || match handshake.server_hello {
            _ if !self.asks_answer() => true,
            Some(server) => {
                let offers = client.is_some_and(|client| self.offers(client));
                self.wants_answer(server, handshake.version, offers)
            }
            // SSL 2.0 has a version and nothing else that is asked for.
            None => self.ciphers.is_empty() && self.alpn.is_empty() && self.has(handshake.version),
        };
        let outcome = handshake.outcome;
        let ended = self.outcomes.is_empty() || self.outcomes.iter().any(|it| it.holds(outcome));
        hello && answer() && ended && (!self.weak || !handshake.weaknesses.is_empty())
    }

    fn wants_hello(&self, client: &ClientFacts) -> bool {
        let name = client.sni().map_or(Cow::Borrowed(""), String::from_utf8_lossy);
        let ja4 = client.fingerprints.as_ref().map(|prints| prints.ja4());
        let ja4 = ja4.as_deref().unwrap_or_default();
        wants(&self.sni, iter::once(&*name)) && wants(&self.ja4, iter::once(ja4))
    }

    fn offers(&self, client: &ClientFacts) -> bool {
        let offered: Vec<_> = client.alpn().map(String::from_utf8_lossy).collect();
        if offered.is_empty() {
            return wants(&self.alpn, iter::once(""));
        }
        wants(&self.alpn, offered.iter().map(|name| &**name))
    }

    fn wants_answer(&self, server: &ServerFacts, version: Option<u16>, offers: bool) -> bool {
        let suite = CipherSuite(server.cipher_suite).to_string();
        let code = format!("{:#06x}", server.cipher_suite);
        let protocol = match server.alpn.as_deref() {
            Some(chosen) => {
                let chosen = String::from_utf8_lossy(chosen);
                wants(&self.alpn, iter::once(&*chosen))
            }
            None if version.is_some_and(|version| Version(TLS_1_3).is(version)) => offers,
            None => wants(&self.alpn, iter::once("")),
        };
        self.has(version)
            && wants(&self.ciphers, [&*suite, &*code].into_iter())
            && (self.alpn.is_empty() || protocol)
    }

    fn has(&self, version: Option<u16>) -> bool {
        self.versions.is_empty()
            || version.is_some_and(|version| self.versions.iter().any(|it| it.is(version)))
    }
}
