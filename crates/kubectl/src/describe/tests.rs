//! Hand-written objects, in words.

use api::kinds;
use api::types::jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::document::parse;

fn now() -> Time {
    Time("2026-11-01T10:10:00Z".parse::<Timestamp>().unwrap())
}

fn object(text: &str) -> Value {
    let mut object = parse("object", text).remove(0).unwrap().object;
    let metadata = object["metadata"].as_object_mut().unwrap();
    metadata.entry("creationTimestamp").or_insert("2026-11-01T10:00:00Z".into());
    object
}

fn read<K: DeserializeOwned>(text: &str) -> K {
    serde_json::from_value(object(text)).unwrap()
}

fn told(text: &str, related: &Related) -> String {
    let object = object(text);
    text_of(kinds::of(&object).unwrap(), &object, related, &now())
}

const POD: &str = "
apiVersion: v1
kind: Pod
metadata:
  name: web-7d4b9-abcde
  namespace: default
  labels: {app: web, tier: front}
  annotations: {note: short, kubectl.kubernetes.io/last-applied-configuration: '{}'}
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web-7d4b9, uid: u, controller: true}]
spec:
  nodeName: C0w1
  priority: 0
  serviceAccountName: default
  nodeSelector: {disk: ssd}
  tolerations: [{key: a, value: b, effect: NoSchedule}, {operator: Exists}]
  initContainers: [{name: first, image: busybox, command: [sh, -c, 'sleep 1']}]
  containers:
  - name: web
    image: nginx
    args: [-g, daemon off;]
    ports: [{containerPort: 80}, {containerPort: 53, protocol: UDP, hostPort: 5353}]
    resources: {limits: {cpu: 500m}, requests: {cpu: 100m, memory: 64Mi}}
    livenessProbe: {httpGet: {path: /healthz, port: 80, scheme: HTTP}, timeoutSeconds: 1, periodSeconds: 10}
    readinessProbe: {tcpSocket: {port: 80}, initialDelaySeconds: 2}
    startupProbe: {exec: {command: [cat, /tmp/up]}}
    envFrom: [{configMapRef: {name: settings}, prefix: X_}]
    env:
    - {name: PLAIN, value: yes it is}
    - {name: EMPTY}
    - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: KEY, valueFrom: {configMapKeyRef: {name: settings, key: k}}}
    volumeMounts: [{name: config, mountPath: /etc/config, readOnly: true}, {name: cache, mountPath: /cache, subPath: a}]
  - {name: side, image: busybox}
  volumes:
  - {name: config, configMap: {name: settings}}
  - {name: cache, emptyDir: {}}
  - {name: host, hostPath: {path: /srv, type: Directory}}
status:
  phase: Running
  hostIP: 10.0.0.3
  podIP: 11.10.0.2
  podIPs: [{ip: 11.10.0.2}]
  qosClass: Burstable
  startTime: '2026-11-01T10:00:01Z'
  conditions: [{type: Initialized, status: 'True'}, {type: Ready, status: 'False'}]
  initContainerStatuses:
  - name: first
    image: busybox
    imageID: ''
    ready: true
    restartCount: 0
    state: {terminated: {exitCode: 0, reason: Completed, startedAt: '2026-11-01T10:00:02Z', finishedAt: '2026-11-01T10:00:03Z'}}
  containerStatuses:
  - name: web
    image: nginx
    imageID: ''
    containerID: knetsim://1
    ready: true
    restartCount: 2
    state: {running: {startedAt: '2026-11-01T10:05:00Z'}}
    lastState: {terminated: {exitCode: 137, signal: 9, reason: OOMKilled}}
  - name: side
    image: busybox
    imageID: ''
    ready: false
    restartCount: 0
    state: {waiting: {reason: ErrImagePull, message: no such image}}
";

