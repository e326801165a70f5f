//! Attaching and detaching links.

use fe2o3_amqp_types::definitions::{Handle, ReceiverSettleMode, Role, SenderSettleMode};
use fe2o3_amqp_types::messaging::{Source, Target, TargetArchetype, TerminusExpiryPolicy};
use fe2o3_amqp_types::performatives::{Attach, Detach, End};
use serde_amqp::primitives::{Array, Symbol};

use super::link::{Kind, Link, LinkEnd, Receiver, Sender};
use super::session::HANDLE_MAX;
use super::{Engine, Error};
use crate::amqp::frame;
use crate::mailbox::LinkKey;

/// `QD_CAPABILITY_ROUTER_CONTROL` in `src/amqp.c`.
const CONTROL: &str = "qd.router";
/// `QD_CAPABILITY_ROUTER_DATA`.
const DATA: &str = "qd.router-data";
/// `QD_CAPABILITY_STREAMING_DELIVERIES`.
const STREAMING: &str = "qd.streaming-deliveries";
/// Links of ended streams that are kept for the next ones (`max_free_pool` of the streaming link scrubber).
const IDLE_SENDERS: usize = 128;

impl Engine {
    /// The links that the connecting router makes: control both ways, one pair for whole messages.
    pub(super) fn attach_between_routers(&mut self) -> Result<(), Error> {
        for (kind, capability) in [(Kind::Control, CONTROL), (Kind::Data, DATA)] {
            let session = self.new_session()?;
            self.put_begin(session, None)?;
            let receiver = self.new_link(session, kind, None, LinkEnd::Receiver(Receiver::new(None, false)));
            self.put_attach(receiver, Some(capability))?;
            let sender = self.new_link(session, kind, None, LinkEnd::Sender(Sender::default()));
            self.put_attach(sender, Some(capability))?;
            self.use_link(kind, sender, false);
            self.use_link(kind, receiver, true);
        }
        Ok(())
    }

    /// A link and session for a stream; `None` when the peer grants no more sessions.
    pub(super) fn new_stream_link(&mut self) -> Result<Option<LinkKey>, Error> {
        if !self.has_channel() {
            return Ok(None);
        }
        let session = self.new_session()?;
        self.put_begin(session, None)?;
        let key = self.new_link(session, Kind::Stream, None, LinkEnd::Sender(Sender::default()));
        self.put_attach(key, None)?;
        Ok(Some(key))
    }

    fn use_link(&mut self, kind: Kind, key: LinkKey, incoming: bool) {
        match (kind, incoming) {
            (Kind::Control, true) => self.control_in = true,
            (Kind::Control, false) => self.control = Some(key),
            (Kind::Data, false) => self.data = self.data.or(Some(key)),
            _ => {}
        }
    }

    fn new_link(&mut self, session: u16, kind: Kind, name: Option<String>, end: LinkEnd) -> LinkKey {
        let place = self.free_links.pop().unwrap_or_else(|| {
            self.links.push(None);
            u32::try_from(self.links.len() - 1).unwrap_or(u32::MAX)
        });
        let key = LinkKey(place);
        let handle = self.session(session).map_or(0, |s| {
            s.ours.push(key);
            s.handle()
        });
        let name = name.unwrap_or_else(|| format!("qdlink.{}", self.core.unique()));
        self.links[place as usize] =
            Some(Link { name, session, handle, remote: None, kind, address: None, end });
        key
    }

    /// Puts our attach of a link that we begin.
    fn put_attach(&mut self, key: LinkKey, capability: Option<&str>) -> Result<(), Error> {
        let Some(link) = self.link(key) else { return Ok(()) };
        let capabilities = capability.map(|c| Array::from(vec![Symbol::from(c)]));
        let expiry_policy = TerminusExpiryPolicy::LinkDetach;
        let sender = link.sender().is_some();
        let attach = Attach {
            name: link.name.clone(),
            handle: Handle(link.handle),
            role: if sender { Role::Sender } else { Role::Receiver },
            snd_settle_mode: SenderSettleMode::Mixed,
            rcv_settle_mode: ReceiverSettleMode::First,
            source: Some(Box::new(Source {
                expiry_policy: expiry_policy.clone(),
                capabilities: capabilities.clone(),
                ..Source::default()
            })),
            target: Some(Box::new(TargetArchetype::Target(Target {
                expiry_policy,
                capabilities,
                ..Target::default()
            }))),
            unsettled: None,
            incomplete_unsettled: false,
            initial_delivery_count: sender.then_some(0),
            max_message_size: None,
            offered_capabilities: None,
            desired_capabilities: None,
            properties: None,
        };
        let channel = link.session;
        Ok(frame::put_performative(&mut self.head, frame::AMQP, channel, &attach)?)
    }

    pub(super) fn attach(&mut self, channel: u16, attach: Attach) -> Result<(), Error> {
        let ours = self.channel(channel)?;
        let Some(session) = self.session(ours) else { return Ok(()) };
        if session.by_handle(attach.handle.0).is_some() {
            return Err(Error::Protocol(format!("handle {} is in use", attach.handle.0)));
        }
        if attach.handle.0 > HANDLE_MAX {
            return Err(Error::Protocol(format!("handle {} is above {HANDLE_MAX}", attach.handle.0)));
        }
        session.gone.retain(|handle| *handle != attach.handle.0);
        let waiting = session.links();
        let sends = attach.role == Role::Sender;
        let answered = waiting.into_iter().find(|key| {
            self.links.get(key.0 as usize).and_then(Option::as_ref).is_some_and(|link| {
                link.remote.is_none() && link.name == attach.name && link.sender().is_some() != sends
            })
        });
        let handle = attach.handle.0;
        let key = match answered {
            Some(key) => key,
            None => self.attached_by_peer(ours, attach)?,
        };
        if let Some(session) = self.session(ours) {
            session.handles.push((handle, key));
        }
        if let Some(link) = self.link(key) {
            link.remote = Some(handle);
            if link.receiver().is_some() {
                self.put_link_flow(key, false);
            }
        }
        self.check_up();
        Ok(())
    }

