//! `kubectl taint`, `kubectl cordon`, `kubectl uncordon`: what keeps pods off a node.
//!
//! Source: kubectl `pkg/cmd/taint/{taint,utils}.go`, `pkg/cmd/drain/drain.go`, `pkg/drain/cordon.go`.

use api::kinds::NODES;
use api::names;
use api::types::api::core::v1::Taint;
use serde_json::Value;
use store::Store;
use store::registry::{self, Patched};

use crate::apply::DryRun;
use crate::error::{Error, Result};
use crate::object::{name, reference};

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// Taints that are set and taken away.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Taints {
    /// Those that are to be there.
    pub set: Vec<Taint>,
    /// Those that are to go, by key and effect; all of the key where the effect is empty.
    pub gone: Vec<Taint>,
}

impl Taints {
    /// Splits words into those that say which nodes are meant and the taints: `KEY=VALUE:EFFECT`,
    /// `KEY:EFFECT`, `KEY:EFFECT-`, `KEY-`.
    ///
    /// # Errors
    /// Words in another order, taints that are not well-formed, or none at all.
    pub fn split(words: &[String]) -> Result<(Vec<String>, Self)> {
        let is_taint = |word: &String| word.contains(['=', ':']) || word.ends_with('-');
        let begin = words.iter().position(is_taint).unwrap_or(words.len());
        let (nodes, taints) = words.split_at(begin);
        if let Some(word) = taints.iter().find(|word| !is_taint(word)) {
            return Err(Error::Usage(format!(
                "all resources must be specified before taint changes: {word}"
            )));
        }
        if taints.is_empty() {
            return Err(Error::usage(
                "at least one taint update is required, as key=value:NoSchedule or key-",
            ));
        }
        Ok((nodes.to_vec(), Self::parse(taints)?))
    }

    fn parse(words: &[String]) -> Result<Self> {
        let mut taints = Self::default();
        for word in words {
            if let Some(word) = word.strip_suffix('-') {
                taints.gone.push(Taint { value: None, ..parse(word)? });
                continue;
            }
            let taint = parse(word)?;
            if taint.effect.is_empty() {
                return Err(Error::Usage(format!(
                    "invalid taint spec: {word}: it has no effect, as {word}:NoSchedule"
                )));
            }
            if taints.set.iter().any(|other| is_same(other, &taint)) {
                return Err(Error::Usage(format!("duplicated taints with the same key and effect: {word}")));
            }
            taints.set.push(taint);
        }
        let both = |gone: &&Taint| taints.set.iter().any(|taint| fits(gone, taint));
        let both: Vec<_> = taints.gone.iter().filter(both).map(text).collect();
        if !both.is_empty() {
            return Err(Error::Usage(format!(
                "can not both modify and remove the following taint(s) in the same command: {}",
                both.join(", ")
            )));
        }
        Ok(taints)
    }

    /// A node's taints as they are to be, those that are set first; and the word for what has been done.
    fn applied(
        &self,
        node: &str,
        old: &[Taint],
        overwrite: bool,
    ) -> Result<(Vec<Taint>, &'static str), String> {
        let there = |taint: &&Taint| old.iter().any(|other| is_same(other, taint));
        let there: Vec<_> = self.set.iter().filter(there).map(|taint| taint.key.as_str()).collect();
        if !overwrite && !there.is_empty() {
            return Err(format!(
                "node {node} already has {} taint(s) with same effect(s) and --overwrite is false",
                there.join(",")
            ));
        }
        let mut new = self.set.clone();
        new.extend(old.iter().filter(|other| !self.set.iter().any(|taint| is_same(other, taint))).cloned());
        let added = new.len() != old.len();
        let missing = self.gone.iter().filter(|gone| !new.iter().any(|taint| fits(gone, taint)));
        let missing: Vec<_> = missing.map(|gone| format!("taint {:?} not found", text(gone))).collect();
        if !missing.is_empty() {
            return Err(missing.join(", "));
        }
        new.retain(|taint| !self.gone.iter().any(|gone| fits(gone, taint)));
        let word = match (added, self.gone.is_empty()) {
            _ if overwrite => "modified",
            (true, false) => "modified",
            (true, true) => "tainted",
            (false, _) => "untainted",
        };
        Ok((new, word))
    }
}

