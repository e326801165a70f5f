//! From a packet to its reply.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::Instant;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, Record, RecordType};

use crate::forward::{Forwarder, Outcome};
use crate::metrics::{Gauges, Metrics, Zone, code_name};
use crate::wire::{self, Packet, Reply, Request, Transport};
use crate::zone::{Answer, Index, Inside};

/// All that answers need.
#[derive(Debug)]
pub(crate) struct Server {
    index: RwLock<Index>,
    /// Whether the index has been filled once.
    synced: AtomicBool,
    forwarder: Option<Forwarder>,
    pub(crate) metrics: Metrics,
    log_queries: bool,
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
    came: Came,
}

/// From whom a packet came, and when.
#[derive(Debug, Clone, Copy)]
struct Came {
    peer: SocketAddr,
    at: Instant,
}

impl Server {
    pub(crate) fn new(index: Index, forwarder: Option<Forwarder>, log_queries: bool) -> Self {
        Self {
            index: RwLock::new(index),
            synced: AtomicBool::new(false),
            forwarder,
            metrics: Metrics::default(),
            log_queries,
        }
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
                if self.log_queries {
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
            Answer::Inside(mut inside) => match inside.chase.take().filter(|_| self.asks_others(&request)) {
                Some(name) => Verdict::Later(Box::new(Later { request, inside: Some(inside), name, came })),
                None => {
                    let zone = Zone::Ours(inside.realm);
                    self.reply(&request, self.inside(&request, *inside), zone, came, out)
                }
            },
        }
    }

    fn asks_others(&self, request: &Request) -> bool {
        self.forwarder.is_some() && request.wants_recursion()
    }

    fn outside(&self, request: Request, came: Came, out: &mut Vec<u8>) -> Verdict {
        if self.asks_others(&request) {
            let name = request.query.name().clone();
            return Verdict::Later(Box::new(Later { request, inside: None, name, came }));
        }
        // Where nobody can be asked, the cluster's names are all that there are. A refusal would make
        // resolvers try again.
        let alone = self.forwarder.is_none();
        let code = if alone { ResponseCode::NXDomain } else { ResponseCode::Refused };
        self.reply(&request, request.reply(code), Zone::Others, came, out)
    }

    /// Asks others, then answers in `out`.
    pub(crate) async fn finish(&self, later: Later, out: &mut Vec<u8>) {
        let Later { request, inside, name, came } = later;
        let zone = inside.as_ref().map_or(Zone::Others, |inside| Zone::Ours(inside.realm));
        let outcome = match &self.forwarder {
            Some(forwarder) => forwarder.resolve(&request, &name, &self.metrics).await,
            None => Outcome::Failed,
        };
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
        reply.metadata.recursion_available = self.forwarder.is_some();
        let code = reply.write(out);
        let took = came.at.elapsed();
        let (transport, query) = (request.transport, &request.query);
        self.metrics.answered(zone, transport, Some(query.query_type()), code, took);
        if self.log_queries {
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
        let (cache_entries, cache_bytes) = self.forwarder.as_ref().map_or((0, 0), Forwarder::cache_size);
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
