//! What others have said, for as long as that holds.
//!
//! Sources: RFC 1035 section 7.4, RFC 2308 (answers that there is none), RFC 9520 (failures).

use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{RData, Record};
use lru::LruCache;

use super::{Key, Outcome, Shared};

/// The most that is kept. Beyond, what was not used for the longest time goes.
const BYTES: usize = 1 << 20;
/// What an entry takes beside its message.
const OVERHEAD: usize = 256;
/// Nothing is kept longer: the `cache 30` of kubeadm's `CoreDNS`.
const LONGEST: Duration = Duration::from_secs(30);
/// How long a failure is kept: long enough to spare the others (RFC 9520 section 3.2).
const FAILURE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Cache {
    entries: LruCache<Key, Entry>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    message: Shared,
    since: Instant,
    until: Instant,
}

impl Default for Cache {
    fn default() -> Self {
        Self { entries: LruCache::unbounded(), bytes: 0 }
    }
}

impl Entry {
    fn size(&self) -> usize {
        OVERHEAD + self.message.as_deref().map_or(0, <[u8]>::len)
    }
}

impl Cache {
    /// Entries and bytes.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.entries.len(), self.bytes)
    }

    /// What is known now.
    pub(super) fn get(&mut self, key: &Key) -> Option<Outcome> {
        self.get_at(key, Instant::now())
    }

    fn get_at(&mut self, key: &Key, now: Instant) -> Option<Outcome> {
        let entry = self.entries.get(key)?;
        if entry.until <= now {
            self.remove(key);
            return None;
        }
        let age = u32::try_from(now.duration_since(entry.since).as_secs()).unwrap_or(u32::MAX);
        let mut outcome = Outcome::read(entry.message.as_deref());
        if let Outcome::Answer(message) = &mut outcome {
            for record in records(message) {
                record.ttl = record.ttl.saturating_sub(age);
            }
        }
        Some(outcome)
    }

    /// Keeps an answer, or a failure.
    pub(super) fn put(&mut self, key: Key, message: Shared) {
        self.put_at(key, message, Instant::now());
    }

    fn put_at(&mut self, key: Key, message: Shared, now: Instant) {
        let kept = match &message {
            Some(bytes) => Message::from_vec(bytes).map_or(Duration::ZERO, |message| lifetime(&message)),
            None => FAILURE,
        };
        self.remove(&key);
        if kept.is_zero() {
            return;
        }
        let entry = Entry { message, since: now, until: now + kept };
        self.bytes += entry.size() + key.name.len();
        self.entries.put(key, entry);
        while self.bytes > BYTES {
            let Some((key, entry)) = self.entries.pop_lru() else { break };
            self.bytes -= entry.size() + key.name.len();
        }
    }

    fn remove(&mut self, key: &Key) {
        if let Some((key, entry)) = self.entries.pop_entry(key) {
            self.bytes -= entry.size() + key.name.len();
        }
    }
}

/// For how long a message may be kept: as long as the first of its records; one that says that there is
/// nothing, as its SOA record allows, and not at all without one.
fn lifetime(message: &Message) -> Duration {
    let least = message.all_sections().map(|record| record.ttl).min();
    let empty = message.answers.is_empty() || message.metadata.response_code == ResponseCode::NXDomain;
    let negative = message.authorities.iter().find_map(|record| match &record.data {
        RData::SOA(soa) => Some(soa.minimum.min(record.ttl)),
        _ => None,
    });
    let seconds = match message.metadata.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain if empty => negative.unwrap_or(0),
        ResponseCode::NoError => least.unwrap_or(0),
        _ => return FAILURE,
    };
    Duration::from_secs(seconds.into()).min(LONGEST)
}

/// All records of a message.
fn records(message: &mut Message) -> impl Iterator<Item = &mut Record> {
    message.answers.iter_mut().chain(&mut message.authorities).chain(&mut message.additionals)
}

