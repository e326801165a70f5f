use super::*;
use crate::plan::{Except, Settings, plan};
use crate::sample;

const FANOUT: &str = "
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: simple-fanout-example}
spec:
  rules:
  - host: foo.bar.com
    http:
      paths:
      - {path: /foo, pathType: Prefix, backend: {service: {name: service1, port: {number: 4200}}}}
      - {path: /bar, pathType: Prefix, backend: {service: {name: service2, port: {number: 8080}}}}
";

fn text(cluster: &crate::plan::Cluster) -> String {
    let plan = plan(cluster, &Settings::new("C0w1"), &Except::default());
    render(&plan.model, &Setup::default()).text
}

#[test]
fn a_simple_fanout() {
    let mut cluster = sample::cluster(FANOUT);
    sample::service(&mut cluster, "service1", 4200, &["11.10.0.2", "11.20.0.2"]);
    sample::service(&mut cluster, "service2", 8080, &["11.10.0.3"]);
    insta::assert_snapshot!(text(&cluster));
}