#[test]
fn a_pod() {
    let event = |text: &str| {
        read::<Event>(&format!(
            "{{apiVersion: v1, kind: Event, metadata: {{name: e}}, involvedObject: {{}}, {text}}}"
        ))
    };
    let related = Related {
        events: vec![
            event(
                "type: Normal, reason: Scheduled, message: 'assigned to C0w1', source: {component: default-scheduler}, \
                   firstTimestamp: '2026-11-01T10:00:00Z'",
            ),
            event(
                "type: Warning, reason: BackOff, message: 'back-off', source: {component: kubelet, host: C0w1}, \
                   count: 5, firstTimestamp: '2026-11-01T10:00:00Z', lastTimestamp: '2026-11-01T10:09:00Z'",
            ),
        ],
        ..Related::default()
    };
    insta::assert_snapshot!(told(POD, &related));
    let mut ending = object(POD);
    ending["metadata"]["deletionTimestamp"] = "2026-11-01T10:09:50Z".into();
    ending["metadata"]["deletionGracePeriodSeconds"] = 30.into();
    let text = text_of(&PODS, &ending, &Related::default(), &now());
    assert!(text.contains("Terminating (lasts 10s)\nTermination Grace Period:  30s\n"), "{text}");
}

#[test]
fn a_service_with_its_endpoints() {
    let service = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default, labels: {app: web}}
spec:
  type: NodePort
  clusterIP: 100.64.0.10
  clusterIPs: [100.64.0.10]
  ipFamilies: [IPv4]
  ipFamilyPolicy: SingleStack
  externalIPs: [10.0.0.200]
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: web, nodePort: 30080, protocol: TCP}, {name: dns, port: 53, targetPort: 53, protocol: UDP}]
  sessionAffinity: ClientIP
  externalTrafficPolicy: Local
  internalTrafficPolicy: Cluster
";
    let slice = "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: default}
addressType: IPv4
ports: [{name: http, port: 8080, protocol: TCP}]
endpoints:
- {addresses: [11.10.0.2], conditions: {ready: true, serving: true}, nodeName: C0w1, targetRef: {kind: Pod, name: a}}
- {addresses: [11.10.0.3], conditions: {ready: false, serving: true, terminating: true}}
- {addresses: [11.10.0.4]}
- {addresses: [11.10.0.5], hostname: h, zone: z}
- {addresses: [11.10.0.6]}
";
    let related = Related { slices: vec![read(slice)], ..Related::default() };
    insta::assert_snapshot!("service", told(service, &related));
    insta::assert_snapshot!("endpointslice", told(slice, &Related::default()));
    let headless = service.replace("clusterIP: 100.64.0.10", "clusterIP: None");
    assert!(!told(&headless, &related).contains("Ping"), "a headless service's pods answer");
    insta::assert_snapshot!("endpoints", told("
apiVersion: v1
kind: Endpoints
metadata: {name: web, namespace: default}
subsets: [{addresses: [{ip: 11.10.0.2}], notReadyAddresses: [{ip: 11.10.0.3}], ports: [{name: http, port: 80}]}]
", &Related::default()));
    insta::assert_snapshot!("ingress", told("
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, namespace: default, annotations: {a: b}}
spec:
  ingressClassName: nginx
  tls: [{hosts: [a.example], secretName: s}]
  rules:
  - host: a.example
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}, {path: /b, pathType: Exact, backend: {service: {name: b, port: {name: http}}}}]}
  - http: {paths: [{pathType: Prefix, backend: {resource: {kind: K, name: r}}}]}
status: {loadBalancer: {ingress: [{ip: 10.0.0.3}]}}
", &Related::default()));
}

#[test]
fn a_deployment_with_its_replica_sets() {
    let template = |image: &str| {
        format!(
            "{{metadata: {{labels: {{app: web}}}}, spec: {{containers: [{{name: web, image: {image}}}]}}}}"
        )
    };
    let deployment = format!(
        "
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: default, uid: d, annotations: {{deployment.kubernetes.io/revision: '2'}}}}
spec:
  replicas: 3
  selector: {{matchLabels: {{app: web}}}}
  strategy: {{type: RollingUpdate, rollingUpdate: {{maxSurge: 25%, maxUnavailable: 1}}}}
  template: {}
