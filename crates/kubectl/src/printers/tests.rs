//! Hand-written objects, and the tables they make.

use api::types::jiff::Timestamp;

use super::*;
use crate::document::parse;

/// Ten minutes after the objects were made.
pub(super) fn now() -> Time {
    Time("2026-11-01T10:10:00Z".parse::<Timestamp>().unwrap())
}

fn objects(text: &str) -> Vec<Value> {
    let objects = parse("objects", text).into_iter().map(|document| document.unwrap().object);
    objects
        .map(|mut object| {
            let metadata = object["metadata"].as_object_mut().unwrap();
            metadata.entry("creationTimestamp").or_insert("2026-11-01T10:00:00Z".into());
            metadata.entry("namespace").or_insert("default".into());
            object
        })
        .collect()
}

/// The table of the objects, and the wide one.
fn shown(text: &str) -> String {
    let objects = objects(text);
    let info = kinds::of(&objects[0]).unwrap();
    let one = |wide| table(info, &objects, &Options { wide, ..Options::default() }, &now()).text();
    if one(true) == one(false) { one(false) } else { format!("{}\n{}", one(false), one(true)) }
}

#[test]
fn nodes_and_namespaces() {
    insta::assert_snapshot!("nodes", shown("
apiVersion: v1
kind: Node
metadata: {name: C0w1, labels: {node-role.kubernetes.io/worker: ''}}
status:
  conditions: [{type: Ready, status: 'True'}]
  addresses: [{type: InternalIP, address: 10.0.0.3}]
  nodeInfo: {kubeletVersion: v0.1.0, osImage: Debian, kernelVersion: '6.1', containerRuntimeVersion: 'knetsim://1',
    architecture: '', bootID: '', kubeProxyVersion: '', machineID: '', operatingSystem: '', systemUUID: ''}
---
apiVersion: v1
kind: Node
metadata: {name: C0w2}
spec: {unschedulable: true}
status: {conditions: [{type: Ready, status: Unknown}]}
---
apiVersion: v1
kind: Node
metadata: {name: C0w3}
"));
    insta::assert_snapshot!(
        "namespaces",
        shown(
            "
apiVersion: v1
kind: Namespace
metadata: {name: default}
status: {phase: Active}
---
apiVersion: v1
kind: Namespace
metadata: {name: east}
status: {phase: Terminating}
"
        )
    );
}

#[test]
fn services_and_endpoints() {
    insta::assert_snapshot!("services", shown("
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: ClusterIP, clusterIP: 100.64.0.10, clusterIPs: [100.64.0.10], ports: [{port: 80, protocol: TCP}], selector: {app: web}}
---
apiVersion: v1
kind: Service
metadata: {name: headless}
spec: {type: ClusterIP, clusterIP: None, clusterIPs: [None], selector: {app: web, tier: front}}
---
apiVersion: v1
kind: Service
metadata: {name: node-port}
spec: {type: NodePort, clusterIP: 100.64.0.11, externalIPs: [10.0.0.9, 10.0.0.8], ports: [{port: 80, nodePort: 30080, protocol: TCP}, {port: 53, protocol: UDP}]}
---
apiVersion: v1
kind: Service
metadata: {name: pending}
spec: {type: LoadBalancer, clusterIP: 100.64.0.12, ports: [{port: 80, nodePort: 30081}]}
---
apiVersion: v1
kind: Service
metadata: {name: balanced}
spec: {type: LoadBalancer, clusterIP: 100.64.0.13, ports: [{port: 80}]}
status: {loadBalancer: {ingress: [{ip: 10.200.0.11}, {ip: 10.200.0.10}]}}
---
apiVersion: v1
kind: Service
metadata: {name: elsewhere}
spec: {type: ExternalName, externalName: example.com}
---
apiVersion: v1
kind: Service
metadata: {name: unallocated}
spec: {type: ClusterIP, ports: [{port: 80}]}
"));
    insta::assert_snapshot!("endpointslices", shown("
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-abcde}
addressType: IPv4
ports: [{port: 80, name: http}, {name: named}, {}]
endpoints: [{addresses: [11.10.0.2]}, {addresses: [11.10.0.3]}, {addresses: [11.10.0.4]}, {addresses: [11.10.0.5]}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: empty}
addressType: IPv4
endpoints: []
"));
    insta::assert_snapshot!(
        "endpoints",
        shown(
            "
apiVersion: v1
kind: Endpoints
metadata: {name: web}
subsets:
- addresses: [{ip: 11.10.0.2}, {ip: 11.10.0.3}]
  notReadyAddresses: [{ip: 11.10.0.9}]
  ports: [{port: 80}, {port: 443}]
- addresses: [{ip: 'fd00::2'}]
  ports: [{port: 80}]
---
apiVersion: v1
kind: Endpoints
metadata: {name: empty}
"
        )
    );
}

#[test]
fn what_makes_pods() {
    let template = "template: {metadata: {labels: {app: web}}, spec: {containers: [{name: a, image: nginx}, \
                    {name: b, image: busybox}]}}";
    let selector = "selector: {matchLabels: {app: web}, matchExpressions: [{key: x, operator: Exists}]}";
    insta::assert_snapshot!(
        "deployments",
        shown(&format!(
            "
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec: {{replicas: 3, {selector}, {template}}}
status: {{readyReplicas: 2, updatedReplicas: 3, availableReplicas: 1}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: new}}
spec: {{{selector}, {template}}}
"
        ))
    );
    insta::assert_snapshot!(
        "replicasets",
        shown(&format!(
            "
apiVersion: apps/v1
kind: ReplicaSet
metadata: {{name: web-5d}}
spec: {{replicas: 0, {selector}, {template}}}
status: {{replicas: 2, readyReplicas: 1}}
"
        ))
    );
    insta::assert_snapshot!(
        "daemonsets",
        shown(&format!(
            "
apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: agent}}
spec: {{{selector}, template: {{spec: {{nodeSelector: {{disk: ssd}}, containers: [{{name: a, image: b}}]}}}}}}
status: {{desiredNumberScheduled: 3, currentNumberScheduled: 2, numberReady: 1, numberMisscheduled: 0}}
"
        ))
    );
    insta::assert_snapshot!(
        "statefulsets",
        shown(&format!(
            "
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: db}}
spec: {{replicas: 2, {selector}, {template}}}
status: {{replicas: 2, readyReplicas: 1}}
"
        ))
    );
    insta::assert_snapshot!("jobs", shown(&format!("
apiVersion: batch/v1
kind: Job
metadata: {{name: once}}
spec: {{completions: 1, {selector}, {template}}}
status: {{succeeded: 1, startTime: '2026-11-01T10:00:00Z', completionTime: '2026-11-01T10:00:07Z', conditions: [{{type: Complete, status: 'True'}}]}}
---
apiVersion: batch/v1
kind: Job
metadata: {{name: many}}
spec: {{parallelism: 3, {template}}}
status: {{startTime: '2026-11-01T10:00:00Z'}}
")));
    insta::assert_snapshot!("cronjobs", shown("
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly}
spec: {schedule: '0 3 * * *', suspend: true, jobTemplate: {spec: {template: {spec: {containers: [{name: a, image: b}]}}}}}
status: {lastScheduleTime: '2026-11-01T03:00:00Z'}
"));
}

#[test]
fn other_kinds() {
    insta::assert_snapshot!("others", [
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {x: '1'}, binaryData: {y: ''}}",
        "{apiVersion: v1, kind: Secret, metadata: {name: a}, type: Opaque, data: {x: YQ==}}",
        "{apiVersion: v1, kind: ServiceAccount, metadata: {name: default}}",
        "{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {name: C0w1}, spec: {holderIdentity: C0w1}}",
        "{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: high}, value: 1000}",
        "{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: web}, spec: {ingressClassName: nginx, \
         rules: [{host: a.example}, {host: b.example}, {host: c.example}, {host: d.example}], tls: [{}]}, \
         status: {loadBalancer: {ingress: [{ip: 10.0.0.3}, {ip: 10.0.0.4}]}}}",
        "{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: any}, spec: {rules: [{}]}}",
        "{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: nginx}, spec: {controller: \
         k8s.io/ingress-nginx, parameters: {apiGroup: x.io, kind: P, name: p}}}",
        "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: deny}, spec: {podSelector: \
         {matchLabels: {app: web}}}}",
        "{apiVersion: knetsim.dev/v1, kind: VirtualIP, metadata: {name: 100.64.10.1}, spec: {address: 100.64.10.1, \
         pods: [c2, c3], addresses: [11.10.0.9]}}",
        "{apiVersion: skupper.io/v2alpha1, kind: Site, metadata: {name: east}}",
    ].map(shown).join("\n"));
}

#[test]
fn events() {
    insta::assert_snapshot!(shown(
        "
apiVersion: v1
kind: Event
metadata: {name: c1.1}
type: Normal
reason: Scheduled
message: |
  Successfully assigned default/c1 to C0w1
involvedObject: {kind: Pod, name: c1, namespace: default}
source: {component: default-scheduler}
firstTimestamp: '2026-11-01T10:00:00Z'
lastTimestamp: '2026-11-01T10:09:00Z'
count: 3
---
apiVersion: v1
kind: Event
metadata: {name: c1.2}
type: Warning
reason: BackOff
message: 'Back-off restarting failed container'
involvedObject: {kind: Pod, name: c1, namespace: default, fieldPath: 'spec.containers{c}'}
reportingComponent: kubelet
reportingInstance: C0w1
eventTime: '2026-11-01T10:08:00.000000Z'
series: {count: 7, lastObservedTime: '2026-11-01T10:09:30.000000Z'}
---
apiVersion: v1
kind: Event
metadata: {name: c1.3}
involvedObject: {}
"
    ));
}

#[test]
fn more_columns() {
    let text = "
apiVersion: v1
kind: ConfigMap
metadata: {name: a, labels: {app.kubernetes.io/name: web, tier: front}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: b, namespace: east}
";
    let options = Options {
        namespace: true,
        kind: true,
        show_labels: true,
        label_columns: vec!["app.kubernetes.io/name".into()],
        ..Options::default()
    };
    let mut all = table(&kinds::CONFIG_MAPS, &objects(text), &options, &now()).text();
    // A kind without namespaces has no such column.
    let node = objects("{apiVersion: v1, kind: Node, metadata: {name: C0w1}}");
    all += &table(&kinds::NODES, &node, &options, &now()).text();
    // What cannot be read has a name all the same.
    let broken = objects("{apiVersion: v1, kind: Pod, metadata: {name: broken}, spec: 1}");
    all += &table(&kinds::PODS, &broken, &Options::default(), &now()).text();
    insta::assert_snapshot!(all);
}
