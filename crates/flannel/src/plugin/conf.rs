//! The plugin's configuration, and the one that it makes of it for the plugin that does the work
//! (`cmdAdd`, `doCmdAdd`, `getDelegateIPAM` of cni-plugin).

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::env::SubnetEnv;
use super::fault::Fault;
use crate::fields::{Fields, WrongType};

const SUBNET_FILE: &str = "/run/flannel/subnet.env";
const DATA_DIR: &str = "/var/lib/cni/flannel";

/// The plugin's configuration.
#[derive(Debug)]
pub(super) struct NetConf {
    name: String,
    cni_version: String,
    /// Where the daemon writes.
    pub(super) subnet_file: PathBuf,
    /// Where it is remembered how an attachment is undone.
    data_dir: PathBuf,
    delegate: Map<String, Value>,
    ipam: Map<String, Value>,
    runtime_config: Option<Value>,
}

impl NetConf {
    pub(super) fn parse(input: &[u8]) -> Result<Self, Fault> {
        let wrong = |e: String| Fault::internal(format!("network config of flannel: {e}"));
        let fields: Fields = serde_json::from_slice(input).map_err(|e| wrong(e.to_string()))?;
        Self::from_fields(&fields).map_err(|e| wrong(e.to_string()))
    }

    fn from_fields(fields: &Fields) -> Result<Self, WrongType> {
        let object = |name| fields.read(name, "an object", |value| value.as_object().cloned());
        let path = |name, default: &str| {
            fields.text(name).map(|path| path.map_or_else(|| PathBuf::from(default), PathBuf::from))
        };
        Ok(Self {
            name: fields.text("name")?.unwrap_or_default(),
            cni_version: fields.text("cniVersion")?.unwrap_or_default(),
            subnet_file: path("subnetFile", SUBNET_FILE)?,
            data_dir: path("dataDir", DATA_DIR)?,
            delegate: object("delegate")?.unwrap_or_default(),
            ipam: object("ipam")?.unwrap_or_default(),
            runtime_config: object("runtimeConfig")?.map(Value::Object),
        })
    }

    /// The configuration for the plugin that does the work: what `delegate` says, and what it leaves open.
    pub(super) fn delegate(&self, env: &SubnetEnv) -> Result<Value, Fault> {
        let mut conf = self.delegate.clone();
        for field in ["name", "ipam"] {
            if conf.contains_key(field) {
                let why = format!("'delegate' must not have the field '{field}': flannel sets it");
                return Err(Fault::internal(why));
            }
        }
        let plugin = conf.entry("type").or_insert_with(|| json!("bridge")).as_str().map(str::to_owned);
        let plugin =
            plugin.ok_or_else(|| Fault::internal("the field 'type' of 'delegate' must be a string"))?;
        conf.insert("name".into(), json!(self.name));
        if let Some(runtime_config) = &self.runtime_config {
            conf.insert("runtimeConfig".into(), runtime_config.clone());
        }
        // Somebody has to, and it is not the daemon.
        conf.entry("ipMasq").or_insert_with(|| json!(!env.ip_masq));
        conf.entry("mtu").or_insert_with(|| json!(env.mtu));
        if plugin == "bridge" {
            conf.entry("isGateway").or_insert(json!(true));
        }
        if !self.cni_version.is_empty() {
            conf.insert("cniVersion".into(), json!(self.cni_version));
        }
        conf.insert("ipam".into(), Value::Object(self.ipam(env)?));
        Ok(Value::Object(conf))
    }

    fn ipam(&self, env: &SubnetEnv) -> Result<Map<String, Value>, Fault> {
        let mut ipam = self.ipam.clone();
        ipam.entry("type").or_insert_with(|| json!("host-local"));
        let ranges: Vec<Value> =
            env.subnets.iter().map(|subnet| json!([{"subnet": subnet.to_string()}])).collect();
        let mut routes = match ipam.get("routes") {
            None | Some(Value::Null) => Vec::new(),
            Some(routes) => routes_of(routes)?,
        };
        routes.extend(env.networks.iter().map(|network| json!({"dst": network.to_string()})));
        ipam.insert("ranges".into(), json!(ranges));
        ipam.insert("routes".into(), json!(routes));
        Ok(ipam)
    }

    /// Remembers how an attachment is undone.
    pub(super) fn save(&self, container: &str, text: &str) -> Result<(), Fault> {
        let path = self.data_dir.join(container);
        let write = || -> io::Result<()> {
            DirBuilder::new().recursive(true).mode(0o700).create(&self.data_dir)?;
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
            file.write_all(text.as_bytes())?;
            // Else a crash could leave an attachment that nobody can undo.
            file.sync_all()
        };
        write().map_err(|e| Fault::internal(format!("write {}: {e}", path.display())))
    }

    /// What was saved, if it was.
    pub(super) fn saved(&self, container: &str) -> Result<Option<Vec<u8>>, Fault> {
        let path = self.data_dir.join(container);
        match fs::read(&path) {
            Ok(text) => Ok(Some(text)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Fault::internal(format!("read {}: {e}", path.display()))),
        }
    }

    /// Forgets what was saved. To try again would do no harm, so that this may fail.
    pub(super) fn forget(&self, container: &str) {
        let _ = fs::remove_file(self.data_dir.join(container));
    }
}

/// Routes with the fields that CNI knows (`route` of containernetworking/cni `pkg/types/types.go`), and no
/// others.
fn routes_of(routes: &Value) -> Result<Vec<Value>, Fault> {
    const KNOWN: [&str; 7] = ["dst", "gw", "mtu", "advmss", "priority", "table", "scope"];
    let wrong = |e: String| Fault::internal(format!("routes of 'ipam': {e}"));
    let routes = routes.as_array().ok_or_else(|| wrong(format!("{routes} is not a list")))?;
    let mut known = Vec::new();
    for route in routes {
        let fields = Fields::deserialize(route).map_err(|e| wrong(e.to_string()))?;
        let dst = fields.text("dst").map_err(|e| wrong(e.to_string()))?.unwrap_or_default();
        if crate::cidr::parse(&dst).is_none() {
            return Err(wrong(format!("{dst:?} is no network")));
        }
        let fields = KNOWN.iter().filter_map(|name| Some(((*name).to_owned(), fields.get(name)?.clone())));
        // What says nothing is left out, but of table and scope nought says something.
        let says = |name: &str, value: &Value| match name {
            "table" | "scope" => !value.is_null(),
            _ => !value.is_null() && *value != json!(0) && *value != json!(""),
        };
        known.push(Value::Object(fields.filter(|(name, value)| says(name, value)).collect()));
    }
    Ok(known)
}

/// JSON as Go writes it: keys sorted, and what means something in HTML escaped.
pub(super) fn to_json(value: &Value) -> String {
    let mut text = value.to_string();
    // Outside of strings none of these can be.
    for (plain, escaped) in [
        ('<', "\\u003c"),
        ('>', "\\u003e"),
        ('&', "\\u0026"),
        ('\u{2028}', "\\u2028"),
        ('\u{2029}', "\\u2029"),
    ] {
        if text.contains(plain) {
            text = text.replace(plain, escaped);
        }
    }
    text
}