status:
  replicas: 4
  updatedReplicas: 2
  availableReplicas: 3
  unavailableReplicas: 1
  conditions: [{{type: Available, status: 'True', reason: MinimumReplicasAvailable}}]
",
        template("nginx:2")
    );
    let set = |name: &str, image: &str, revision: u8, replicas: u8| {
        let template = template(image).replace("{app: web}", "{app: web, pod-template-hash: x}");
        format!(
            "
apiVersion: apps/v1
kind: ReplicaSet
metadata:
  name: {name}
  namespace: default
  annotations: {{deployment.kubernetes.io/revision: '{revision}'}}
  ownerReferences: [{{apiVersion: apps/v1, kind: Deployment, name: web, uid: d, controller: true}}]
spec: {{replicas: {replicas}, selector: {{matchLabels: {{app: web}}}}, template: {template}}}
status: {{replicas: {replicas}}}
"
        )
    };
    let (old, new) = (set("web-1", "nginx:1", 1, 2), set("web-2", "nginx:2", 2, 2));
    let related = Related { replica_sets: vec![read(&new), read(&old)], ..Related::default() };
    insta::assert_snapshot!("deployment", told(&deployment, &related));
    let pod = |phase: &str| {
        let mut pod = object(POD);
        pod["status"]["phase"] = phase.into();
        serde_json::from_value::<Pod>(pod).unwrap()
    };
    let related =
        Related { pods: vec![pod("Running"), pod("Running"), pod("Pending")], ..Related::default() };
    insta::assert_snapshot!("replicaset", told(&new, &related));
}

#[test]
fn a_node_with_its_pods() {
    let node = "
apiVersion: v1
kind: Node
metadata: {name: C0w1, labels: {kubernetes.io/hostname: C0w1}}
spec: {podCIDR: 11.10.0.0/20, taints: [{key: a, value: b, effect: NoSchedule}]}
status:
  conditions: [{type: Ready, status: 'True', reason: KubeletReady, message: is posting, lastHeartbeatTime: '2026-11-01T10:09:00Z', lastTransitionTime: '2026-11-01T10:00:00Z'}]
  addresses: [{type: InternalIP, address: 10.0.0.3}, {type: Hostname, address: C0w1}]
  capacity: {cpu: '2', memory: 1Gi}
  allocatable: {cpu: '2', memory: 1Gi}
";
    let lease = "{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {name: C0w1}, spec: {holderIdentity: C0w1, \
                 renewTime: '2026-11-01T10:09:55.000000Z'}}";
    let mut done: Pod = read(POD);
    done.status.as_mut().unwrap().phase = Some("Succeeded".into());
    let related = Related { pods: vec![read(POD), done], lease: Some(read(lease)), ..Related::default() };
    insta::assert_snapshot!(told(node, &related));
}

#[test]
fn data_and_anything_else() {
    let none = Related::default();
    let all = [
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: default}, data: {k: v, file: \"one\\n\\ttwo\\n\"}, \
         binaryData: {b: YWJj}}",
        "{apiVersion: v1, kind: Secret, metadata: {name: a, namespace: default}, type: Opaque, data: {password: YWJj}}",
        "{apiVersion: v1, kind: Namespace, metadata: {name: east}, status: {phase: Active}}",
        "{apiVersion: skupper.io/v2alpha1, kind: Site, metadata: {name: east, namespace: default, generation: 1}, \
         spec: {linkAccess: default, ha: true}, status: {conditions: [{type: Ready, status: 'False'}, {type: B}], \
         endpoints: [a, b], defaultIssuer: null, tlsCredentials: x}}",
    ];
    let all = all.map(|text| told(text, &none));
    insta::assert_snapshot!(all.join("\n======\n"));
}

