//! The HTTP server, on a thread of its own.
//!
//! ```text
//!  scraper ─► hyper ─► request ─► channel ─► the daemon's loop, between two batches of events
//!                  ◄── text ◄──── snapshot ◄──┘
//! ```
//!
//! The loop is asked, so that a quiet run has no wake-ups and the pipeline shares nothing; it does not wait for the
//! answer to be taken. A scraper that is slow or hostile costs its own connection: at most [`CONNECTIONS`] are open, and
//! another one ends the oldest; each has [`CONNECTION_LIMIT`]; the loop is asked once in [`FRESH`], however many scrape.

use std::{
    collections::VecDeque,
    convert::Infallible,
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    runtime::Runtime,
    sync::{mpsc, oneshot},
    task::AbortHandle,
    time::timeout,
};

use super::{
    Address, MetricsError, Snapshot,
    exposition::{self, Format},
    process::Process,
    snapshot::Scrape,
};

/// Connections that are open at once.
const CONNECTIONS: usize = 16;

/// How long one may be open, from its first byte to its last.
const CONNECTION_LIMIT: Duration = Duration::from_secs(10);

/// How long the head of its request may take.
const HEAD_LIMIT: Duration = Duration::from_secs(5);

/// Bytes of that.
const HEAD_LEN: usize = 8192;

/// How long the loop has for its answer. Then the last one is served again, and its age with it.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// How long an answer is good for others too.
const FRESH: Duration = Duration::from_millis(250);

/// How long accepting rests when it fails, as for want of file descriptors.
const REST: Duration = Duration::from_millis(100);

pub(super) const HELP: &str =
    "tls-sniff: /metrics is for Prometheus, /healthz for who asks whether it watches\n";

type Answer = Response<Full<Bytes>>;

/// A server that listens and does not answer yet. Made before the sandbox is entered, which lets nobody open
/// a socket or a file.
#[derive(Debug)]
pub struct Listening {
    listener: TcpListener,
    address: SocketAddr,
    runtime: Unused,
    process: Process,
}

/// A runtime that is made in another one, and may be dropped there if it was never used.
#[derive(Debug)]
struct Unused(Option<Runtime>);

impl Drop for Unused {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // Its own `drop` waits, and panics where nothing may wait.
            runtime.shutdown_background();
        }
    }
}

impl Listening {
    /// Listens.
    ///
    /// # Errors
    ///
    /// If the address cannot be had, or the system refuses what the thread will need.
    pub fn at(address: &Address) -> Result<Self, MetricsError> {
        let refused = |source| MetricsError::Listen { address: address.clone(), source };
        let listener = address.listen().map_err(refused)?;
        let bound = listener.local_addr().map_err(refused)?;
        let failed = |what| move |source| MetricsError::Process { what, source };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed("start a runtime"))?;
        let process = Process::open().map_err(failed("read /proc/self/stat"))?;
        Ok(Self { listener, address: bound, runtime: Unused(Some(runtime)), process })
    }

    /// Where it listens: the port that the system chose, if 0 was asked for.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts to answer, with what is asked for by the returned channel.
    ///
    /// # Errors
    ///
    /// If there is no thread to be had.
    pub fn start(self) -> Result<Scrapes, MetricsError> {
        let Self { listener, address, mut runtime, process } = self;
        let (ask, asked) = mpsc::channel(1);
        let server =
            Server { ask, process, turn: tokio::sync::Mutex::default(), last: Mutex::default() };
        thread::Builder::new()
            .name("metrics".to_owned())
            .spawn(move || {
                if let Some(runtime) = runtime.0.take() {
                    runtime.block_on(serve(listener, Arc::new(server)));
                }
            })
            .map_err(|source| MetricsError::Process { what: "start the thread", source })?;
        tracing::info!("metrics at http://{address}/metrics");
        if !address.ip().is_loopback() {
            tracing::info!(
                "metrics are for everybody who reaches {address}: they have no password"
            );
        }
        Ok(Scrapes(asked))
    }
}

/// The scrapes that wait for a snapshot.
#[derive(Debug)]
pub struct Scrapes(mpsc::Receiver<oneshot::Sender<Snapshot>>);

