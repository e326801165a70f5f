//! From a packet to its reply.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Instant;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, Record, RecordType};
use ipnetwork::IpNetwork;

use crate::configure::Settings;
use crate::corefile::Classes;
use crate::forward::{Forwarder, Outcome};
use crate::metrics::{Gauges, Metrics, Zone, code_name};
use crate::wire::{self, Packet, Reply, Request, Transport};
use crate::zone::{self, Answer, Index, Inside};

/// All that answers need.
#[derive(Debug)]
pub(crate) struct Server {
    index: RwLock<Index>,
    /// Whether the index has been filled once.
    synced: AtomicBool,
    /// Questions that are under way keep the one that they began with.
    forwarder: RwLock<Option<Arc<Forwarder>>>,
    pub(crate) metrics: Metrics,
    /// [`Classes`] of answers that are logged.
    log: AtomicU8,
    own_networks: Vec<IpNetwork>,
}

/// What becomes of a packet.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Nothing.
    Silence,
    /// The reply is written.
    Reply,
    /// Others must be asked.
    Later(Box<Later>),
}

/// A question that others have to answer, or to answer further.
#[derive(Debug)]
pub(crate) struct Later {
    request: Request,
    /// What is known already: the aliases that lead to `name`.
    inside: Option<Box<Inside>>,
    name: Name,
    forwarder: Arc<Forwarder>,
    came: Came,
}

/// From whom a packet came, and when.
#[derive(Debug, Clone, Copy)]
struct Came {
    peer: SocketAddr,
    at: Instant,
}

impl Server {
    pub(crate) fn new(index: Index, settings: Settings, own_networks: Vec<IpNetwork>) -> Self {
        let server = Self {
            index: RwLock::new(index),
            synced: AtomicBool::new(false),
            forwarder: RwLock::new(None),
            metrics: Metrics::default(),
            log: AtomicU8::new(0),
            own_networks,
        };
        server.configure(settings);
        server
    }

    /// What it logs and whom it asks from now on. With other resolvers it forgets what the former have said.
    pub(crate) fn configure(&self, settings: Settings) {
        self.log.store(settings.log.bits(), Ordering::Relaxed);
        let mut forwarder = self.forwarder.write().unwrap_or_else(PoisonError::into_inner);
        if forwarder.as_ref().map_or(&[][..], |forwarder| forwarder.upstreams()) != settings.upstreams {
            *forwarder = Forwarder::new(&settings.upstreams).map(Arc::new);
        }
    }

    fn forwarder(&self) -> Option<Arc<Forwarder>> {
        self.forwarder.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn logs(&self, code: ResponseCode, records: bool) -> bool {
        Classes::from_bits(self.log.load(Ordering::Relaxed)).has(Classes::of(code, records))
    }

    /// Changes the zone. Says whether an answer has changed.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Index) -> bool) -> bool {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut index);
        if changed {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            // The serial number goes round (RFC 1982).
            index.set_serial(now.unwrap_or_default().as_secs() as u32);
        }
        changed
    }

    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on it knows what there is.
    pub(crate) fn set_synced(&self) {
        self.synced.store(true, Ordering::Relaxed);
    }

    pub(crate) fn synced(&self) -> bool {
        self.synced.load(Ordering::Relaxed)
    }

    /// The services and the slices that it knows.
    pub(crate) fn counts(&self) -> (usize, usize) {
        self.index().counts()
    }

    /// Answers a packet, in `out`.
    pub(crate) fn respond(
        &self,
        packet: &[u8],
        transport: Transport,
        peer: SocketAddr,
        out: &mut Vec<u8>,
    ) -> Verdict {
        let came = Came { peer, at: Instant::now() };
        let request = match wire::read(packet, transport) {
            Packet::Noise => {
                self.metrics.noise();
                return Verdict::Silence;
            }
            Packet::Bad(reply) => {
                let code = reply.write(out);
                self.metrics.answered(Zone::Unknown, transport, None, code, came.at.elapsed());
                if self.logs(code, false) {
                    tracing::info!(target: "dns::query", "{peer} {} bad query {}", transport.name(), code_name(code));
                }
                return Verdict::Reply;
            }
            Packet::Request(request) => request,
        };
        let (name, kind) = (request.query.name(), request.query.query_type());
        let index = self.index();
        if !self.synced()
            && let Some(realm) = index.realm(name)
        {
            drop(index);
            let reply = request.reply(ResponseCode::ServFail);
            return self.reply(&request, reply, Zone::Ours(realm), came, out);
        }
        let answer = index.answer(name, kind);
        drop(index);
        match answer {
            Answer::Refused => {
                self.reply(&request, request.reply(ResponseCode::Refused), Zone::Unknown, came, out)
            }
            Answer::Outside => self.outside(request, came, out),
            Answer::Inside(mut inside) => {
                let others = inside
                    .chase
                    .as_ref()
                    .filter(|_| request.wants_recursion())
                    .and_then(|_| self.forwarder());
                match (inside.chase.take(), others) {
                    (Some(name), Some(forwarder)) => Verdict::Later(Box::new(Later {
                        request,
                        inside: Some(inside),
                        name,
                        forwarder,
                        came,
                    })),
                    _ => {
                        let zone = Zone::Ours(inside.realm);
                        self.reply(&request, self.inside(&request, *inside), zone, came, out)
                    }
                }
            }
        }
    }

