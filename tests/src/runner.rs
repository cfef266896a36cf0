//! The test runner: libtest's command line (`--list`, filters, `--exact`, cargo nextest) over tests
//! that declare what they need of the machine.
//!
//! libtest decides at compile time whether a test is ignored. Here it depends on the machine: a
//! test whose need is not met is ignored, with the reason in its line and on stderr. With `CI=true`
//! such a test fails with the reason, so that a CI machine that lost a tool is not green. Only
//! [`Need::Corpus`] may be absent there too.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial};

use crate::need::{Need, in_ci};
use crate::netns::sweep;

/// A named test, what it needs, and what it does.
pub struct Test {
    name: &'static str,
    needs: &'static [Need],
    run: Box<dyn FnOnce() -> Result<()> + Send>,
}

/// A test for [`main`]. It fails by an error or by a panic.
pub fn test(
    name: &'static str,
    needs: &'static [Need],
    run: impl FnOnce() -> Result<()> + Send + 'static,
) -> Test {
    Test { name, needs, run: Box::new(run) }
}

/// Runs the tests that the command line asks for; the exit code is libtest's (101 after a failure).
pub fn main(tests: Vec<Test>) -> ExitCode {
    let arguments = Arguments::from_args();
    let in_ci = in_ci();
    if !arguments.list && Need::Root.missing().is_none() {
        sweep_leftovers();
    }
    let mut skipped = BTreeMap::<String, usize>::new();
    let trials = tests
        .into_iter()
        .map(|test| {
            let missing = missing(test.needs, in_ci);
            let reason =
                missing.as_ref().filter(|missing| !missing.fails).map(|m| m.reason.clone());
            let trial = trial(test, missing);
            if let Some(reason) = reason
                && !arguments.is_filtered_out(&trial)
            {
                *skipped.entry(reason).or_default() += 1;
            }
            trial
        })
        .collect();
    if !arguments.list {
        for (reason, count) in skipped {
            eprintln!("ignoring {count} test(s): {reason}");
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Removes what killed test processes left. It is no test's fault if that fails.
fn sweep_leftovers() {
    match sweep() {
        Ok(removed) if removed.is_empty() => (),
        Ok(removed) => eprintln!("removed leftovers of killed tests: {}", removed.join(" ")),
        Err(error) => eprintln!("cannot remove leftovers of killed tests: {error:#}"),
    }
}

/// Needs of a test that are not met, and whether that is a failure.
struct Missing {
    reason: String,
    fails: bool,
}

fn missing(needs: &[Need], in_ci: bool) -> Option<Missing> {
    let missing: Vec<_> = needs.iter().filter_map(|need| Some((need, need.missing()?))).collect();
    let fails = in_ci && missing.iter().any(|(need, _)| !need.may_be_absent_in_ci());
    let reasons: Vec<_> = missing.into_iter().map(|(_, reason)| reason).collect();
    (!reasons.is_empty()).then(|| Missing { reason: reasons.join("; "), fails })
}

fn trial(test: Test, missing: Option<Missing>) -> Trial {
    let Some(Missing { reason, fails }) = missing else {
        let run = test.run;
        // `{:#}`: the whole chain of causes in one line.
        return Trial::test(test.name, || {
            run().map_err(|error| Failed::from(format!("{error:#}")))
        });
    };
    // Asked for by `--ignored`, an ignored test is run: it cannot, and must not seem to pass.
    let unmet = reason.clone();
    let trial = Trial::test(test.name, move || Err(Failed::from(unmet)));
    if fails { trial } else { trial.with_kind(reason).with_ignored_flag(true) }
}
