//! Whatever users write: nginx reads it as text, and never as configuration.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use api::types::api::core::v1::{Secret, Service};
use api::types::api::discovery::v1::EndpointSlice;
use api::types::api::networking::v1::Ingress;
use api::{Kind, NodeIngress};
use ingress::plan::{Except, Problem, plan};
use ingress::render::{Rendered, Setup, render};
use ingress::{Cluster, Settings};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use store::{ObjectName, Objects};

/// What means something in nginx's configuration, in regular expressions, in lines and to people. If any of
/// it gets out of its word, nginx meets a directive that it does not know.
const PIECES: &[&str] = &[
    "\"",
    "'",
    "\\",
    ";",
    "{",
    "}",
    "#",
    "$",
    "${",
    "$host",
    "(?<dollar>",
    "$1",
    "\n",
    "\r",
    "\t",
    "\0",
    " ",
    "/",
    "/a",
    "..",
    "%2f",
    "~",
    "*",
    "^",
    "(",
    ")",
    "[",
    "|",
    "?",
    "@",
    "=",
    ":",
    ",",
    "é",
    "\u{2028}",
    "evil_directive on;",
    "\n}\nevil_directive on;\n",
    "\"; evil_directive on; \"",
    "a",
    "b.c",
    "default",
    "include",
    "hostnames",
    "volatile",
    "unix:/x",
    "http://",
    "\\n",
    "-",
    "0",
];

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(PIECES), 0..7).prop_map(|pieces| pieces.concat())
}

/// A text that begins as one has to, so that it is not refused for that.
fn after(begin: &'static str) -> impl Strategy<Value = String> {
    prop_oneof![text(), text().prop_map(move |text| format!("{begin}{text}"))]
}

fn annotations() -> impl Strategy<Value = BTreeMap<String, String>> {
    let values = [
        ("rewrite-target", "/"),
        ("app-root", "/"),
        ("permanent-redirect", "http://"),
        ("temporal-redirect", "/"),
        ("server-alias", "a.example.com"),
        ("canary-by-header", "X"),
        ("canary-by-header-value", ""),
        ("canary-by-header-pattern", ""),
        ("canary-by-cookie", "c"),
        ("canary", "true"),
        ("use-regex", "true"),
        ("session-cookie-name", "c"),
        ("session-cookie-path", "/"),
        ("session-cookie-domain", ""),
        ("affinity", "cookie"),
        ("upstream-hash-by", "$"),
        ("upstream-vhost", ""),
        ("x-forwarded-prefix", ""),
        ("auth-realm", ""),
        ("auth-type", "basic"),
        ("auth-secret", "secret"),
        ("enable-cors", "true"),
        ("cors-allow-origin", "https://"),
        ("cors-allow-methods", "GET"),
        ("cors-allow-headers", "X"),
        ("cors-expose-headers", "X"),
        ("whitelist-source-range", "10.0.0.0/8"),
        ("proxy-body-size", "1m"),
        ("proxy-next-upstream", "error"),
        ("limit-rps", "1"),
        ("limit-whitelist", "10.0.0.0/8"),
        ("default-backend", "service"),
        ("custom-http-errors", "404"),
        ("backend-protocol", "GRPC"),
        ("configuration-snippet", ""),
    ];
    let one = prop::sample::select(values.to_vec()).prop_flat_map(|(name, begin)| {
        let value = prop_oneof![1 => text(), 2 => after(begin), 1 => Just(begin.to_owned())];
        (Just(format!("nginx.ingress.kubernetes.io/{name}")), value)
    });
    prop::collection::btree_map(one.clone().prop_map(|(name, _)| name), text(), 0..3).prop_flat_map(
        move |some| {
            prop::collection::vec(one.clone(), 0..5)
                .prop_map(move |more| some.clone().into_iter().chain(more).collect())
        },
    )
}

