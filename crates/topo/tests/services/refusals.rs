//! Objects that cannot be what they say, in the API server's words; those that are of no use say so.

use crate::lab::Lab;

/// Has an address and a port that others would like to have.
const FIRST: &str = "\
apiVersion: v1
kind: Service
metadata: {name: first}
spec:
  type: NodePort
  selector: {app: nobody}
  clusterIP: 100.64.7.7
  ports: [{port: 80, nodePort: 30080}]
";

fn service(spec: &str) -> String {
    format!("{{apiVersion: v1, kind: Service, metadata: {{name: bad}}, spec: {spec}}}\n")
}

fn deployment(spec: &str) -> String {
    let template = "template: {metadata: {labels: {app: a}}, spec: {containers: [{name: a, image: pause}]}}";
    format!(
        "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: bad}}, spec: {{{spec}, {template}}}}}\n"
    )
}

#[test]
fn bad_services_and_deployments_are_refused_in_the_api_servers_words() {
    let lab = Lab::start("dns: false\nclusters: [{name: C0, workers: 1}]\n");
    assert_eq!(lab.apply(FIRST), "service/first created\n");
    let range = "The range of valid";
    let table = [
        (
            service("{ports: [{port: 0}]}"),
            "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
        ),
        (service("{ports: [{port: 70000}]}"), "spec.ports[0].port: Invalid value: 70000: must be between 1"),
        (service("{ports: [{name: a, port: 80}, {name: b, port: 80}]}"), "spec.ports[1]: Duplicate value: {"),
        (
            service("{ports: [{name: a, port: 80}, {name: a, port: 81}]}"),
            "spec.ports[1].name: Duplicate value: \"a\"",
        ),
        (service("{ports: [{port: 80}, {port: 81}]}"), "spec.ports[0].name: Required value"),
        (service("{selector: {app: a}}"), "spec.ports: Required value"),
        (
            service("{clusterIP: 10.1.2.3, ports: [{port: 80}]}"),
            &format!(
                "spec.clusterIPs: Invalid value: [\"10.1.2.3\"]: failed to allocate IP 10.1.2.3: the provided IP \
                 (10.1.2.3) is not in the valid range. {range} IPs is 100.64.0.0/16"
            ),
        ),
        (
            service("{clusterIP: 100.64.7.7, ports: [{port: 80}]}"),
            "spec.clusterIPs: Invalid value: [\"100.64.7.7\"]: failed to allocate IP 100.64.7.7: provided IP is already \
             allocated",
        ),
        (
            service("{clusterIP: nonsense, ports: [{port: 80}]}"),
            "spec.clusterIPs[0]: Invalid value: \"nonsense\": must be a valid IP address",
        ),
        (
            service("{type: NodePort, ports: [{port: 80, nodePort: 30080}]}"),
            "spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated",
        ),
        (
            service("{type: NodePort, ports: [{port: 80, nodePort: 80}]}"),
            &format!(
                "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. {range} ports is \
                 30000-32767"
            ),
        ),
        (
            deployment("selector: {matchLabels: {app: b}}"),
            "spec.template.metadata.labels: Invalid value: {\"app\":\"a\"}: `selector` does not match template `labels`",
        ),
        (
            deployment("replicas: -1, selector: {matchLabels: {app: a}}"),
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            deployment(
                "selector: {matchLabels: {app: a}}, strategy: {rollingUpdate: {maxSurge: 0, maxUnavailable: 0}}",
            ),
            "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0",
        ),
    ];
    for (document, expected) in &table {
        let said = lab.apply(document);
        assert!(said.contains(expected), "{document}: {said}");
    }
    let left: Vec<_> = lab.table("svc --no-headers").into_iter().map(|row| row[0].clone()).collect();
    assert_eq!(left, ["first"], "nothing of them was stored");
    assert!(lab.list("deploy").is_empty());
    // What a refused service would have had is free.
    let good = service("{type: NodePort, clusterIP: 100.64.7.8, ports: [{port: 80, nodePort: 30081}]}");
    assert_eq!(lab.apply(&good), "service/bad created\n");

    let described = lab.ok("describe svc first");
    let warning = "no pod of namespace default has the labels that the selector wants: app=nobody";
    assert!(described.contains(&format!("\nWarning:                  {warning}\n")), "{described}");
    // An address once given stays.
    let said = lab.apply(&FIRST.replace("100.64.7.7", "100.64.7.9"));
    assert!(
        said.contains("spec.clusterIPs[0]: Invalid value: [\"100.64.7.9\"]: may not change once set"),
        "{said}"
    );
}
