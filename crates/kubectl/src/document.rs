//! Documents from files: YAML or JSON, many in a file, many files in a folder.
//!
//! Source: apimachinery `pkg/util/yaml/decoder.go`, cli-runtime `pkg/resource/visitor.go`.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use api::KindInfo;
use api::kinds;
use serde_json::Value;

/// Which files of a folder are read.
const EXTENSIONS: [&str; 3] = ["json", "yaml", "yml"];

/// Where a document stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file; `standard input` for that.
    pub file: String,
    /// Which document of the file, from 1 on.
    pub document: usize,
    /// How many there are.
    pub of: usize,
    /// The line where it begins, from 1 on.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if self.of > 1 {
            write!(f, ": document {} (line {})", self.document, self.line)?;
        }
        Ok(())
    }
}

/// An object as someone has written it.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Where it stands.
    pub place: Place,
    /// Its kind.
    pub info: &'static KindInfo,
    /// Everything that was written.
    pub object: Value,
}

/// A document, or a file, that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {why}")]
pub struct Unusable {
    /// Where.
    pub place: String,
    /// Why not.
    pub why: String,
}

/// What is found in files, in their order: a bad document does not hide the others.
pub type Documents = Vec<Result<Document, Unusable>>;

/// Reads files and folders; `-` is standard input, which `read_stdin` gives. Of a folder all files that
/// end in `.json`, `.yaml` or `.yml`, in the order of their names, and with `recursive` those below.
pub fn read(
    paths: &[PathBuf],
    recursive: bool,
    read_stdin: impl Fn() -> std::io::Result<String>,
) -> Documents {
    let mut found = Vec::new();
    for path in paths {
        if path == Path::new("-") {
            match read_stdin() {
                Ok(text) => found.extend(parse("standard input", &text)),
                Err(error) => found.push(Err(unusable("standard input", &error))),
            }
        } else {
            read_path(path, recursive, true, &mut found);
        }
    }
    found
}

fn unusable(place: impl fmt::Display, why: &dyn fmt::Display) -> Unusable {
    Unusable { place: place.to_string(), why: why.to_string() }
}

fn read_path(path: &Path, recursive: bool, named: bool, found: &mut Documents) {
    let name = path.display().to_string();
    if name.starts_with("http://") || name.starts_with("https://") {
        let why = "files from the network are not fetched: `curl -s URL | topo apply -f -`";
        found.push(Err(unusable(name, &why)));
        return;
    }
    if path.is_dir() {
        if named || recursive {
            read_folder(path, recursive, found);
        }
        return;
    }
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    if !named && !EXTENSIONS.contains(&extension) {
        return;
    }
    match fs::read_to_string(path) {
        Ok(text) => found.extend(parse(&name, &text)),
        Err(error) => found.push(Err(unusable(name, &error))),
    }
}

fn read_folder(folder: &Path, recursive: bool, found: &mut Documents) {
    let before = found.len();
    let entries: std::io::Result<Vec<_>> = fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect());
    match entries {
        Ok(mut paths) => {
            paths.sort();
            for path in paths {
                read_path(&path, recursive, false, found);
            }
        }
        Err(error) => found.push(Err(unusable(folder.display(), &error))),
    }
    if found.len() == before {
        let why = "no file in this folder ends in .json, .yaml or .yml, or none has an object in it";
        found.push(Err(unusable(folder.display(), &why)));
    }
}

/// Reads the documents of a text that is called `file` in messages.
#[must_use]
pub fn parse(file: &str, text: &str) -> Documents {
    let parts: Vec<_> = split(text).into_iter().filter(|(_, part)| !is_blank(part)).collect();
    let of = parts.len();
    let mut found = Vec::new();
    for (i, (line, part)) in parts.into_iter().enumerate() {
        let place = Place { file: file.into(), document: i + 1, of, line };
        match value_of(part, line, file) {
            // A document of nothing but `null`.
            Ok(Value::Null) => {}
            Ok(value) => found.extend(objects(&place, value)),
            Err(error) => found.push(Err(error)),
        }
    }
    found
}

/// The one document of a text, which need not be an object.
///
/// # Errors
/// It is neither YAML nor JSON.
pub fn value(file: &str, text: &str) -> Result<Value, Unusable> {
    value_of(text, 1, file)
}

/// Documents with the numbers of their first lines. They end at lines that begin with `---`, as YAML has it.
fn split(text: &str) -> Vec<(usize, &str)> {
    let mut parts = Vec::new();
    let (mut begin, mut begin_line) = (0, 1);
    let mut at = 0;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let is_end = line.strip_prefix("---").is_some_and(|rest| {
            rest.trim().is_empty() || rest.starts_with([' ', '\t']) && rest.trim().starts_with('#')
        });
        if is_end {
            parts.push((begin_line, &text[begin..at]));
            (begin, begin_line) = (at + line.len(), number + 2);
        }
        at += line.len();
    }
    parts.push((begin_line, &text[begin..]));
    parts
}

/// Whether there is nothing but comments.
fn is_blank(part: &str) -> bool {
    part.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
}

