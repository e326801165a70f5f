//! A pod's sandbox and its network.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::resolv::{self, ClusterDns};
use cri::SandboxSpec;
use runtime::chain;

use super::{Life, Pods, WARNING, is_to_end, now};
use crate::hosts::{self, HostName};
use crate::network;

impl Life {
    /// Makes the sandbox and its network, if they do not stand; gives when to try again, if that failed.
    pub(super) async fn stand(&mut self, pods: &Pods) -> Option<i64> {
        if let Some((_, at)) = self.trouble.as_ref().filter(|(_, at)| *at > now()) {
            return Some(*at);
        }
        if self.sandbox.is_some() && self.ips.is_some() {
            return None;
        }
        let host_network = self.pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or(false);
        if !host_network && self.shared.options.lease.borrow().is_none() {
            // What is waited for wakes.
            self.trouble = Some(("network is not ready: the node has no subnet yet".into(), 0));
            return Some(now() + 1_000_000);
        }
        let began = Instant::now();
        match self.make(host_network, pods).await {
            Ok(()) => {
                self.trouble = None;
                self.retry.reset();
                None
            }
            Err(message) => {
                let message = format!("Failed to create pod sandbox: {message}");
                if !is_to_end(pods, &self.pod) {
                    self.tell(WARNING, "FailedCreatePodSandBox", &message);
                }
                let delay = self.retry.after(began.elapsed().min(Duration::from_secs(1)));
                let at = now() + i64::try_from(delay.as_micros()).unwrap_or(i64::MAX);
                self.trouble = Some((message, at));
                Some(at)
            }
        }
    }

    async fn make(&mut self, host_network: bool, pods: &Pods) -> Result<(), String> {
        let sandbox = match &self.sandbox {
            Some(sandbox) => sandbox.clone(),
            None => {
                let spec = self.sandbox_spec(host_network)?;
                let made = self.shared.runtime.create(spec).await.map_err(|e| chain(&e))?;
                let sandbox = Arc::new(made);
                self.sandboxes += 1;
                self.state = Some(sandbox.state());
                self.sandbox = Some(sandbox.clone());
                sandbox
            }
        };
        if host_network {
            self.ips = Some(vec![self.address().to_owned()]);
            return Ok(());
        }
        if self.attached {
            // Begun before, by another agent perhaps, and not finished.
            network::detach(&self.shared, sandbox.spec(), Some(sandbox.netns()))
                .await
                .map_err(|e| chain(&e))?;
        }
        self.settle_former().await?;
        self.attached = true;
        let attach = network::attach(&self.shared, &self.pod, sandbox.spec(), sandbox.netns());
        let ips = tokio::select! {
            ips = attach => ips.map_err(|e| chain(&e))?,
            // A plugin that hangs must not keep the pod from its end.
            () = told_to_end(pods.clone(), &self.pod) => return Err("the pod is being deleted".into()),
        };
        let hosts = self.hosts(false, &ips);
        sandbox.rewrite("hosts", &hosts).map_err(|e| chain(&e))?;
        sandbox.note_addresses(&ips).map_err(|e| chain(&e))?;
        self.ips = Some(ips);
        Ok(())
    }

    /// Gives back what former sandboxes of the pod's name held, before this one gets the same.
    async fn settle_former(&self) -> Result<(), String> {
        let owing = self.shared.runtime.owing(&self.shared.options.node).map_err(|e| chain(&e))?;
        let (namespace, name) = (&self.pod.metadata.namespace, &self.pod.metadata.name);
        let same = |spec: &&SandboxSpec| {
            Some(&spec.namespace) == namespace.as_ref() && Some(&spec.pod) == name.as_ref()
        };
        for former in owing.iter().filter(same) {
            let settled = network::settle(&self.shared, former).await;
            settled.map_err(|e| format!("the network of its former sandbox: {}", chain(&e)))?;
        }
        Ok(())
    }

