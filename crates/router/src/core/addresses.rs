//! Which address is served here, and by whom.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Instant;

use api::router_config::Distribution;

use super::Core;
use crate::address::{Destination, destination};
use crate::control::Routes;
use crate::mailbox::{LinkKey, Mailbox};
use crate::service::{Service, Waiting};

/// A destination of an address on this router.
#[derive(Debug, Clone)]
pub(super) enum Local {
    /// A TCP server.
    Connector(Rc<Service>),
    /// A client's link.
    Link { connection: u64, mailbox: Rc<Mailbox>, key: LinkKey, outstanding: Rc<Cell<u32>> },
}

impl Local {
    pub(super) fn outstanding(&self) -> &Rc<Cell<u32>> {
        match self {
            Self::Connector(service) => &service.outstanding,
            Self::Link { outstanding, .. } => outstanding,
        }
    }
}

/// Who waits for what goes to an address that we made up.
#[derive(Debug)]
pub(super) enum Reply {
    /// A TCP client, for the stream from its server.
    Client(Rc<Waiting>),
    /// A client's link.
    Link(Rc<Mailbox>, LinkKey),
}

impl Core {
    /// An address of ours for a client's link.
    pub(crate) fn reply_to_link(&self, mailbox: &Rc<Mailbox>, key: LinkKey) -> String {
        let name = format!("temp.{}", self.unique());
        self.replies.borrow_mut().insert(name.clone(), Reply::Link(Rc::clone(mailbox), key));
        format!("amqp:/_topo/{}/{name}", self.node)
    }

    /// An address of ours for the stream back to a TCP client; it lives until [`Core::forget_reply`].
    pub(crate) fn reply_to_client(&self, waiting: &Rc<Waiting>) -> (String, String) {
        let name = format!("temp.{}", self.unique());
        self.replies.borrow_mut().insert(name.clone(), Reply::Client(Rc::clone(waiting)));
        (format!("amqp:/_topo/{}/{name}", self.node), name)
    }

    pub(crate) fn forget_reply(&self, name: &str) {
        self.replies.borrow_mut().remove(name);
    }

    pub(crate) fn subscribe(&self, address: &str, connection: u64, mailbox: &Rc<Mailbox>, key: LinkKey) {
        let local = Local::Link { connection, mailbox: Rc::clone(mailbox), key, outstanding: Rc::default() };
        self.add_local(address, local);
    }

    pub(crate) fn unsubscribe(&self, address: &str, connection: u64, key: LinkKey) {
        if let Destination::Local(name) = destination(address, &self.id) {
            self.forget_reply(name);
            return;
        }
        self.remove_local(
            address,
            |local| matches!(local, Local::Link { connection: c, key: k, .. } if *c == connection && *k == key),
        );
    }

    pub(crate) fn serve(&self, service: &Rc<Service>) {
        self.add_local(&service.address, Local::Connector(Rc::clone(service)));
    }

    pub(crate) fn unserve(&self, service: &Rc<Service>) {
        self.remove_local(
            &service.address,
            |local| matches!(local, Local::Connector(s) if Rc::ptr_eq(s, service)),
        );
    }

    fn add_local(&self, address: &str, local: Local) {
        self.locals.borrow_mut().entry(mobile(address, &self.id)).or_default().push(local);
        self.locals_changed();
    }

    fn remove_local(&self, address: &str, is: impl Fn(&Local) -> bool) {
        let address = mobile(address, &self.id);
        let mut locals = self.locals.borrow_mut();
        if let Some(all) = locals.get_mut(&address) {
            all.retain(|local| !is(local));
            if all.is_empty() {
                locals.remove(&address);
                self.choosers.borrow_mut().remove(&address);
            }
        }
        drop(locals);
        self.locals_changed();
    }

    fn locals_changed(&self) {
        let locals: BTreeMap<String, Distribution> = self
            .locals
            .borrow()
            .keys()
            .map(|address| (address.clone(), self.distribution(address)))
            .collect();
        self.control.borrow_mut().set_local(&locals, Instant::now());
        self.drain_control();
        self.addresses_changed.notify_waiters();
    }

    pub(super) fn distribution(&self, address: &str) -> Distribution {
        let distributions = self.distributions.borrow();
        api::router_config::distribution(&distributions.0, address).unwrap_or(distributions.1)
    }

    /// Whether anybody serves an address, here or on a router that can be reached.
    pub(crate) fn is_served(&self, address: &str) -> bool {
        let address = mobile(address, &self.id);
        let routes = self.routes.borrow();
        self.locals.borrow().contains_key(&address)
            || routes
                .addresses
                .get(&address)
                .is_some_and(|all| all.iter().any(|r| routes.nodes.contains_key(r)))
    }

    pub(crate) fn with_routes<T>(&self, look: impl FnOnce(&Routes) -> T) -> T {
        look(&self.routes.borrow())
    }

    pub(crate) fn local_addresses(&self) -> BTreeMap<String, usize> {
        self.locals.borrow().iter().map(|(address, all)| (address.clone(), all.len())).collect()
    }
}

fn mobile(address: &str, id: &str) -> String {
    match destination(address, id) {
        Destination::Mobile(address) => address.to_owned(),
        _ => address.to_owned(),
    }
}
