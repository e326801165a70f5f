use std::sync::Arc;

use api::types::api::core::v1::Secret;
use serde_json::json;
use store::ObjectName;

use super::*;
use crate::model::{Action, Choice, Host, Path};
use crate::sample;

fn planned(cluster: &Cluster) -> Plan {
    plan(cluster, &Settings::new("C0w1"), &Except::default())
}

fn problems(plan: &Plan) -> Vec<String> {
    plan.problems.iter().map(|problem| format!("{}: {problem}", problem.reason)).collect()
}

/// An Ingress with one path to a service `web`.
fn ingress(name: &str, class: Option<&str>, host: &str) -> String {
    let class = class.map(|class| format!("ingressClassName: {class}, ")).unwrap_or_default();
    let backend = "{service: {name: web, port: {number: 80}}}";
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: {name}}}\nspec: {{{class}rules: \
         [{{host: {host}, http: {{paths: [{{path: /, pathType: Prefix, backend: {backend}}}]}}}}]}}"
    )
}

fn class(name: &str, controller: &str, default: bool) -> String {
    let annotations = if default { "ingressclass.kubernetes.io/is-default-class: 'true'" } else { "" };
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {{name: {name}, annotations: \
         {{{annotations}}}}}\nspec: {{controller: {controller}}}"
    )
}

fn cluster(documents: &[String]) -> Cluster {
    let mut cluster = sample::cluster(&documents.join("\n---\n"));
    sample::service(&mut cluster, "web", 80, &["11.10.0.2"]);
    cluster
}

fn hosts(plan: &Plan) -> Vec<String> {
    plan.model.servers.keys().map(|(port, host)| format!("{port} {host}")).collect()
}

#[test]
fn classes_decide_whose_an_ingress_is() {
    let by = |class, all: &[String]| {
        let mut documents = vec![ingress("web", class, "a.b")];
        documents.extend_from_slice(all);
        let plan = planned(&cluster(&documents));
        (plan.is_idle(), problems(&plan).len())
    };
    let ours = class("ours", CONTROLLER, false);
    let other = class("other", "example.com/other", false);
    let (served, not) = ((false, 0), (true, 0));
    assert_eq!(by(None, &[]), served, "nobody else is there");
    assert_eq!(by(Some("ours"), &[ours.clone(), other.clone()]), served);
    assert_eq!(by(Some("other"), &[ours.clone(), other.clone()]), not);
    assert_eq!(by(Some("missing"), std::slice::from_ref(&ours)), (true, 1));
    assert_eq!(by(Some("nginx"), &[class("nginx", INGRESS_NGINX, false)]), served);
    // The newest default class counts.
    let defaults = [class("ours", CONTROLLER, true), class("other", "example.com/other", true)];
    assert_eq!(by(None, &defaults), not);
    assert_eq!(by(None, &[defaults[1].clone(), defaults[0].clone()]), served);
    let mut settings = Settings::new("C0w1");
    settings.classless = false;
    assert!(plan(&cluster(&[ingress("web", None, "a.b")]), &settings, &Except::default()).is_idle());
}

#[test]
fn the_oldest_has_it() {
    let mut plan = planned(&cluster(&[ingress("z-first", None, "a.b"), ingress("a-second", None, "a.b")]));
    let location = &plan.model.servers[&(80, Host::Name("a.b".into()))].locations[&Path::Prefix("".into())];
    assert_eq!(location.cases[0].owner.name, "z-first");
    assert_eq!(
        problems(&plan),
        [
            "RouteConflict: Ingress default/a-second: host a.b, path Prefix /: Ingress default/z-first has it already"
        ]
    );
    plan.problems.clear();
    assert_eq!(hosts(&plan), ["80 *", "80 a.b"]);
}

#[test]
fn what_is_wrong_with_an_ingress_is_told_and_the_rest_of_it_served() {
    let mut cluster = cluster(&[]);
    let path = |path: &str, service: Value| json!({"path": path, "pathType": "Exact", "backend": service});
    let service = |name: &str, port: Value| json!({"service": {"name": name, "port": port}});
    sample::add(
        &mut cluster,
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "odd"}, "spec": {
            "tls": [{"hosts": ["a.b"], "secretName": "missing"}, {"hosts": ["a.b"]},
                    {"hosts": ["a.b"], "secretName": "half"}],
            "rules": [{"host": "a.b", "http": {"paths": [
                path("/good", service("web", json!({"name": "http"}))),
                path("/missing", service("missing", json!({"number": 80}))),
                path("/port", service("web", json!({"number": 81}))),
                path("/name", service("web", json!({"name": "metrics"}))),
                path("/resource", json!({"resource": {"kind": "Bucket", "name": "b"}})),
                path("/line\nfeed", service("web", json!({"number": 80}))),
            ]}}],
        }}),
        9,
    );
    let half = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "half"}, "data": {"tls.crt": "eA=="}});
    sample::add(&mut cluster, half, 9);
    let plan = planned(&cluster);
    insta::assert_snapshot!(problems(&plan).join("\n"));
    let paths = &plan.model.servers[&(80, Host::Name("a.b".into()))].locations;
    assert_eq!(paths.len(), 5);
    let answers =
        paths.values().filter(|one| matches!(one.cases[0].action, Action::Answer { status: 503, .. }));
    assert_eq!(answers.count(), 4);
}

