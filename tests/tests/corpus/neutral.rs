//! tls-sniff's events in the neutral rows of the corpus (its truth.py documents them): numbers for names.

use std::{collections::HashMap, fmt::Display};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tls_sniff::tls::{
    names::{
        AlertDescription, AlertLevel, CipherSuite, ExtensionType, NamedGroup, ProtocolVersion,
        SignatureScheme, is_grease,
    },
    ssl2::CipherSpec,
};

/// The numbers of names, made from the program's own tables.
pub(crate) struct Numbers {
    versions: HashMap<String, u32>,
    suites: HashMap<String, u32>,
    extensions: HashMap<String, u32>,
    groups: HashMap<String, u32>,
    schemes: HashMap<String, u32>,
    levels: HashMap<String, u32>,
    descriptions: HashMap<String, u32>,
}

fn table<T: Display>(
    numbers: impl Iterator<Item = u32>,
    name: impl Fn(u32) -> T,
) -> HashMap<String, u32> {
    numbers.map(|number| (name(number).to_string(), number)).collect()
}

fn of_u16<T: Display>(name: impl Fn(u16) -> T) -> HashMap<String, u32> {
    table(0..=0xffff, |number| name(number.try_into().unwrap()))
}

impl Numbers {
    pub(crate) fn new() -> Self {
        let ssl2 = [0x01_0080, 0x02_0080, 0x03_0080, 0x04_0080, 0x05_0080, 0x06_0040, 0x07_00c0];
        let mut suites = of_u16(CipherSuite);
        suites.extend(table(ssl2.into_iter(), CipherSpec));
        Self {
            versions: of_u16(ProtocolVersion),
            suites,
            extensions: of_u16(ExtensionType),
            groups: of_u16(NamedGroup),
            schemes: of_u16(SignatureScheme),
            levels: table(0..=255, |level| AlertLevel(level.try_into().unwrap())),
            descriptions: table(0..=255, |code| AlertDescription(code.try_into().unwrap())),
        }
    }

    /// The row of an event, if it has one.
    pub(crate) fn row(&self, event: &Value) -> Result<Option<Value>> {
        let fields = match event["event"].as_str() {
            Some("client_hello") => self.client_hello(event)?,
            Some("server_hello") => self.server_hello(event)?,
            Some("certificate") => certificate(event),
            Some("alert") => self.alert(event)?,
            _ => None,
        };
        let Some(Value::Object(mut row)) = fields else { return Ok(None) };
        for (name, field) in [
            ("kind", "event"),
            ("src", "source_address"),
            ("sport", "source_port"),
            ("dst", "destination_address"),
            ("dport", "destination_port"),
        ] {
            row.insert(name.to_owned(), event[field].clone());
        }
        Ok(Some(Value::Object(row)))
    }

    fn client_hello(&self, event: &Value) -> Result<Option<Value>> {
        let extensions = numbers(&self.extensions, &event["extensions"])?;
        let offered = numbers(&self.versions, &event["offered_versions"])?;
        let grease = |version: &u32| is_grease((*version).try_into().unwrap());
        let versions: Vec<u32> = if extensions.contains(&43) {
            offered.into_iter().filter(|version| !grease(version)).collect()
        } else {
            Vec::new()
        };
        Ok(Some(json!({
            "legacy_version": number(&self.versions, &event["legacy_version"])?,
            "versions": versions,
            "sni": event["sni"],
            "alpn": event["alpn"].as_array().cloned().unwrap_or_default(),
            "ciphers": numbers(&self.suites, &event["cipher_suites"])?,
            "extensions": extensions,
            "groups": numbers(&self.groups, &event["supported_groups"])?,
            "sigalgs": numbers(&self.schemes, &event["signature_algorithms"])?,
            "ja3": event["ja3"],
            "ja4": event["ja4"],
        })))
    }

    fn server_hello(&self, event: &Value) -> Result<Option<Value>> {
        Ok(Some(json!({
            "version": number(&self.versions, &event["version"])?,
            "cipher": number(&self.suites, &event["cipher_suite"])?,
            "hrr": event["hello_retry_request"],
            "extensions": numbers(&self.extensions, &event["extensions"])?,
            "ja3s": event["ja3s"],
        })))
    }

    fn alert(&self, event: &Value) -> Result<Option<Value>> {
        if event["level"].is_null() {
            return Ok(None);
        }
        Ok(Some(json!({
            "level": number(&self.levels, &event["level"])?,
            "description": number(&self.descriptions, &event["description"])?,
        })))
    }
}

/// The first certificate; a message without one has no row.
fn certificate(event: &Value) -> Option<Value> {
    let first = event["certificates"].get(0)?;
    Some(json!({ "serial": first["serial"], "sha256": first["sha256"] }))
}

fn number(names: &HashMap<String, u32>, name: &Value) -> Result<Option<u32>> {
    let Some(name) = name.as_str() else { return Ok(None) };
    let unknown = || u32::from_str_radix(name.trim_start_matches("0x"), 16).ok();
    let number = names.get(name).copied().or_else(unknown);
    number.map(Some).with_context(|| format!("{name} has no number"))
}

fn numbers(names: &HashMap<String, u32>, list: &Value) -> Result<Vec<u32>> {
    let items = list.as_array().into_iter().flatten();
    items.map(|item| number(names, item)?.context("a name")).collect()
}
