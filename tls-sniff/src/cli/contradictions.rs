//! Flags that contradict each other in a way that clap cannot tell.

use std::path::Path;

use super::{Cli, Format, Hook, XdpHow};
use crate::{
    attach::IngressHook,
    observation::EventKind,
    sink::{
        Form,
        json::Profile,
        open::check_targets,
        place::{is_renamed_to, is_same_file},
        spec::Target,
    },
};

impl Cli {
    /// The first contradiction, in one line that names the flags.
    pub(crate) fn contradiction(&self) -> Option<String> {
        self.check().and_then(|()| self.check_outputs()).err()
    }

    fn check(&self) -> Result<(), String> {
        let refuse = |message: &str| Err(message.to_owned());
        if matches!(self.format, Some(Format::Text | Format::None)) && self.json_profile.is_some() {
            return refuse("--json-profile is for JSON, not for --format text or none");
        }
        if self.tap && matches!(self.hook, Some(Hook::Tc)) {
            return refuse("--tap drops packets at XDP: --hook tc does not go with it");
        }
        if self.tap && self.interface.iter().any(|name| name == "any") {
            return refuse(
                "--tap needs the interface by its name: with `any` this host would hear nothing more",
            );
        }
        if self.xdp_mode != XdpHow::Auto && self.attach_options().ingress != IngressHook::Xdp {
            return refuse(
                "--xdp-mode is of the XDP program, which there is with --hook xdp or --tap",
            );
        }
        let takes_stdout = if self.output.is_empty() {
            self.format(true) != Format::None
        } else {
            self.output.has_stdout()
        };
        if self.capture.to_stdout() && takes_stdout {
            return refuse(
                "stdout is taken by the capture of `-w -`: events need --format none, or another --output",
            );
        }
        // libpcap would ask the DNS for a host of that name.
        let expression = self.filters.expression();
        if Path::new("/sys/class/net").join(&expression).is_dir() && !expression.is_empty() {
            return refuse(&format!("{expression} is an interface: -i {expression} watches it"));
        }
        if self.format == Some(Format::None) && self.capture.write.is_none() && !self.explain {
            return refuse("--format none leaves nothing to write: it goes with -w");
        }
        if self.format == Some(Format::None) && !self.output.is_empty() {
            return refuse("--format none and --output contradict each other");
        }
        if self.filters.asks_messages_of_other_records() {
            return refuse(
                "--handshake and --hello-version are of --content handshake, not of others",
            );
        }
        if let (Some(read), Some(written)) = (&self.read, &self.capture.write)
            && is_same_file(read, written)
        {
            return refuse("-w would overwrite the file that -r reads");
        }
        Ok(())
    }

    /// Outputs against each other and against other flags.
    fn check_outputs(&self) -> Result<(), String> {
        let outputs = self.outputs(false);
        let capture = self.capture.options(String::new());
        check_targets(&outputs).map_err(|error| error.to_string())?;
        for output in &outputs {
            if let Target::File(path) = &output.target {
                if self.read.as_ref().is_some_and(|read| is_same_file(read, path)) {
                    return Err(
                        "an --output would be written into the file that -r reads".to_owned()
                    );
                }
                if capture.as_ref().is_some_and(|capture| capture.may_write(path)) {
                    return Err("an --output would be written into the capture of -w".to_owned());
                }
                let others = [("-w writes", &self.capture.write), ("-r reads", &self.read)];
                for (uses, other) in others {
                    if let Some(other) = other
                        && output.rotation.is_asked()
                        && is_renamed_to(path, other)
                    {
                        let (target, other) = (&output.target, other.display());
                        return Err(format!(
                            "--output {target} is renamed to {other}, which {uses}"
                        ));
                    }
                }
            }
            let native = matches!(output.form, Form::Text | Form::Json(Profile::Native));
            if !native && !output.events.contains(&EventKind::Handshake) {
                let target = &output.target;
                return Err(format!(
                    "only --json-profile native has other --events than handshake: {target} has another"
                ));
            }
        }
        Ok(())
    }
}
