//! The flags of outputs.

use clap::Args;

use super::Format;
use crate::{
    observation::EventKind,
    sink::{
        Form,
        json::Profile,
        open::OutputOptions,
        spec::{LineFormat, OutputSpec, Target},
    },
};

/// Where events go.
#[derive(Debug, Args)]
#[command(next_help_heading = "Outputs")]
pub(crate) struct OutputFlags {
    /// Write events there, and to stdout only if that is one of them (repeatable): stdout, file:PATH,
    /// unix:PATH, unixgram:PATH, syslog, syslog:unix:PATH, syslog+tcp:HOST:PORT; behind it
    /// ,events=handshake+alert ,profile=zeek ,format=text; of files ,max-size=100MiB ,max-age=1d
    /// ,keep=7; of syslog ,facility=local0 ,app-name=NAME. A comma in a path is written \,
    #[arg(long = "output", value_name = "SPEC")]
    outputs: Vec<OutputSpec>,
}

impl OutputFlags {
    /// Whether any is given.
    pub(crate) const fn is_empty(&self) -> bool {
        self.outputs.is_empty()
    }

    /// Whether stdout is one of them.
    pub(crate) fn has_stdout(&self) -> bool {
        self.outputs.iter().any(|spec| spec.target == Target::Stdout)
    }

    /// What is asked for; without `--output` stdout, if `format` asks for something there. `format`: of what is a
    /// terminal or not; `events`: those of a form, unless an output says so itself.
    pub(crate) fn options(
        &self,
        profile: Option<Profile>,
        format: impl Fn(bool) -> Format,
        events: impl Fn(Form) -> Vec<EventKind>,
        terminal: bool,
    ) -> Vec<OutputOptions> {
        if self.outputs.is_empty() {
            let form = match format(terminal) {
                Format::Text => Form::Text,
                Format::Json => Form::Json(profile.unwrap_or_default()),
                Format::None => return Vec::new(),
            };
            return vec![OutputOptions::stdout(form, events(form))];
        }
        let options = |spec: &OutputSpec| {
            let format = match format(terminal && spec.target == Target::Stdout) {
                Format::Text => LineFormat::Text,
                Format::Json | Format::None => LineFormat::Json,
            };
            let form = spec.form(profile, format);
            spec.options(form, events(form))
        };
        self.outputs.iter().map(options).collect()
    }
}
