//! The examples of Kubernetes' documentation of Ingress.

use super::site::{Site, at_site, get, https};

/// An Ingress of the documentation: its name, and what stands under `spec`.
fn ingress(name: &str, spec: &str) -> String {
    let spec = spec.trim_end().replace('\n', "\n  ");
    format!("apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: {name}}}\nspec:{spec}\n")
}

async fn services(site: &mut Site, services: &[(&str, u16)]) {
    for (i, (name, port)) in (2u8..).zip(services) {
        let pod = format!("pod-of-{name}");
        site.pod(&pod, [11, 10, 0, i]).await;
        site.service(name, *port, &[&pod]).await;
    }
}

#[test]
fn simple_fanout() {
    at_site(async |site| {
        services(site, &[("service1", 4200), ("service2", 8080)]).await;
        let spec = "
rules:
- host: foo.bar.com
  http:
    paths:
    - {path: /foo, pathType: Prefix, backend: {service: {name: service1, port: {number: 4200}}}}
    - {path: /bar, pathType: Prefix, backend: {service: {name: service2, port: {number: 8080}}}}";
        site.apply(&ingress("simple-fanout-example", spec)).await;
        site.start();
        let answer = site.until_from("foo.bar.com", "/foo", &["pod-of-service1"]).await;
        assert_eq!(answer.field("host"), Some("foo.bar.com"));
        assert_eq!(answer.field("x-forwarded-for"), Some("127.0.0.1"));
        let routes = [
            ("/foo/", "pod-of-service1"),
            ("/foo/a?b=c", "pod-of-service1"),
            ("/bar", "pod-of-service2"),
            ("/bar/%20x", "pod-of-service2"),
        ];
        for (path, pod) in routes {
            let answer = get("foo.bar.com", path).await.unwrap();
            assert_eq!((answer.pod(), answer.field("path")), (pod, Some(path)));
        }
        for (host, path) in [("foo.bar.com", "/"), ("foo.bar.com", "/food"), ("other", "/foo")] {
            assert_eq!(get(host, path).await.unwrap().status, 404, "{host}{path}");
        }
        site.until("its status has the node's address", || async {
            let object = site.get_object("ingress", "default", "simple-fanout-example").await;
            let ip = object["status"]["loadBalancer"]["ingress"][0]["ip"].as_str();
            if ip == Some("10.0.0.3") { Ok(()) } else { Err(object.to_string()) }
        })
        .await;
    });
}

#[test]
fn name_based_virtual_hosting() {
    at_site(async |site| {
        services(site, &[("service1", 80), ("service2", 80), ("service3", 80)]).await;
        let rule = |host: &str, service: &str| {
            let backend = format!("{{service: {{name: {service}, port: {{number: 80}}}}}}");
            let path = format!("{{pathType: Prefix, path: /, backend: {backend}}}");
            let host = if host.is_empty() { String::new() } else { format!("host: {host}, ") };
            format!("\n- {{{host}http: {{paths: [{path}]}}}}")
        };
        let two = [rule("foo.bar.com", "service1"), rule("bar.foo.com", "service2")].concat();
        site.apply(&ingress("name-virtual-host-ingress", &format!("\nrules:{two}"))).await;
        site.start();
        site.until_from("foo.bar.com", "/", &["pod-of-service1"]).await;
        assert_eq!(get("bar.foo.com", "/x").await.unwrap().pod(), "pod-of-service2");
        assert_eq!(get("first.bar.com", "/").await.unwrap().status, 404);

        let third =
            [rule("first.bar.com", "service1"), rule("second.bar.com", "service2"), rule("", "service3")]
                .concat();
        let name = "name-virtual-host-ingress-no-third-host";
        site.apply(&ingress(name, &format!("\nrules:{third}"))).await;
        site.until_from("first.bar.com", "/", &["pod-of-service1"]).await;
        for (host, pod) in [
            ("second.bar.com", "pod-of-service2"),
            ("third.bar.com", "pod-of-service3"),
            ("10.0.0.3", "pod-of-service3"),
            ("foo.bar.com", "pod-of-service1"),
            ("FIRST.bar.com:80", "pod-of-service1"),
        ] {
            assert_eq!(get(host, "/").await.unwrap().pod(), pod, "{host}");
        }
    });
}

#[test]
fn wildcard_hosts() {
    at_site(async |site| {
        services(site, &[("service1", 80), ("service2", 80)]).await;
        let spec = r#"
rules:
- host: foo.bar.com
  http:
    paths:
    - {pathType: Prefix, path: /bar, backend: {service: {name: service1, port: {number: 80}}}}
- host: "*.foo.com"
  http:
    paths:
    - {pathType: Prefix, path: /foo, backend: {service: {name: service2, port: {name: http}}}}"#;
        site.apply(&ingress("ingress-wildcard-host", spec)).await;
        site.start();
        site.until_from("bar.foo.com", "/foo", &["pod-of-service2"]).await;
        assert_eq!(get("foo.bar.com", "/bar").await.unwrap().pod(), "pod-of-service1");
        for host in ["baz.bar.foo.com", "foo.com"] {
            assert_eq!(get(host, "/foo").await.unwrap().status, 404, "{host}");
        }
    });
}

#[test]
fn a_default_backend() {
    at_site(async |site| {
        services(site, &[("test", 80), ("service1", 80)]).await;
        let spec = "\ndefaultBackend: {service: {name: test, port: {number: 80}}}";
        site.apply(&ingress("test-ingress", spec)).await;
        site.start();
        site.until_from("any.example.com", "/any", &["pod-of-test"]).await;
        let spec = "
rules:
- host: foo.bar.com
  http:
    paths:
    - {path: /foo, pathType: Exact, backend: {service: {name: service1, port: {number: 80}}}}";
        site.apply(&ingress("one-path", spec)).await;
        site.until_from("foo.bar.com", "/foo", &["pod-of-service1"]).await;
        // None of the paths of this host matches.
        assert_eq!(get("foo.bar.com", "/foo/").await.unwrap().pod(), "pod-of-test");
    });
}

#[test]
fn tls() {
    at_site(async |site| {
        services(site, &[("service1", 80)]).await;
        let spec = "
tls:
- {hosts: [https-example.foo.com], secretName: testsecret-tls}
rules:
- host: https-example.foo.com
  http:
    paths:
    - {path: /, pathType: Prefix, backend: {service: {name: service1, port: {number: 80}}}}";
        site.apply(&ingress("tls-example-ingress", spec)).await;
        site.start();
        // Without the secret there is no HTTPS, and its absence is told.
        site.until_from("https-example.foo.com", "/", &["pod-of-service1"]).await;
        site.until("an event", || async {
            let events = site.events("tls-example-ingress").await;
            let told = "NoCertificate: secret default/testsecret-tls does not exist; its hosts have no HTTPS";
            if events.iter().any(|event| event == told) { Ok(()) } else { Err(format!("{events:?}")) }
        })
        .await;
        site.secret("testsecret-tls", "cert.pem", "key.pem").await;
        let answer = site.until_status("https-example.foo.com", "/a?b", 308).await;
        assert_eq!(answer.header("location"), Some("https://https-example.foo.com/a?b"));
        let answer = https("https-example.foo.com", "/a?b", "cert.pem").await.unwrap();
        assert!(answer.contains("pod=pod-of-service1") && answer.contains("path=/a?b"), "{answer}");
        assert!(answer.contains("x-forwarded-proto=https"), "{answer}");
        let other = https("other.foo.com", "/", "cert.pem").await.unwrap_err();
        assert!(other.contains("unrecognized name") || other.contains("alert"), "{other}");
    });
}
