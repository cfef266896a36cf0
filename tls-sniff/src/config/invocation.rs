//! Command line and file together: flags win.
//!
//! A key steps back where the command line has its flag, or one that conflicts with it. What is left is put before
//! the command line as the arguments that it stands for, and clap does the rest: types, ranges, defaults,
//! what needs what.

use std::{
    error::Error as _,
    ffi::OsString,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use clap::{
    ArgMatches, CommandFactory as _, FromArgMatches as _,
    error::{ContextKind, ContextValue, ErrorKind},
    parser::ValueSource,
};

use super::{
    document::{self, Given, Setting, Value},
    fault::{ConfigError, Fault, Flaw, Position},
    keys::Options,
};
use crate::cli::Cli;

/// The argument that names the file.
const CONFIG: &str = "config";
/// The argument without a flag.
const EXPRESSION: &str = "expression";
/// The most bytes of a file, so that it fits into one message between processes.
pub(crate) const MAX_LEN: u64 = 96 * 1024;

/// How the program was called, from which its options can be read again.
#[derive(Clone, Debug)]
pub(crate) struct Invocation {
    arguments: Vec<OsString>,
    file: Option<PathBuf>,
}

impl Invocation {
    /// `arguments` begin with the program's name.
    pub(crate) fn new(arguments: Vec<OsString>) -> Self {
        let file = on_command_line(&arguments)
            .and_then(|matches| matches.get_one::<PathBuf>(CONFIG).cloned());
        Self { arguments, file }
    }

    /// As if called with nothing but this file.
    pub(crate) fn of_file(file: &Path) -> Self {
        Self { arguments: vec!["tls-sniff".into()], file: Some(file.to_owned()) }
    }

    /// The file that `--config` names.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// The options, and the text of the file that they are of.
    ///
    /// # Errors
    ///
    /// If the command line or the file is at fault, or the file cannot be read.
    pub(crate) fn read(&self) -> Result<(Cli, Option<String>), ConfigError> {
        // Help is to be had also without the file.
        if let Err(error) = Cli::command().try_get_matches_from(&self.arguments)
            // The file may have what is missing.
            && (error.kind() != ErrorKind::MissingRequiredArgument || self.file.is_none())
        {
            return Err(error.into());
        }
        let text = self.text()?;
        Ok((self.options(text.as_deref())?, text))
    }

    /// The text of the file, if there is one.
    ///
    /// # Errors
    ///
    /// If it cannot be read, is no UTF-8, or is larger than [`MAX_LEN`].
    pub(crate) fn text(&self) -> Result<Option<String>, ConfigError> {
        let Some(path) = &self.file else { return Ok(None) };
        let file = path.display().to_string();
        let mut text = String::new();
        let read = File::open(path).and_then(|it| it.take(MAX_LEN + 1).read_to_string(&mut text));
        match read {
            Err(source) => Err(ConfigError::Unreadable { file, source }),
            Ok(len) if len as u64 > MAX_LEN => Err(ConfigError::TooLarge { file, limit: MAX_LEN }),
            Ok(_) => Ok(Some(text)),
        }
    }

    /// The text of the file as it is now.
    ///
    /// # Errors
    ///
    /// As [`Invocation::text`]; also if it is no regular file: who writes to a pipe may let its reader wait.
    pub(crate) fn text_again(&self) -> Result<Option<String>, ConfigError> {
        if let Some(path) = self.file.as_ref().filter(|path| path.exists() && !path.is_file()) {
            let file = path.display().to_string();
            let source = io::Error::other("no regular file, so it is read once");
            return Err(ConfigError::Unreadable { file, source });
        }
        self.text()
    }

    /// Where the file of this `text` has the value of a key, as FILE:LINE:COLUMN; `None` if the command line has it, or
    /// nobody.
    pub(crate) fn place(&self, text: Option<&str>, key: &str) -> Option<String> {
        let (file, text) = (self.file.as_ref()?, text?);
        let layers = self.layers(file, text).ok()?;
        let setting = layers.settings.iter().find(|setting| setting.key == key)?;
        let at = match &setting.given {
            Given::Values(values) => values.first()?.at,
            Given::Switch(_) => setting.at,
        };
        Some(format!("{}:{at}", file.display()))
    }

    /// The options, with what the file of this `text` has for them.
    ///
    /// # Errors
    ///
    /// If the command line or the file is at fault, or both together.
    pub(crate) fn options(&self, text: Option<&str>) -> Result<Cli, ConfigError> {
        let (Some(file), Some(text)) = (&self.file, text) else {
            let cli =
                Cli::from_arg_matches(&Cli::command().try_get_matches_from(&self.arguments)?)?;
            return match cli.contradiction() {
                None => Ok(cli),
                Some(words) => Err(contradicts_itself(&words).into()),
            };
        };
        let layers = self.layers(file, text)?;
        let cli = Cli::from_arg_matches(&layers.merged)?;
        match cli.contradiction() {
            None => Ok(cli),
            Some(words) => Err(layers.blame(file, words)),
        }
    }

    /// All arguments, those of the file among them.
    pub(super) fn layers(&self, file: &Path, text: &str) -> Result<Layers, ConfigError> {
        let options = Options::of(Cli::command());
        let (mut settings, mut faults) = document::read(text, &options);
        faults.extend(settings.iter().flat_map(misfits));
        if !faults.is_empty() {
            return Err(ConfigError::faults(file, faults));
        }
        let flags = on_command_line(&self.arguments);
        settings
            .retain(|setting| !flags.as_ref().is_some_and(|it| overrides(it, setting, &options)));
        match Cli::command().try_get_matches_from(self.with(&settings)) {
            Ok(merged) => Ok(Layers { settings, merged }),
            Err(error) => Err(missing(&error, &settings)
                .map(|fault| ConfigError::faults(file, vec![fault]))
                .unwrap_or_else(|| blame(&settings, file, one_line(&error)))),
        }
    }

    /// The command line with the arguments that the settings stand for.
    fn with(&self, settings: &[Setting]) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = self.arguments.iter().take(1).cloned().collect();
        let (expression, flags): (Vec<_>, Vec<_>) =
            settings.iter().partition(|setting| setting.key == EXPRESSION);
        arguments.extend(flags.iter().flat_map(|setting| setting.arguments()).map(OsString::from));
        arguments.extend(self.arguments.iter().skip(1).cloned());
        if let Some(Setting { given: Given::Values(values), .. }) = expression.first() {
            // It is here because the command line has none, so a `--` there is the last word.
            if self.arguments.last().is_none_or(|last| last != "--") {
                arguments.push("--".into());
            }
            arguments.extend(values.iter().map(|value| value.text.clone().into()));
        }
        arguments
    }
}

