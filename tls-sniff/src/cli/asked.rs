//! What the options ask for together, checked as far as that needs no privileges.

use std::{
    io::{self, Write},
    path::Path,
    time::Duration,
};

use clap::ValueEnum as _;

use super::Cli;
use crate::{
    error::Error,
    filter::{PacketFilter, explain::Explanation, expression::Expression},
    metrics::Address,
    sink::{Form, capture::CaptureOptions, open::OutputOptions, spec::Target},
};

/// How long an expression may take before anything runs: libpcap takes long for long lists, and name servers that do not
/// answer for names.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a run, and `check-config`, make of the options.
pub(crate) struct Asked {
    pub(crate) outputs: Vec<OutputOptions>,
    pub(crate) capture: Option<CaptureOptions>,
    pub(crate) filter: PacketFilter,
    pub(crate) expression: Option<Expression>,
    /// In words, what is selected and where.
    explanation: String,
    metrics: Option<Address>,
}

impl Asked {
    /// `terminal`: whether stdout is one.
    ///
    /// # Errors
    ///
    /// If a file of networks, the expression or the capture's name cannot be used.
    pub(crate) fn of(cli: &Cli, terminal: bool) -> Result<Self, Error> {
        let outputs = cli.outputs(terminal);
        let filter = cli.filter()?;
        let (handshakes, events) = (cli.handshakes(), cli.events());
        let expression = cli.expression(PATIENCE)?;
        let explanation = Explanation {
            expression: expression.as_ref().map(Expression::text),
            filter: &filter,
            handshakes: &handshakes,
            events: if outputs.is_empty() { &[] } else { &events },
        };
        let capture = cli.capture.options(explanation.in_one_line());
        let explanation = explanation.to_string();
        let metrics = cli.metrics.options().map(|metrics| metrics.address);
        Ok(Self { outputs, capture, filter, expression, explanation, metrics })
    }

    /// Says in words what is selected and where it goes; `note`: what else is to be said of an output.
    ///
    /// # Errors
    ///
    /// If `out` takes it no more.
    pub(crate) fn explain(
        &self,
        out: &mut impl Write,
        note: impl Fn(&Target) -> Option<&'static str>,
    ) -> io::Result<()> {
        write!(out, "{}", self.explanation)?;
        writeln!(out, "Where it goes:")?;
        for output in &self.outputs {
            let note = note(&output.target).unwrap_or_default();
            writeln!(out, "  {}{note}", place(output))?;
        }
        if let Some(capture) = &self.capture {
            let stdout = capture.path == Path::new("-");
            let path = if stdout { Path::new("stdout") } else { &capture.path };
            writeln!(out, "  packets to {}", path.display())?;
        }
        if let Some(address) = &self.metrics {
            writeln!(out, "  metrics at {address}")?;
        }
        if self.outputs.is_empty() && self.capture.is_none() {
            writeln!(out, "  neither events nor packets go anywhere")?;
        }
        Ok(())
    }
}

/// An output in words: form, target, events.
fn place(output: &OutputOptions) -> String {
    let form = match output.form {
        Form::Text => "text".to_owned(),
        Form::Json(profile) => {
            let profile = profile.to_possible_value();
            format!("JSON lines ({})", profile.as_ref().map_or("", |it| it.get_name()))
        }
    };
    let kinds = output.kinds();
    let events = output.events.iter().filter(|kind| kinds.contains(**kind));
    let events: Vec<&str> = events.map(|kind| kind.as_str()).collect();
    format!("{form} to {}: {}", output.target, events.join(", "))
}
