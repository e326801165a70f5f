//! The cluster's names, ready to be asked for.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use hickory_proto::rr::Name;

use super::entry::{Entry, ServiceNames, Slice, lower};
use super::objects::{EndpointSlice, Namespace, Service};
use super::question::{is_above_reverse, text};

/// A zone's name that cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("zone {zone:?}: {why}")]
pub struct BadZone {
    zone: String,
    why: String,
}

/// The records of a zone. Cheap to change: an object touches its own names only.
#[derive(Debug)]
pub struct Index {
    pub(super) zone: Name,
    /// Lower case, without the final dot.
    pub(super) zone_text: Box<str>,
    /// The addresses of `ns.dns.<zone>`.
    pub(super) name_servers: Box<[IpAddr]>,
    pub(super) serial: u32,
    namespaces: HashMap<Box<str>, Inhabitants>,
    /// By `<service>.<namespace>`.
    entries: HashMap<Arc<str>, Entry>,
    /// The key of each slice's service, by `<namespace>/<slice>`.
    slices: HashMap<Box<str>, Arc<str>>,
    /// The keys of the services that have an address.
    service_addresses: HashMap<IpAddr, Vec<Arc<str>>>,
    /// The keys of the services behind which an address is; as often as it is there.
    endpoint_addresses: HashMap<IpAddr, Vec<Arc<str>>>,
}

#[derive(Debug, Default)]
struct Inhabitants {
    /// Whether there is a Namespace of that name.
    itself: bool,
    services: usize,
}

impl Index {
    /// An empty zone, as `cluster.local`, with the addresses at which others reach its name server, as
    /// those of the service `kube-dns`; there may be none.
    ///
    /// # Errors
    /// A zone that is no name, or the root.
    pub fn new(zone: &str, name_servers: &[IpAddr]) -> Result<Self, BadZone> {
        let bad = |why: &str| BadZone { zone: zone.into(), why: why.into() };
        let mut name = Name::from_ascii(zone).map_err(|error| bad(&error.to_string()))?;
        name.set_fqdn(true);
        if name.is_root() {
            return Err(bad("the root cannot be a cluster's zone"));
        }
        Ok(Self {
            zone_text: text(&name).into(),
            zone: name,
            name_servers: name_servers.into(),
            serial: 1,
            namespaces: HashMap::new(),
            entries: HashMap::new(),
            slices: HashMap::new(),
            service_addresses: HashMap::new(),
            endpoint_addresses: HashMap::new(),
        })
    }

    /// The zone's name.
    #[must_use]
    pub fn zone(&self) -> &Name {
        &self.zone
    }

    /// Whether a name has names of the cluster below it, or may have, and none itself: `local`, `in-addr.arpa`. To say
    /// that it does not exist would be to say that of those too (RFC 8020).
    #[must_use]
    pub fn is_above(&self, name: &Name) -> bool {
        name.zone_of(&self.zone) || is_above_reverse(&text(name))
    }

    /// Says when the zone last changed, for its SOA record: seconds since 1970.
    pub fn set_serial(&mut self, serial: u32) {
        self.serial = serial;
    }

