//! Readers that stall, come late, or go.

use std::{
    io::Write,
    sync::{Mutex, atomic::AtomicBool},
};

use super::{queue::QUEUE_LEN, *};
use crate::sink::destination::Stream;

/// A reader that takes nothing until it is told to.
struct Gate {
    open: Receiver<()>,
    taken: Arc<Mutex<Vec<u8>>>,
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _open_for_good = self.open.recv();
        self.taken.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn start(writer: impl Write + Send + 'static, when_full: WhenFull) -> Output {
    Output::start("test".to_owned(), Box::new(Stream::new(writer)), when_full).unwrap()
}

/// Ends an output that has no stalled reader; its counters add up.
fn finish(mut output: Output, last: &[u8]) -> (OutputCounters, Written) {
    let deadline = Instant::now() + Duration::from_secs(10);
    output.end();
    output.drain(deadline);
    let counters = output.counters();
    assert_eq!(counters.on_their_way(), 0, "{counters:?}");
    (counters, output.finish(last, deadline))
}

#[test]
fn a_stalled_reader_costs_counted_events_and_bounded_memory() {
    let (open, gate) = mpsc::channel();
    let taken = Arc::new(Mutex::new(Vec::new()));
    let mut output = start(Gate { open: gate, taken: Arc::clone(&taken) }, WhenFull::Drop);
    // As small as the batches are, the whole queue is of use.
    let event = [[b'e'; 1023].as_slice(), b"\n"].concat();
    let fit = (QUEUE_LEN / event.len()) as u64;
    for _ in 0..3 * fit {
        output.event(|batch| batch.extend_from_slice(&event));
        output.flush();
    }
    let stalled = output.counters();
    let in_hand = (2 * BATCH_LEN / event.len()) as u64;
    let accepted = 3 * fit - stalled.lost_queue;
    assert!((fit..=fit + in_hand).contains(&accepted), "{stalled:?}");
    drop(open);
    let (counters, written) = finish(output, b"last\n");
    assert!(matches!(written, Written::All));
    assert_eq!((counters.events, counters.written), (3 * fit, accepted));
    let taken = taken.lock().unwrap();
    let lines = taken.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
    assert_eq!(lines as u64, accepted + 1);
}

#[test]
fn a_report_passes_a_full_queue_and_takes_the_place_of_the_one_before() {
    let (open, gate) = mpsc::channel();
    let taken = Arc::new(Mutex::new(Vec::new()));
    let mut output = start(Gate { open: gate, taken: Arc::clone(&taken) }, WhenFull::Drop);
    for _ in 0..1_000_000 {
        output.event(|batch| batch.extend_from_slice(b"event\n"));
        output.flush();
    }
    output.report(b"early\n".to_vec());
    output.report(b"report\n".to_vec());
    drop(open);
    while !String::from_utf8_lossy(&taken.lock().unwrap()).contains("report") {
        thread::yield_now();
    }
    let (counters, written) = finish(output, b"");
    assert!(matches!(written, Written::All));
    let taken = String::from_utf8(taken.lock().unwrap().clone()).unwrap();
    let lines: Vec<&str> = taken.lines().collect();
    assert_eq!(lines.len() as u64, counters.written + 1, "{counters:?}");
    // The buffer in which the thread stood still comes first.
    let first = lines.iter().position(|line| *line == "report").unwrap();
    assert!(first <= 2 * BATCH_LEN / b"event\n".len(), "{first}");
}

#[test]
fn a_source_that_can_wait_loses_nothing() {
    let (open, gate) = mpsc::channel::<()>();
    let taken = Arc::new(Mutex::new(Vec::new()));
    let mut output = start(Gate { open: gate, taken: Arc::clone(&taken) }, WhenFull::Wait);
    let opens = thread::spawn(move || {
        thread::sleep(Duration::from_millis(50));
        drop(open);
    });
    let event = [[b'e'; 1023].as_slice(), b"\n"].concat();
    let events = 3 * (QUEUE_LEN / event.len()) as u64;
    for _ in 0..events {
        output.event(|batch| batch.extend_from_slice(&event));
    }
    let (counters, written) = finish(output, b"");
    assert_eq!((counters.written, counters.lost()), (events, 0));
    assert!(matches!(written, Written::All));
    opens.join().unwrap();
    assert_eq!(taken.lock().unwrap().len(), 3 * QUEUE_LEN);
}

#[test]
fn a_reader_that_is_gone_is_not_a_slow_one() {
    /// Takes one line and a half.
    struct Gone(bool);
    impl Write for Gone {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if std::mem::replace(&mut self.0, true) {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            Ok(bytes.len().min(6))
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    for when_full in [WhenFull::Drop, WhenFull::Wait] {
        let mut output = start(Gone(false), when_full);
        output.event(|batch| batch.extend_from_slice(b"one\n"));
        output.event(|batch| batch.extend_from_slice(b"two\n"));
        output.flush();
        while !output.is_closed() {
            thread::yield_now();
        }
        for _ in 0..10 {
            output.event(|_| panic!("nobody reads this"));
            output.flush();
        }
        assert!(output.has_just_closed() && !output.has_just_closed());
        let (counters, written) = finish(output, b"\n");
        assert_eq!((counters.written, counters.lost(), counters.after_end), (1, 0, 11));
        assert!(matches!(written, Written::ReaderGone), "{written:?}");
    }
}

#[test]
fn a_full_disk_costs_what_it_refuses_and_is_told_at_the_end() {
    /// Refuses the first two times.
    struct Full(u8);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Ok(bytes.len());
            }
            self.0 -= 1;
            Err(nix::errno::Errno::ENOSPC.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut output = start(Full(2), WhenFull::Wait);
    for _ in 0..5 {
        output.event(|batch| batch.extend_from_slice(b"event\n"));
        output.flush();
        // Each by itself.
        while output.counters().on_their_way() > 0 {
            thread::yield_now();
        }
        assert!(!output.is_closed());
    }
    let (counters, written) = finish(output, b"last\n");
    assert_eq!((counters.written, counters.lost_write, counters.after_end), (3, 2, 0));
    assert!(matches!(written, Written::Failed { .. }), "{written:?}");
}

#[test]
fn a_reader_that_never_reads_does_not_hang_the_end() {
    let (_open, gate) = mpsc::channel();
    let mut output = start(Gate { open: gate, taken: Arc::default() }, WhenFull::Drop);
    output.event(|batch| batch.push(b'\n'));
    output.end();
    output.drain(Instant::now() + Duration::from_millis(50));
    let counters = output.counters();
    assert_eq!((counters.events, counters.lost_queue), (1, 1));
    assert!(matches!(output.finish(b"\n", Instant::now()), Written::Stalled));
}

/// What an output is told reaches the thread's side, in order with nothing lost.
#[test]
fn a_destination_is_told_to_reopen_and_to_return() {
    use crate::sink::destination::{Control, Ended, Lost};
    struct Told {
        reopened: Arc<AtomicBool>,
        away: Arc<AtomicBool>,
    }
    impl Destination for Told {
        fn write(&mut self, lines: &[u8], control: &Control) -> Result<Lost, Ended> {
            control.set_connected(false);
            self.away.store(true, Ordering::Relaxed);
            while !control.is_ending() {
                control.pause(Duration::from_secs(60));
            }
            Ok(Lost { connection: crate::sink::destination::lines_in(lines), ..Lost::default() })
        }

        fn reopen(&mut self) {
            self.reopened.store(true, Ordering::Relaxed);
        }
    }
    let (reopened, away) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
    let told = Told { reopened: Arc::clone(&reopened), away: Arc::clone(&away) };
    let mut output = Output::start("test".to_owned(), Box::new(told), WhenFull::Drop).unwrap();
    output.reopen();
    while !reopened.load(Ordering::Relaxed) {
        thread::yield_now();
    }
    let event = [[b'e'; 1023].as_slice(), b"\n"].concat();
    for _ in 0..3 * QUEUE_LEN / event.len() {
        output.event(|batch| batch.extend_from_slice(&event));
        output.flush();
        // Until then a full queue is one that is slow.
        while !away.load(Ordering::Relaxed) {
            thread::yield_now();
        }
    }
    let (counters, written) = finish(output, b"\n");
    assert_eq!((counters.written, counters.lost_queue), (0, 0), "{counters:?}");
    assert_eq!(counters.lost_connection, counters.events);
    assert!(matches!(written, Written::All));
}
