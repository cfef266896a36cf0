//! The attacher's work: load, attach, follow the interfaces, answer the daemon.
//!
//! ```text
//!          ┌ the daemon asks, or has ended ──► counters | new programs | detach, and the end
//!  select ─┼ the configuration is read ──► new programs in the place of the old ones
//!          ┼ the connector has ended ──► another one, whose socket the daemon gets
//!          └ link change ──► compare interfaces with what is attached
//! ```

mod reload;

use std::{
    collections::BTreeMap,
    io,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use super::{
    Options, Selection,
    connecting::Connecting,
    peers::Peers,
    process,
    protocol::{Channel, Counters, Failure, Loaded, NAMES_AT_ONCE, Report, Request},
    reload::Reloader,
};
use crate::{
    attach::Attacher,
    error::Error,
    interfaces::{Interface, Interfaces},
    load::{self, KernelCounters, LoadOptions, Programs},
    privilege,
};

/// How often links are looked at, at most: each look takes the lock of all interfaces (rtnl).
const LINKS: Duration = Duration::from_secs(5);

/// The attacher's end of the socket.
type Daemon = Channel<Report, Request>;

/// From the first look at privileges until the daemon's end.
///
/// # Errors
///
/// If there is no way to talk to the daemon. What else fails, the daemon is told.
pub(super) async fn run(socket: OwnedFd, connector: OwnedFd, options: Options) -> io::Result<()> {
    let daemon = Channel::new(socket)?;
    if let Err(error) = live(&daemon, connector, options).await {
        // Where the daemon itself has ended nobody hears it, and nobody needs to.
        let _nobody = daemon.send(&Report::Failed(Failure::of(&error)), None).await;
    }
    Ok(())
}

async fn live(daemon: &Daemon, connector: OwnedFd, options: Options) -> Result<(), Error> {
    privilege::check()?;
    let mut interfaces = Interfaces::open()?;
    let found = interfaces.list().await?;
    options.selection.check(&found)?;
    let sees_twice = options.selection.sees_twice(&found);

    let asked_ring_len = options.load.ring_len;
    let load_options = with_room(options.load);
    let (mut programs, loaded) = load(&load_options, sees_twice)?;
    let ring = programs.ring_fd()?.try_clone_to_owned().map_err(unheard)?;
    daemon.send(&Report::Loaded(loaded), Some(&ring)).await.map_err(unheard)?;
    drop(ring);
    let reloader = Reloader::new(
        options.reload,
        options.selection.clone(),
        options.attach,
        asked_ring_len,
        load_options,
        programs.shared_maps()?,
    );
    let counters = programs.take_counters()?;
    let mut watch = Watch {
        daemon,
        selection: options.selection,
        reloader,
        connecting: Connecting::new(connector),
        attacher: Attacher::new(programs, options.attach),
        links_seen: Instant::now(),
        named: BTreeMap::new(),
        refused: BTreeMap::new(),
    };
    let lived = watch.live(&found, &options.peers, &mut interfaces, &counters).await;
    watch.attacher.detach_all();
    if lived? == Next::Detach {
        daemon.send(&Report::Detached(read(&counters)), None).await.map_err(unheard)?;
    }
    Ok(())
}

/// With a ring that holds two of the largest events.
fn with_room(mut options: LoadOptions) -> LoadOptions {
    let (asked, least) = (options.ring_len, options.least_ring_len());
    if asked < least {
        tracing::warn!(
            "--ring-bytes {asked} has no room for two of the largest events; it is {least} now"
        );
        options.ring_len = least;
    }
    options
}

fn load(options: &LoadOptions, sees_twice: bool) -> Result<(Programs, Loaded), Error> {
    #[cfg_attr(not(feature = "kernel-log"), expect(unused_mut, reason = "for the feature"))]
    let mut programs = load::load(options)?;
    #[cfg(feature = "kernel-log")]
    crate::kernel_log::forward(&mut programs);
    let packets = options.snaplen > 0;
    Ok((programs, Loaded { ring_len: options.ring_len, packets, sees_twice }))
}

fn read(counters: &KernelCounters) -> Counters {
    let blocks = counters.read().map_err(|error| error.to_string())?;
    Ok(blocks.map(|(_, block)| block))
}

fn unheard(source: io::Error) -> Error {
    Error::Process { what: "talk to the daemon", source }
}

/// How it goes on behind a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// As before.
    Watch,
    /// With what a reload asks for.
    Reload(Request),
    /// With the end, and the last counters.
    Detach,
    /// With the end: the daemon has ended.
    End,
}

