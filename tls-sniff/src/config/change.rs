//! What a reload would change, and whether it can.

use std::path::Path;

use clap::{Arg, ArgMatches, CommandFactory as _};

use super::{
    document::Setting,
    fault::{ConfigError, Fault, Flaw, Position},
    invocation::{Invocation, Layers},
    keys::{self, Class, Options},
};
use crate::cli::Cli;

/// New options for a run that goes on.
#[derive(Debug)]
pub(crate) struct Reload {
    /// The options.
    pub(crate) cli: Cli,
    /// The keys whose values are others than before.
    pub(crate) changed: Vec<String>,
}

impl Invocation {
    /// The options by the file's new text, if a run with those of its old text can take them.
    ///
    /// # Errors
    ///
    /// If the new text is at fault, or changes what only a restart can; all such keys are named.
    pub(crate) fn reload(&self, old: &str, new: &str) -> Result<Reload, ConfigError> {
        let cli = self.options(Some(new))?;
        let Some(file) = self.file() else { return Ok(Reload { cli, changed: Vec::new() }) };
        let (before, after) = (self.layers(file, old)?, self.layers(file, new)?);
        let (mut changed, mut faults) = (Vec::new(), Vec::new());
        for arg in Options::of(Cli::command()).all() {
            let key = keys::key_of(arg);
            if values(&before.merged, arg) == values(&after.merged, arg) {
                continue;
            }
            changed.push(key.to_owned());
            if keys::known(key).is_none_or(|key| key.class != Class::Running) {
                faults.push(needs_restart(key, &before, &after));
            }
        }
        if faults.is_empty() { Ok(Reload { cli, changed }) } else { Err(refused(file, faults)) }
    }
}

/// What an argument comes to, defaults as well.
fn values<'a>(matches: &'a ArgMatches, arg: &Arg) -> Vec<&'a std::ffi::OsStr> {
    matches.get_raw(arg.get_id().as_str()).into_iter().flatten().collect()
}

/// A key that is no longer there is told where the file begins, with the line that had it.
fn needs_restart(key: &str, before: &Layers, after: &Layers) -> Fault {
    let place = |layers: &Layers| {
        let has = |setting: &&Setting| setting.key == key;
        layers.settings.iter().find(has).map(|setting| setting.at)
    };
    match (place(after), place(before)) {
        (Some(at), _) => Flaw::NeedsRestart { key: key.to_owned() }.at(at),
        (None, was) => {
            let line = was.map_or(0, |at| at.line);
            Flaw::GoneNeedsRestart { key: key.to_owned(), line }.at(Position { line: 1, column: 1 })
        }
    }
}

fn refused(file: &Path, faults: Vec<Fault>) -> ConfigError {
    ConfigError::faults(file, faults)
}