/// `KEY=VALUE:EFFECT`, `KEY:EFFECT` or `KEY`.
fn parse(word: &str) -> Result<Taint> {
    let invalid = |why: &str| Error::Usage(format!("invalid taint spec: {word}{why}"));
    let (pair, effect) = match word.split_once(':') {
        Some((_, effect)) if effect.contains(':') => return Err(invalid("")),
        Some((_, effect)) if !EFFECTS.contains(&effect) => {
            return Err(Error::Usage(format!(
                "invalid taint effect: {effect}, unsupported taint effect: there are {}",
                EFFECTS.join(", ")
            )));
        }
        Some(both) => both,
        None => (word, ""),
    };
    let (key, value) = match pair.split_once('=') {
        Some(_) if effect.is_empty() => return Err(invalid(": it has no effect, as KEY=VALUE:NoSchedule")),
        Some((key, value)) => (key, Some(value)),
        None => (pair, None),
    };
    let mut wrong = names::qualified_name(key);
    wrong.extend(value.into_iter().flat_map(names::label_value));
    if !wrong.is_empty() {
        return Err(invalid(&format!(", {}", wrong.join("; "))));
    }
    let value = value.filter(|value| !value.is_empty()).map(str::to_owned);
    Ok(Taint { key: key.into(), value, effect: effect.into(), time_added: None })
}

/// A node has one taint of a key and an effect.
fn is_same(one: &Taint, other: &Taint) -> bool {
    (&one.key, &one.effect) == (&other.key, &other.effect)
}

fn fits(gone: &Taint, taint: &Taint) -> bool {
    gone.key == taint.key && (gone.effect.is_empty() || gone.effect == taint.effect)
}

/// As `key:NoSchedule`.
fn text(taint: &Taint) -> String {
    let effect = if taint.effect.is_empty() { String::new() } else { format!(":{}", taint.effect) };
    format!("{}{effect}", taint.key)
}

/// Sets a node's taints and takes some away; gives the line to print.
///
/// # Errors
/// A taint that is there, unless `overwrite`; one that is to go and is not there.
pub async fn taint(
    store: &Store,
    node: &Value,
    taints: &Taints,
    overwrite: bool,
    dry_run: DryRun,
) -> Result<String> {
    let mut word = "";
    change(store, node, dry_run, |node| {
        let there = node.pointer("/spec/taints").cloned().filter(|there| !there.is_null());
        let old: Vec<Taint> = there
            .map(serde_json::from_value)
            .transpose()
            .map_err(|error| error.to_string())?
            .unwrap_or_default();
        let (new, done) = taints.applied(name(node), &old, overwrite)?;
        word = done;
        set(node, "taints", (!new.is_empty()).then(|| serde_json::to_value(new).unwrap_or_default()));
        Ok(())
    })
    .await?;
    Ok(format!("{} {word}{}", reference(&NODES, name(node)), dry_run.suffix()))
}

/// Keeps new pods off a node, or lets them come again; gives the line to print.
///
/// # Errors
/// There is no such node any more.
pub async fn cordon(store: &Store, node: &Value, wanted: bool, dry_run: DryRun) -> Result<String> {
    let patched = change(store, node, dry_run, |node| {
        set(node, "unschedulable", wanted.then_some(Value::Bool(true)));
        Ok(())
    })
    .await?;
    let already = if patched.old == patched.new { "already " } else { "" };
    let word = if wanted { "cordoned" } else { "uncordoned" };
    Ok(format!("{} {already}{word}{}", reference(&NODES, name(node)), dry_run.suffix()))
}

fn set(node: &mut Value, field: &str, value: Option<Value>) {
    match (value, node.get_mut("spec").and_then(Value::as_object_mut)) {
        (Some(value), Some(spec)) => {
            spec.insert(field.into(), value);
        }
        (Some(value), None) => node["spec"] = serde_json::json!({field: value}),
        (None, Some(spec)) => {
            spec.remove(field);
        }
        (None, None) => {}
    }
}

