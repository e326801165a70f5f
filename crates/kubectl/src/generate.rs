//! Objects from a few words: `create deployment`, `create service`, `expose`; and `set image`.
//!
//! Source: kubectl `pkg/cmd/create/{create_deployment,create_service}.go`, `pkg/cmd/expose/expose.go`,
//! `pkg/cmd/set/set_image.go`.

use std::collections::BTreeMap;

use api::KindInfo;
use api::kinds::{DAEMON_SETS, DEPLOYMENTS, PODS, REPLICA_SETS, SERVICES, STATEFUL_SETS};
use serde_json::{Value, json};
use store::Store;
use store::registry;

use crate::error::{Error, Result};
use crate::object::{labels, name, namespace, reference};

/// What a new deployment is to run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewDeployment {
    /// Images, a container each.
    pub images: Vec<String>,
    /// How many pods.
    pub replicas: u32,
    /// The port that the first container answers on.
    pub port: Option<u16>,
    /// What the container runs, instead of what its image does.
    pub command: Vec<String>,
}

/// A deployment of that name.
///
/// # Errors
/// No image, or a command for several.
pub fn deployment(name: &str, new: &NewDeployment) -> Result<Value> {
    if new.images.is_empty() {
        return Err(usage("a deployment needs an image: --image nginx"));
    }
    if new.images.len() > 1 && !new.command.is_empty() {
        return Err(usage("cannot specify multiple --image options and command"));
    }
    let mut containers: Vec<Value> = Vec::new();
    for image in &new.images {
        let mut container = json!({"name": container_name(image), "image": image});
        if !new.command.is_empty() {
            container["command"] = new.command.clone().into();
        }
        if containers.iter().any(|other| other["name"] == container["name"]) {
            container["name"] = format!("{}-{}", container_name(image), containers.len() + 1).into();
        }
        containers.push(container);
    }
    if let Some(port) = new.port {
        containers[0]["ports"] = json!([{"containerPort": port}]);
    }
    let labels = json!({"app": name});
    Ok(json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": new.replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}},
        },
    }))
}

/// `docker.io/library/nginx:1.25` runs in a container named `nginx`.
fn container_name(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    let base = last.split([':', '@']).next().unwrap_or(last);
    base.to_ascii_lowercase().replace(['.', '_'], "-")
}

/// What a new service is to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewService {
    /// As on the command line: `clusterip`, `nodeport`, `loadbalancer`, `externalname`.
    pub kind: String,
    /// `PORT` or `PORT:TARGET`.
    pub tcp: Vec<String>,
    /// Its address, or `None`.
    pub cluster_ip: Option<String>,
    /// The first port's port on nodes.
    pub node_port: Option<u16>,
    /// Of what it is another name.
    pub external_name: Option<String>,
}

/// A service of that name, for the pods with the label `app` of the same name.
///
/// # Errors
/// No such type of service, or ports that are none.
pub fn service(name: &str, new: &NewService) -> Result<Value> {
    let types = [
        ("clusterip", "ClusterIP"),
        ("nodeport", "NodePort"),
        ("loadbalancer", "LoadBalancer"),
        ("externalname", "ExternalName"),
    ];
    let Some((_, kind)) = types.into_iter().find(|(word, _)| *word == new.kind.to_ascii_lowercase()) else {
        return Err(usage(&format!(
            "service {:?}: services are clusterip, nodeport, loadbalancer or externalname",
            new.kind
        )));
    };
    let mut ports = new.tcp.iter().map(|text| service_port(text)).collect::<Result<Vec<_>>>()?;
    let mut spec = json!({"type": kind, "selector": {"app": name}});
    if let (Some(port), Some(first)) = (new.node_port, ports.first_mut()) {
        first["nodePort"] = port.into();
    }
    if let Some(address) = &new.cluster_ip {
        spec["clusterIP"] = address.as_str().into();
    }
    if let Some(other) = &new.external_name {
        spec["externalName"] = other.as_str().into();
    }
    if !ports.is_empty() {
        spec["ports"] = ports.into();
    } else if kind != "ExternalName" && new.cluster_ip.as_deref() != Some("None") {
        return Err(usage("at least one --tcp PORT[:TARGET] must be specified"));
    }
    Ok(json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "labels": {"app": name}}, "spec": spec,
    }))
}

/// `80:http` is port 80, which leads to the container's port `http`.
fn service_port(text: &str) -> Result<Value> {
    let (port, target) = text.split_once(':').unwrap_or((text, text));
    let number: u16 = port.parse().map_err(|_| usage(&format!("--tcp {text:?}: {port:?} is no port")))?;
    let target_port = target.parse::<u16>().map_or_else(|_| Value::from(target), Value::from);
    let name = if text.contains(':') { text.replace(':', "-") } else { port.into() };
    Ok(json!({"name": name, "protocol": "TCP", "port": number, "targetPort": target_port}))
}

