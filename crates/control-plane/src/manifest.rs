//! Manifest files: YAML or JSON, many objects in a file. Pure.
//!
//! Documents end at lines that begin with `---`, whatever they are within (YAML 1.2, section 9.1.2), so that a
//! bad one does not hide the others and each is told with its own line.

use std::collections::BTreeSet;

use api::admit::{Stamp, create_any};
use api::kinds::{self, NAMESPACES, PODS};
use api::{KindInfo, time};
use serde_json::Value;
use topology::{Problem, Problems};

use crate::namespaces;

/// A manifest file that has been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// What it is called in messages.
    pub file: String,
    /// What stands in it.
    pub text: String,
}

/// An object as it stands in a manifest, in the namespace `default` if it names none.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Document {
    pub(crate) place: Place,
    pub(crate) info: &'static KindInfo,
    pub(crate) object: Value,
}

/// Where a document stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    file: String,
    /// From 1 on.
    document: usize,
    /// Of its first line, from 1 on.
    line: u64,
}

impl Place {
    fn problem(&self, message: &str) -> Problem {
        let message = format!("document {}: {message}", self.document);
        Problem { file: self.file.clone(), place: Some((self.line, 1)), message, hint: None }
    }
}

impl Document {
    fn text(&self, pointer: &str) -> &str {
        self.object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// Empty for a kind without namespaces.
    pub(crate) fn namespace(&self) -> &str {
        if self.info.namespaced { self.text("/metadata/namespace") } else { "" }
    }

    /// Empty if it has only the beginning of one.
    pub(crate) fn name(&self) -> &str {
        self.text("/metadata/name")
    }

    /// As `pods default/c1`.
    pub(crate) fn title(&self) -> String {
        match (self.namespace(), self.name()) {
            ("", name) => format!("{} {name}", self.info.resource()),
            (namespace, name) => format!("{} {namespace}/{name}", self.info.resource()),
        }
    }

    /// As the API server would store it.
    pub(crate) fn admit(&self, uid: String) -> Result<Value, api::Rejection> {
        create_any(self.info, &self.object, &Stamp { uid, now: time::now() })
    }
}

/// Everything that is wrong with the manifests of a cluster that has these workers, before anything is
/// started.
///
/// # Errors
/// Each with file, line, document and field.
pub fn check(cluster: &str, workers: &[&str], manifests: &[Manifest]) -> Result<(), Problems> {
    let mut namespaces: BTreeSet<String> = namespaces::INITIAL.map(str::to_owned).into();
    let mut names = BTreeSet::new();
    let mut problems = Vec::new();
    for manifest in manifests {
        for document in documents(manifest) {
            let found = document
                .and_then(|document| look_at(&document, (cluster, workers), &mut namespaces, &mut names));
            problems.extend(found.err());
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Problems(problems)) }
}

fn look_at(
    document: &Document,
    (cluster, workers): (&str, &[&str]),
    namespaces: &mut BTreeSet<String>,
    names: &mut BTreeSet<String>,
) -> Result<(), Problem> {
    let problem = |message: &str| document.place.problem(message);
    // Any will do, as nothing is stored.
    let admitted = document.admit("00000000-0000-4000-8000-000000000000".into());
    admitted.map_err(|rejection| problem(&rejection.to_string()))?;
    if document.info == &NAMESPACES {
        namespaces.insert(document.name().into());
    }
    let namespace = document.namespace();
    if !namespace.is_empty() && !namespaces.contains(namespace) {
        let hint = format!("a Namespace {namespace} has to stand before it");
        let message = format!("{}: namespaces \"{namespace}\" not found", document.title());
        return Err(Problem { hint: Some(hint), ..problem(&message) });
    }
    if !document.name().is_empty() && !names.insert(document.title()) {
        return Err(problem(&format!("{} is there twice", document.title())));
    }
    let node = document.text("/spec/nodeName");
    if document.info == &PODS && !node.is_empty() && !workers.contains(&node) {
        let near = topology::closest(node, workers.iter().copied());
        let hint = near.map_or_else(
            || format!("{cluster} has {}", workers.join(", ")),
            |near| format!("did you mean {near}?"),
        );
        let message = format!("{}: spec.nodeName: {cluster} has no worker {node}", document.title());
        return Err(Problem { hint: Some(hint), ..problem(&message) });
    }
    Ok(())
}

/// The objects of a manifest, in their order; those of a `List` each by itself.
pub(crate) fn documents(manifest: &Manifest) -> Vec<Result<Document, Problem>> {
    let parts = split(&manifest.text).into_iter().filter(|(_, part)| !is_blank(part));
    let mut found = Vec::new();
    for (index, (line, part)) in parts.enumerate() {
        let place = Place { file: manifest.file.clone(), document: index + 1, line };
        match parse(&part, &place) {
            Ok(value) => objects(&place, value, &mut found),
            Err(problem) => found.push(Err(problem)),
        }
    }
    found
}

/// Parts with the numbers of their first lines.
fn split(text: &str) -> Vec<(u64, String)> {
    let mut parts = vec![(1, String::new())];
    for (number, line) in (1..).zip(text.lines()) {
        let marker = line.strip_prefix("---").filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t']));
        match (marker, parts.last_mut()) {
            // What follows on the marker's own line is part of the document.
            (Some(rest), _) => parts.push((number, format!("{rest}\n"))),
            (None, Some((_, part))) => part.extend([line, "\n"]),
            (None, None) => {}
        }
    }
    parts
}

fn is_blank(part: &str) -> bool {
    part.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
}

fn parse(part: &str, place: &Place) -> Result<Value, Problem> {
    // As kubectl's parser has it: `defaultMode: 0644` is 420.
    let options = serde_yaml::options! { legacy_octal_numbers: true };
    serde_yaml::from_str_with_options(part, options).map_err(|error| {
        let said = error.without_snippet().to_string();
        let said = said.lines().next().unwrap_or_default();
        // Where it stands is counted from the document's begin, and told in front.
        let said = &said[..said.rfind(" at line ").unwrap_or(said.len())];
        let mut problem =
            place.problem(&format!("not valid YAML: {}", said.trim_end_matches([',', ':', ' '])));
        if let Some(at) = error.location().filter(|at| at.line() > 0) {
            problem.place = Some((place.line + at.line() - 1, at.column()));
        }
        problem
    })
}

fn objects(place: &Place, value: Value, found: &mut Vec<Result<Document, Problem>>) {
    let is_list = value["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
    match value {
        Value::Null => {}
        Value::Object(mut fields) if is_list && fields.get("items").is_some_and(Value::is_array) => {
            if let Some(Value::Array(items)) = fields.remove("items") {
                items.into_iter().for_each(|item| objects(place, item, found));
            }
        }
        value if !value.is_object() => {
            found.push(Err(place.problem("not an object: it has no apiVersion and no kind")));
        }
        mut object => found.push(match kinds::of(&object) {
            Ok(info) => {
                settle(info, &mut object);
                Ok(Document { place: place.clone(), info, object })
            }
            Err(unknown) => Err(place.problem(&unknown.to_string())),
        }),
    }
}

/// What names no namespace is in the one that is called `default`.
fn settle(info: &KindInfo, object: &mut Value) {
    let metadata = object.get_mut("metadata").and_then(Value::as_object_mut);
    if let Some(metadata) = metadata.filter(|_| info.namespaced) {
        metadata.entry("namespace").or_insert_with(|| namespaces::DEFAULT.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(text: &str) -> Manifest {
        Manifest { file: "pods.yaml".into(), text: text.into() }
    }

    fn told(text: &str) -> String {
        let Err(Problems(problems)) = check("C0", &["C0w1", "C0w2"], &[manifest(text)]) else {
            return String::new();
        };
        let lines = problems.iter().map(|problem| match &problem.hint {
            Some(hint) => format!("{problem}\n  hint: {hint}"),
            None => problem.to_string(),
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn every_bad_document_is_named_with_file_line_and_field() {
        insta::assert_snapshot!(told(
            "# comment
---
apiVersion: v1
kind: Pod
metadata: {name: c1}
spec:
  nodeName: C0w7
  containers: [{name: c, image: netshoot}]
---
apiVersion: v1
kind: Pod
metadata: {name: c2}
spec:
  containers: [{name: c, imge: netshoot}]
---
apiVersion: v1
kind: Pod
metadata: {name: C3}
spec: {containers: [{name: c}]}
---
apiVersion: v1
kind: Pod
metadata:
  name: [b
---
- a
---
kind: Pod
---
apiVersion: v2
kind: Pod
---
apiVersion: v1
kind: ConfigMap
metadata: {name: a, namespace: web}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: a}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: a}
"
        ));
    }

    #[test]
    fn what_is_good_has_its_namespace() {
        let text = r#"{"apiVersion": "v1", "kind": "List", "items": [
              {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "web"}},
              {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b", "namespace": "web"}},
              {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}]}
---
null
---
# nothing
--- {apiVersion: v1, kind: Secret, metadata: {name: d}}
"#;
        assert_eq!(told(text), "");
        let titles: Vec<_> =
            documents(&manifest(text)).into_iter().map(|document| document.unwrap().title()).collect();
        assert_eq!(
            titles,
            ["namespaces web", "configmaps web/b", "configmaps default/c", "secrets default/d"]
        );
    }

    #[test]
    fn the_manifests_that_are_compiled_in_are_good() {
        for cluster in ["C0", "C1"] {
            let file = format!("builtin:manifests/pods-{cluster}.yaml");
            let text = topology::manifest(&file).unwrap();
            let workers = [1, 2, 3].map(|n| format!("{cluster}w{n}"));
            check(cluster, &workers.each_ref().map(String::as_str), &[Manifest { file, text }]).unwrap();
        }
    }

    #[test]
    fn a_line_of_dashes_ends_a_document_and_a_longer_one_does_not() {
        let parts = split("a: |\n  x\n----\n---\nb\n");
        assert_eq!(parts, [(1, "a: |\n  x\n----\n".into()), (4, "\nb\n".into())]);
    }

    #[test]
    fn numbers_are_as_kubectl_reads_them() {
        let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  volumes: [{name: v, configMap: {name: c, defaultMode: 0644}}]\n  containers: [{name: c, image: i}]\n";
        let document = documents(&manifest(text)).remove(0).unwrap();
        assert_eq!(document.object.pointer("/spec/volumes/0/configMap/defaultMode"), Some(&420.into()));
    }
}
