//! Tables as the kernel has them.

use std::collections::BTreeMap;

use super::{
    CHAIN_HOOK, CHAIN_NAME, CHAIN_TYPE, CHAIN_USERDATA, Chain, Element, HOOK_NUMBER, HOOK_PRIORITY, Map,
    RULE_CHAIN, RULE_EXPRESSIONS, RULE_USERDATA, Rule, TABLE_NAME, TABLE_USERDATA, Table, map,
};
use crate::encode::Encoder;
use crate::error::{Error, Result};
use crate::message::{Attributes, string};
use crate::socket::Socket;

const ELEMENTS_TABLE: u16 = 1;
const ELEMENTS_MAP: u16 = 2;
const ELEMENTS: u16 = 3;
const ELEMENT_EXPRESSION: u16 = 7;
const ELEMENT_EXPRESSIONS: u16 = 11;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
const COUNTER_PACKETS: u16 = 2;

/// A table as the kernel has it, without the elements of its maps: [`live_elements`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// The table's.
    pub comment: String,
    /// By their names.
    pub chains: BTreeMap<String, LiveChain>,
    /// By their names.
    pub maps: BTreeMap<String, LiveMap>,
}

/// A chain as the kernel has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LiveChain {
    /// Number, priority and type, of a base chain.
    hook: Option<(u32, i32, String)>,
    comment: String,
    /// In their order.
    pub rules: Vec<LiveRule>,
}

impl LiveChain {
    /// Whether it is this chain: same hook, same comment, and rules that do the same. Nothing is said of
    /// `chain.rules`.
    #[must_use]
    pub fn is(&self, chain: &Chain) -> bool {
        let hook = chain.hook.map(|hook| (hook.at.number(), hook.priority, "nat".to_owned()));
        self.hook == hook && self.comment == chain.comment
    }

    /// Whether it has these rules.
    #[must_use]
    pub fn has(&self, rules: &[Rule]) -> bool {
        let same = |(ours, theirs): (&Rule, &LiveRule)| {
            ours.does(&theirs.expressions) && ours.comment() == theirs.comment
        };
        self.rules.len() == rules.len() && rules.iter().zip(&self.rules).all(same)
    }
}

/// A rule as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveRule {
    expressions: Vec<u8>,
    /// What it is there for.
    pub comment: String,
}

impl LiveRule {
    /// Packets that its first counter has seen, if it counts.
    #[must_use]
    pub fn packets(&self) -> Option<u64> {
        Attributes(&self.expressions).find_map(|(_, expression)| counted(Attributes(expression)))
    }
}

/// A map as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveMap(Vec<u8>);

impl LiveMap {
    /// Whether it is this map; whether its elements count does not matter.
    #[must_use]
    pub fn is(&self, table: &Table, map: &Map) -> bool {
        map.is(table, &self.0)
    }

    /// Elements that it takes, if it does not take any number.
    #[must_use]
    pub fn size(&self) -> Option<u32> {
        map::size(&self.0)
    }
}

/// An element as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveElement {
    /// The element.
    pub element: Element,
    /// Packets that found it, if it counts.
    pub packets: Option<u64>,
}

