//! A configuration that is read again: what each of the two processes makes of it.

use std::{
    io::{self, IsTerminal as _},
    time::Duration,
};

use super::{load_options, pipeline_options};
use crate::{
    attacher::{self, Selection},
    config::Invocation,
    daemon,
    error::Error,
};

/// How long an expression may take, for all else goes on by the filters before. Names that have no name server that
/// answers take as long as that.
const PATIENCE: Duration = Duration::from_secs(15);

/// For the attacher, which reads the file: interfaces, hooks, programs, connections.
pub(super) fn for_attacher(invocation: Invocation, text: String) -> attacher::Reload {
    let read = move |old: &str| -> attacher::Reading {
        let (invocation, old) = (invocation.clone(), old.to_owned());
        Box::pin(async move { fresh(&invocation, &old).await })
    };
    attacher::Reload { text, read: Box::new(read) }
}

async fn fresh(invocation: &Invocation, old: &str) -> Result<attacher::Fresh, Error> {
    let text = invocation.text_again()?.unwrap_or_default();
    let cli = invocation.reload(old, &text)?.cli;
    let placed = |error: Error| error.placed(|key| invocation.place(Some(&text), key));
    let filter = cli.filter().map_err(placed)?;
    let expression = cli.expression_meanwhile(PATIENCE).await.map_err(placed)?;
    Ok(attacher::Fresh {
        selection: Selection::of(&cli.interface),
        attach: cli.attach_options(),
        load: load_options(&cli, filter, expression),
        outputs: cli.outputs(false),
        log_level: cli.log_level(),
        text,
    })
}

/// For the daemon, which is given the text: events, outputs.
pub(super) fn for_daemon(invocation: Invocation, text: String) -> daemon::Follow {
    let terminal = io::stdout().is_terminal();
    let read = move |old: &str, text: &str| {
        let reload = invocation.reload(old, text)?;
        let cli = reload.cli;
        Ok(daemon::Fresh {
            // The kernel knows the networks, and here no file can be read.
            pipeline: pipeline_options(&cli, cli.filter_of_records()),
            outputs: cli.outputs(terminal),
            stats_interval: cli.stats_interval.map(Duration::from_secs),
            log_level: cli.log_level(),
            changed: reload.changed,
        })
    };
    daemon::Follow { text, read: Box::new(read) }
}
