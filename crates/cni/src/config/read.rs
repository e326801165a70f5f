//! Reading configurations: the text's own shape, and everything that is wrong with it.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{ConfigError, NetworkList, Plugin, Problem};
use crate::names::{fault_of_name, fault_of_plugin};
use crate::version::{Version, VersionError};

/// A list whose plugins may have to be looked for in a folder yet.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) list: NetworkList,
    /// Whether plugins from the folder of the network's name come after its own.
    pub(super) folder: bool,
}

impl Draft {
    pub(super) fn parse(text: &[u8]) -> Result<Self, ConfigError> {
        let mut reader = Reader { raw: object(text)?, problems: Vec::new() };
        let single = reader.raw.contains_key("type") && !reader.raw.contains_key("plugins");
        let draft = if single { reader.single() } else { reader.list(text) };
        match draft {
            Some(draft) if reader.problems.is_empty() => Ok(draft),
            _ => Err(ConfigError::new(reader.problems)),
        }
    }

    /// Appends the plugins of the network's folder. The text then has them, too, so that the cached
    /// one is whole without the folder.
    pub(super) fn append(&mut self, plugins: Vec<Plugin>) {
        if plugins.is_empty() {
            return;
        }
        self.list.plugins.extend(plugins);
        let plugins: Value =
            self.list.plugins.iter().map(|plugin| Value::Object(plugin.raw.clone())).collect();
        self.list.edit_text(|raw| {
            raw.insert("plugins".into(), plugins);
            raw.insert("loadOnlyInlinedPlugins".into(), true.into());
        });
    }

    pub(super) fn finish(self) -> Result<NetworkList, ConfigError> {
        if self.list.plugins.is_empty() {
            return Err(ConfigError::one("plugins: missing"));
        }
        Ok(self.list)
    }
}

/// A JSON object, or the place where it stops being one.
pub(super) fn object(text: &[u8]) -> Result<Map<String, Value>, ConfigError> {
    match serde_json::from_slice(text) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(ConfigError::one("no JSON object")),
        Err(e) => {
            let message = e.to_string();
            let message = message.split(" at line ").next().unwrap_or_default().to_owned();
            Err(ConfigError::new(vec![Problem { place: Some((e.line(), e.column())), message }]))
        }
    }
}

/// Reads one plugin's configuration, `key` being where it stands.
pub(super) fn plugin(key: &str, raw: Map<String, Value>, problems: &mut Vec<Problem>) -> Option<Plugin> {
    let mut problem = |field: &str, message: String| {
        let message = format!("{key}{field}: {message}");
        problems.push(Problem { place: None, message });
    };
    let kind = match raw.get("type") {
        None => Err("missing".to_owned()),
        Some(Value::String(kind)) => match fault_of_plugin(kind) {
            None => Ok(kind.clone()),
            Some(why) => Err(format!("{kind:?}: {why}")),
        },
        Some(other) => Err(format!("{other} is no text")),
    };
    let mut capabilities = BTreeSet::new();
    match raw.get("capabilities") {
        None | Some(Value::Null) => {}
        Some(Value::Object(map)) => {
            for (name, declared) in map {
                match declared {
                    Value::Bool(true) => drop(capabilities.insert(name.clone())),
                    Value::Bool(false) => {}
                    other => problem("capabilities", format!("{name}: {other} is neither true nor false")),
                }
            }
        }
        Some(_) => problem("capabilities", "no object".into()),
    }
    match kind {
        Ok(kind) => Some(Plugin { kind, capabilities, raw }),
        Err(message) => {
            problem("type", message);
            None
        }
    }
}

struct Reader {
    raw: Map<String, Value>,
    problems: Vec<Problem>,
}

impl Reader {
    fn problem(&mut self, message: String) {
        self.problems.push(Problem { place: None, message });
    }

