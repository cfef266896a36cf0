//! From the text of a file to settings: what each key says, as the flag's words, and where.

use clap::Arg;
use toml::{
    Spanned,
    de::{DeInteger, DeTable, DeValue},
};

use super::{
    fault::{Fault, Flaw, Position},
    keys::{self, Class, Options, Takes},
    outputs,
};

/// The key of the tables that become `--output`.
pub(super) const OUTPUT: &str = "output";

/// A key that the file has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    /// The long flag's name.
    pub(super) key: String,
    pub(super) at: Position,
    pub(super) given: Given,
}

/// What it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Given {
    /// A switch, on or off.
    Switch(bool),
    /// Values; none is the same as no key.
    Values(Vec<Value>),
}

/// A value as the command line would have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) text: String,
    pub(super) at: Position,
}

impl Setting {
    /// What the command line would have of it; the expression has no flag.
    pub(super) fn arguments(&self) -> Vec<String> {
        match &self.given {
            Given::Switch(false) => Vec::new(),
            Given::Switch(true) => vec![format!("--{}", self.key)],
            Given::Values(values) => values.iter().map(|value| self.argument(value)).collect(),
        }
    }

    /// The same of one value.
    pub(super) fn argument(&self, value: &Value) -> String {
        format!("--{}={}", self.key, value.text)
    }
}

/// Reads the keys of a file, in the file's order, and tells what is wrong with it: values are not
/// checked yet for what they mean to their flags.
pub(super) fn read(text: &str, options: &Options) -> (Vec<Setting>, Vec<Fault>) {
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        // What was recovered is a guess, and so is what is said of the rest of a line.
        let mut faults: Vec<Fault> = errors.iter().map(|error| syntax(text, error)).collect();
        faults.sort_by_key(|fault| fault.at);
        faults.dedup_by_key(|fault| fault.at.line);
        return (Vec::new(), faults);
    }
    let mut reader = Reader { text, settings: Vec::new(), faults: Vec::new() };
    let mut entries: Vec<_> = table.get_ref().iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    for (key, value) in entries {
        if let Err(flaw) = reader.entry(key.get_ref(), reader.at(key), value, options) {
            reader.faults.push(flaw.at(reader.at(key)));
        }
    }
    (reader.settings, reader.faults)
}

fn syntax(text: &str, error: &toml::de::Error) -> Fault {
    let at = Position::of(text, error.span().map_or(0, |span| span.start));
    let words: Vec<&str> = error.message().lines().map(str::trim).collect();
    Flaw::Syntax(words.join(", ")).at(at)
}

impl Flaw {
    pub(super) fn at(self, at: Position) -> Fault {
        Fault { at, flaw: self }
    }
}

struct Reader<'a> {
    text: &'a str,
    settings: Vec<Setting>,
    faults: Vec<Fault>,
}

impl Reader<'_> {
    fn at<T>(&self, spanned: &Spanned<T>) -> Position {
        Position::of(self.text, spanned.span().start)
    }

    /// Takes a key and its value; the flaw that is returned is the key's.
    fn entry(
        &mut self,
        written: &str,
        at: Position,
        value: &Spanned<DeValue<'_>>,
        options: &Options,
    ) -> Result<(), Flaw> {
        let name = written.replace('_', "-");
        let Some(arg) = options.get(&name) else {
            return Err(Flaw::UnknownKey { key: written.to_owned(), near: options.nearest(&name) });
        };
        if let Some(Class::CommandLineOnly(reason)) = keys::known(&name).map(|key| key.class) {
            return Err(Flaw::CommandLineOnly { key: name, reason });
        }
        if let Some(first) = self.settings.iter().find(|setting| setting.key == name) {
            return Err(Flaw::Twice { key: name, first: first.at });
        }
        let given = if name == OUTPUT {
            Given::Values(self.outputs(value, options))
        } else if let (Takes::Switch, DeValue::Boolean(on)) = (keys::takes(arg), value.get_ref()) {
            Given::Switch(*on)
        } else {
            Given::Values(self.values(arg, value))
        };
        self.settings.push(Setting { key: name, at, given });
        Ok(())
    }

    fn values(&mut self, arg: &Arg, value: &Spanned<DeValue<'_>>) -> Vec<Value> {
        match value.get_ref() {
            DeValue::Array(elements) if keys::is_list(arg) => {
                elements.iter().filter_map(|element| self.value(arg, element)).collect()
            }
            _ => self.value(arg, value).into_iter().collect(),
        }
    }

    fn value(&mut self, arg: &Arg, value: &Spanned<DeValue<'_>>) -> Option<Value> {
        let at = self.at(value);
        let text = match (keys::takes(arg), value.get_ref()) {
            (Takes::Text | Takes::Word, DeValue::String(text)) => Some(text.as_ref().to_owned()),
            (Takes::Number, DeValue::Integer(number)) => decimal(number),
            // Some numbers are words: ports, VLANs.
            (Takes::Word, DeValue::Integer(number)) => decimal(number),
            _ => None,
        };
        if text.is_none() {
            self.faults.push(mistyped(arg, value.get_ref()).at(at));
        }
        Some(Value { text: text?, at })
    }

    /// Outputs are tables, or words as `--output` takes them.
    fn outputs(&mut self, value: &Spanned<DeValue<'_>>, options: &Options) -> Vec<Value> {
        let elements: Vec<_> = match value.get_ref() {
            DeValue::Array(elements) => elements.iter().collect(),
            _ => vec![value],
        };
        let mut values = Vec::new();
        for element in elements {
            let at = self.at(element);
            let told = match element.get_ref() {
                DeValue::String(text) => Ok(text.as_ref().to_owned()),
                DeValue::Table(table) => outputs::words(self.text, table, at, options),
                other => Err(vec![mistyped_output(other).at(at)]),
            };
            match told {
                Ok(text) => values.push(Value { text, at }),
                Err(faults) => self.faults.extend(faults),
            }
        }
        values
    }
}

fn mistyped(arg: &Arg, value: &DeValue<'_>) -> Flaw {
    Flaw::Type {
        key: keys::key_of(arg).to_owned(),
        takes: keys::takes(arg).words(keys::is_list(arg)),
        found: type_of(value),
    }
}

fn mistyped_output(value: &DeValue<'_>) -> Flaw {
    Flaw::Type {
        key: OUTPUT.to_owned(),
        takes: "tables ([[output]]) or text in quotes",
        found: type_of(value),
    }
}

/// The type of a value with its article.
pub(super) const fn type_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// A number as flags have it; they have no other base.
pub(super) fn decimal(number: &DeInteger<'_>) -> Option<String> {
    i64::from_str_radix(number.as_str(), number.radix()).ok().map(|number| number.to_string())
}
