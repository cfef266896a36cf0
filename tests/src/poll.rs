//! Waiting for a condition: polled every few milliseconds under a deadline, instead of a sleep that
//! is too long on a fast machine and too short on a slow one.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Time between two looks at the condition.
const INTERVAL: Duration = Duration::from_millis(5);

/// Calls `condition` until it gives a value, and returns that.
///
/// # Errors
///
/// After `timeout` without a value; the message says for `what` it waited. The condition is always
/// looked at once more after the deadline, so that a test process that was off the CPU for long
/// does not fail for something that has happened.
pub fn until<T>(
    timeout: Duration,
    what: &str,
    mut condition: impl FnMut() -> Option<T>,
) -> Result<T> {
    let deadline = Instant::now() + timeout;
    loop {
        let late = Instant::now() >= deadline;
        if let Some(value) = condition() {
            return Ok(value);
        }
        if late {
            bail!("waited {timeout:?} in vain for {what}");
        }
        sleep(INTERVAL);
    }
}

/// As [`until`], for a condition that may itself fail: its first error ends the wait.
///
/// # Errors
///
/// The condition's error, or the timeout.
pub fn try_until<T>(
    timeout: Duration,
    what: &str,
    mut condition: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    until(timeout, what, || condition().transpose())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeout_names_what_was_awaited() {
        let error = until(Duration::from_millis(20), "rain", || None::<()>).unwrap_err();
        assert!(error.to_string().contains("for rain"), "{error}");
    }

    #[test]
    fn polls_until_there_is_a_value() {
        let mut looks = 0;
        let value = until(Duration::from_secs(10), "the third look", || {
            looks += 1;
            (looks == 3).then_some("seen")
        });
        assert_eq!((value.unwrap(), looks), ("seen", 3));
    }

    #[test]
    fn error_of_the_condition_ends_the_wait() {
        let start = Instant::now();
        let waited =
            try_until(Duration::from_secs(60), "x", || -> Result<Option<()>> { bail!("broken") });
        assert_eq!(waited.unwrap_err().to_string(), "broken");
        assert!(start.elapsed() < Duration::from_secs(30));
    }
}