fn value_of(part: &str, first: usize, file: &str) -> Result<Value, Unusable> {
    let options = serde_yaml::options! {
        // As kubectl's parser: `defaultMode: 0644` is 420.
        legacy_octal_numbers: true,
    };
    serde_yaml::from_str_with_options::<Value>(part, options).map_err(|error| {
        let text = error.without_snippet().to_string();
        let line = error.location().map_or(first, |at| {
            let at = usize::try_from(at.line()).unwrap_or_default();
            first + at.saturating_sub(1)
        });
        unusable(format_args!("{file}: line {line}"), &tidy(&text))
    })
}

/// Cuts off the place that the parser puts at the ends of its message: counted from the document's begin,
/// it would mislead.
fn tidy(message: &str) -> String {
    let first = message.lines().next().unwrap_or(message);
    let cut = first.rfind(" at line ").unwrap_or(first.len());
    let text = first[..cut].trim_end_matches([',', ':', ' ']);
    // What the parser advises its own users.
    let text = text.split_once(", set DuplicateKeyPolicy").map_or(text, |(text, _)| text);
    let behind = text.split_once(": ").filter(|(head, _)| head.starts_with("line "));
    format!("not valid YAML: {}", behind.map_or(text, |(_, rest)| rest))
}

/// The object of a document, or those of a `List`.
fn objects(place: &Place, value: Value) -> Documents {
    let kind = value.get("kind").and_then(Value::as_str).unwrap_or_default();
    let items = value.get("items").and_then(Value::as_array);
    if let (true, Some(items)) = (kind.ends_with("List"), items) {
        let items: Vec<_> = items.iter().filter(|item| !item.is_null()).cloned().collect();
        return items.into_iter().flat_map(|item| objects(place, item)).collect();
    }
    if !value.is_object() {
        return vec![Err(unusable(place, &"not an object: it has no apiVersion and no kind"))];
    }
    let found = kinds::of(&value).map(|info| Document { place: place.clone(), info, object: value });
    vec![found.map_err(|error| unusable(place, &error))]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(documents: &Documents) -> Vec<String> {
        let tell = |one: &Result<Document, Unusable>| match one {
            Ok(document) => {
                let name = document.object.pointer("/metadata/name").and_then(Value::as_str);
                format!("{}: {}/{}", document.place, document.info.plural, name.unwrap_or("-"))
            }
            Err(error) => error.to_string(),
        };
        documents.iter().map(tell).collect()
    }

    #[test]
    fn a_bad_document_does_not_hide_the_others() {
        let text = "# a comment\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: a}\n--- # next\nkind: Pod\n---\n\
                    apiVersion: v1\nkind: Pod\nmetadata:\n  name: [b\n---\nnull\n---\n- a\n---\napiVersion: v2\n\
                    kind: Pod\n---\napiVersion: v1\nkind: Service\nmetadata: {name: c}\n...\n";
        insta::assert_snapshot!(told(&parse("x.yaml", text)).join("\n"));
    }

    #[test]
    fn a_list_is_its_items() {
        let text = r#"{"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}},
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}}]}"#;
        assert_eq!(told(&parse("x.json", text)), ["x.json: pods/a", "x.json: configmaps/b"]);
        assert_eq!(parse("x", ""), []);
        assert_eq!(parse("x", "---\n# nothing\n---\n"), []);
    }

    #[test]
    fn values_are_those_of_kubectls_parser() {
        let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n\
                    data: {a: yes, b: 0644, c: \"0644\", d: 1.10, e: 2026-01-01, f: ~, g: 0x10, h: no, i: 1e3}\n";
        let Ok(document) = &parse("x", text)[0] else { panic!() };
        insta::assert_snapshot!(document.object["data"], @r#"{"a":true,"b":420,"c":"0644","d":1.1,"e":"2026-01-01","f":null,"g":16,"h":false,"i":1000.0}"#);
        let twice = parse("x.yaml", "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  name: b\n");
        insta::assert_snapshot!(told(&twice).join("\n"));
    }

    #[test]
    fn folders_are_read_in_the_order_of_names() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let pod = |name: &str| format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\n");
        fs::create_dir(at("sub")).unwrap();
        for name in ["b.yaml", "a.yml", "c.json", "sub/d.yaml", "readme.md"] {
            fs::write(at(name), pod(&name.replace(['.', '/'], "-"))).unwrap();
        }
        let names = |recursive| -> Vec<String> {
            let found = read(&[folder.path().into()], recursive, || unreachable!());
            told(&found).iter().map(|line| line.rsplit_once('/').unwrap().1.to_owned()).collect()
        };
        assert_eq!(names(false), ["a-yml", "b-yaml", "c-json"]);
        assert_eq!(names(true), ["a-yml", "b-yaml", "c-json", "sub-d-yaml"]);
        let found = read(&["-".into()], false, || Ok(pod("e")));
        assert_eq!(told(&found), ["standard input: pods/e"]);
        fs::create_dir(at("empty")).unwrap();
        let found =
            read(&[at("empty"), at("missing"), "https://example.com/a".into()], false, || unreachable!());
        let found = told(&found).join("\n").replace(&folder.path().display().to_string(), "F");
        insta::assert_snapshot!(found);
    }
}
