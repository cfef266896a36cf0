//! How far a handshake is and how it ended, from the order of what both sides said.
//!
//! ```text
//!  ≤ 1.2   each side: ChangeCipherSpec, then an encrypted handshake record (Finished)    completed: both
//!  1.3     client: first encrypted record of the size of a Finished, or longer            completed
//!          ... or of the size of an alert, and the connection ends            the client's alert, inferred
//!          then the server: a record of that size, and the connection ends    the server's alert, inferred
//!  0-RTT   client: what follows an EndOfEarlyData, or has exactly the size of a Finished  completed
//! ```
//!
//! TLS 1.3 encrypts alerts: an alert is two bytes, one of content type and a tag (RFC 8446 section 5.2), 19
//! in all or 11 with a short tag; a Finished is at least 45. Padding could hide the difference and two bytes
//! of data look the same, so this is marked as inferred.

use crate::{
    clock::Timestamp,
    observation::{Outcome, Party},
    tls::{alert::Alert, handshake::HandshakeType, message::Message, names::AlertDescription},
};

use super::{records::Item, unit::SSL_2_0, unknown::Nanoseconds};

/// The shortest record that can hold a Finished of TLS 1.3: 4 + 32 + 1 bytes and the shortest tag.
const SHORTEST_FINISHED: u16 = 4 + 32 + 1 + 8;

/// Records of TLS 1.3 that hold an alert and nothing else: 2 + 1 bytes and a tag of 8 or 16.
const ALERT: [u16; 2] = [11, 19];

/// An EndOfEarlyData of TLS 1.3: 4 + 1 bytes and a tag.
const END_OF_EARLY_DATA: [u16; 2] = [13, 21];

/// A Finished of TLS 1.3 alone in its record: 4 + 32 or 48 + 1 bytes and a tag.
const FINISHED: [u16; 4] = [45, 53, 61, 69];

/// Alerts of level `warning` that end nothing: RFC 5246 section 7.2.2, RFC 6066 section 3, RFC 6101 5.4.2.
const HARMLESS: [AlertDescription; 3] =
    [AlertDescription(41), AlertDescription(100), AlertDescription(112)];

/// Alerts that answer the end of a connection which should not have ended: close_notify, decode_error (OpenSSL's
/// "unexpected eof"), internal_error.
const ANSWERS_TO_AN_END: [AlertDescription; 3] =
    [AlertDescription(0), AlertDescription(50), AlertDescription(80)];

/// What one side has said.
#[derive(Clone, Copy, Debug, Default)]
struct Said {
    changed: bool,
    /// Encrypted handshake records behind ChangeCipherSpec.
    finished: bool,
    /// Application data, which in TLS 1.3 may be anything.
    data: bool,
}

/// The state of one handshake.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The negotiated version, once a ServerHello that is no retry was seen.
    pub(super) version: Option<u16>,
    pub(super) early_data: bool,
    client: Said,
    server: Said,
    /// When the handshake was over.
    completed: Nanoseconds,
    /// What was seen is what a completed handshake would look like as well: one side went on to application
    /// data and nothing of the other was seen so far, or early data hides where it ended.
    perhaps: Nanoseconds,
    early_data_ended: bool,
    /// TLS 1.3: the client is through; what the server says first after that decides.
    settling: bool,
    /// Whose FIN came first.
    first_to_close: Option<Party>,
    /// The client ends the connection itself: what the server says to that is no reason for it.
    client_ends: bool,
    /// A record of the size of an alert where none should be, and whose.
    suspect: Option<Party>,
    alert: Option<(Party, Option<Alert>)>,
}

/// How a connection's end of the wire was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Close {
    /// RST by this party.
    Reset(Party),
    /// FIN by this party.
    Fin(Party),
}

impl Progress {
    /// When the handshake was over.
    pub(super) fn completed(&self) -> Option<Timestamp> {
        self.completed.at()
    }

    pub(super) const fn is_tls_1_3(&self) -> bool {
        matches!(self.version, Some(0x0304 | 0x7f00..=0x7fff))
    }

    /// Whether an application data record of `party` that comes now is a part of the handshake: in TLS 1.3 all
    /// are until the client's Finished, but for early data (RFC 8446 section 2) and what a server may say before
    /// it has heard the client out, which nobody can tell.
    pub(super) fn wraps_handshake(&self, party: Party) -> bool {
        let early = party == Party::Client && self.early_data && !self.early_data_ended;
        self.is_tls_1_3() && self.completed().is_none() && !early
    }

    /// Takes what `party` said at `at`; `peer_silent`: nothing of the other side was ever seen.
    pub(super) fn take(&mut self, party: Party, item: &Item<'_>, at: Timestamp, peer_silent: bool) {
        match &item.said.message {
            Message::ChangeCipherSpec => self.of(party).changed = true,
            Message::EncryptedHandshake if self.of(party).changed => self.finished(party, at),
            Message::Handshake(HandshakeType::FINISHED) => self.finished(party, at),
            Message::ApplicationData => self.data(party, item.record.length, at, peer_silent),
            Message::Alert(alert) => self.alert(party, Some(*alert)),
            Message::EncryptedAlert | Message::UnknownAlert if self.completed().is_none() => {
                self.alert(party, None);
            }
            _ => {}
        }
    }

    const fn of(&mut self, party: Party) -> &mut Said {
        match party {
            Party::Client => &mut self.client,
            Party::Server => &mut self.server,
        }
    }

    fn finished(&mut self, party: Party, at: Timestamp) {
        self.of(party).finished = true;
        if self.client.finished && self.server.finished {
            self.complete(at);
        }
    }

