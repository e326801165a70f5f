//! What a probe does, read from its container.
//!
//! Sources: kubernetes `pkg/kubelet/prober/prober.go` (`runProbe`), `pkg/probe/util.go`
//! (`ResolveContainerPort`), `pkg/probe/http/request.go`.

use std::time::Duration;

use api::types::api::core::v1::{Container, HTTPGetAction, Probe};
use api::types::apimachinery::pkg::util::intstr::IntOrString;

use super::target::Target;
use super::{Exec, Outcome, USER_AGENT, exec, grpc, http};
use crate::environment::static_command;

/// What a probe does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Asks for a page.
    Http(HttpGet),
    /// Opens a connection.
    Tcp {
        /// Address or name.
        host: String,
        /// Port.
        port: u16,
    },
    /// Asks `grpc.health.v1.Health`.
    Grpc {
        /// Address.
        host: String,
        /// Port.
        port: u16,
        /// Of which service; empty for the server as a whole.
        service: String,
    },
    /// Runs a command in the container.
    Exec(Vec<String>),
}

/// A page, and how to ask for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpGet {
    pub(super) target: Target,
    /// Names and values, without `Host`.
    pub(super) headers: Vec<(String, String)>,
    /// `Host`, if it is not the target's.
    pub(super) host: Option<String>,
}

impl Action {
    /// What `probe` of `container` does; the container's pod has the address `pod_ip`.
    ///
    /// # Errors
    /// It cannot be done, in the kubelet's words.
    pub fn resolve(probe: &Probe, container: &Container, pod_ip: &str) -> Result<Self, String> {
        if let Some(one) = &probe.exec {
            let command = one.command.as_deref().unwrap_or_default();
            return Ok(Self::Exec(static_command(command, container)));
        }
        if let Some(one) = &probe.http_get {
            return http_get(one, container, pod_ip).map(Self::Http);
        }
        if let Some(one) = &probe.tcp_socket {
            let host = one.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(pod_ip).into();
            return Ok(Self::Tcp { host, port: port(&one.port, container)? });
        }
        if let Some(one) = &probe.grpc {
            let service = one.service.clone().unwrap_or_default();
            let port = port(&IntOrString::Int(one.port), container)?;
            return Ok(Self::Grpc { host: pod_ip.into(), port, service });
        }
        Err(format!("missing probe handler for container {}", container.name))
    }

    /// Does it once, in `timeout`.
    pub async fn run(&self, timeout: Duration, exec: &dyn Exec) -> Outcome {
        match self {
            Self::Http(get) => http::get(get, timeout).await,
            Self::Tcp { host, port } => super::dial::probe(host, *port, timeout).await,
            Self::Grpc { host, port, service } => grpc::check(host, *port, service, timeout).await,
            Self::Exec(command) => exec::probe(exec, command, timeout).await,
        }
    }
}

fn http_get(get: &HTTPGetAction, container: &Container, pod_ip: &str) -> Result<HttpGet, String> {
    let scheme = get.scheme.as_deref().filter(|scheme| !scheme.is_empty()).unwrap_or("HTTP").to_lowercase();
    let host = get.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(pod_ip);
    let path = get.path.as_deref().unwrap_or_default();
    let target = Target::new(&scheme, host, port(&get.port, container)?, path);

    let given = get.http_headers.iter().flatten();
    let mut headers: Vec<_> = given.map(|one| (one.name.clone(), one.value.clone())).collect();
    let has = |headers: &[(String, String)], name: &str| {
        headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name))
    };
    for (name, value) in [("User-Agent", USER_AGENT), ("Accept", "*/*")] {
        if !has(&headers, name) {
            headers.push((name.into(), value.into()));
        }
    }
    // These two are left out by an empty value.
    headers.retain(|(name, value)| {
        !value.is_empty() || !["user-agent", "accept"].contains(&name.to_lowercase().as_str())
    });
    let mut host = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("host")).cloned();
    headers.retain(|(name, _)| !name.eq_ignore_ascii_case("host"));
    let host = host.take().map(|(_, value)| value).filter(|value| !value.is_empty());
    Ok(HttpGet { target, headers, host })
}

/// A port's number; a name is that of one of the container's ports.
fn port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            let mut ports = container.ports.iter().flatten();
            let found = ports.find(|port| port.name.as_ref() == Some(name));
            found.ok_or_else(|| format!("port {name:?} not found"))?.container_port
        }
    };
    let valid = u16::try_from(number).ok().filter(|number| *number != 0);
    valid.ok_or_else(|| format!("invalid port number: {number}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn resolve(probe: Value) -> Result<Action, String> {
        let container: Container = serde_json::from_value(json!({
            "name": "a",
            "ports": [{"name": "web", "containerPort": 8080}],
            "env": [{"name": "FILE", "value": "/tmp/healthy"}],
        }))
        .unwrap();
        Action::resolve(&serde_json::from_value(probe).unwrap(), &container, "11.10.0.5")
    }

    fn http(get: Value) -> HttpGet {
        match resolve(json!({ "httpGet": get })) {
            Ok(Action::Http(get)) => get,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn defaults_of_http_probes() {
        let get = http(json!({"port": "web", "path": "healthz?full=1"}));
        assert_eq!(get.target.to_string(), "http://11.10.0.5:8080/healthz?full=1");
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(get.headers, [header("User-Agent", "kube-probe/1.33"), header("Accept", "*/*")]);
        assert_eq!(get.host, None);
        let get = http(json!({"port": 443, "scheme": "HTTPS", "host": "fd00::1"}));
        assert_eq!(get.target.to_string(), "https://[fd00::1]:443/");
    }

    #[test]
    fn headers_are_added_replaced_and_left_out() {
        let get = http(json!({"port": 80, "httpHeaders": [
            {"name": "X-A", "value": "1"}, {"name": "x-a", "value": "2"},
            {"name": "accept", "value": ""}, {"name": "USER-AGENT", "value": "me"},
            {"name": "host", "value": "shop.example"},
        ]}));
        let headers: Vec<_> = get.headers.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(headers, ["X-A=1", "x-a=2", "USER-AGENT=me"]);
        assert_eq!(get.host.as_deref(), Some("shop.example"));
    }

    #[test]
    fn other_probes_and_what_cannot_be_done() {
        assert_eq!(
            resolve(json!({"tcpSocket": {"port": "web", "host": "db"}})),
            Ok(Action::Tcp { host: "db".into(), port: 8080 })
        );
        assert_eq!(
            resolve(json!({"grpc": {"port": 9000}})),
            Ok(Action::Grpc { host: "11.10.0.5".into(), port: 9000, service: String::new() })
        );
        let command = json!({"exec": {"command": ["cat", "$(FILE)"]}});
        assert_eq!(resolve(command), Ok(Action::Exec(vec!["cat".into(), "/tmp/healthy".into()])));
        let wrong = |probe: Value| resolve(probe).unwrap_err();
        assert_eq!(wrong(json!({"tcpSocket": {"port": "db"}})), "port \"db\" not found");
        assert_eq!(wrong(json!({"httpGet": {"port": 70000}})), "invalid port number: 70000");
        assert_eq!(wrong(json!({})), "missing probe handler for container a");
    }
}