impl Table {
    /// The table as the kernel has it; none if there is none.
    ///
    /// # Errors
    /// The kernel's.
    pub fn live(&self, socket: &mut Socket) -> Result<Option<Live>> {
        let family = i32::from(self.family.number());
        let tables = socket.dump(libc::NFT_MSG_GETTABLE, family, &[])?;
        let named = |attribute: u16| {
            move |object: &&Vec<u8>| Attributes(object).string(attribute).as_deref() == Some(&self.name)
        };
        let Some(table) = tables.iter().find(named(TABLE_NAME)) else { return Ok(None) };
        let comment = comment(Attributes(table).get(TABLE_USERDATA).unwrap_or_default());
        // In chains, rules and maps, too, the table's name is the first attribute.
        let mut filter = Encoder::default();
        filter.string(TABLE_NAME, &self.name);
        let mut all = |kind| socket.dump(kind, family, filter.as_slice());
        let (chains, rules, maps) =
            (all(libc::NFT_MSG_GETCHAIN)?, all(libc::NFT_MSG_GETRULE)?, all(libc::NFT_MSG_GETSET)?);
        // The kernel need not heed the filter.
        let ours = named(TABLE_NAME);
        let mut chains: BTreeMap<_, _> =
            chains.iter().filter(&ours).filter_map(|c| chain(Attributes(c))).collect();
        for rule in rules.iter().filter(&ours).map(|rule| Attributes(rule)) {
            let chain = rule.string(RULE_CHAIN).and_then(|name| chains.get_mut(&name));
            if let Some(chain) = chain {
                chain.rules.push(LiveRule {
                    expressions: rule.get(RULE_EXPRESSIONS).unwrap_or_default().to_vec(),
                    comment: self::comment(rule.get(RULE_USERDATA).unwrap_or_default()),
                });
            }
        }
        let maps = maps.iter().filter(&ours);
        let maps =
            maps.filter_map(|set| Some((Attributes(set).string(map::NAME)?, LiveMap(set.clone())))).collect();
        Ok(Some(Live { comment, chains, maps }))
    }
}

fn chain(chain: Attributes<'_>) -> Option<(String, LiveChain)> {
    let hook = chain.nest(CHAIN_HOOK);
    let hook = hook.u32(HOOK_NUMBER).zip(hook.u32(HOOK_PRIORITY)).map(|(number, priority)| {
        (number, priority.cast_signed(), chain.string(CHAIN_TYPE).unwrap_or_default())
    });
    let comment = comment(chain.get(CHAIN_USERDATA).unwrap_or_default());
    Some((chain.string(CHAIN_NAME)?, LiveChain { hook, comment, rules: Vec::new() }))
}

/// The elements of a map, each given to `each`, in no order.
///
/// # Errors
/// The kernel's, `ENOENT` if there is no such map; [`Error::Answer`] for an element of a form not known here.
pub fn live_elements(
    socket: &mut Socket,
    table: &Table,
    map: &str,
    mut each: impl FnMut(LiveElement),
) -> Result<()> {
    let mut filter = Encoder::default();
    filter.string(ELEMENTS_TABLE, &table.name).string(ELEMENTS_MAP, map);
    let family = i32::from(table.family.number());
    let answers = socket.dump(libc::NFT_MSG_GETSETELEM, family, filter.as_slice())?;
    for answer in &answers {
        for (_, element) in Attributes(answer).nest(ELEMENTS) {
            let attributes = Attributes(element);
            let element = Element::decode(attributes)
                .ok_or_else(|| Error::Answer(format!("{table}: map {map}: an element of an unknown form")))?;
            each(LiveElement { element, packets: packets(attributes) });
        }
    }
    Ok(())
}

/// One expression stands for itself, several in a list.
fn packets(element: Attributes<'_>) -> Option<u64> {
    let list = element.nest(ELEMENT_EXPRESSIONS).find_map(|(_, expression)| counted(Attributes(expression)));
    list.or_else(|| counted(element.nest(ELEMENT_EXPRESSION)))
}

fn counted(expression: Attributes<'_>) -> Option<u64> {
    let counts = expression.string(EXPRESSION_NAME)? == "counter";
    counts.then(|| expression.nest(EXPRESSION_DATA).u64(COUNTER_PACKETS)).flatten()
}

/// The comment within user data, which the kernel only keeps: type, length and value, one byte each for the
/// first two (`libnftnl/udata.h`); type 0 is the comment.
pub(crate) fn comment(data: &[u8]) -> String {
    map::user_data(data).find_map(|(kind, value)| (kind == 0).then(|| string(value))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_is_found_among_other_data() {
        assert_eq!(comment(b"\x00\x06hello\x00"), "hello");
        assert_eq!(comment(b"\x01\x02xx\x00\x03yo\x00"), "yo");
        assert_eq!(comment(b"\x01\x02xx"), "");
        assert_eq!(comment(b"\x00\x09short"), "");
        assert_eq!(comment(b""), "");
    }
}