/// How something is exposed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exposure {
    /// The service's name; else that of what is exposed.
    pub name: Option<String>,
    /// The service's port; else those of the containers.
    pub port: Option<u16>,
    /// Where it leads: a number or a name.
    pub target_port: Option<String>,
    /// TCP, UDP or SCTP.
    pub protocol: Option<String>,
    /// As `NodePort`.
    pub kind: Option<String>,
    /// Its address, or `None`.
    pub cluster_ip: Option<String>,
}

/// The service in front of a controller's pods, of a pod, or of those of another service.
///
/// # Errors
/// A kind that has no pods, or no port to be found.
pub fn expose(info: &KindInfo, object: &Value, how: &Exposure) -> Result<Value> {
    let selector = selector(info, object)?;
    let mut ports = match how.port {
        Some(port) => vec![json!({"port": port})],
        None => ports_of(info, object),
    };
    if ports.is_empty() {
        return Err(usage("couldn't find port via --port flag or introspection"));
    }
    let several = ports.len() > 1;
    for (number, port) in ports.iter_mut().enumerate() {
        let target = how
            .target_port
            .as_deref()
            .map(|text| text.parse::<u16>().map_or_else(|_| Value::from(text), Value::from));
        port["targetPort"] = target.unwrap_or_else(|| port["port"].clone());
        if let Some(protocol) = &how.protocol {
            port["protocol"] = protocol.to_uppercase().into();
        }
        if several {
            port["name"] = format!("port-{}", number + 1).into();
        }
    }
    let mut spec = json!({"selector": selector, "ports": ports});
    if let Some(kind) = &how.kind {
        spec["type"] = kind.as_str().into();
    }
    if let Some(address) = &how.cluster_ip {
        spec["clusterIP"] = address.as_str().into();
    }
    let mut metadata =
        json!({"name": how.name.as_deref().unwrap_or(name(object)), "namespace": namespace(object)});
    let own = labels(object, "/metadata/labels");
    if !own.is_empty() {
        metadata["labels"] = json!(own);
    }
    Ok(json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}))
}

/// The labels that lead to an object's pods.
fn selector(info: &KindInfo, object: &Value) -> Result<BTreeMap<String, String>> {
    let pointer = match *info {
        ref info if *info == SERVICES => "/spec/selector",
        ref info if *info == PODS => "/metadata/labels",
        ref info if [DEPLOYMENTS, REPLICA_SETS].contains(info) => "/spec/selector/matchLabels",
        _ => return Err(usage(&format!("cannot expose a {}", info.resource()))),
    };
    let found = labels(object, pointer);
    if found.is_empty() {
        let what = reference(info, name(object));
        return Err(usage(&format!("{what} has no labels that a service could select")));
    }
    Ok(found)
}

/// What containers say that they answer on; or another service's ports.
fn ports_of(info: &KindInfo, object: &Value) -> Vec<Value> {
    let text = |port: &Value| port["protocol"].as_str().unwrap_or("TCP").to_owned();
    if *info == SERVICES {
        let ports = object["spec"]["ports"].as_array();
        return ports
            .into_iter()
            .flatten()
            .map(|port| json!({"port": port["port"], "protocol": text(port)}))
            .collect();
    }
    let spec = if *info == PODS { &object["spec"] } else { &object["spec"]["template"]["spec"] };
    let containers = spec["containers"].as_array().into_iter().flatten();
    let ports = containers.flat_map(|container| container["ports"].as_array().into_iter().flatten());
    ports.map(|port| json!({"port": port["containerPort"], "protocol": text(port)})).collect()
}

/// Sets images of an object's containers, `*` meaning all; gives the line to print, if anything has changed.
///
/// # Errors
/// A kind without containers, or no container of a name.
pub async fn set_image(
    store: &Store,
    info: &'static KindInfo,
    object: &Value,
    images: &BTreeMap<String, String>,
) -> Result<Option<String>> {
    let pointer = match *info {
        ref info if *info == PODS => "/spec",
        ref info if [DEPLOYMENTS, REPLICA_SETS, DAEMON_SETS, STATEFUL_SETS].contains(info) => {
            "/spec/template/spec"
        }
        _ => return Err(usage(&format!("{} have no containers", info.resource()))),
    };
    let known = |wanted: &str| {
        let lists = ["containers", "initContainers"].map(|list| object.pointer(&format!("{pointer}/{list}")));
        let mut all = lists.into_iter().flatten().filter_map(Value::as_array).flatten();
        wanted == "*" || all.any(|container| container["name"] == *wanted)
    };
    if let Some(missing) = images.keys().find(|wanted| !known(wanted)) {
        return Err(usage(&format!("unable to find container named {missing:?}")));
    }
    let patched = registry::patch_raw(store, info, namespace(object), name(object), |old| {
        let mut new = old.clone();
        for list in ["containers", "initContainers"] {
            let containers = new.pointer_mut(&format!("{pointer}/{list}")).and_then(Value::as_array_mut);
            for container in containers.into_iter().flatten() {
                let own = container["name"].as_str().unwrap_or_default();
                if let Some(image) = images.get(own).or_else(|| images.get("*")) {
                    container["image"] = image.as_str().into();
                }
            }
        }
        Ok(new)
    })
    .await?;
    let changed = patched.old != patched.new;
    Ok(changed.then(|| format!("{} image updated", reference(info, name(&patched.new)))))
}