#[test]
fn long_annotations_stand_below_their_keys() {
    let text = format!(
        "{{apiVersion: v1, kind: Secret, metadata: {{name: a, annotations: {{long: {}, lines: \"one\\ntwo\\n\"}}}}}}",
        "x".repeat(200)
    );
    let text = told(&text, &Related::default());
    let lines: Vec<_> =
        text.lines().skip(2).take(5).map(|line| line.chars().take(40).collect::<String>()).collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[tokio::test]
async fn what_belongs_to_it_is_found() {
    let store = Store::memory();
    let put = async |info: &'static KindInfo, mut object: Value| {
        store.put_raw(info, &mut object).await.unwrap();
    };
    let named = |name: &str| json!({"name": name, "namespace": "default"});
    let about = |name: &str, uid: &str| {
        json!({
            "apiVersion": "v1", "kind": "Event", "metadata": named(&format!("{name}.{uid}")), "message": format!("of {uid}"),
            "involvedObject": {"kind": "Service", "name": name, "namespace": "default", "uid": uid},
        })
    };
    put(&EVENTS, about("web", "new")).await;
    put(&EVENTS, about("web", "old")).await;
    put(&EVENTS, about("other", "new")).await;
    let mut slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": named("web-1"), "addressType": "IPv4",
        "endpoints": [{"addresses": ["11.10.0.2"]}], "ports": [{"port": 80}],
    });
    slice["metadata"]["labels"] = json!({"kubernetes.io/service-name": "web"});
    put(&ENDPOINT_SLICES, slice).await;
    let mut service = json!({"metadata": named("web"), "spec": {"ports": [{"port": 80}]}});
    service["metadata"]["uid"] = "new".into();
    let text = describe(&store, &SERVICES, &service).await.unwrap();
    assert!(text.contains("Endpoints:         11.10.0.2:80\n"), "{text}");
    assert!(text.contains("of new") && !text.contains("of old"), "{text}");
}

#[test]
fn a_virtual_ip_tells_which_of_its_pods_are_there() {
    let vip = "{apiVersion: knetsim.dev/v1, kind: VirtualIP, metadata: {name: 100.64.10.1, namespace: default}, \
               spec: {address: 100.64.10.1, pods: [web-7d4b9-abcde, c2], addresses: [11.10.0.9]}}";
    let related = Related { pods: vec![read(POD)], ..Related::default() };
    insta::assert_snapshot!(told(vip, &related));
}

#[test]
fn a_service_that_leads_nowhere_says_why() {
    let service = |selector: &str, target: &str| {
        format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: web, namespace: default}}, spec: {{clusterIP: 100.64.1.1, \
             selector: {selector}, ports: [{{port: 80, targetPort: {target}}}]}}}}"
        )
    };
    let mut ready: Pod = read(POD);
    let condition = json!([{"type": "Ready", "status": "True"}]);
    ready.status.get_or_insert_default().conditions = serde_json::from_value(condition).unwrap();
    let mut starting = ready.clone();
    starting.status.as_mut().unwrap().conditions = None;
    let warning = |selector: &str, target: &str, pod: &Pod| {
        let related = Related { pods: vec![pod.clone()], ..Related::default() };
        let text = told(&service(selector, target), &related);
        let line = text.lines().find_map(|line| line.strip_prefix("Warning:"));
        line.map(|line| line.trim().to_owned()).unwrap_or_default()
    };
    let table = [
        ("{}", "80", &ready, ""),
        (
            "{app: nobody}",
            "80",
            &ready,
            "no pod of namespace default has the labels that the selector wants: app=nobody",
        ),
        ("{app: web}", "80", &starting, "the selector matches 1 pod: none is ready"),
        ("{app: web}", "admin", &ready, "the selector matches 1 pod: no container has a port named admin"),
    ];
    for (selector, target, pod, expected) in table {
        assert_eq!(warning(selector, target, pod), expected, "{selector} {target}");
    }
}
