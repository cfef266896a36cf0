//! docs/events.schema.json: what every line of the native profile must be.

use std::sync::OnceLock;

use anyhow::{Context as _, Result, bail};
use jsonschema::Validator;
use serde_json::Value;

use crate::workspace_root;

fn validator() -> Result<&'static Validator> {
    static VALIDATOR: OnceLock<Validator> = OnceLock::new();
    if let Some(validator) = VALIDATOR.get() {
        return Ok(validator);
    }
    let path = workspace_root().join("docs/events.schema.json");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let schema: Value = serde_json::from_str(&text).context("the schema is JSON")?;
    let validator = jsonschema::draft202012::new(&schema).context("the schema is one")?;
    Ok(VALIDATOR.get_or_init(|| validator))
}

/// Compares an event with the schema.
///
/// # Errors
///
/// If it is none: the event, and each place where it differs.
pub fn check(event: &Value) -> Result<()> {
    let validator = validator()?;
    let mut differences = validator.iter_errors(event).peekable();
    if differences.peek().is_none() {
        return Ok(());
    }
    let told: Vec<String> =
        differences.map(|error| format!("{}: {error}", error.instance_path())).collect();
    bail!("{event}\nis no event:\n{}", told.join("\n"))
}
