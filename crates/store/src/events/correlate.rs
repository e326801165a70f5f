//! Which events are written, and which only count up another one.
//!
//! Source: client-go `tools/record/events_cache.go`: first the aggregator (similar events become one), then
//! the logger (the same event again counts up), then the filter against spam.

use std::collections::BTreeMap;

use api::types::api::core::v1::{Event, ObjectReference};
use api::types::jiff::Timestamp;

/// Entries of each cache (`maxLruCacheEntries`).
const CACHE: usize = 4096;
/// As many events that differ in nothing but their messages are written each by itself
/// (`defaultAggregateMaxEvents`) …
const SIMILAR: usize = 10;
/// … if there is never a longer break between two of them, in seconds
/// (`defaultAggregateIntervalInSeconds`).
const BREAK: f64 = 600.0;
/// As many events of one object are written at once (`defaultSpamBurst`), …
const BURST: f64 = 25.0;
/// … then one in so many seconds (`defaultSpamQPS`).
const REFILL: f64 = 300.0;

/// What is to be done with an event.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Write {
    Create(Box<Event>),
    /// The event is there with a lower count.
    Update(Box<Event>),
}

/// Remembers what was told.
#[derive(Debug, Default)]
pub(super) struct Correlator {
    groups: Cache<Group>,
    seen: Cache<Seen>,
    budgets: Cache<Budget>,
}

/// Events that differ in nothing but their messages.
#[derive(Debug)]
struct Group {
    messages: Vec<String>,
    last: Timestamp,
}

/// An event that was told.
#[derive(Debug)]
struct Seen {
    count: i32,
    name: Option<String>,
    first: Option<api::types::apimachinery::pkg::apis::meta::v1::Time>,
}

/// How many events of one object may still be told.
#[derive(Debug)]
struct Budget {
    tokens: f64,
    last: Timestamp,
}

impl Correlator {
    /// None if too much is told of the object already.
    pub(super) fn correlate(&mut self, mut event: Event, now: Timestamp) -> Option<Write> {
        let key = self.aggregate(&mut event, now);
        let seen = self.seen.entry(&key);
        let write = match seen {
            Some(seen) => {
                seen.count += 1;
                event.count = Some(seen.count);
                event.metadata.name.clone_from(&seen.name);
                event.first_timestamp.clone_from(&seen.first);
                Write::Update(Box::new(event))
            }
            None => {
                let (name, first) = (event.metadata.name.clone(), event.first_timestamp.clone());
                self.seen.insert(key, Seen { count: 1, name, first });
                Write::Create(Box::new(event))
            }
        };
        let (Write::Create(event) | Write::Update(event)) = &write;
        self.may_tell(event, now).then_some(write)
    }

    /// Gives what the event is the same as; among many similar ones that is not its own message.
    fn aggregate(&mut self, event: &mut Event, now: Timestamp) -> String {
        let similar = similar_key(event);
        let message = event.message.clone().unwrap_or_default();
        let own = format!("{similar}\n{message}");
        let Some(group) = self.groups.entry(&similar) else {
            self.groups.insert(similar, Group { messages: vec![message], last: now });
            return own;
        };
        if seconds(group.last, now) > BREAK {
            group.messages.clear();
        }
        group.last = now;
        if group.messages.len() < SIMILAR && !group.messages.contains(&message) {
            group.messages.push(message.clone());
        }
        // The tenth message is the first one that stands for all.
        if group.messages.len() < SIMILAR {
            return own;
        }
        event.message = Some(format!("(combined from similar events): {message}"));
        similar
    }

    fn may_tell(&mut self, event: &Event, now: Timestamp) -> bool {
        let key = spam_key(event);
        let Some(budget) = self.budgets.entry(&key) else {
            self.budgets.insert(key, Budget { tokens: BURST - 1.0, last: now });
            return true;
        };
        let refilled = seconds(budget.last, now) / REFILL;
        budget.tokens = (budget.tokens + refilled).min(BURST);
        budget.last = now;
        if budget.tokens < 1.0 {
            return false;
        }
        budget.tokens -= 1.0;
        true
    }
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64().max(0.0)
}

fn text(field: &Option<String>) -> &str {
    field.as_deref().unwrap_or_default()
}

fn object_key(object: &ObjectReference) -> String {
    let fields = [&object.kind, &object.namespace, &object.name, &object.field_path, &object.uid];
    let parts: Vec<_> = fields.into_iter().chain([&object.api_version]).map(text).collect();
    parts.join("/")
}

/// (`getSpamKey`)
fn spam_key(event: &Event) -> String {
    let source = event.source.clone().unwrap_or_default();
    format!("{}/{}/{}", text(&source.component), text(&source.host), object_key(&event.involved_object))
}

/// All but the message (`EventAggregatorByReasonFunc`).
fn similar_key(event: &Event) -> String {
    format!("{}/{}/{}", spam_key(event), text(&event.type_), text(&event.reason))
}

/// A map that forgets what was not asked for the longest time.
#[derive(Debug)]
struct Cache<V> {
    entries: BTreeMap<String, (u64, V)>,
    uses: u64,
}

impl<V> Default for Cache<V> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), uses: 0 }
    }
}

impl<V> Cache<V> {
    fn entry(&mut self, key: &str) -> Option<&mut V> {
        self.uses += 1;
        let (used, value) = self.entries.get_mut(key)?;
        *used = self.uses;
        Some(value)
    }

    fn insert(&mut self, key: String, value: V) {
        if self.entries.len() >= CACHE {
            // Half at once, so that a full cache is not gone through for each new entry.
            let mut uses: Vec<_> = self.entries.values().map(|(used, _)| *used).collect();
            let median = *uses.select_nth_unstable(CACHE / 2).1;
            self.entries.retain(|_, (used, _)| *used > median);
        }
        self.entries.insert(key, (self.uses, value));
    }
}
