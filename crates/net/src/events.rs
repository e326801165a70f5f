//! Word of links that come, change and go.

use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::{Handle, MulticastGroup};
use tokio::task::JoinHandle;

use crate::error::{Error, Result};

/// A subscription to a namespace's links.
///
/// The kernel drops events that nobody reads in time: take them for wake-ups, and look for yourself
/// now and then.
pub struct LinkEvents {
    events: BoxStream<'static, String>,
    // The connection ends with its last handle.
    _handle: Handle,
    connection: JoinHandle<()>,
}

impl std::fmt::Debug for LinkEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinkEvents").finish_non_exhaustive()
    }
}

impl Drop for LinkEvents {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl LinkEvents {
    /// Subscribes in the calling thread's namespace. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When netlink is not to be had.
    pub fn open() -> Result<Self> {
        let (connection, handle, messages) = rtnetlink::new_multicast_connection(&[MulticastGroup::Link])
            .map_err(|e| Error::sys("subscribe to links", e))?;
        let events = messages.filter_map(|(message, _)| {
            std::future::ready(match message.payload {
                NetlinkPayload::InnerMessage(
                    RouteNetlinkMessage::NewLink(link) | RouteNetlinkMessage::DelLink(link),
                ) => name(link),
                _ => None,
            })
        });
        Ok(Self { events: events.boxed(), _handle: handle, connection: tokio::spawn(connection) })
    }

    /// The name of the next link that came, changed or went; none when the subscription is over.
    /// Nothing is lost when this is dropped before it is ready.
    pub async fn next(&mut self) -> Option<String> {
        self.events.next().await
    }

    /// Passes over all that has been told so far, for who is going to look anyway.
    pub fn pass_over(&mut self) {
        while let Some(Some(_)) = self.next().now_or_never() {}
    }
}

fn name(link: LinkMessage) -> Option<String> {
    link.attributes.into_iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name),
        _ => None,
    })
}
