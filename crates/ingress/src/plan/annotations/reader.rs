//! Values of annotations.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::str::FromStr;

use ipnetwork::IpNetwork;

use crate::model::Owner;
use crate::plan::draft::Draft;
use crate::text;

/// What the names of ingress-nginx's annotations begin with.
pub(in crate::plan) const PREFIX: &str = "nginx.ingress.kubernetes.io/";
/// Ours.
const OWN: &str = "knetsim.dev/";

/// Annotations of an Ingress as they are read, one after another.
#[derive(Debug)]
pub(super) struct Reader<'a, 'd> {
    all: &'a BTreeMap<String, String>,
    pub(super) owner: &'a Owner,
    pub(super) draft: &'a mut Draft<'d>,
    read: BTreeSet<&'a str>,
    /// Names of those that were asked for, to tell them from those that are not known.
    closed: Option<String>,
}

impl<'a, 'd> Reader<'a, 'd> {
    pub(super) fn new(all: &'a BTreeMap<String, String>, owner: &'a Owner, draft: &'a mut Draft<'d>) -> Self {
        Self { all, owner, draft, read: BTreeSet::new(), closed: None }
    }

    fn raw(&mut self, name: &str) -> Option<&'a str> {
        let wanted = |key: &&String| {
            key.strip_prefix(PREFIX) == Some(name)
                || key.strip_prefix(OWN) == Some(name) && name == "upstream"
        };
        let key = self.all.keys().find(wanted)?;
        self.read.insert(key);
        self.all.get(key).map(|value| value.trim())
    }

    /// Says what is wrong with an annotation.
    pub(super) fn wrong(&mut self, name: &str, why: impl Display) {
        let value = self.raw(name).unwrap_or_default().to_owned();
        let value: String = value.chars().take(100).collect();
        let message = format!("annotation {name}: {value:?}: {why}");
        self.draft.problem(self.owner, "InvalidAnnotation", message);
    }

    /// Says what is wrong with an annotation that was to keep people out, and closes the Ingress.
    pub(super) fn close(&mut self, name: &str, why: impl Display) {
        let message = format!("{why}; so nobody may come in");
        self.wrong(name, &message);
        self.closed.get_or_insert(format!("annotation {name}: {message}"));
    }

    /// A text that can be in nginx's configuration.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        let value = self.raw(name)?;
        match text::refusal(value) {
            Some(why) => {
                self.wrong(name, why);
                None
            }
            None => Some(value.to_owned()).filter(|value| !value.is_empty()),
        }
    }

    /// A text of a certain form.
    pub(super) fn text_if(
        &mut self,
        name: &str,
        is_good: impl Fn(&str) -> bool,
        why: &str,
    ) -> Option<String> {
        let value = self.text(name)?;
        if is_good(&value) {
            return Some(value);
        }
        self.wrong(name, why);
        None
    }

    pub(super) fn boolean(&mut self, name: &str) -> Option<bool> {
        match self.raw(name)? {
            "true" => Some(true),
            "false" => Some(false),
            _ => {
                self.wrong(name, "must be true or false");
                None
            }
        }
    }

    pub(super) fn on_off(&mut self, name: &str) -> Option<bool> {
        match self.raw(name)? {
            "on" => Some(true),
            "off" => Some(false),
            _ => {
                self.wrong(name, "must be on or off");
                None
            }
        }
    }

    /// A number within bounds.
    pub(super) fn number<N>(&mut self, name: &str, least: N, most: N) -> Option<N>
    where
        N: FromStr + PartialOrd + Display + Copy,
    {
        let value = self.raw(name)?.parse::<N>().ok().filter(|value| (least..=most).contains(value));
        if value.is_none() {
            self.wrong(name, format!("must be a number from {least} to {most}"));
        }
        value
    }

    /// Milliseconds of a number of seconds, perhaps with an `s`.
    pub(super) fn milliseconds(&mut self, name: &str) -> Option<u32> {
        let value = self.raw(name)?;
        let value = value.strip_suffix('s').unwrap_or(value).parse().ok().filter(|value| *value <= 86_400);
        if value.is_none() {
            self.wrong(name, "must be a number of seconds up to 86400");
        }
        value.map(|seconds: u32| seconds * 1000)
    }

    /// Bytes, as `8m`; 0 for no limit.
    pub(super) fn size(&mut self, name: &str) -> Option<u64> {
        let value = self.raw(name)?;
        let size = size(value);
        if size.is_none() {
            self.wrong(name, "must be a number of bytes, perhaps followed by k, m or g");
        }
        size
    }

    /// Words with commas between them.
    pub(super) fn list(&mut self, name: &str) -> Option<Vec<String>> {
        let value = self.text(name)?;
        let words = value.split(',').map(str::trim).filter(|word| !word.is_empty());
        Some(words.map(str::to_owned).collect())
    }

    /// Networks with commas between them; `Err` if they are not.
    pub(super) fn networks(&mut self, name: &str) -> Option<Result<Vec<IpNetwork>, String>> {
        let value = self.raw(name)?;
        let words = value.split(',').map(str::trim).filter(|word| !word.is_empty());
        let network = |word: &str| {
            let network = word.parse::<IpNetwork>().map_err(|_| format!("{word:?} is no network"))?;
            // Its bits behind the mask mean nothing; nginx warns of them.
            IpNetwork::new(network.network(), network.prefix()).map_err(|error| error.to_string())
        };
        Some(words.map(network).collect())
    }

    /// Says which annotations nobody has asked for.
    pub(super) fn finish(mut self, closed: &mut Option<String>) {
        let ours = |key: &&String| key.starts_with(PREFIX) || key.starts_with(OWN);
        let unread: Vec<_> =
            self.all.keys().filter(ours).filter(|key| !self.read.contains(key.as_str())).collect();
        for key in unread {
            let name = key.strip_prefix(PREFIX).or_else(|| key.strip_prefix(OWN)).unwrap_or(key);
            if name.ends_with("-snippet") {
                let message = format!("annotation {name}: no text of users gets into nginx's configuration");
                self.draft.problem(self.owner, "UnsupportedAnnotation", message);
            } else if name.starts_with("auth-") || name.contains("modsecurity") {
                self.close(name, "is not supported");
            } else {
                let message = format!("annotation {name} is not supported, and is passed over");
                self.draft.problem(self.owner, "UnsupportedAnnotation", message);
            }
        }
        *closed = self.closed;
    }
}

/// As `8m`.
fn size(value: &str) -> Option<u64> {
    let (number, factor) = match value.char_indices().next_back()? {
        (end, 'k' | 'K') => (&value[..end], 1 << 10),
        (end, 'm' | 'M') => (&value[..end], 1 << 20),
        (end, 'g' | 'G') => (&value[..end], 1 << 30),
        _ => (value, 1),
    };
    let bytes = number.parse::<u64>().ok()?.checked_mul(factor)?;
    // nginx counts in signed numbers.
    i64::try_from(bytes).is_ok().then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let table = [
            ("0", Some(0)),
            ("8m", Some(8 << 20)),
            ("1K", Some(1024)),
            ("2g", Some(2 << 30)),
            ("", None),
            ("m", None),
            ("-1", None),
            ("8x", None),
            ("8ä", None),
            ("9223372036854775807g", None),
        ];
        for (text, bytes) in table {
            assert_eq!(size(text), bytes, "{text}");
        }
    }
}