#[test]
fn endpoints_that_are_ready_or_else_those_that_still_serve() {
    let upstream = |conditions: &[Value]| {
        let mut cluster = cluster(&[ingress("web", None, "a.b")]);
        let endpoints: Vec<_> = (2..)
            .zip(conditions)
            .map(|(i, conditions)| json!({"addresses": [format!("11.10.0.{i}")], "conditions": conditions}))
            .collect();
        let name = ObjectName::new("default", "web-abcde");
        let slice = Arc::make_mut(Arc::make_mut(&mut cluster.slices).get_mut(&name).unwrap());
        slice.endpoints = serde_json::from_value(json!(endpoints)).unwrap();
        let plan = planned(&cluster);
        let route = plan.routes.iter().find(|route| route.host == "a.b").unwrap().to[0].1.clone();
        let addresses = plan.model.upstreams.values().flat_map(|upstream| &upstream.endpoints);
        (addresses.map(|one| one.address.clone()).collect::<Vec<_>>(), route.ready, route.total)
    };
    let ready = json!({"ready": true});
    let unknown = json!({});
    let not = json!({"ready": false});
    let ending = json!({"ready": false, "serving": true, "terminating": true});
    let both = vec!["11.10.0.2:8000".to_owned(), "11.10.0.3:8000".to_owned()];
    assert_eq!(upstream(&[ready.clone(), unknown]), (both, 2, Some(2)));
    assert_eq!(upstream(&[ready, ending.clone()]), (vec!["11.10.0.2:8000".into()], 1, Some(2)));
    assert_eq!(upstream(&[not.clone(), ending]), (vec!["11.10.0.3:8000".into()], 1, Some(2)));
    assert_eq!(upstream(&[not]), (vec![], 0, Some(1)));
}

#[test]
fn a_name_elsewhere_needs_somebody_to_ask() {
    let mut cluster = cluster(&[ingress("web", None, "a.b")]);
    let name = ObjectName::new("default", "web");
    let service = Arc::make_mut(Arc::make_mut(&mut cluster.services).get_mut(&name).unwrap());
    let spec = json!({"type": "ExternalName", "externalName": "example.com"});
    service.spec = serde_json::from_value(spec).unwrap();
    let found = problems(&planned(&cluster));
    assert!(
        found[0].starts_with("NoResolver: Ingress default/web: service default/web is a name"),
        "{found:?}"
    );
    let mut settings = Settings::new("C0w1");
    settings.resolver = Some([100, 64, 0, 10].into());
    let plan = plan(&cluster, &settings, &Except::default());
    assert!(plan.problems.is_empty());
    let location = &plan.model.servers[&(80, Host::Name("a.b".into()))].locations[&Path::Prefix("".into())];
    let Action::Proxy { to, .. } = &location.cases[0].action else { panic!("{location:?}") };
    assert_eq!(*to, Choice::Name("example.com:80".into()));
}

#[test]
fn what_was_refused_and_ports_that_cannot_be_had_are_left_out() {
    let cluster = cluster(&[ingress("bad", None, "bad.b"), ingress("good", None, "good.b")]);
    let owner = Owner::new("Ingress", "default", "bad");
    let problem = Problem { owner: owner.clone(), reason: "Refused", message: "nginx refuses it: x".into() };
    let mut except = Except::default();
    except.objects.insert(owner, problem);
    let plan = plan(&cluster, &Settings::new("C0w1"), &except);
    assert_eq!(hosts(&plan), ["80 *", "80 good.b"]);
    assert_eq!(problems(&plan), ["Refused: Ingress default/bad: nginx refuses it: x"]);

    let mut except = Except::default();
    except.ports.insert(80, "Address already in use".into());
    let plan = super::plan(&cluster, &Settings::new("C0w1"), &except);
    assert!(plan.model.servers.is_empty() && plan.served.values().all(BTreeSet::is_empty), "{plan:?}");
    assert_eq!(plan.problems.len(), 2);
}

#[test]
fn a_certificate_of_another() {
    let mut cluster = cluster(&[]);
    for (second, name) in [(1, "first"), (2, "second")] {
        let mut document: Value = serde_yaml::from_str(&ingress(name, None, "a.b")).unwrap();
        document["spec"]["tls"] = json!([{"hosts": ["a.b"], "secretName": name}]);
        document["spec"]["rules"][0]["http"]["paths"][0]["path"] = format!("/{name}").into();
        sample::add(&mut cluster, document, second);
        let pem = |label: &str| api::types::ByteString(format!("-----BEGIN {label}-----\n").into_bytes());
        let data = [("tls.crt", pem("CERTIFICATE")), ("tls.key", pem("PRIVATE KEY"))];
        let data = data.map(|(key, value)| (key.to_owned(), value));
        let secret = Secret { data: Some(data.into()), ..Secret::default() };
        Arc::make_mut(&mut cluster.secrets).insert(ObjectName::new("default", name), Arc::new(secret));
    }
    let plan = planned(&cluster);
    assert_eq!(hosts(&plan), ["80 *", "80 a.b", "443 *", "443 a.b"]);
    assert_eq!(
        problems(&plan),
        [
            "CertificateConflict: Ingress default/second: host a.b has its certificate from Secret default/first"
        ]
    );
    assert_eq!(plan.model.servers[&(443, Host::Name("a.b".into()))].locations.len(), 2);
    let first =
        &plan.model.servers[&(80, Host::Name("a.b".into()))].locations[&Path::Prefix("/first".into())];
    assert!(matches!(first.cases[0].action, Action::Redirect { status: 308, .. }), "{first:?}");
}