/// Documents of one of each kind, related to each other, with anything in them. Not even the API server has
/// looked at them.
fn documents() -> impl Strategy<Value = Vec<Value>> {
    let ingress = (
        (text(), prop_oneof![text(), Just("a.example.com".to_owned()), Just("*.example.com".to_owned())]),
        annotations(),
        prop::collection::vec(
            (prop::sample::select(vec!["Exact", "Prefix", "ImplementationSpecific"]), after("/")),
            1..4,
        ),
        prop_oneof![3 => Just("service".to_owned()), 1 => text()],
        text(),
    );
    let ingress = ingress.prop_map(|((name, host), annotations, paths, service, port)| {
        let port = if port.is_empty() { json!({"number": 80}) } else { json!({"name": port}) };
        let backend = json!({"service": {"name": service, "port": {"number": 80}}});
        let paths: Vec<_> =
            paths.iter().map(|(kind, path)| json!({"pathType": kind, "path": path, "backend": backend})).collect();
        json!({
            "kind": "Ingress", "metadata": {"name": format!("i{name}"), "namespace": "n", "annotations": annotations},
            "spec": {"defaultBackend": {"service": {"name": service, "port": port}},
                     "tls": [{"hosts": [host], "secretName": "secret"}],
                     "rules": [{"host": host, "http": {"paths": paths}}]},
        })
    });
    let rest = (text(), text(), after("/"), text()).prop_map(|(pod, proxy, path, data)| {
        let encoded = |text: String| serde_json::to_value(api::types::ByteString(text.into())).unwrap();
        vec![
            json!({"kind": "Service", "metadata": {"name": "service", "namespace": "n"},
                   "spec": {"ports": [{"port": 80, "name": pod}]}}),
            json!({"kind": "EndpointSlice", "addressType": "IPv4",
                   "metadata": {"name": "slice", "namespace": "n",
                                "labels": {"kubernetes.io/service-name": "service"}},
                   "endpoints": [{"addresses": ["10.0.0.1", pod], "targetRef": {"kind": "Pod", "name": pod}}],
                   "ports": [{"name": pod, "port": 8000}]}),
            json!({"kind": "NodeIngress", "metadata": {"name": proxy},
                   "spec": {"node": "C0w1", "port": 8001, "paths": [{"path": path, "backend": "10.0.0.1:80"}]}}),
            json!({"kind": "Secret", "metadata": {"name": "secret", "namespace": "n"},
                   "data": {"auth": encoded(format!("user:{data}")), data: encoded("x".into())}}),
        ]
    });
    (prop::collection::vec(ingress, 1..4), rest).prop_map(|(ingresses, rest)| [ingresses, rest].concat())
}

fn put<K: Kind + DeserializeOwned + Clone>(objects: &mut Arc<Objects<K>>, document: &Value) {
    let text = |key: &str| document["metadata"][key].as_str().unwrap_or_default();
    // Some keys of maps are none; they would not even be read.
    if let Ok(object) = serde_json::from_value::<K>(document.clone()) {
        let name = ObjectName::new(text("namespace"), text("name"));
        Arc::make_mut(objects).insert(name, Arc::new(object));
    }
}

fn cluster(documents: &[Value]) -> Cluster {
    let mut cluster = Cluster::default();
    for document in documents {
        match document["kind"].as_str().unwrap() {
            "Ingress" => put::<Ingress>(&mut cluster.ingresses, document),
            "NodeIngress" => put::<NodeIngress>(&mut cluster.node_ingresses, document),
            "Service" => put::<Service>(&mut cluster.services, document),
            "EndpointSlice" => put::<EndpointSlice>(&mut cluster.slices, document),
            _ => put::<Secret>(&mut cluster.secrets, document),
        }
    }
    cluster
}

/// What nginx says against a configuration, and the line.
fn test(folder: &Path, config: &Rendered) -> Result<(), (String, Option<usize>)> {
    for (path, content) in &config.files {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    std::fs::write(folder.join("nginx.conf"), &config.text).unwrap();
    let program = ["/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/sbin/nginx"];
    let program = program.into_iter().find(|path| Path::new(path).exists()).expect("nginx is installed");
    let mut command = Command::new(program);
    command.args(["-e", "stderr", "-t", "-q", "-c", "nginx.conf", "-p"]).arg(folder).current_dir(folder);
    let output = command.output().unwrap();
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = said.lines().find(|line| line.contains("[emerg]")).unwrap_or(&said).to_owned();
    let number = line.rsplit_once("nginx.conf:").and_then(|(_, number)| number.trim().parse().ok());
    Err((line, number))
}

#[test]
fn no_text_of_users_becomes_configuration() {
    let ns = testkit::netns();
    ns.run(|| {
        let folder = tempfile::tempdir().unwrap();
        let setup = Setup { superuser: nix::unistd::geteuid().is_root(), ..Setup::default() };
        let cases = Config { cases: 200, failure_persistence: None, ..Config::default() };
        let result = TestRunner::new(cases).run(&documents(), |documents| {
            let cluster = cluster(&documents);
            let mut except = Except::default();
            // What only nginx can judge are regular expressions; who wrote them is found, and left out.
            for _ in 0..=documents.len() {
                let plan = plan(&cluster, &Settings::new("C0w1"), &except);
                let config = render(&plan.model, &setup);
                let Err((said, line)) = test(folder.path(), &config) else { return Ok(()) };
                let text = line.and_then(|line| config.text.lines().nth(line - 1)).unwrap_or_default();
                prop_assert!(said.contains("pcre"), "{said}\n{text}");
                let owner = line.and_then(|line| config.owner_of_line(line)).cloned();
                let Some(owner) = owner else { return Err(TestCaseError::fail(format!("{said}: nobody's"))) };
                let problem = Problem { owner: owner.clone(), reason: "Refused", message: said };
                prop_assert!(except.objects.insert(owner, problem).is_none(), "refused twice\n{text}");
            }
            Err(TestCaseError::fail("more refusals than objects"))
        });
        if let Err(error) = result {
            panic!("{error}");
        }
        Ok::<_, net::Error>(())
    })
    .unwrap();
}