    fn sandbox_spec(&self, host_network: bool) -> Result<SandboxSpec, String> {
        let meta = &self.pod.metadata;
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let (namespace, pod, uid) = (text(&meta.namespace), text(&meta.name), text(&meta.uid));
        let options = &self.shared.options;
        Ok(SandboxSpec {
            name: cri::sandbox::name_of(&options.cluster, &namespace, &pod),
            id: cri::sandbox::id_of(&namespace, &pod, &uid),
            node: options.node.clone(),
            hostname: self.nodename(host_network)?,
            attempt: self.sandboxes,
            host_network,
            files: BTreeMap::from([
                ("hosts".to_owned(), self.hosts(host_network, &[])),
                ("resolv.conf".to_owned(), self.resolv_conf(&namespace)),
            ]),
            mount_points: super::volumes::mount_points(&self.spec()),
            main: self.spec().containers.first().map(|container| container.name.clone()),
            namespace,
            pod,
            uid,
        })
    }

    fn resolv_conf(&self, namespace: &str) -> String {
        let options = &self.shared.options;
        let node = std::fs::read_to_string("/etc/resolv.conf").ok();
        let cluster = ClusterDns { addresses: &options.cluster_dns, zone: &options.zone };
        let made = resolv::for_pod(&self.spec(), namespace, cluster, node.as_deref());
        if !options.cluster_dns.is_empty() {
            for warning in &made.warnings {
                self.tell(WARNING, "DNSConfigForming", warning);
            }
        }
        made.conf.to_string()
    }

    fn nodename(&self, host_network: bool) -> Result<String, String> {
        let options = &self.shared.options;
        if host_network {
            return Ok(options.node.clone());
        }
        HostName::of(&self.pod, &options.zone).nodename().map_err(|e| chain(&e))
    }

    fn hosts(&self, host_network: bool, ips: &[String]) -> String {
        if host_network {
            let node = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
            return hosts::of_host_network(&self.pod, &node);
        }
        hosts::managed(&self.pod, &HostName::of(&self.pod, &self.shared.options.zone), ips)
    }

    /// Removes the sandbox and gives its network back, however often that takes.
    pub(super) async fn let_go(&mut self) {
        let Some(sandbox) = self.sandbox.take() else { return };
        self.look();
        let spec = sandbox.spec();
        let first = self.attached && !network::may_go_first(&self.shared, spec);
        let mut failed = None;
        if first {
            failed = network::detach(&self.shared, spec, Some(sandbox.netns())).await.err();
        }
        while let Err(error) = sandbox.end().await {
            self.tell(WARNING, "FailedKillPod", &format!("error killing pod: {}", chain(&error)));
            tokio::time::sleep(self.retry.after(Duration::ZERO)).await;
        }
        let owes = self.attached && (!first || failed.is_some());
        loop {
            let settled = if owes {
                network::settle(&self.shared, spec).await
            } else {
                self.shared.runtime.settle(spec).map_err(network::Error::from)
            };
            let Err(error) = settled else { break };
            let message = format!("error killing pod: failed to tear down its network: {}", chain(&error));
            self.cannot_let_go(&message);
            tokio::time::sleep(self.retry.after(Duration::ZERO)).await;
        }
        self.attached = false;
        self.volumes.forget();
        self.state = None;
        if !self.is_over() {
            // One that is over goes on telling where it was.
            self.ips = None;
        }
    }
}

/// Returns when the pod is to end.
async fn told_to_end(mut pods: Pods, pod: &api::types::api::core::v1::Pod) {
    let ends = |latest: &Option<Arc<api::types::api::core::v1::Pod>>| {
        latest.as_ref().is_none_or(|latest| {
            latest.metadata.uid != pod.metadata.uid || latest.metadata.deletion_timestamp.is_some()
        })
    };
    if pods.wait_for(ends).await.is_err() {
        // The kubelet ends, and this future with it.
        std::future::pending().await
    }
}