    /// How many services and slices there are.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.entries.values().filter(|entry| entry.service.is_some()).count(), self.slices.len())
    }

    /// Whether there is nothing in the zone.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
            && self.namespaces.is_empty()
            && self.slices.is_empty()
            && self.service_addresses.is_empty()
            && self.endpoint_addresses.is_empty()
    }

    /// A namespace that is new or changed. Says whether that changes an answer.
    pub fn put_namespace(&mut self, namespace: &Namespace) -> bool {
        let name = lower(namespace.metadata.name.as_deref());
        !std::mem::replace(&mut self.namespaces.entry(name.into()).or_default().itself, true)
    }

    /// A namespace that is gone.
    pub fn delete_namespace(&mut self, name: &str) -> bool {
        self.inhabitants(&name.to_ascii_lowercase(), |there| std::mem::replace(&mut there.itself, false))
    }

    /// A service that is new or changed. Says whether that changes an answer.
    pub fn put_service(&mut self, service: &Service) -> bool {
        let names = ServiceNames::of(service);
        let namespace = lower(service.metadata.namespace.as_deref());
        let key = self.key(&lower(service.metadata.name.as_deref()), &namespace);
        let entry = self.entries.entry(key.clone()).or_default();
        if entry.service.as_ref() == Some(&names) {
            return false;
        }
        let addresses: Box<[IpAddr]> = names.leads_to.addresses().into();
        match entry.service.replace(names) {
            Some(old) => forget(&mut self.service_addresses, &key, old.leads_to.addresses()),
            None => self.namespaces.entry(namespace.into()).or_default().services += 1,
        }
        remember(&mut self.service_addresses, &key, &addresses);
        true
    }

    /// A service that is gone.
    pub fn delete_service(&mut self, namespace: &str, name: &str) -> bool {
        let (namespace, name) = (namespace.to_ascii_lowercase(), name.to_ascii_lowercase());
        let key = self.key(&name, &namespace);
        let Some(old) = self.entries.get_mut(&key).and_then(|entry| entry.service.take()) else {
            return false;
        };
        forget(&mut self.service_addresses, &key, old.leads_to.addresses());
        self.drop_if_empty(&key);
        self.inhabitants(&namespace, |there| there.services -= 1);
        true
    }

    /// A slice that is new or changed. Says whether that changes an answer.
    pub fn put_slice(&mut self, slice: &EndpointSlice) -> bool {
        let namespace = lower(slice.metadata.namespace.as_deref());
        let name = lower(slice.metadata.name.as_deref());
        let label: Box<str> = format!("{namespace}/{name}").into();
        // One without a service is behind none.
        let key = slice.service().map(|service| self.key(&service.to_ascii_lowercase(), &namespace));
        let mut changed = false;
        if self.slices.get(&label) != key.as_ref() {
            changed = self.remove_slice(&label, &name);
        }
        let Some(key) = key else { return changed };
        let new = Slice::of(slice);
        let slices = &mut self.entries.entry(key.clone()).or_default().slices;
        let at = slices.binary_search_by(|(there, _)| (**there).cmp(name.as_str()));
        let new_ips: Vec<IpAddr> = new.endpoints.iter().map(|endpoint| endpoint.ip).collect();
        match at {
            Ok(at) if slices[at].1 == new => return changed,
            Ok(at) => {
                let old = std::mem::replace(&mut slices[at].1, new);
                forget(&mut self.endpoint_addresses, &key, old.endpoints.iter().map(|old| &old.ip));
            }
            Err(at) => {
                slices.reserve_exact(1);
                slices.insert(at, (name.into(), new));
                self.slices.insert(label, key.clone());
            }
        }
        remember(&mut self.endpoint_addresses, &key, &new_ips);
        true
    }

    /// A slice that is gone.
    pub fn delete_slice(&mut self, namespace: &str, name: &str) -> bool {
        let (namespace, name) = (namespace.to_ascii_lowercase(), name.to_ascii_lowercase());
        self.remove_slice(&format!("{namespace}/{name}"), &name)
    }

    fn remove_slice(&mut self, label: &str, name: &str) -> bool {
        let Some(key) = self.slices.remove(label) else { return false };
        let Some(entry) = self.entries.get_mut(&key) else { return false };
        let Ok(at) = entry.slices.binary_search_by(|(there, _)| (**there).cmp(name)) else { return false };
        let (_, old) = entry.slices.remove(at);
        forget(&mut self.endpoint_addresses, &key, old.endpoints.iter().map(|old| &old.ip));
        self.drop_if_empty(&key);
        true
    }

    /// Deletes the namespaces that are not `there`, as after reading all. Says whether that changes an
    /// answer.
    pub fn retain_namespaces(&mut self, there: impl Fn(&str) -> bool) -> bool {
        let names = self.namespaces.iter().filter(|(_, inhabitants)| inhabitants.itself);
        let gone: Vec<_> = names.map(|(name, _)| name.clone()).filter(|name| !there(name)).collect();
        gone.iter().filter(|name| self.delete_namespace(name)).count() > 0
    }

    /// Deletes the services whose namespace and name are not `there`.
    pub fn retain_services(&mut self, there: impl Fn(&str, &str) -> bool) -> bool {
        let services = self.entries.iter().filter(|(_, entry)| entry.service.is_some());
        let names = services.map(|(key, _)| split(key));
        let gone: Vec<_> = names.filter(|(name, namespace)| !there(namespace, name)).map(owned).collect();
        gone.iter().filter(|(name, namespace)| self.delete_service(namespace, name)).count() > 0
    }

    /// Deletes the slices whose namespace and name are not `there`.
    pub fn retain_slices(&mut self, there: impl Fn(&str, &str) -> bool) -> bool {
        let names = self.slices.keys().filter_map(|label| label.split_once('/'));
        let gone: Vec<_> = names.filter(|(namespace, name)| !there(namespace, name)).map(owned).collect();
        gone.iter().filter(|(namespace, name)| self.delete_slice(namespace, name)).count() > 0
    }

    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// Whether there is a Namespace of that name, or a service in it.
    pub(super) fn has_namespace(&self, name: &str) -> bool {
        self.namespaces.contains_key(name)
    }

    pub(super) fn services_at(&self, ip: IpAddr) -> &[Arc<str>] {
        self.service_addresses.get(&ip).map_or(&[], Vec::as_slice)
    }

    pub(super) fn services_before(&self, ip: IpAddr) -> &[Arc<str>] {
        self.endpoint_addresses.get(&ip).map_or(&[], Vec::as_slice)
    }

    /// The key of a service, shared with what is known of it already.
    fn key(&self, name: &str, namespace: &str) -> Arc<str> {
        let key = format!("{name}.{namespace}");
        self.entries.get_key_value(key.as_str()).map_or_else(|| key.as_str().into(), |(key, _)| key.clone())
    }

    fn drop_if_empty(&mut self, key: &str) {
        if self.entries.get(key).is_some_and(Entry::is_empty) {
            self.entries.remove(key);
        }
    }

    fn inhabitants<T: Default>(&mut self, name: &str, change: impl FnOnce(&mut Inhabitants) -> T) -> T {
        let Some(there) = self.namespaces.get_mut(name) else { return T::default() };
        let said = change(there);
        if !there.itself && there.services == 0 {
            self.namespaces.remove(name);
        }
        said
    }
}

/// The service's name and namespace in a key.
pub(super) fn split(key: &str) -> (&str, &str) {
    key.rsplit_once('.').unwrap_or((key, ""))
}

fn owned((a, b): (&str, &str)) -> (String, String) {
    (a.into(), b.into())
}

fn remember(map: &mut HashMap<IpAddr, Vec<Arc<str>>>, key: &Arc<str>, ips: &[IpAddr]) {
    for ip in ips {
        let keys = map.entry(*ip).or_default();
        keys.reserve_exact(1);
        let at = keys.partition_point(|there| there < key);
        keys.insert(at, key.clone());
    }
}

fn forget<'a>(
    map: &mut HashMap<IpAddr, Vec<Arc<str>>>,
    key: &Arc<str>,
    ips: impl IntoIterator<Item = &'a IpAddr>,
) {
    for ip in ips {
        let Some(keys) = map.get_mut(ip) else { continue };
        if let Ok(at) = keys.binary_search(key) {
            keys.remove(at);
        }
        if keys.is_empty() {
            map.remove(ip);
        }
    }
}