/// Answers what is answered at once.
async fn answer(
    request: Option<Request>,
    daemon: &Daemon,
    counters: &KernelCounters,
) -> Result<Next, Error> {
    match request {
        None => Ok(Next::End),
        Some(Request::Detach) => Ok(Next::Detach),
        Some(request @ (Request::Reload | Request::Again | Request::Undo)) => {
            Ok(Next::Reload(request))
        }
        Some(Request::Counters) => {
            let report = Report::Counters(read(counters));
            daemon.send(&report, None).await.map_err(unheard)?;
            Ok(Next::Watch)
        }
    }
}

/// The next request; `None` at the daemon's end.
async fn asked(daemon: &Daemon) -> Result<Option<Request>, Error> {
    Ok(daemon.receive().await.map_err(unheard)?.map(|(request, _)| request))
}

/// A run in progress.
struct Watch<'a> {
    daemon: &'a Daemon,
    selection: Selection,
    reloader: Reloader,
    connecting: Connecting,
    attacher: Attacher,
    /// When all links were last looked at.
    links_seen: Instant,
    /// The names that the daemon knows.
    named: BTreeMap<u32, String>,
    /// Interfaces that could not be attached, as they were then: tried again when they have changed.
    refused: BTreeMap<u32, Interface>,
}

impl Watch<'_> {
    /// Attaches, and follows the interfaces until the daemon asks for the end or has ended.
    async fn live(
        &mut self,
        found: &[Interface],
        peers: &Peers,
        interfaces: &mut Interfaces,
        counters: &KernelCounters,
    ) -> Result<Next, Error> {
        let daemon = self.daemon;
        {
            let first = self.attach_first(found, interfaces);
            tokio::pin!(first);
            loop {
                tokio::select! {
                    biased;
                    request = asked(daemon) => {
                        match answer(request?, daemon, counters).await? {
                            // The daemon asks for that once it has heard that all is attached.
                            Next::Watch | Next::Reload(_) => {}
                            end => return Ok(end),
                        }
                    }
                    attached = &mut first => break attached?,
                }
            }
        }
        process::confine().map_err(|error| Error::Process {
            what: "drop the attacher's capabilities",
            source: io::Error::other(error),
        })?;
        self.serve_outputs(peers)?;
        self.tell(&Report::Watching).await?;
        loop {
            tokio::select! {
                biased;
                request = asked(daemon) => {
                    match answer(request?, daemon, counters).await? {
                        // It has asked for the counters.
                        Next::Watch => {
                            if self.has_lost_links() {
                                self.reconcile(interfaces).await?;
                            }
                        }
                        Next::Reload(request) => self.reload(request).await?,
                        end => return Ok(end),
                    }
                }
                // The old programs see all until then, also on interfaces that appear meanwhile.
                fresh = self.reloader.read() => self.follow(fresh).await?,
                socket = self.connecting.again() => {
                    daemon.send(&Report::Connector, Some(&socket)).await.map_err(unheard)?;
                }
                () = interfaces.changed() => self.reconcile(interfaces).await?,
            }
        }
    }

    /// Whether somebody has detached a link. The kernel does not tell, so it is looked at now and then.
    fn has_lost_links(&mut self) -> bool {
        if self.links_seen.elapsed() < LINKS {
            return false;
        }
        self.links_seen = Instant::now();
        self.attacher.has_lost_links()
    }

    /// Has outputs connected from now on, if there are any that are sockets.
    fn serve_outputs(&mut self, peers: &Peers) -> Result<(), Error> {
        let serve = self.connecting.serve(peers);
        serve.map_err(|source| Error::Process { what: "have outputs connected", source })
    }

    async fn tell(&self, report: &Report) -> Result<(), Error> {
        self.daemon.send(report, None).await.map_err(unheard)
    }

    /// Tells the names of interfaces, unless the daemon knows them: ahead of their first events.
    async fn tell_names(
        &mut self,
        interfaces: impl Iterator<Item = &Interface>,
    ) -> Result<(), Error> {
        let unknown = |it: &&Interface| self.named.get(&it.index) != Some(&it.name);
        let new: Vec<(u32, String)> =
            interfaces.filter(unknown).map(|it| (it.index, it.name.clone())).collect();
        for names in new.chunks(NAMES_AT_ONCE) {
            self.tell(&Report::Names(names.to_vec())).await?;
        }
        self.named.extend(new);
        Ok(())
    }

    /// Tells that nothing comes from an interface any more.
    async fn tell_gone(&mut self, index: u32) -> Result<(), Error> {
        match self.named.remove(&index) {
            Some(_) => self.tell(&Report::Gone(index)).await,
            None => Ok(()),
        }
    }

    /// Attaches to what is wanted. A named interface must succeed, of `any` at least one.
    async fn attach_first(
        &mut self,
        found: &[Interface],
        interfaces: &Interfaces,
    ) -> Result<(), Error> {
        let selection = self.selection.clone();
        let wanted = || found.iter().filter(|interface| selection.wants(interface));
        self.tell_names(wanted()).await?;
        let mut reasons = Vec::new();
        for interface in wanted() {
            match self.attacher.attach(interface, interfaces.netlink()).await {
                Ok(()) => {}
                Err(error) if selection == Selection::Any => {
                    reasons.push(error.to_string());
                    tracing::warn!("{error}");
                    self.refuse(interface).await?;
                }
                Err(error) => return Err(error.into()),
            }
            // The kernel takes some 20 ms for each link: the daemon's end is not to wait for hundreds of them.
            tokio::task::yield_now().await;
        }
        if self.attacher.names().is_empty() {
            return Err(Error::NothingToWatch { reasons });
        }
        Ok(())
    }

    async fn refuse(&mut self, interface: &Interface) -> Result<(), Error> {
        self.refused.insert(interface.index, interface.clone());
        self.tell_gone(interface.index).await
    }

    /// Makes what is attached agree with what there is. What fails is said and tried again at the next
    /// change: a run of months does not end because a list could not be had once.
    async fn reconcile(&mut self, interfaces: &Interfaces) -> Result<(), Error> {
        let found = match interfaces.list().await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!("{error}");
                return Ok(());
            }
        };
        let exists = |index: u32| found.iter().any(|interface| interface.index == index);
        self.refused.retain(|index, _| exists(*index));
        // An interface that is only down, or has another name now, keeps its programs.
        let gone: Vec<u32> = self.attacher.indices().filter(|index| !exists(*index)).collect();
        for index in gone {
            self.forget(index).await?;
        }
        self.has_lost_links();
        let lost = self.attacher.let_go_of_lost(interfaces.netlink()).await;
        for interface in &found {
            if self.attacher.watches(interface.index) {
                self.attacher.rename(interface);
                self.tell_names(std::iter::once(interface)).await?;
            } else if lost.contains(&interface.index) {
                // Also one that has another name by now than it was asked for by.
                let name = &interface.name;
                tracing::warn!("{name}: somebody removed tls-sniff's programs; attaching again");
                self.attach_later(interface, interfaces).await?;
            } else if self.selection.wants(interface)
                && self.refused.get(&interface.index) != Some(interface)
            {
                self.attach_later(interface, interfaces).await?;
            }
        }
        Ok(())
    }

    /// Attaches to an interface that has appeared or come up.
    async fn attach_later(
        &mut self,
        interface: &Interface,
        interfaces: &Interfaces,
    ) -> Result<(), Error> {
        self.tell_names(std::iter::once(interface)).await?;
        match self.attacher.attach(interface, interfaces.netlink()).await {
            Ok(()) => drop(self.refused.remove(&interface.index)),
            // It may have gone between the list and the attempt.
            Err(error) => {
                tracing::warn!("{error}");
                self.refuse(interface).await?;
            }
        }
        Ok(())
    }

    /// Drops an interface that is gone.
    async fn forget(&mut self, index: u32) -> Result<(), Error> {
        let Some(name) = self.attacher.detach(index) else { return Ok(()) };
        self.tell_gone(index).await?;
        tracing::info!("{name} is gone");
        if self.attacher.names().is_empty() {
            tracing::warn!("no interface is left to watch; waiting for one to appear");
        }
        Ok(())
    }
}
