//! A connection by rtnetlink, and answers that are whole.
//!
//! A connection that ends, as that of rtnetlink does on any error of its socket, ends what it was answering as if that
//! were all: a list is empty then, and no interface is there. Here it is an error.

use std::{future::Future, io, time::Duration};

use futures_util::{StreamExt as _, stream::BoxStream};
use rtnetlink::{Error, Handle, MulticastGroup};
use tokio::{task::AbortHandle, time::timeout};

/// How long the kernel may take to answer. It does so in milliseconds, but what confirms a request is lost if
/// notifications fill the socket just then.
const ANSWER: Duration = Duration::from_secs(10);

/// A connection. It ends when this is dropped.
pub struct Netlink {
    handle: Handle,
    connection: AbortHandle,
}

impl Netlink {
    /// Opens one, and tells what changes in these groups: an item for each notification, and the end of the connection.
    /// Must run inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// If there is no netlink socket to be had.
    pub(crate) fn open(groups: &[MulticastGroup]) -> io::Result<(Self, BoxStream<'static, ()>)> {
        let (connection, handle, changes) = rtnetlink::new_multicast_connection(groups)?;
        let connection = tokio::spawn(connection).abort_handle();
        Ok((Self { handle, connection }, changes.map(drop).boxed()))
    }

    /// Makes requests.
    pub(crate) const fn handle(&self) -> &Handle {
        &self.handle
    }

    /// The whole answer to a request of [`Self::handle`].
    ///
    /// # Errors
    ///
    /// Those of the request, or that it failed, if no answer comes or the connection has ended.
    pub(crate) async fn answer<T>(
        &self,
        request: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let answer = timeout(ANSWER, request).await.unwrap_or(Err(Error::RequestFailed));
        if self.connection.is_finished() { Err(Error::RequestFailed) } else { answer }
    }

    #[cfg(test)]
    pub(crate) fn end(&self) {
        self.connection.abort();
    }
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.connection.abort();
    }
}
