//! What every cluster has beside what is declared: its DNS, as kubeadm installs CoreDNS.
//!
//! Source: kubernetes `cmd/kubeadm/app/phases/addons/dns/manifests.go`.

use std::time::Duration;

use api::types::api::apps::v1::Deployment;
use ipnetwork::Ipv4Network;
use runtime::Health;
use store::{Reflector, Store};
use tokio::time::{Instant, timeout_at};

use crate::manifest::Manifest;

/// The component's name in `topo status`.
pub(crate) const COMPONENT: &str = "dns";
const NAMESPACE: &str = "kube-system";
const NAME: &str = "coredns";
/// A lab without names is a lab: it is not waited for longer than this.
const PATIENCE: Duration = Duration::from_secs(5);
const REPLICAS: u32 = 2;

/// The DNS server as two pods behind a service, so that a look-up goes the same way as everything else.
pub(crate) fn dns(etcd: &[String], service_network: Ipv4Network) -> Option<Manifest> {
    let address = topology::dns_address(service_network)?;
    let etcd = etcd.join(",");
    let text = format!(
        "apiVersion: v1
kind: Service
metadata:
  name: kube-dns
  namespace: kube-system
  labels: {{k8s-app: kube-dns, kubernetes.io/name: CoreDNS}}
spec:
  clusterIP: {address}
  selector: {{k8s-app: kube-dns}}
  ports:
    - {{name: dns, port: 53, protocol: UDP, targetPort: 53}}
    - {{name: dns-tcp, port: 53, protocol: TCP, targetPort: 53}}
    - {{name: metrics, port: 9153, protocol: TCP, targetPort: 9153}}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: coredns
  namespace: kube-system
  labels: {{k8s-app: kube-dns, kubernetes.io/name: CoreDNS}}
spec:
  replicas: {REPLICAS}
  strategy: {{type: RollingUpdate, rollingUpdate: {{maxUnavailable: 1}}}}
  selector: {{matchLabels: {{k8s-app: kube-dns}}}}
  template:
    metadata:
      labels: {{k8s-app: kube-dns}}
    spec:
      dnsPolicy: Default
      tolerations: [{{key: CriticalAddonsOnly, operator: Exists}}]
      containers:
        - name: coredns
          image: coredns
          args: [--etcd, \"{etcd}\", --name-server, \"{address}\"]
          ports:
            - {{name: dns, containerPort: 53, protocol: UDP}}
            - {{name: dns-tcp, containerPort: 53, protocol: TCP}}
            - {{name: metrics, containerPort: 9153, protocol: TCP}}
          livenessProbe: {{httpGet: {{path: /health, port: 8080}}, initialDelaySeconds: 60, timeoutSeconds: 5, failureThreshold: 5}}
          readinessProbe: {{httpGet: {{path: /ready, port: 8181}}, periodSeconds: 1}}
"
    );
    Some(Manifest { file: "(built-in) dns.yaml".into(), text })
}

/// Tells how the DNS servers are, until dropped. Ready once one of them is, or waiting is of no use.
pub(crate) async fn watch_dns(store: Store, health: Health) {
    let deployments = Reflector::<Deployment>::start_where(&store, Some(NAMESPACE), |deployment| {
        deployment.metadata.name.as_deref() == Some(NAME)
    });
    let mut changed = deployments.subscribe();
    deployments.wait_synced().await;
    let mut deadline = Some(Instant::now() + PATIENCE);
    loop {
        changed.mark_unchanged();
        let status = deployments.get(NAMESPACE, NAME).and_then(|deployment| deployment.status.clone());
        let available = status.and_then(|status| status.available_replicas).unwrap_or(0);
        let message = format!("{available} of {REPLICAS} servers ready");
        match deadline {
            _ if available > 0 => {
                deadline = None;
                health.warn(COMPONENT, &message, &[]);
            }
            Some(at) if at > Instant::now() => health.set(COMPONENT, false, &message),
            _ => {
                let hint =
                    format!("names do not resolve: {message}; `topo get pods -n {NAMESPACE}` says why");
                health.warn(COMPONENT, &message, &[hint]);
                deadline = None;
            }
        }
        let next = async {
            match deadline {
                Some(at) => drop(timeout_at(at, changed.changed()).await),
                // The reflector is held here.
                None => drop(changed.changed().await),
            }
        };
        next.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::check;

    #[test]
    fn the_servers_manifest_is_a_good_one() {
        let manifest = dns(&["http://10.1.0.1:2379".into()], "100.64.0.0/16".parse().unwrap()).unwrap();
        assert!(manifest.text.contains("clusterIP: 100.64.0.10\n"));
        check("C0", &["C0w1"], &[manifest]).unwrap();
        assert_eq!(dns(&[], "100.64.0.0/30".parse().unwrap()), None, "no room");
    }
}