    /// A link that the peer begins: ours is its other end.
    fn attached_by_peer(&mut self, ours: u16, mut attach: Attach) -> Result<LinkKey, Error> {
        let sends = attach.role == Role::Sender;
        let source = attach.source.get_or_insert_default();
        let mut kind = kind_of(source.capabilities.as_ref());
        let mut target_address = None;
        let mut streaming = false;
        if let Some(TargetArchetype::Target(target)) = attach.target.as_deref() {
            if kind == Kind::Endpoint {
                kind = kind_of(target.capabilities.as_ref());
            }
            target_address.clone_from(&target.address);
            streaming = has(target.capabilities.as_ref(), STREAMING);
        }
        if kind != Kind::Endpoint && !self.settings.inter_router {
            return Err(Error::Protocol("links between routers are not for clients".into()));
        }
        let end = if sends {
            LinkEnd::Receiver(Receiver::new(target_address, streaming))
        } else {
            LinkEnd::Sender(Sender::default())
        };
        let key = self.new_link(ours, kind, Some(attach.name.clone()), end);
        if !sends && kind == Kind::Endpoint && !self.settings.inter_router {
            self.subscribe(key, source);
        }
        self.use_link(kind, key, sends);
        let handle = self.link(key).map_or(0, |link| link.handle);
        attach.handle = Handle(handle);
        attach.role = if sends { Role::Receiver } else { Role::Sender };
        attach.initial_delivery_count = (!sends).then_some(0);
        attach.unsettled = None;
        attach.properties = None;
        frame::put_performative(&mut self.head, frame::AMQP, ours, &attach)?;
        Ok(key)
    }

    /// A client's receiver: it gets what goes to its address, which we make up when it asks so.
    fn subscribe(&mut self, key: LinkKey, source: &mut Source) {
        let address = if source.dynamic {
            let address = self.core.reply_to_link(&self.mailbox, key);
            source.address = Some(address.clone());
            Some(address)
        } else {
            let address = source.address.clone();
            if let Some(address) = &address {
                self.core.subscribe(address, self.settings.id, &self.mailbox, key);
            }
            address
        };
        if let Some(link) = self.link(key) {
            link.address = address;
        }
    }

    pub(super) fn detach(&mut self, channel: u16, detach: &Detach) -> Result<(), Error> {
        let ours = self.channel(channel)?;
        let Some(session) = self.session(ours) else { return Ok(()) };
        session.gone.retain(|handle| *handle != detach.handle.0);
        let Some(key) = session.by_handle(detach.handle.0) else { return Ok(()) };
        if let Some(error) = &detach.error {
            tracing::debug!(
                connection = self.settings.id,
                error = super::describe(error),
                "link detached by the peer"
            );
        }
        let Some(link) = self.link(key) else { return Ok(()) };
        let (handle, kind) = (link.handle, link.kind);
        let answer = Detach { handle: Handle(handle), closed: true, error: None };
        frame::put_performative(&mut self.head, frame::AMQP, ours, &answer)?;
        self.drop_link(key);
        if let Some(session) = self.session(ours) {
            session.gone.retain(|handle| *handle != detach.handle.0);
        }
        if kind == Kind::Stream {
            self.end_session(ours)?;
        }
        Ok(())
    }

    fn end_session(&mut self, ours: u16) -> Result<(), Error> {
        if let Some(session) = self.session(ours).filter(|s| !s.ended) {
            session.ended = true;
            frame::put_performative(&mut self.head, frame::AMQP, ours, &End { error: None })?;
        }
        Ok(())
    }

    /// A stream ended: its link waits for the next one, or goes when enough wait.
    pub(super) fn release(&mut self, key: LinkKey) -> Result<(), Error> {
        if self.idle_senders.len() < IDLE_SENDERS {
            self.idle_senders.push(key);
            return Ok(());
        }
        let Some(link) = self.link(key) else { return Ok(()) };
        let (channel, handle) = (link.session, link.handle);
        let detach = Detach { handle: Handle(handle), closed: true, error: None };
        frame::put_performative(&mut self.head, frame::AMQP, channel, &detach)?;
        self.drop_link(key);
        self.end_session(channel)
    }

    pub(super) fn drop_link(&mut self, key: LinkKey) {
        let Some(link) = self.links.get_mut(key.0 as usize).and_then(Option::take) else { return };
        self.free_links.push(key.0);
        if let Some(session) = self.session(link.session) {
            session.forget(key);
        }
        self.ready.retain(|k| *k != key);
        self.idle_senders.retain(|k| *k != key);
        if self.data == Some(key) {
            self.data = None;
        }
        if let Some(address) = &link.address {
            self.core.unsubscribe(address, self.settings.id, key);
        }
        let control = link.kind == Kind::Control;
        link.break_off();
        if control {
            self.control = self.control.filter(|k| *k != key);
            if self.up {
                self.up = false;
                self.core.neighbour_down(self.settings.id);
            }
        }
    }
}

fn kind_of(capabilities: Option<&Array<Symbol>>) -> Kind {
    if has(capabilities, CONTROL) {
        Kind::Control
    } else if has(capabilities, DATA) {
        Kind::Data
    } else {
        Kind::Endpoint
    }
}

fn has(capabilities: Option<&Array<Symbol>>, wanted: &str) -> bool {
    capabilities.is_some_and(|all| all.0.iter().any(|c| c.as_str() == wanted))
}
