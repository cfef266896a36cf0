//! Where a pipeline ends, before any thread is started.

use std::path::PathBuf;

use crate::{
    error::Error,
    sandbox::Plan,
    sink::{
        capture::{CaptureOptions, OpenCapture},
        destination::{Connector, directly},
        open::{Connectors, OpenOutput, OutputOptions, open_all},
        output::WhenFull,
        spec::Target,
        syslog,
    },
};

/// Where it is to end.
#[derive(Debug, Default)]
pub struct Sinks {
    /// Where events are written to.
    pub outputs: Vec<OutputOptions>,
    /// The capture file, if there is to be one.
    pub capture: Option<CaptureOptions>,
}

impl Sinks {
    /// Whether lines go into files, which logrotate may rename.
    #[must_use]
    pub fn have_files(&self) -> bool {
        self.outputs.iter().any(|output| matches!(output.target, Target::File(_)))
    }

    /// Opens all of them, by connections that this process makes.
    ///
    /// # Errors
    ///
    /// See [`Sinks::open_with`].
    pub fn open(self, when_full: WhenFull) -> Result<OpenSinks, Error> {
        self.open_with(Box::new(directly), when_full)
    }

    /// Opens all of them; `connector` makes the connections that are made later. All that needs rights is done then:
    /// files that are opened later are in [`OpenSinks::directories`].
    ///
    /// # Errors
    ///
    /// If a file cannot be written, or two outputs are one.
    pub fn open_with(
        self,
        connector: Box<Connector>,
        when_full: WhenFull,
    ) -> Result<OpenSinks, Error> {
        // A reload may ask for syslog.
        let _known_from_now_on = syslog::zone();
        let open = |capture| OpenCapture::open(capture, when_full);
        let keylog = self.capture.as_ref().and_then(|capture| capture.keylog.clone());
        let capture = self.capture.map(open).transpose()?;
        let connectors = Connectors { first: Some(&directly), later: &*connector };
        let outputs = open_all(self.outputs, connectors, when_full)?;
        Ok(OpenSinks { outputs, capture, keylog, connector, when_full })
    }
}

/// Where it ends, before any thread is started.
pub struct OpenSinks {
    pub(super) outputs: Vec<OpenOutput>,
    pub(super) capture: Option<OpenCapture>,
    /// Whose file is read as it grows.
    keylog: Option<PathBuf>,
    pub(super) connector: Box<Connector>,
    pub(super) when_full: WhenFull,
}

impl OpenSinks {
    /// Where files are made, renamed and removed later: by rotation, and to open one again.
    #[must_use]
    pub fn directories(&self) -> Vec<PathBuf> {
        let of_capture = self.capture.as_ref().and_then(OpenCapture::directory).map(Into::into);
        self.outputs.iter().filter_map(OpenOutput::directory).chain(of_capture).collect()
    }

    /// What the sandbox must leave for them: directories, the key log, threads.
    #[must_use]
    pub fn plan(&self) -> Plan {
        let mut plan = Plan { threads: true, ..Plan::default() };
        self.directories().iter().for_each(|directory| plan.writes_in(directory));
        self.keylog.iter().for_each(|keylog| plan.reads_again(keylog));
        plan
    }
}