/// Shortens what is said to how long it is kept, and leaves out what belongs to the way it came.
pub(super) fn prepare(message: &mut Message) {
    message.edns = None;
    message.signature = None;
    let kept = u32::try_from(LONGEST.as_secs()).unwrap_or(u32::MAX);
    for record in records(message) {
        record.ttl = record.ttl.min(kept);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use hickory_proto::op::{MessageType, OpCode};
    use hickory_proto::rr::rdata::{A, SOA};
    use hickory_proto::rr::{Name, RecordType};

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn key(text: &str) -> Key {
        Key { name: name(text), kind: RecordType::A, signatures: false, unchecked: false }
    }

    fn message(code: ResponseCode, answers: &[u32], soa: Option<(u32, u32)>) -> Shared {
        let mut message = Message::new(1, MessageType::Response, OpCode::Query);
        message.metadata.response_code = code;
        for ttl in answers {
            let address = RData::A(A(Ipv4Addr::LOCALHOST));
            message.add_answer(Record::from_rdata(name("a.example."), *ttl, address));
        }
        if let Some((ttl, minimum)) = soa {
            let soa = SOA::new(name("a."), name("b."), 1, 2, 3, 4, minimum);
            message.add_authority(Record::from_rdata(name("example."), ttl, RData::SOA(soa)));
        }
        prepare(&mut message);
        Some(Arc::from(message.to_vec().unwrap()))
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn for_how_long_an_answer_holds() {
        let (ok, no) = (ResponseCode::NoError, ResponseCode::NXDomain);
        for (what, message, holds) in [
            ("the first record that ends", message(ok, &[20, 7], None), 7),
            ("the records that are helpful too", message(ok, &[20], Some((5, 60))), 5),
            ("no longer than the longest", message(ok, &[86_400], None), 30),
            ("no name, by the SOA's minimum", message(no, &[], Some((20, 9))), 9),
            ("no name, by the SOA's own time", message(no, &[], Some((8, 60))), 8),
            ("no record", message(ok, &[], Some((8, 60))), 8),
            ("an alias to no name", message(no, &[20], Some((8, 60))), 8),
            ("no name, without a SOA", message(no, &[], None), 0),
            ("a failure of theirs", message(ResponseCode::ServFail, &[], None), 1),
            ("a refusal", message(ResponseCode::Refused, &[], None), 1),
            ("nobody answered", None, 1),
            ("not at all", message(ok, &[0], None), 0),
        ] {
            let (mut cache, now) = (Cache::default(), Instant::now());
            cache.put_at(key("a.example."), message, now);
            let last = cache.get_at(&key("A.eXample."), now + seconds(holds).saturating_sub(seconds(1)));
            assert_eq!(last.is_some(), holds > 0, "{what}");
            assert!(cache.get_at(&key("a.example."), now + seconds(holds)).is_none(), "{what}");
            assert_eq!(cache.size(), (0, 0), "{what}");
        }
    }

    #[test]
    fn what_is_told_later_holds_for_less() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        cache.put_at(key("a.example."), message(ResponseCode::NoError, &[20, 300], None), now);
        let Some(Outcome::Answer(later)) = cache.get_at(&key("a.example."), now + seconds(12)) else {
            panic!("an answer");
        };
        assert_eq!(later.answers.iter().map(|record| record.ttl).collect::<Vec<_>>(), [8, 18]);
        assert!(cache.get(&key("b.example.")).is_none());
        let other = Key { kind: RecordType::AAAA, ..key("a.example.") };
        assert!(cache.get(&other).is_none());
    }

    #[test]
    fn a_flood_of_names_takes_no_more_than_its_place() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        let no = message(ResponseCode::NXDomain, &[], Some((20, 20)));
        cache.put_at(key("used.example."), no.clone(), now);
        for n in 0..20_000 {
            cache.put_at(key(&format!("{n}.example.")), no.clone(), now);
            assert!(cache.get_at(&key("used.example."), now).is_some());
        }
        let (entries, bytes) = cache.size();
        assert!(bytes <= BYTES && entries > 1000, "{entries} entries of {bytes} bytes");
        assert!(cache.get_at(&key("0.example."), now).is_none());
        assert!(cache.get_at(&key("19999.example."), now).is_some());
    }
}
