//! The thread's side: packets into chunks, chunks into files, files one after the other.
//!
//! ```text
//!  batch ─► [next file?] ─► encoder ─► chunk ─► packer ─► disk
//!                              ▲                           │
//!                              └── in the file / cut off ◄─┘
//! ```

mod rotation;

use std::{
    io,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use crate::{clock::Timestamp, sink::trouble::Trouble};

use super::{
    batch::{Batch, Queued},
    compression::Packer,
    disk::{Disk, Refused},
    encoder::{Encoder, OtherLinkType},
    error::SaveError,
    names::Names,
    options::Plan,
    shared::{End, Shared, add},
};

/// Bytes that are compressed together, and how long they may wait for more. Without compression a chunk
/// is a batch.
const PACKED_CHUNK_LEN: usize = 128 * 1024;
const PACKED_CHUNK_AGE: Duration = Duration::from_secs(1);

/// How long packets wait for their secrets: Wireshark decrypts what comes behind them in the file, and a client
/// writes them after its ServerHello.
const SECRETS_DELAY: Duration = Duration::from_millis(500);

/// What was encoded, but is not in the file.
#[derive(Default)]
struct Chunk {
    bytes: Vec<u8>,
    packets: u64,
    /// When its first byte came.
    since: Option<Instant>,
}

/// Writes the capture.
pub(super) struct Writer {
    plan: Plan,
    /// Whether time goes on without packets.
    live: bool,
    encoder: Encoder,
    packer: Packer,
    names: Names,
    shared: Arc<Shared>,
    /// The file at hand, or what it is to be called when it can be opened.
    path: PathBuf,
    disk: Option<Disk>,
    files: u32,
    chunk: Chunk,
    /// Packets offered to the file at hand.
    packets: u64,
    /// Begin of the period that `-G` gives the file at hand.
    period: Option<i64>,
    /// Losses before the thread that a file already tells of.
    told_lost: u64,
    trouble: Trouble,
    /// The first refusal of a disk that may take more later: an end only if it cost packets.
    refused: Option<SaveError>,
    /// Of the first of the earlier files that may not be on the disk in full.
    unsure: Option<SaveError>,
    said_link_type: bool,
}

impl Writer {
    /// Opens the first file.
    ///
    /// # Errors
    ///
    /// If it cannot be opened, or its header not be written.
    pub(super) fn open(
        plan: Plan,
        live: bool,
        encoder: Encoder,
        mut names: Names,
        shared: Arc<Shared>,
    ) -> Result<Self, SaveError> {
        let now = Timestamp::now().0;
        let path = if plan.to_stdout { names.as_given().to_owned() } else { names.next(now)? };
        let opened = if plan.to_stdout { Disk::stdout() } else { Disk::create(&path) };
        let disk = match opened {
            Ok(disk) => disk,
            Err(source) => return Err(SaveError::Open { file: path, source }),
        };
        let mut writer = Self {
            period: plan.period.filter(|_| live).map(|_| now),
            packer: Packer::new(plan.compression),
            plan,
            live,
            encoder,
            names,
            shared,
            path,
            disk: Some(disk),
            files: 1,
            chunk: Chunk::default(),
            packets: 0,
            told_lost: 0,
            trouble: Trouble::of("packets", "the capture"),
            refused: None,
            unsure: None,
            said_link_type: false,
        };
        add(&writer.shared.files, 1);
        let more = writer.encoder.open(&mut writer.chunk.bytes);
        match writer.try_commit() {
            Ok(()) => {
                if more {
                    writer.embed_news();
                }
                Ok(writer)
            }
            Err(Refused::Whole(source) | Refused::Broken(source)) => {
                Err(SaveError::Write { file: writer.path, source })
            }
            Err(Refused::ReaderGone) => {
                writer.shared.end(End::ReaderGone);
                Ok(writer)
            }
        }
    }

    /// How long packets wait before they are written.
    pub(super) fn delay(&self) -> Duration {
        if self.live && self.encoder.has_keylog() { SECRETS_DELAY } else { Duration::ZERO }
    }

    /// How long to wait for packets before [`Writer::tick`].
    pub(super) fn patience(&self) -> Option<Duration> {
        if self.shared.has_ended() {
            return None;
        }
        let chunk = self.chunk.since.map(|since| PACKED_CHUNK_AGE.saturating_sub(since.elapsed()));
        let period = self.period_end().filter(|_| self.live).map(|end| {
            let left = end.saturating_sub(Timestamp::now().0);
            Duration::from_nanos(u64::try_from(left).unwrap_or(0))
        });
        [chunk, period].into_iter().flatten().min()
    }

    /// Does what time asks for.
    pub(super) fn tick(&mut self) {
        if self.shared.has_ended() {
            return;
        }
        if self.chunk.since.is_some_and(|since| since.elapsed() >= PACKED_CHUNK_AGE) {
            self.commit();
        }
        let now = Timestamp::now().0;
        if self.live && self.period_end().is_some_and(|end| now >= end) {
            self.rotate(now);
        }
        if self.plan.compression.is_none() {
            self.commit();
        }
    }

    /// Writes the packets of `batch`.
    pub(super) fn batch(&mut self, batch: &Batch) {
        if !self.shared.has_ended() {
            self.reopen();
            self.embed_news();
        }
        for packet in batch.packets() {
            if !self.shared.has_ended() && self.is_due(&packet) {
                self.rotate(packet.timestamp);
            }
            if self.shared.has_ended() {
                add(&self.shared.after_end, 1);
            } else {
                self.packet(&packet);
            }
        }
        let wait = self.plan.compression.is_some()
            && self.chunk.since.is_none_or(|since| since.elapsed() < PACKED_CHUNK_AGE);
        if !wait {
            self.commit();
        }
    }

    /// Ends the last file.
    pub(super) fn finish(mut self) {
        if !self.shared.has_ended() {
            self.reopen();
            let end = match self.close() {
                Ok(()) => self.complete(),
                Err(error) => End::Failed(error),
            };
            // Unless it came to another end.
            self.shared.end(end);
        }
    }

    /// The end of a capture with which all is well now: it has failed if packets are missing, or may be.
    fn complete(&mut self) -> End {
        let lost = self.shared.dropped_disk.load(Ordering::Relaxed) > 0;
        let refused = self.refused.take().filter(|_| lost);
        refused.or_else(|| self.unsure.take()).map_or(End::Complete, End::Failed)
    }

    fn packet(&mut self, packet: &Queued<'_>) {
        if self.disk.is_none() {
            add(&self.shared.dropped_disk, 1);
            self.trouble.more(1);
            return;
        }
        self.packets += 1;
        match self.encoder.packet(packet, &mut self.chunk.bytes) {
            Ok(()) => self.chunk.packets += 1,
            Err(other) => {
                add(&self.shared.other_link_type, 1);
                self.say_link_type(&other);
            }
        }
        self.chunk.since.get_or_insert_with(Instant::now);
        if self.chunk.bytes.len() >= PACKED_CHUNK_LEN {
            self.commit();
        }
    }

    fn say_link_type(&mut self, other: &OtherLinkType) {
        if !std::mem::replace(&mut self.said_link_type, true) {
            tracing::warn!(
                "{}: a pcap file has one link type, here {}: packets of link type {} and others are \
                 counted, not written; a .pcapng file has place for all",
                self.path.display(),
                other.of_file.unwrap_or_default(),
                other.of_packet
            );
        }
    }

    /// Begins the file at hand, if that is still to be done, and writes secrets that are new.
    fn embed_news(&mut self) {
        while self.disk.is_some() && self.encoder.open(&mut self.chunk.bytes) {
            if !self.commit() {
                return;
            }
        }
        self.chunk.since.get_or_insert_with(Instant::now);
    }

    /// Opens the file at hand if that is still to be done.
    fn reopen(&mut self) {
        if self.disk.is_some() {
            return;
        }
        match Disk::create(&self.path) {
            Ok(disk) => {
                self.disk = Some(disk);
                add(&self.shared.files, 1);
            }
            Err(source) => {
                self.trouble.lost(&self.path, &source, 0);
                self.refused
                    .get_or_insert_with(|| SaveError::Open { file: self.path.clone(), source });
            }
        }
    }

    /// Ends the file at hand: statistics, and on the disk for good.
    ///
    /// # Errors
    ///
    /// If the disk does not keep what it took.
    fn close(&mut self) -> Result<(), SaveError> {
        self.commit();
        if self.shared.has_ended() || self.disk.is_none() {
            return Ok(());
        }
        let lost = self.shared.kernel_drops.load(Ordering::Relaxed)
            + self.shared.dropped_queue.load(Ordering::Relaxed);
        let news = lost.saturating_sub(self.told_lost);
        let tells = self.encoder.tells_losses();
        // Secrets that came behind the last packet are of use to readers that look twice.
        self.embed_news();
        self.encoder.trailer(news, Timestamp::now().0, &mut self.chunk.bytes);
        if self.commit() && tells {
            self.told_lost += news;
        }
        match self.disk.take().map(Disk::finish) {
            Some(Err(source)) => Err(SaveError::Write { file: self.path.clone(), source }),
            Some(Ok(())) | None => Ok(()),
        }
    }

    /// Writes the chunk, or counts its packets as lost. Whether it is written.
    fn commit(&mut self) -> bool {
        let packets = self.chunk.packets;
        let (end, error) = match self.try_commit() {
            Ok(()) => return true,
            Err(Refused::Whole(error)) => (None, error),
            Err(Refused::ReaderGone) => {
                self.shared.end(End::ReaderGone);
                add(&self.shared.after_end, packets);
                return false;
            }
            Err(Refused::Broken(error)) => {
                let source = io::Error::from(error.kind());
                (Some(SaveError::Write { file: self.path.clone(), source }), error)
            }
        };
        add(&self.shared.dropped_disk, packets);
        match end {
            None => {
                self.trouble.lost(&self.path, &error, packets);
                let refused = SaveError::Write { file: self.path.clone(), source: error };
                self.refused.get_or_insert(refused);
            }
            Some(end) => self.shared.end(End::Failed(end)),
        }
        false
    }

    fn try_commit(&mut self) -> Result<(), Refused> {
        let Some(disk) = &mut self.disk else { return Ok(()) };
        let packets = std::mem::take(&mut self.chunk.packets);
        self.chunk.since = None;
        if self.chunk.bytes.is_empty() {
            return Ok(());
        }
        let before = disk.len();
        let packed = self.packer.pack(&self.chunk.bytes).map_err(Refused::Whole);
        let written = packed.and_then(|packed| disk.append(packed.bytes, packed.end));
        let bytes = disk.len() - before;
        if written.is_err() || !disk.is_regular() {
            disk.keep_end();
            self.packer.restart();
        }
        self.chunk.bytes.clear();
        match written {
            Ok(()) => {
                add(&self.shared.written, packets);
                add(&self.shared.bytes, bytes);
                self.encoder.committed();
                self.trouble.over(&self.path);
                Ok(())
            }
            Err(refused) => {
                self.encoder.cut_off();
                Err(refused)
            }
        }
    }
}
