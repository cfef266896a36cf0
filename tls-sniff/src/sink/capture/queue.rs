//! Between the source of packets and the thread that writes them.
//!
//! It is bounded by bytes. A source that reports few packets at a time makes small batches; while the thread is
//! busy they are put together, so that a disk that stands still for a moment costs packets only when there is no room.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc::RecvTimeoutError},
    time::Duration,
};

use super::batch::{BATCH_LEN, Batch};

/// Bytes that may wait for the disk, what comes while it is busy with a file's end.
pub(super) const QUEUE_LEN: usize = 16 << 20;

/// Empty batches that are kept: as many as there can be, so that what was once needed is not made again.
const MOST_SPARE: usize = QUEUE_LEN / BATCH_LEN;

#[derive(Default)]
struct Queue {
    batches: VecDeque<Batch>,
    /// Bytes in them.
    len: usize,
    spare: Vec<Batch>,
    /// Nothing more will come.
    ended: bool,
    /// The thread takes no more.
    gone: bool,
}

impl Queue {
    /// Whether there is room for `len` more. One that is larger than the queue has to fit too.
    fn takes(&self, len: usize) -> bool {
        self.len == 0 || self.len + len <= QUEUE_LEN
    }

    /// Takes what is in `batch`, which is empty then.
    fn push(&mut self, batch: &mut Batch) {
        self.len += batch.bytes_len();
        match self.batches.back_mut() {
            // As long as a batch of one piece is.
            Some(last) if last.bytes_len() + batch.bytes_len() <= BATCH_LEN => last.append(batch),
            _ => {
                let next = self.spare.pop().unwrap_or_else(Batch::new);
                self.batches.push_back(std::mem::replace(batch, next));
            }
        }
    }

    fn pop(&mut self) -> Option<Batch> {
        let batch = self.batches.pop_front()?;
        self.len -= batch.bytes_len();
        Some(batch)
    }
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// There is something to do, or nothing more will come.
    filled: Condvar,
    /// There is room, or there never will be.
    drained: Condvar,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing in it can be half done.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The source's end.
pub(super) struct Sender(Arc<Shared>);

/// The thread's end.
pub(super) struct Receiver(Arc<Shared>);

/// A queue and its two ends.
pub(super) fn queue() -> (Sender, Receiver) {
    let shared = Arc::<Shared>::default();
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

impl Sender {
    /// Hands over what is in `batch`, which is empty then; waits for room no longer than `limit`, without one as long
    /// as it takes. Returns whether it was taken: it is as it was if there is no room or no thread.
    #[must_use]
    pub(super) fn send(&self, batch: &mut Batch, limit: Option<Duration>) -> bool {
        let len = batch.bytes_len();
        let full = |queue: &mut Queue| !queue.gone && !queue.takes(len);
        let mut queue = self.0.queue();
        if full(&mut queue) {
            let drained = &self.0.drained;
            queue = match limit {
                Some(limit) => drained
                    .wait_timeout_while(queue, limit, full)
                    .map_or_else(|poisoned| poisoned.into_inner().0, |(queue, _)| queue),
                None => drained.wait_while(queue, full).unwrap_or_else(PoisonError::into_inner),
            };
        }
        let taken = !queue.gone && queue.takes(len);
        if taken {
            queue.push(batch);
            self.0.filled.notify_one();
        }
        taken
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.queue().ended = true;
        self.0.filled.notify_one();
    }
}

impl Receiver {
    /// The next batch; waits for it no longer than `patience`, without one as long as it takes.
    ///
    /// # Errors
    ///
    /// `Timeout`, and `Disconnected` if nothing more will come.
    pub(super) fn recv(&self, patience: Option<Duration>) -> Result<Batch, RecvTimeoutError> {
        let empty = |queue: &mut Queue| queue.batches.is_empty() && !queue.ended;
        let (queue, filled) = (self.0.queue(), &self.0.filled);
        let mut queue = match patience {
            Some(patience) => filled
                .wait_timeout_while(queue, patience, empty)
                .map_or_else(|poisoned| poisoned.into_inner().0, |(queue, _)| queue),
            None => filled.wait_while(queue, empty).unwrap_or_else(PoisonError::into_inner),
        };
        let ended = queue.ended;
        let batch = queue.pop();
        drop(queue);
        self.0.drained.notify_one();
        batch.ok_or(if ended { RecvTimeoutError::Disconnected } else { RecvTimeoutError::Timeout })
    }

    /// Takes a batch back that was written, to be used again.
    pub(super) fn give_back(&self, mut batch: Batch) {
        batch.clear();
        let mut queue = self.0.queue();
        if queue.spare.len() < MOST_SPARE {
            queue.spare.push(batch);
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.0.queue().gone = true;
        self.0.drained.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::{super::tests::packet, *};

    const SOON: Duration = Duration::from_secs(10);

    fn batch_of(len: usize) -> Batch {
        let mut batch = Batch::new();
        batch.push(&packet(&vec![0; len]), len);
        batch
    }

    #[test]
    fn small_batches_are_put_together_and_bytes_are_the_bound() {
        let (sender, receiver) = queue();
        let mut sent = 0;
        loop {
            let mut batch = batch_of(100);
            if !sender.send(&mut batch, Some(Duration::ZERO)) {
                assert_eq!(batch.len(), 1);
                break;
            }
            assert_eq!(batch.len(), 0);
            sent += 1;
        }
        // Some 80 bytes stand beside each packet.
        assert!((50_000..150_000).contains(&sent), "{sent}");
        drop(sender);
        let (mut batches, mut received) = (0, 0);
        loop {
            match receiver.recv(Some(SOON)) {
                Ok(batch) => {
                    assert_eq!(batch.packets().count() as u64, batch.len());
                    (batches, received) = (batches + 1, received + batch.len());
                }
                Err(end) => break assert_eq!(end, RecvTimeoutError::Disconnected),
            }
        }
        assert_eq!(received, sent);
        assert!(batches <= 260, "{batches}");
    }

    #[test]
    fn one_who_waits_is_woken_by_room_and_by_the_end() {
        let (sender, receiver) = queue();
        thread::scope(|scope| {
            let source = scope.spawn(|| {
                let large = || batch_of(QUEUE_LEN);
                let taken = [sender.send(&mut large(), None), sender.send(&mut large(), None)];
                (taken, sender.send(&mut large(), None))
            });
            assert_eq!(receiver.recv(None).unwrap().len(), 1);
            drop(receiver);
            let (taken, after) = source.join().unwrap();
            assert_eq!(taken.first(), Some(&true));
            assert!(!after);
        });
        let (sender, receiver) = queue();
        assert_eq!(receiver.recv(Some(Duration::ZERO)).err(), Some(RecvTimeoutError::Timeout));
        thread::scope(|scope| {
            let thread = scope.spawn(|| receiver.recv(None).err());
            drop(sender);
            assert_eq!(thread.join().unwrap(), Some(RecvTimeoutError::Disconnected));
        });
    }
}