    fn outside(&self, request: Request, came: Came, out: &mut Vec<u8>) -> Verdict {
        let forwarder = self.forwarder().filter(|_| !self.is_nobodys(request.query.name()));
        // Where nobody can be asked, the cluster's names are all that there are, and those above them. A refusal
        // would make resolvers try again.
        let code = match forwarder {
            Some(_) => ResponseCode::Refused,
            None if self.index().is_above(request.query.name()) => ResponseCode::NoError,
            None => ResponseCode::NXDomain,
        };
        match forwarder.filter(|_| request.wants_recursion()) {
            Some(forwarder) => {
                let name = request.query.name().clone();
                Verdict::Later(Box::new(Later { request, inside: None, name, forwarder, came }))
            }
            None => self.reply(&request, request.reply(code), Zone::Others, came, out),
        }
    }

    /// Whether it is that of an address which others cannot know: one of the cluster's, or one that every network
    /// has for itself. `ping` and `tcpdump` ask for them without being told to.
    fn is_nobodys(&self, name: &Name) -> bool {
        zone::reverse(name).is_some_and(|ip| {
            let ip = ip.to_canonical();
            let private = match ip {
                IpAddr::V4(ip) => {
                    let [first, second, ..] = ip.octets();
                    let shared = first == 100 && second & 0xc0 == 64;
                    ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() || shared
                }
                IpAddr::V6(ip) => {
                    ip.is_unique_local()
                        || ip.is_unicast_link_local()
                        || ip.is_loopback()
                        || ip.is_unspecified()
                }
            };
            private || self.own_networks.iter().any(|network| network.contains(ip))
        })
    }

    /// Asks others, then answers in `out`.
    pub(crate) async fn finish(&self, later: Later, out: &mut Vec<u8>) {
        let Later { request, inside, name, forwarder, came } = later;
        let zone = inside.as_ref().map_or(Zone::Others, |inside| Zone::Ours(inside.realm));
        let outcome = forwarder.resolve(&request, &name, &self.metrics).await;
        let mut reply = match inside {
            Some(inside) => self.inside(&request, *inside),
            None => request.reply(ResponseCode::NoError),
        };
        match outcome {
            Outcome::Answer(mut message) => {
                reply.metadata.response_code = message.metadata.response_code;
                reply.answers.append(&mut message.answers);
                reply.authorities.append(&mut message.authorities);
                reply.additionals.append(&mut message.additionals);
            }
            Outcome::Failed => reply.metadata.response_code = ResponseCode::ServFail,
        }
        self.reply(&request, reply, zone, came, out);
    }

    fn inside(&self, request: &Request, inside: Inside) -> Reply {
        let mut reply = request.reply(inside.code);
        reply.metadata.authoritative = true;
        reply.answers = inside.answers;
        rotate(&mut reply.answers, request.id());
        reply.authorities = inside.authorities;
        reply.additionals = inside.additionals;
        reply
    }

    fn reply(
        &self,
        request: &Request,
        mut reply: Reply,
        zone: Zone,
        came: Came,
        out: &mut Vec<u8>,
    ) -> Verdict {
        // Nobody has to go on asking elsewhere; bind's nslookup complains of a server that does not say so.
        reply.metadata.recursion_available = true;
        let code = reply.write(out);
        let took = came.at.elapsed();
        let (transport, query) = (request.transport, &request.query);
        self.metrics.answered(zone, transport, Some(query.query_type()), code, took);
        if self.logs(code, !reply.answers.is_empty()) {
            let (kind, name, peer) = (query.query_type(), query.name(), came.peer);
            tracing::info!(
                target: "dns::query",
                "{peer} {} {kind} {name} {} {} bytes {took:.0?}",
                transport.name(),
                code_name(code),
                out.len()
            );
        }
        Verdict::Reply
    }

    /// The counters as text.
    pub(crate) fn render_metrics(&self) -> String {
        let (cache_entries, cache_bytes) =
            self.forwarder().map_or((0, 0), |forwarder| forwarder.cache_size());
        let (services, slices) = self.counts();
        let origin = self.index().zone().to_string();
        let gauges = Gauges { services, slices, cache_entries, cache_bytes, synced: self.synced() };
        self.metrics.render(&origin, gauges)
    }
}

/// Several addresses take turns in being the first, for most clients take that one (as `CoreDNS` with
/// `loadbalance`).
fn rotate(answers: &mut [Record], id: u16) {
    let is_address = |record: &Record| matches!(record.record_type(), RecordType::A | RecordType::AAAA);
    let first = answers.iter().position(is_address).unwrap_or(answers.len());
    let addresses = &mut answers[first..];
    if !addresses.is_empty() {
        addresses.rotate_left(usize::from(id) % addresses.len());
    }
}
