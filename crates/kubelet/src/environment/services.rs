//! Variables that tell a container of the services of its namespace.
//!
//! Sources: kubernetes `pkg/kubelet/envvars/envvars.go`, `pkg/kubelet/kubelet_pods.go`
//! (`getServiceEnvVarMap`). Each service has two sets: Kubernetes' own, and those of Docker's links.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::types::api::core::v1::Service;

/// The service that every pod is told of: the API server's, of namespace `default`.
const MASTER: (&str, &str) = ("default", "kubernetes");

/// Variables of the services with a cluster IP: of namespace `namespace` if `links`, and always of
/// `kubernetes`.
#[must_use]
pub fn service_variables(
    services: &[Arc<Service>],
    namespace: &str,
    links: bool,
) -> BTreeMap<String, String> {
    let mut shown: BTreeMap<&str, &Service> = BTreeMap::new();
    for service in services {
        let name = service.metadata.name.as_deref().unwrap_or_default();
        let of = service.metadata.namespace.as_deref().unwrap_or_default();
        if (of, name) == MASTER {
            // One of that name in the pod's own namespace is nearer.
            shown.entry(name).or_insert(service);
        } else if links && of == namespace {
            shown.insert(name, service);
        }
    }
    let mut vars = BTreeMap::new();
    for (name, service) in shown {
        variables(name, service, &mut vars);
    }
    vars
}

fn variables(name: &str, service: &Service, vars: &mut BTreeMap<String, String>) {
    let Some(spec) = &service.spec else { return };
    let ip = spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty() && *ip != "None");
    let (Some(ip), Some(ports)) = (ip, &spec.ports) else { return };
    let Some(first) = ports.first() else { return };
    let name = variable_name(name);
    let shown = if ip.contains(':') { format!("[{ip}]") } else { ip.into() };

    vars.insert(format!("{name}_SERVICE_HOST"), ip.into());
    vars.insert(format!("{name}_SERVICE_PORT"), first.port.to_string());
    for (i, port) in ports.iter().enumerate() {
        let number = port.port;
        if let Some(port_name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            vars.insert(format!("{name}_SERVICE_PORT_{}", variable_name(port_name)), number.to_string());
        }
        let protocol = port.protocol.as_deref().filter(|p| !p.is_empty()).unwrap_or("TCP");
        let (upper, lower) = (protocol.to_uppercase(), protocol.to_lowercase());
        let url = format!("{lower}://{shown}:{number}");
        if i == 0 {
            vars.insert(format!("{name}_PORT"), url.clone());
        }
        let prefix = format!("{name}_PORT_{number}_{upper}");
        vars.insert(format!("{prefix}_PROTO"), lower);
        vars.insert(format!("{prefix}_PORT"), number.to_string());
        vars.insert(format!("{prefix}_ADDR"), ip.into());
        vars.insert(prefix, url);
    }
}

/// `my-svc.v1` becomes `MY_SVC_V1` (`makeEnvVariableName`).
fn variable_name(name: &str) -> String {
    let name = name.replace(['.', '-'], "_").to_uppercase();
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name }
}