async fn change(
    store: &Store,
    node: &Value,
    dry_run: DryRun,
    mut change: impl FnMut(&mut Value) -> Result<(), String>,
) -> Result<Patched> {
    let changed = |old: &Value| -> registry::Result<Value> {
        let mut new = old.clone();
        change(&mut new).map_err(registry::Error::BadRequest)?;
        Ok(new)
    };
    match dry_run {
        DryRun::None => Ok(registry::patch_raw(store, &NODES, "", name(node), changed).await?),
        DryRun::Client | DryRun::Server => {
            let mut changed = changed;
            Ok(Patched { old: node.clone(), new: changed(node)? })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    async fn store() -> Store {
        let store = Store::memory();
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "C0w1"},
            "spec": {"podCIDR": "11.12.0.0/20", "taints": [{"key": "old", "effect": "NoExecute"}]}});
        registry::create_raw(&store, &NODES, &node).await.unwrap();
        store
    }

    async fn node(store: &Store) -> Value {
        store.get_raw(&NODES, "", "C0w1").await.unwrap().unwrap()
    }

    #[test]
    fn taints_are_written_as_for_kubectl() {
        let (nodes, taints) =
            Taints::split(&words("nodes C0w1 a=b:NoSchedule c:NoExecute d:NoSchedule- e-")).unwrap();
        assert_eq!(nodes, ["nodes", "C0w1"]);
        let texts = |taints: &[Taint]| taints.iter().map(text).collect::<Vec<_>>();
        assert_eq!(texts(&taints.set), ["a:NoSchedule", "c:NoExecute"]);
        assert_eq!(taints.set[0].value.as_deref(), Some("b"));
        assert_eq!(texts(&taints.gone), ["d:NoSchedule", "e"]);
        let wrong = [
            "nodes C0w1",
            "nodes a:NoSchedule C0w1",
            "nodes C0w1 a=b",
            "nodes C0w1 a=b:Never",
            "nodes C0w1 a=b=c:NoSchedule",
            "nodes C0w1 a:b:NoSchedule",
            "nodes C0w1 a_=b:NoSchedule",
            "nodes C0w1 a:NoSchedule a=c:NoSchedule",
            "nodes C0w1 a:NoSchedule a-",
            "nodes C0w1 a=b:NoExecute a:NoExecute-",
            "nodes C0w1 =b:NoSchedule",
        ];
        let said = wrong.map(|line| format!("{line}: {}", Taints::split(&words(line)).unwrap_err()));
        insta::assert_snapshot!(said.join("\n"));
    }

    #[tokio::test]
    async fn taints_come_and_go() {
        let store = store().await;
        let mut log = Vec::new();
        for line in [
            "a=1:NoSchedule",
            "a=2:NoSchedule",
            "--overwrite a=2:NoSchedule",
            "b:NoExecute old-",
            "a:NoExecute",
            "a:NoSchedule-",
            "nothing-",
            "a:PreferNoSchedule-",
            "a- b-",
        ] {
            let overwrite = line.starts_with("--overwrite ");
            let taints = Taints::parse(&words(line.trim_start_matches("--overwrite "))).unwrap();
            let said = taint(&store, &node(&store).await, &taints, overwrite, DryRun::None).await;
            let said = said.unwrap_or_else(|error| error.to_string());
            log.push(format!("{line}: {said}: {}", node(&store).await["spec"]["taints"]));
        }
        insta::assert_snapshot!(log.join("\n"));
        assert_eq!(node(&store).await["spec"], json!({"podCIDR": "11.12.0.0/20"}));
    }

    #[tokio::test]
    async fn a_cordoned_node_takes_no_pods() {
        let store = store().await;
        let mut log = Vec::new();
        for (wanted, dry_run) in [
            (true, DryRun::Client),
            (true, DryRun::None),
            (true, DryRun::None),
            (false, DryRun::None),
            (false, DryRun::None),
        ] {
            log.push(cordon(&store, &node(&store).await, wanted, dry_run).await.unwrap());
            log.push(node(&store).await["spec"]["unschedulable"].to_string());
        }
        let expected = [
            "node/C0w1 cordoned (dry run)",
            "null",
            "node/C0w1 cordoned",
            "true",
            "node/C0w1 already cordoned",
            "true",
            "node/C0w1 uncordoned",
            "null",
            "node/C0w1 already uncordoned",
            "null",
        ];
        assert_eq!(log, expected);
    }
}
