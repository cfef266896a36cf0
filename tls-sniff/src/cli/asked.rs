//! What the options ask for together, checked as far as that needs no privileges.

use std::time::Duration;

use super::Cli;
use crate::{
    error::Error,
    filter::{PacketFilter, explain::Explanation, expression::Expression},
    sink::{capture::CaptureOptions, open::OutputOptions},
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
    pub(crate) explanation: String,
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
        Ok(Self { outputs, capture, filter, expression, explanation })
    }
}
