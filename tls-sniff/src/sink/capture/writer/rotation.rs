//! When a file ends and the next begins: by its length, by the clock, by the time of packets.

use super::{
    super::{batch::Queued, disk::Disk, shared::End},
    Writer,
};

impl Writer {
    /// The end of the period that the file at hand is for.
    pub(super) fn period_end(&self) -> Option<i64> {
        Some(self.period?.saturating_add(self.plan.period?))
    }

    /// Whether `packet` belongs into the next file.
    pub(super) fn is_due(&mut self, packet: &Queued<'_>) -> bool {
        if self.plan.period.is_some() && self.period.is_none() {
            self.begin_period(packet.timestamp);
        }
        if self.period_end().is_some_and(|end| packet.timestamp >= end) {
            return true;
        }
        let (Some(limit), Some(disk)) = (self.plan.rotate_bytes, &self.disk) else { return false };
        // How long a chunk is compressed is known when it is written.
        let pending = if self.plan.compression.is_some() { 0 } else { self.chunk.bytes.len() };
        self.packets > 0 && disk.len() + pending as u64 > limit
    }

    /// From a file, time begins with the first packet: the first file gets its name by that.
    fn begin_period(&mut self, first: i64) {
        self.period = Some(first);
        let is_regular = self.disk.as_ref().is_some_and(Disk::is_regular);
        if !self.names.tell_time() || !is_regular {
            return;
        }
        if let Ok(name) = self.names.renamed_first(first)
            && name != self.path
        {
            match std::fs::rename(&self.path, &name) {
                Ok(()) => self.path = name,
                Err(error) => tracing::warn!(
                    "{} cannot be renamed to {}: {error}",
                    self.path.display(),
                    name.display()
                ),
            }
        }
    }

    /// Ends the file at hand and begins the next, which holds what is from `time` on.
    pub(super) fn rotate(&mut self, time: i64) {
        if let (Some(begin), Some(end), Some(period)) =
            (self.period, self.period_end(), self.plan.period)
            && time >= end
        {
            // From a file, periods in which nothing was seen have no file of their own; live, the clock begins each.
            let passed = time.saturating_sub(begin) / period;
            self.period = Some(begin.saturating_add(passed.saturating_mul(period)));
        }
        if let Err(error) = self.close() {
            tracing::warn!("{error}: it may not be on the disk in full");
            self.unsure.get_or_insert(error);
        }
        if self.shared.has_ended() {
            return;
        }
        if self.plan.last_file.is_some_and(|last| self.files >= last) {
            let end = self.complete();
            self.shared.end(end);
            return;
        }
        match self.names.next(self.period.unwrap_or(time)) {
            Ok(path) => self.path = path,
            Err(error) => {
                self.shared.end(End::Failed(error));
                return;
            }
        }
        self.files = self.files.saturating_add(1);
        self.packets = 0;
        self.encoder.restart();
        self.packer.restart();
        self.reopen();
        self.embed_news();
    }
}