    fn complete(&mut self, at: Timestamp) {
        self.completed.get_or_insert(at);
        self.settling = false;
    }

    /// A fatal alert is the reason whatever was said before; else the first that is one counts.
    fn alert(&mut self, party: Party, alert: Option<Alert>) {
        let answer = alert.is_some_and(|alert| ANSWERS_TO_AN_END.contains(&alert.description));
        if answer && self.first_to_close == Some(party.other()) {
            return;
        }
        let gravity = |alert: Option<Alert>| match alert {
            Some(alert) if !alert.is_warning() => 3,
            None => 2,
            Some(alert) if !is_harmless(alert) => 1,
            Some(_) => 0,
        };
        if self.alert.is_none_or(|(_, old)| gravity(alert) > gravity(old)) {
            self.alert = Some((party, alert));
        }
    }

    fn data(&mut self, party: Party, length: u16, at: Timestamp, peer_silent: bool) {
        self.of(party).data = true;
        if self.is_tls_1_3() {
            self.encrypted(party, length, at);
        } else if self.of(party).changed {
            // TLS 1.2 and older: only after Finished; a client may be ahead of the server (RFC 7918).
            if party == Party::Server && self.version.is_some() {
                self.complete(at);
            } else if peer_silent && !self.early_data {
                self.perhaps.get_or_insert(at);
            }
        }
    }

    /// An application data record of TLS 1.3: anything at all, but its length says something.
    fn encrypted(&mut self, party: Party, length: u16, at: Timestamp) {
        let alert = ALERT.contains(&length);
        match (party, self.completed()) {
            (Party::Client, None) if self.early_data && !self.early_data_ended => {
                self.perhaps.get_or_insert(at);
                self.early_data_ended = END_OF_EARLY_DATA.contains(&length);
                if FINISHED.contains(&length) {
                    self.client_finished(at);
                }
            }
            (Party::Client, None) if length >= SHORTEST_FINISHED => self.client_finished(at),
            (Party::Client, None) if alert => {
                self.suspect.get_or_insert(Party::Client);
            }
            (Party::Client, Some(_)) => self.client_ends |= alert,
            (Party::Server, Some(_)) if self.settling => {
                if alert && !self.client_ends && self.suspect.is_none() {
                    self.suspect = Some(Party::Server);
                } else {
                    self.suspect = None;
                    self.settling = false;
                }
            }
            _ => {}
        }
    }

    /// The client has said its last word of the handshake.
    fn client_finished(&mut self, at: Timestamp) {
        self.suspect = None;
        self.completed = Nanoseconds::of(at.0);
        self.settling = true;
    }

    /// A FIN was seen.
    pub(super) fn closes(&mut self, party: Party) {
        self.first_to_close.get_or_insert(party);
        // After a suspect word of the server it is the answer to it.
        self.client_ends |= party == Party::Client && self.suspect.is_none();
    }

    /// The outcome, if what was said so far decides it.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        if let Some((by, Some(alert))) = self.alert
            && (self.completed().is_none() || self.settling)
            && !alert.is_warning()
        {
            return Some(Outcome::Alert { by, alert: Some(alert) });
        }
        (self.completed().is_some() && !self.settling).then_some(Outcome::Completed)
    }

    /// Whether only silence is missing to call it completed.
    pub(super) const fn is_settling(&self) -> bool {
        self.settling
    }

    /// Nothing of one side was ever seen: what the other one did must tell.
    pub(super) fn trust_one_side(&mut self) {
        if let Some(at) = self.perhaps.at() {
            self.complete(at);
        }
    }

    /// The outcome when the connection ends.
    pub(super) fn closed(&mut self, close: Close) -> Outcome {
        let reset = matches!(close, Close::Reset(_));
        if self.early_data && !reset && self.alert_that_ends().is_none() {
            self.trust_one_side();
        }
        match (self.suspect, self.completed(), self.alert_that_ends()) {
            // Whoever closes first: a client that reads the server's alert may be faster than the server.
            (Some(by), _, _) => Outcome::ProbableEncryptedAlert { by },
            // It has not said a word since the client's last.
            (_, Some(_), _) if self.settling && close == Close::Reset(Party::Server) => {
                Outcome::Reset { by: Party::Server }
            }
            (_, Some(_), _) => Outcome::Completed,
            (_, None, Some((by, alert))) => Outcome::Alert { by, alert },
            (_, None, None) if self.is_untold() => Outcome::Partial,
            (_, None, None) => match close {
                Close::Reset(by) => Outcome::Reset { by },
                Close::Fin(by) => Outcome::Closed { by },
            },
        }
    }

    /// The outcome when nothing more will be seen.
    pub(super) fn given_up(&self, otherwise: Outcome) -> Outcome {
        match (self.completed(), self.alert_that_ends()) {
            (Some(_), _) => Outcome::Completed,
            (None, Some((by, alert))) => Outcome::Alert { by, alert },
            (None, None) if self.is_untold() => Outcome::Partial,
            (None, None) => otherwise,
        }
    }

    /// Whether what both sides sent is beyond what could be followed: SSL 2.0, or a ServerHello that was lost.
    const fn is_untold(&self) -> bool {
        let talk = self.client.data && self.server.data && self.version.is_none();
        talk || matches!(self.version, Some(SSL_2_0))
    }

    /// The alert that explains an end.
    fn alert_that_ends(&self) -> Option<(Party, Option<Alert>)> {
        self.alert.filter(|(_, alert)| !alert.is_some_and(is_harmless))
    }
}

fn is_harmless(alert: Alert) -> bool {
    alert.is_warning() && HARMLESS.contains(&alert.description)
}