/// What came together.
#[derive(Debug)]
pub(super) struct Layers {
    /// Those of the file that count.
    pub(super) settings: Vec<Setting>,
    /// All arguments.
    pub(super) merged: ArgMatches,
}

impl Layers {
    fn blame(&self, file: &Path, words: String) -> ConfigError {
        blame(&self.settings, file, words)
    }
}

/// What the command line has; without what follows if something is wrong with it.
fn on_command_line(arguments: &[OsString]) -> Option<ArgMatches> {
    Cli::command().ignore_errors(true).try_get_matches_from(arguments).ok()
}

/// Whether a setting steps back behind the command line.
fn overrides(flags: &ArgMatches, setting: &Setting, options: &Options) -> bool {
    let given = |id: &str| flags.value_source(id) == Some(ValueSource::CommandLine);
    let Some(arg) = options.get(&setting.key) else { return false };
    given(arg.get_id().as_str())
        || options.all().any(|other| given(other.get_id().as_str()) && options.conflict(arg, other))
}

/// What is wrong with the values of a setting, each for itself.
fn misfits(setting: &Setting) -> Vec<Fault> {
    let Given::Values(values) = &setting.given else { return Vec::new() };
    if setting.key == EXPRESSION || refusal(setting.arguments()).is_none() {
        return Vec::new();
    }
    let fault = |value: &Value| {
        let reason = refusal(vec![setting.argument(value)])?;
        Some(Flaw::Value { key: setting.key.clone(), reason }.at(value.at))
    };
    values.iter().filter_map(fault).collect()
}

/// Why clap does not take the values of these arguments; what goes with what is looked at later.
fn refusal(arguments: Vec<String>) -> Option<String> {
    let error = alone(arguments)?;
    match error.kind() {
        ErrorKind::ArgumentConflict | ErrorKind::MissingRequiredArgument => None,
        ErrorKind::InvalidValue => Some(no_such_value(&error)),
        _ => Some(error.source().map_or_else(|| one_line(&error), ToString::to_string)),
    }
}

/// clap's error for these arguments and no others.
fn alone(arguments: Vec<String>) -> Option<clap::Error> {
    let arguments = ["tls-sniff".to_owned()].into_iter().chain(arguments);
    Cli::command().try_get_matches_from(arguments).err()
}

/// A value that is none of those that there are.
fn no_such_value(error: &clap::Error) -> String {
    let texts = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => vec![text.clone()],
        Some(ContextValue::Strings(texts)) => texts.clone(),
        _ => Vec::new(),
    };
    let value = texts(ContextKind::InvalidValue).concat();
    let near = texts(ContextKind::SuggestedValue);
    let near = near.first().map(|near| format!(": did you mean \"{near}\"?")).unwrap_or_default();
    format!("\"{value}\" is none of {}{near}", texts(ContextKind::ValidValue).join(", "))
}

/// The setting that needs an argument that is nowhere.
fn missing(error: &clap::Error, settings: &[Setting]) -> Option<Fault> {
    let lacks = |error: &clap::Error| match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::Strings(names))
            if error.kind() == ErrorKind::MissingRequiredArgument =>
        {
            Some(names.join(", "))
        }
        _ => None,
    };
    let wanted = lacks(error)?;
    let setting = settings.iter().filter(|setting| setting.key != EXPRESSION).find(|setting| {
        alone(setting.arguments()).and_then(|error| lacks(&error)).is_some_and(|it| it == wanted)
    })?;
    Some(Flaw::Contradiction(format!("{} goes only with {wanted}", setting.key)).at(setting.at))
}

/// Finds the setting that words about flags are about.
fn blame(settings: &[Setting], file: &Path, words: String) -> ConfigError {
    let options = Options::of(Cli::command());
    let names = |setting: &&Setting| {
        let short = options.get(&setting.key).and_then(clap::Arg::get_short);
        let of_flag = |c: char| c.is_ascii_alphanumeric() || c == '-';
        words.split(|c| !of_flag(c)).any(|word| {
            word.strip_prefix("--") == Some(setting.key.as_str())
                || short.is_some_and(|short| word == format!("-{short}"))
        })
    };
    let at = settings.iter().find(names).map_or(Position { line: 1, column: 1 }, |it| it.at);
    ConfigError::faults(file, vec![Flaw::Contradiction(words).at(at)])
}

/// What clap says, without its usage.
fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let words: Vec<&str> =
        text.lines().take_while(|line| !line.is_empty()).flat_map(str::split_whitespace).collect();
    words.join(" ").trim_start_matches("error: ").to_owned()
}

/// Flags that clap takes, but that do not go together.
fn contradicts_itself(words: &str) -> clap::Error {
    Cli::command().error(ErrorKind::ArgumentConflict, words)
}