    /// A configuration of the form that ended with 1.0.0, as a list of one.
    fn single(&mut self) -> Option<Draft> {
        let (name, versions) = (self.name(), self.versions());
        let plugin = plugin("", self.raw.clone(), &mut self.problems)?;
        let version = *versions.last()?;
        let name = name?;
        let named: Vec<&str> = versions.iter().map(|version| version.as_str()).collect();
        let list = json!({"name": name, "cniVersion": version.as_str(), "cniVersions": named, "plugins": [self.raw]});
        let list = NetworkList {
            name,
            version,
            versions,
            disable_check: false,
            disable_gc: false,
            plugins: vec![plugin],
            bytes: list.to_string().into_bytes(),
        };
        Some(Draft { list, folder: false })
    }

    fn list(&mut self, text: &[u8]) -> Option<Draft> {
        let (name, versions) = (self.name(), self.versions());
        let disable_check = self.flag("disableCheck");
        let disable_gc = self.flag("disableGC");
        let inlined_only = self.flag("loadOnlyInlinedPlugins");
        let plugins = self.plugins();
        if inlined_only && !self.raw.contains_key("plugins") {
            self.problem("plugins: missing, and loadOnlyInlinedPlugins lets no others in".into());
        }
        let list = NetworkList {
            name: name?,
            version: *versions.last()?,
            versions,
            disable_check,
            disable_gc,
            plugins,
            bytes: text.to_vec(),
        };
        Some(Draft { list, folder: !inlined_only })
    }

    fn name(&mut self) -> Option<String> {
        let message = match self.raw.get("name") {
            None => "name: missing".into(),
            Some(Value::String(name)) => match fault_of_name(name) {
                None => return Some(name.clone()),
                Some(why) => format!("name: {name:?}: {why}"),
            },
            Some(other) => format!("name: {other} is no text"),
        };
        self.problem(message);
        None
    }

    /// The versions that are named and spoken here; when there are none, problems say why.
    fn versions(&mut self) -> BTreeSet<Version> {
        let before = self.problems.len();
        let mut named = Vec::new();
        match self.raw.get("cniVersion") {
            None | Some(Value::Null) => {}
            Some(version) => named.push(("cniVersion".to_owned(), version.clone())),
        }
        match self.raw.get("cniVersions") {
            None | Some(Value::Null) => {}
            Some(Value::Array(list)) => {
                let place = |i| format!("cniVersions[{i}]");
                named.extend(list.iter().enumerate().map(|(i, version)| (place(i), version.clone())));
            }
            Some(_) => self.problem("cniVersions: no list".into()),
        }
        let mut versions = BTreeSet::new();
        let mut unsupported = None;
        for (place, version) in named {
            match version.as_str().map(str::parse) {
                Some(Ok(version)) => drop(versions.insert(version)),
                Some(Err(e @ VersionError::Unsupported(_))) => unsupported = Some(format!("{place}: {e}")),
                Some(Err(e)) => self.problem(format!("{place}: {e}")),
                None => self.problem(format!("{place}: {version} is no text")),
            }
        }
        if versions.is_empty() && self.problems.len() == before {
            let missing =
                || format!("cniVersion: missing, which means 0.1.0; supported are {}", Version::list());
            self.problem(unsupported.unwrap_or_else(missing));
        }
        versions
    }

    /// A truth value, also as text: other runtimes take that, too.
    fn flag(&mut self, key: &str) -> bool {
        let message = match self.raw.get(key) {
            None | Some(Value::Null) => return false,
            Some(Value::Bool(flag)) => return *flag,
            Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => return true,
            Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => return false,
            Some(other) => format!("{key}: {other} is neither true nor false"),
        };
        self.problem(message);
        false
    }

    fn plugins(&mut self) -> Vec<Plugin> {
        let list = match self.raw.get("plugins") {
            None => return Vec::new(),
            Some(Value::Array(list)) => list.clone(),
            Some(_) => {
                self.problem("plugins: no list".into());
                return Vec::new();
            }
        };
        if list.is_empty() {
            self.problem("plugins: empty".into());
        }
        let mut plugins = Vec::new();
        for (i, value) in list.into_iter().enumerate() {
            match value {
                Value::Object(raw) => {
                    plugins.extend(plugin(&format!("plugins[{i}]."), raw, &mut self.problems))
                }
                _ => self.problem(format!("plugins[{i}]: no object")),
            }
        }
        plugins
    }
}
