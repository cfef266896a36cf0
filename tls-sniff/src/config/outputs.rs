//! `[[output]]` tables: each becomes the words of one `--output`.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    document::{self, type_of},
    fault::{Fault, Flaw, Position},
    keys::Options,
};
use crate::{nearest::nearest, sink::spec::OutputSpec};

/// Where an output goes to; all else are its options.
pub(super) const TO: &str = "to";

/// The `--output` that a table stands for, in its words.
pub(super) fn words(
    text: &str,
    table: &DeTable<'_>,
    at: Position,
    options: &Options,
) -> Result<String, Vec<Fault>> {
    let mut reader = Reader { text, faults: Vec::new() };
    let to = table.get(TO);
    if to.is_none() {
        reader.faults.push(Flaw::OutputToNowhere.at(at));
    }
    let mut spec = to.and_then(|to| reader.target(to));
    let mut entries: Vec<_> = table.iter().filter(|(key, _)| key.get_ref() != TO).collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    for (key, value) in entries {
        let name = key.get_ref().replace('_', "-");
        let known = OutputSpec::OPTIONS.iter().any(|option| option.name == name);
        if !known {
            reader.fault(key, unknown(key.get_ref(), &name, options));
        } else if let Some(word) = reader.word(&name, value)
            && let Some(spec) = &mut spec
            && let Err(error) = spec.set(&name, &word)
        {
            reader.fault(value, reason(error));
        }
    }
    match spec.map(|spec| spec.check().map(|()| spec.to_string())) {
        Some(Ok(words)) if reader.faults.is_empty() => return Ok(words),
        Some(Err(error)) if reader.faults.is_empty() => reader.faults.push(reason(error).at(at)),
        _ => {}
    }
    Err(reader.faults)
}

struct Reader<'a> {
    text: &'a str,
    faults: Vec<Fault>,
}

impl Reader<'_> {
    fn fault<T>(&mut self, place: &Spanned<T>, flaw: Flaw) {
        self.faults.push(flaw.at(Position::of(self.text, place.span().start)));
    }

    fn target(&mut self, value: &Spanned<DeValue<'_>>) -> Option<OutputSpec> {
        let flaw = match value.get_ref() {
            DeValue::String(to) => match OutputSpec::to(to) {
                Ok(spec) => return Some(spec),
                Err(error) => reason(error),
            },
            other => mistyped(TO, "text in quotes", other),
        };
        self.fault(value, flaw);
        None
    }

    /// A value as the flag would have it: of a list the words with `+` between them.
    fn word(&mut self, name: &str, value: &Spanned<DeValue<'_>>) -> Option<String> {
        if name == "events" && value.get_ref().as_array().is_some_and(|it| it.is_empty()) {
            self.fault(value, Flaw::OutputOfNothing);
            return None;
        }
        let word = match value.get_ref() {
            DeValue::String(text) => Some(text.as_ref().to_owned()),
            DeValue::Integer(number) => document::decimal(number),
            DeValue::Array(elements) => {
                let words = elements.iter().map(|element| element.get_ref().as_str());
                words.collect::<Option<Vec<_>>>().map(|words| words.join("+"))
            }
            _ => None,
        };
        if word.is_none() {
            let takes = "text in quotes, a whole number or a list of texts";
            self.fault(value, mistyped(name, takes, value.get_ref()));
        }
        word
    }
}

fn reason(error: impl ToString) -> Flaw {
    Flaw::Value { key: document::OUTPUT.to_owned(), reason: error.to_string() }
}

fn mistyped(name: &str, takes: &'static str, value: &DeValue<'_>) -> Flaw {
    Flaw::Type { key: name.to_owned(), takes, found: type_of(value) }
}

fn unknown(written: &str, name: &str, options: &Options) -> Flaw {
    if options.get(name).is_some() {
        return Flaw::BelowOutput { key: written.to_owned() };
    }
    let names = OutputSpec::OPTIONS.iter().map(|option| option.name);
    let near = nearest(name, [TO].into_iter().chain(names)).map(str::to_owned);
    Flaw::UnknownOption { key: written.to_owned(), near }
}
