//! `kubectl run`: one pod in a few words.
//!
//! Source: kubectl `pkg/cmd/run/run.go`, `pkg/generate/versioned/run.go`.

use std::collections::BTreeMap;

use api::names;
use serde_json::{Value, json};

use crate::error::{Error, Result};

/// What a new pod is to run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewPod {
    /// The image.
    pub image: String,
    /// `Always` and the like; empty for what is the default.
    pub pull: String,
    /// The port that the container answers on.
    pub port: Option<u16>,
    /// `NAME=VALUE` each.
    pub env: Vec<String>,
    /// `KEY=VALUE,…` instead of `run=NAME`.
    pub labels: String,
    /// `KEY=VALUE` each.
    pub annotations: Vec<String>,
    /// When it is started again: `Always`, `OnFailure` or `Never`; empty for always.
    pub restart: String,
    /// Arguments, or the command itself.
    pub words: Vec<String>,
    /// They are the command.
    pub command: bool,
}

/// A pod of that name.
///
/// # Errors
/// No image, or words that are no `KEY=VALUE`.
pub fn pod(name: &str, new: &NewPod) -> Result<Value> {
    if new.image.is_empty() {
        return Err(Error::usage("--image is required"));
    }
    let labels = labels(name, &new.labels)?;
    let mut container = json!({"name": name, "image": new.image});
    if !new.pull.is_empty() {
        container["imagePullPolicy"] = new.pull.as_str().into();
    }
    if let Some(port) = new.port {
        container["ports"] = json!([{"containerPort": port}]);
    }
    let env = new.env.iter().map(|text| variable(text)).collect::<Result<Vec<_>>>()?;
    if !env.is_empty() {
        container["env"] = env.into();
    }
    if !new.words.is_empty() {
        container[if new.command { "command" } else { "args" }] = new.words.clone().into();
    }
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {"containers": [container]},
    });
    let annotations =
        new.annotations.iter().map(|text| pair("--annotations", text)).collect::<Result<BTreeMap<_, _>>>()?;
    if !annotations.is_empty() {
        pod["metadata"]["annotations"] = json!(annotations);
    }
    if !new.restart.is_empty() {
        pod["spec"]["restartPolicy"] = new.restart.as_str().into();
    }
    Ok(pod)
}

/// The service in front of it (`--expose`).
///
/// # Errors
/// The pod has no port.
pub fn service(pod: &Value) -> Result<Value> {
    let port = &pod["spec"]["containers"][0]["ports"][0]["containerPort"];
    if port.is_null() {
        return Err(Error::usage("--port must be set when exposing a service"));
    }
    let mut metadata = json!({"name": pod["metadata"]["name"]});
    if let Some(namespace) = pod["metadata"].get("namespace") {
        metadata["namespace"] = namespace.clone();
    }
    Ok(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": metadata,
        "spec": {
            "selector": pod["metadata"]["labels"],
            "ports": [{"protocol": "TCP", "port": port, "targetPort": port}],
        },
    }))
}

fn labels(name: &str, text: &str) -> Result<BTreeMap<String, String>> {
    if text.is_empty() {
        return Ok(BTreeMap::from([("run".into(), name.into())]));
    }
    let mut labels = BTreeMap::new();
    for label in text.split(',') {
        let (key, value) = pair("--labels", label)?;
        let mut wrong = names::qualified_name(&key);
        wrong.extend(names::label_value(&value));
        if !wrong.is_empty() {
            return Err(Error::Usage(format!("--labels {label}: {}", wrong.join("; "))));
        }
        labels.insert(key, value);
    }
    Ok(labels)
}

fn variable(text: &str) -> Result<Value> {
    let (name, value) = pair("--env", text)?;
    Ok(json!({"name": name, "value": value}))
}

fn pair(flag: &str, text: &str) -> Result<(String, String)> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.into(), value.into())),
        _ => Err(Error::Usage(format!("{flag} {text}: KEY=VALUE is wanted"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_as_kubectls() {
        let plain = NewPod { image: "nginx".into(), ..NewPod::default() };
        let full = NewPod {
            port: Some(80),
            env: vec!["A=1".into(), "B=x=y".into()],
            labels: "app=web,tier=".into(),
            annotations: vec!["note=here".into()],
            restart: "Never".into(),
            pull: "Never".into(),
            words: vec!["sleep".into(), "1".into()],
            command: true,
            ..plain.clone()
        };
        let cases = [
            plain.clone(),
            full.clone(),
            NewPod { command: false, ..full },
            NewPod::default(),
            NewPod { env: vec!["A".into()], ..plain.clone() },
            NewPod { labels: "a_=b".into(), ..plain.clone() },
            NewPod { labels: "=b".into(), ..plain },
        ];
        let mut said = Vec::new();
        for case in &cases {
            match pod("web", case) {
                Ok(pod) => {
                    let service = service(&pod);
                    said.push(pod.to_string());
                    said.push(format!(
                        "  {}",
                        service.map_or_else(|error| error.to_string(), |service| service.to_string())
                    ));
                }
                Err(error) => said.push(error.to_string()),
            }
        }
        insta::assert_snapshot!(said.join("\n"));
    }
}
