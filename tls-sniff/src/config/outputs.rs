//! `[[output]]` tables: each becomes the words of one `--output`.

use toml::de::{DeTable, DeValue};

use super::{
    document::{self, type_of},
    fault::{Fault, Flaw, Position},
    keys::{self, Options},
};

/// Where it goes to.
const TO: &str = "to";
/// What else an output has.
const OPTIONS: &[&str] = &["events", "profile", "format", "max-size", "max-age", "keep"];

/// `to`, then `,option=value` for each other key; of a list the values with `+` between them.
pub(super) fn words(
    text: &str,
    table: &DeTable<'_>,
    at: Position,
    options: &Options,
) -> Result<String, Vec<Fault>> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    let (mut to, mut rest, mut faults) = (None, String::new(), Vec::new());
    for (key, value) in entries {
        let name = key.get_ref().replace('_', "-");
        let place = Position::of(text, key.span().start);
        let value_place = Position::of(text, value.span().start);
        if name != TO && !OPTIONS.contains(&name.as_str()) {
            faults.push(unknown(key.get_ref(), &name, options).at(place));
            continue;
        }
        match word(&name, value.get_ref()) {
            Err(flaw) => faults.push(flaw.at(value_place)),
            Ok(word) if name == TO => to = Some(word),
            Ok(word) => rest += &format!(",{name}={word}"),
        }
    }
    match to {
        None => faults.push(Flaw::OutputToNowhere.at(at)),
        Some(to) if faults.is_empty() => return Ok(to + &rest),
        Some(_) => {}
    }
    Err(faults)
}

fn unknown(written: &str, name: &str, options: &Options) -> Flaw {
    if options.get(name).is_some() {
        return Flaw::BelowOutput { key: written.to_owned() };
    }
    let known = [TO].into_iter().chain(OPTIONS.iter().copied());
    let near = keys::nearest(name, known).map(str::to_owned);
    Flaw::UnknownOption { key: written.to_owned(), near }
}

fn word(name: &str, value: &DeValue<'_>) -> Result<String, Flaw> {
    let mistyped = |value: &DeValue<'_>| Flaw::Type {
        key: name.to_owned(),
        takes: "text in quotes, a whole number or a list",
        found: type_of(value),
    };
    match value {
        DeValue::String(text) => Ok(text.as_ref().to_owned()),
        DeValue::Integer(number) => document::decimal(number).ok_or_else(|| mistyped(value)),
        DeValue::Array(elements) if name != TO => {
            let words = elements.iter().map(|element| word(name, element.get_ref()));
            Ok(words.collect::<Result<Vec<_>, _>>()?.join("+"))
        }
        other => Err(mistyped(other)),
    }
}