/// A scrape that waits.
#[derive(Debug)]
#[must_use]
pub struct Waiting(oneshot::Sender<Snapshot>);

impl Scrapes {
    /// The next one; never, if no more can come.
    pub async fn next(&mut self) -> Waiting {
        match self.0.recv().await {
            Some(waiting) => Waiting(waiting),
            None => std::future::pending().await,
        }
    }
}

impl Waiting {
    /// Answers, without waiting.
    pub fn answer(self, snapshot: Snapshot) {
        // A scraper that has gone is no loss.
        drop(self.0.send(snapshot));
    }
}

struct Server {
    ask: mpsc::Sender<oneshot::Sender<Snapshot>>,
    process: Process,
    /// One asks at a time.
    turn: tokio::sync::Mutex<()>,
    last: Mutex<Option<Arc<Snapshot>>>,
}

async fn serve(listener: TcpListener, server: Arc<Server>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!("metrics are not served: {error}"),
    };
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // One that is gone before it was accepted is the peer's doing, and all others pass.
                tracing::debug!("a connection for metrics was not accepted: {error}");
                tokio::time::sleep(REST).await;
                continue;
            }
        };
        open.retain(|connection| !connection.is_finished());
        if open.len() >= CONNECTIONS
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
        }
        let server = server.clone();
        let connection = tokio::spawn(async move {
            let answer = service_fn(|request| {
                let server = server.clone();
                async move { Ok::<_, Infallible>(server.answer(&request).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_LIMIT)
                .max_buf_size(HEAD_LEN)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), answer);
            // How it ends is the scraper's affair.
            drop(timeout(CONNECTION_LIMIT, connection).await);
        });
        open.push_back(connection.abort_handle());
    }
}

impl Server {
    async fn answer(&self, request: &Request<Incoming>) -> Answer {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n".to_owned());
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        match request.uri().path() {
            "/metrics" => {
                let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
                self.metrics(Format::accepted(accept)).await
            }
            "/healthz" => self.health().await,
            "/" => text(StatusCode::OK, HELP.to_owned()),
            _ => text(StatusCode::NOT_FOUND, HELP.to_owned()),
        }
    }

    async fn metrics(&self, format: Format) -> Answer {
        let snapshot = match self.snapshot().await {
            Ok(fresh) => fresh,
            Err(why) => match self.last() {
                Some(last) => last,
                None => return unavailable(why),
            },
        };
        let scrape = Arc::new(Scrape { snapshot, process: self.process.usage() });
        let Ok(exposition) = exposition::encode(scrape, format) else {
            return text(StatusCode::INTERNAL_SERVER_ERROR, "not to be written\n".to_owned());
        };
        let mut answer = text(StatusCode::OK, exposition);
        let kind = HeaderValue::from_static(format.content_type());
        answer.headers_mut().insert(CONTENT_TYPE, kind);
        answer
    }

    async fn health(&self) -> Answer {
        match self.snapshot().await {
            Err(why) => unavailable(why),
            Ok(snapshot) if snapshot.now.interfaces == 0 => {
                unavailable("no interface is watched: none is there, or none can be attached to")
            }
            Ok(_) => text(StatusCode::OK, "ok\n".to_owned()),
        }
    }

    /// A snapshot that is fresh, or why there is none. Who comes while another one waits waits for the same.
    async fn snapshot(&self) -> Result<Arc<Snapshot>, &'static str> {
        let asked = timeout(ANSWER_LIMIT, async {
            let _turn = self.turn.lock().await;
            if let Some(fresh) = self.last().filter(|last| last.made.elapsed() < FRESH) {
                return Some(fresh);
            }
            let (reply, replied) = oneshot::channel();
            self.ask.send(reply).await.ok()?;
            let snapshot = Arc::new(replied.await.ok()?);
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(snapshot.clone());
            Some(snapshot)
        });
        match asked.await {
            Ok(Some(snapshot)) => Ok(snapshot),
            Ok(None) => Err("the run is at its end"),
            Err(_) => {
                Err("the pipeline did not answer in 2 s: it is stuck, or this host is overloaded")
            }
        }
    }

    fn last(&self) -> Option<Arc<Snapshot>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn unavailable(why: &str) -> Answer {
    text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n"))
}

fn text(status: StatusCode, body: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