fn usage(text: &str) -> Error {
    Error::Usage(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &Result<Value>) -> String {
        match value {
            Ok(value) => value.to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn deployments_and_services_are_as_kubectls() {
        let one = NewDeployment {
            images: vec!["docker.io/library/my_nginx:1.25".into()],
            replicas: 2,
            port: Some(80),
            command: vec!["a".into(), "b".into()],
        };
        let two = NewDeployment { images: vec!["a/x".into(), "b/x:2".into()], ..NewDeployment::default() };
        let both = NewDeployment { command: vec!["c".into()], ..two.clone() };
        let service = |kind: &str, tcp: &[&str]| {
            let tcp = tcp.iter().map(ToString::to_string).collect();
            service("web", &NewService { kind: kind.into(), tcp, ..NewService::default() })
        };
        let headless =
            NewService { kind: "clusterip".into(), cluster_ip: Some("None".into()), ..NewService::default() };
        let all = [
            deployment("web", &one),
            deployment("web", &two),
            deployment("web", &both),
            deployment("web", &NewDeployment::default()),
            service("clusterip", &["80"]),
            service("NodePort", &["80:8080", "443:https"]),
            service("clusterip", &[]),
            service("magic", &["80"]),
            service("clusterip", &["http"]),
            super::service("web", &headless),
        ];
        insta::assert_snapshot!(all.iter().map(text).collect::<Vec<_>>().join("\n"));
    }

    #[test]
    fn what_is_exposed_is_found_by_its_labels_and_ports() {
        let new = NewDeployment { images: vec!["nginx".into()], port: Some(80), ..NewDeployment::default() };
        let web = deployment("web", &new).unwrap();
        let mut two = web.clone();
        two["spec"]["template"]["spec"]["containers"][0]["ports"] =
            json!([{"containerPort": 80}, {"containerPort": 53, "protocol": "UDP"}]);
        let other = Exposure {
            name: Some("front".into()),
            port: Some(8080),
            target_port: Some("http".into()),
            kind: Some("NodePort".into()),
            ..Exposure::default()
        };
        let none = deployment("web", &NewDeployment { port: None, ..new }).unwrap();
        let pod = json!({"metadata": {"name": "a"}, "spec": {}});
        let plain = Exposure::default();
        let all = [
            expose(&DEPLOYMENTS, &web, &plain),
            expose(&DEPLOYMENTS, &two, &plain),
            expose(&DEPLOYMENTS, &none, &other),
            expose(&DEPLOYMENTS, &none, &plain),
            expose(&PODS, &pod, &other),
            expose(&DAEMON_SETS, &web, &other),
        ];
        insta::assert_snapshot!(all.iter().map(text).collect::<Vec<_>>().join("\n"));
    }

    #[tokio::test]
    async fn images_are_set_where_they_are() {
        let store = Store::memory();
        let new = NewDeployment { images: vec!["nginx:1".into()], replicas: 1, ..NewDeployment::default() };
        let mut document = deployment("web", &new).unwrap();
        document["metadata"]["namespace"] = "default".into();
        registry::create_raw(
            &store,
            &api::kinds::NAMESPACES,
            &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}),
        )
        .await
        .unwrap();
        let object = registry::create_raw(&store, &DEPLOYMENTS, &document).await.unwrap();
        let set = async |container: &str, image: &str| {
            let images = BTreeMap::from([(container.to_owned(), image.to_owned())]);
            set_image(&store, &DEPLOYMENTS, &object, &images).await.map_err(|error| error.to_string())
        };
        let updated = Some("deployment.apps/web image updated".to_owned());
        assert_eq!(set("nginx", "nginx:2").await, Ok(updated.clone()));
        assert_eq!(set("*", "nginx:3").await, Ok(updated));
        assert_eq!(set("nginx", "nginx:3").await, Ok(None));
        assert_eq!(set("other", "x").await, Err("unable to find container named \"other\"".into()));
        let now = store.get_raw(&DEPLOYMENTS, "default", "web").await.unwrap().unwrap();
        assert_eq!(now["spec"]["template"]["spec"]["containers"][0]["image"], "nginx:3");
    }
}
