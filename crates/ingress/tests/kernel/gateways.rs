//! Gateway API: its guides, and what it says of precedence, filters, references and statuses.

use serde_json::Value;

use super::site::{Site, ask, at_site, get, https};

const CLASS: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: example}
spec: {controllerName: knetsim.dev/gateway-controller}
";

/// The guides' gateway, with one listener.
fn gateway(name: &str, listener: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: {name}}}\n\
         spec: {{gatewayClassName: example, listeners: [{{name: http, protocol: HTTP, port: 80, {listener}}}]}}\n"
    )
}

/// A route: its name, and what stands under `spec`.
fn route(name: &str, spec: &str) -> String {
    let spec = spec.trim_end().replace('\n', "\n  ");
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}}}\nspec:{spec}\n"
    )
}

/// Services on port 8080, each with a pod of its name.
async fn services(site: &mut Site, names: &[&str]) {
    for (i, name) in (2u8..).zip(names) {
        site.pod(name, [11, 10, 0, i]).await;
        site.service(name, 8080, &[name]).await;
    }
}

/// A condition of an object's status below a pointer, as `True Accepted`.
fn condition(object: &Value, pointer: &str, kind: &str) -> String {
    let conditions = object.pointer(pointer).and_then(Value::as_array);
    let found = conditions.into_iter().flatten().find(|one| one["type"] == kind);
    found.map_or_else(String::new, |one| {
        format!("{} {}", one["status"].as_str().unwrap(), one["reason"].as_str().unwrap())
    })
}

/// Waits until an object's conditions are these.
async fn told(site: &Site, kind: &str, name: &str, pointer: &str, wanted: &[(&str, &str)]) -> Value {
    site.until(&format!("{kind} {name} {wanted:?}"), || async {
        let namespace = if kind == "gatewayclass" { "" } else { "default" };
        let object = site.get_object(kind, namespace, name).await;
        let is_so = |(kind, words): &(&str, &str)| condition(&object, pointer, kind) == *words;
        if wanted.iter().all(is_so) { Ok(object) } else { Err(object["status"].to_string()) }
    })
    .await
}

const PARENT: &str = "/status/parents/0/conditions";

#[test]
fn a_simple_gateway() {
    at_site(async |site| {
        services(site, &["foo-svc"]).await;
        site.apply(CLASS).await;
        site.apply(&gateway("prod-web", "allowedRoutes: {namespaces: {from: Same}}")).await;
        site.start();
        let spec = "\nparentRefs: [{name: prod-web}]\nrules: [{backendRefs: [{name: foo-svc, port: 8080}]}]";
        site.apply(&route("foo", spec)).await;
        site.until_from("whatever.example.com", "/any/path", &["foo-svc"]).await;
        told(site, "gatewayclass", "example", "/status/conditions", &[("Accepted", "True Accepted")]).await;
        let conditions = [("Accepted", "True Accepted"), ("Programmed", "True Programmed")];
        let gateway = told(site, "gateway", "prod-web", "/status/conditions", &conditions).await;
        assert_eq!(gateway["status"]["addresses"][0]["value"], "10.0.0.3");
        assert_eq!(gateway["status"]["conditions"][0]["observedGeneration"], 1);
        let gateway = site
            .until("a route is counted", || async {
                let gateway = site.get_object("gateway", "default", "prod-web").await;
                let listener = &gateway["status"]["listeners"][0];
                if listener["attachedRoutes"] == 1 { Ok(gateway) } else { Err(gateway.to_string()) }
            })
            .await;
        let listener = &gateway["status"]["listeners"][0];
        assert_eq!(listener["supportedKinds"][0]["kind"], "HTTPRoute");
        let conditions = [("Accepted", "True Accepted"), ("ResolvedRefs", "True ResolvedRefs")];
        let route = told(site, "httproute", "foo", PARENT, &conditions).await;
        let parent = &route["status"]["parents"][0];
        assert_eq!(parent["controllerName"], "knetsim.dev/gateway-controller");
        assert_eq!(parent["parentRef"]["name"], "prod-web");
        // Nothing is written when nothing differs.
        site.until_from("whatever.example.com", "/", &["foo-svc"]).await;
        assert_eq!(site.get_object("httproute", "default", "foo").await, route);

        site.delete("gateway", "default", "prod-web").await;
        site.until("nobody serves", || async {
            match get("whatever.example.com", "/").await {
                Err(_) => Ok(()),
                Ok(answer) => Err(format!("{answer:?}")),
            }
        })
        .await;
    });
}

#[test]
fn http_routing() {
    at_site(async |site| {
        services(site, &["foo-svc", "bar-svc", "bar-svc-canary", "example-svc"]).await;
        site.apply(CLASS).await;
        site.apply(&gateway("example-gateway", "")).await;
        site.start();
        let spec = "
parentRefs: [{name: example-gateway}]
hostnames: [foo.example.com]
rules:
- matches: [{path: {type: PathPrefix, value: /login}}]
  backendRefs: [{name: foo-svc, port: 8080}]";
        site.apply(&route("foo-route", spec)).await;
        let spec = "
parentRefs: [{name: example-gateway}]
hostnames: [bar.example.com]
rules:
- matches: [{headers: [{type: Exact, name: env, value: canary}]}]
  backendRefs: [{name: bar-svc-canary, port: 8080}]
- backendRefs: [{name: bar-svc, port: 8080}]";
        site.apply(&route("bar-route", spec)).await;
        site.until_from("bar.example.com", "/", &["bar-svc"]).await;
        for (path, pod) in [("/login", "foo-svc"), ("/login/a?b", "foo-svc")] {
            assert_eq!(get("foo.example.com", path).await.unwrap().pod(), pod, "{path}");
        }
        for (host, path) in
            [("foo.example.com", "/"), ("foo.example.com", "/loginx"), ("other.com", "/login")]
        {
            assert_eq!(get(host, path).await.unwrap().status, 404, "{host}{path}");
        }
        for path in ["/", "/a/b"] {
            assert_eq!(ask("bar.example.com", path, &[("env", "canary")]).await.pod(), "bar-svc-canary");
            assert_eq!(ask("bar.example.com", path, &[("Env", "canaryx")]).await.pod(), "bar-svc");
        }
    });
}

#[test]
fn traffic_splitting() {
    at_site(async |site| {
        services(site, &["foo-v1", "foo-v2"]).await;
        site.apply(CLASS).await;
        site.apply(&gateway("prod-web", "allowedRoutes: {namespaces: {from: Same}}")).await;
        site.start();
        // The guide's routes name no gateway.
        let rules =
            |rules: &str| route("foo-route", &format!("\nhostnames: [foo.example.com]\nrules:{rules}"));
        let canary = "
- backendRefs: [{name: foo-v1, port: 8080}]
- matches: [{headers: [{name: traffic, value: test}]}]
  backendRefs: [{name: foo-v2, port: 8080}]";
        site.apply(&rules(canary)).await;
        site.until_from("foo.example.com", "/", &["foo-v1"]).await;
        for _ in 0..5 {
            assert_eq!(get("foo.example.com", "/").await.unwrap().pod(), "foo-v1");
            assert_eq!(ask("foo.example.com", "/", &[("traffic", "test")]).await.pod(), "foo-v2");
        }
        let weights = |one: u32, two: u32| {
            format!(
                "\n- backendRefs: [{{name: foo-v1, port: 8080, weight: {one}}}, {{name: foo-v2, port: 8080, weight: {two}}}]"
            )
        };
        site.apply(&rules(&weights(90, 10))).await;
        site.until_from("foo.example.com", "/", &["foo-v2"]).await;
        let mut second = 0;
        for _ in 0..500 {
            second += u32::from(get("foo.example.com", "/").await.unwrap().pod() == "foo-v2");
        }
        // 50 of 500, give or take five standard deviations.
        assert!((16..=84).contains(&second), "{second}");
        site.apply(&rules(&weights(0, 1))).await;
        site.until("all to the second", || async {
            for _ in 0..20 {
                let answer = get("foo.example.com", "/").await?;
                if answer.pod() != "foo-v2" {
                    return Err(answer.body);
                }
            }
            Ok(())
        })
        .await;
        told(site, "httproute", "foo-route", PARENT, &[("Accepted", "True Accepted")]).await;
    });
}

#[test]
fn filters() {
    at_site(async |site| {
        services(site, &["web", "shadow"]).await;
        site.apply(CLASS).await;
        site.apply(&gateway("gw", "")).await;
        site.start();
        let spec = "
parentRefs: [{name: gw}]
rules:
- matches: [{path: {value: /headers}}]
  filters:
  - type: RequestHeaderModifier
    requestHeaderModifier:
      set: [{name: x-set, value: one}]
      add: [{name: x-add, value: $two}]
      remove: [x-gone]
  - type: ResponseHeaderModifier
    responseHeaderModifier: {set: [{name: x-pod, value: hidden}], add: [{name: x-more, value: three}]}
  backendRefs: [{name: web, port: 8080}]
- matches: [{path: {value: /cart}}]
  filters:
  - type: RequestRedirect
    requestRedirect: {scheme: https, hostname: shop.example.com, statusCode: 301, path: {type: ReplacePrefixMatch, replacePrefixMatch: /basket}}
- matches: [{path: {value: /old}}]
  filters:
  - type: URLRewrite
    urlRewrite: {hostname: inner.example.com, path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}
  backendRefs: [{name: web, port: 8080}]
- matches: [{path: {value: /delay}}]
  timeouts: {request: 100ms}
  backendRefs: [{name: web, port: 8080}]
- matches: [{method: POST, path: {type: Exact, value: /post}, queryParams: [{name: a, value: b}]}]
  backendRefs: [{name: web, port: 8080}]";
        site.apply(&route("filters", spec)).await;
        let answer = site.until_from("a.b", "/headers", &["web"]).await;
        assert_eq!((answer.field("x-set"), answer.field("x-add")), (Some("one"), Some("$two")));
        assert_eq!((answer.header("x-pod"), answer.header("x-more")), (Some("hidden"), Some("three")));
        let answer = ask("a.b", "/headers", &[("x-gone", "1"), ("x-add", "zero"), ("x-set", "zero")]).await;
        assert_eq!((answer.field("x-gone"), answer.field("x-set")), (None, Some("one")));
        let answer = get("a.b", "/cart/1?q=2").await.unwrap();
        assert_eq!(answer.status, 301);
        assert_eq!(answer.header("location"), Some("https://shop.example.com/basket/1?q=2"));
        let answer = get("a.b", "/old/a?q=2").await.unwrap();
        assert_eq!(
            (answer.field("path"), answer.field("host")),
            (Some("/new/a?q=2"), Some("inner.example.com"))
        );
        assert_eq!(get("a.b", "/delay/1").await.unwrap().status, 200);
        assert_eq!(get("a.b", "/delay/5000").await.unwrap().status, 504);
        assert_eq!(get("a.b", "/post?a=b").await.unwrap().status, 404);
        told(site, "httproute", "filters", PARENT, &[("ResolvedRefs", "True ResolvedRefs")]).await;
    });
}

#[test]
fn the_more_special_comes_first() {
    at_site(async |site| {
        services(site, &["any", "suffix", "name", "long", "exact", "two", "post"]).await;
        site.apply(CLASS).await;
        site.apply(&gateway("gw", "")).await;
        site.start();
        let backend = |name: &str| format!("backendRefs: [{{name: {name}, port: 8080}}]");
        let simple = |hosts: &str, name: &str| {
            route(name, &format!("\nparentRefs: [{{name: gw}}]{hosts}\nrules: [{{{}}}]", backend(name)))
        };
        site.apply(&simple("", "any")).await;
        site.apply(&simple("\nhostnames: ['*.example.com']", "suffix")).await;
        let rules = [
            format!("\n- {}", backend("name")),
            format!("\n- matches: [{{path: {{value: /a/b}}}}]\n  {}", backend("long")),
            format!("\n- matches: [{{path: {{type: Exact, value: /a}}}}]\n  {}", backend("exact")),
            format!(
                "\n- matches: [{{path: {{value: /a}}, headers: [{{name: x, value: 'y'}}, {{name: z, value: z}}]}}]\n  {}",
                backend("two")
            ),
            format!("\n- matches: [{{path: {{value: /a}}, method: POST}}]\n  {}", backend("post")),
        ];
        let spec =
            format!("\nparentRefs: [{{name: gw}}]\nhostnames: [www.example.com]\nrules:{}", rules.concat());
        site.apply(&route("special", &spec)).await;
        site.until_from("www.example.com", "/", &["name"]).await;
        for (host, path, pod) in [
            ("other.com", "/a", "any"),
            ("a.b.example.com", "/a", "suffix"),
            ("example.com", "/a", "any"),
            ("www.example.com", "/x", "name"),
            ("www.example.com", "/a/b/c", "long"),
            ("www.example.com", "/a", "exact"),
            ("www.example.com", "/a/x", "name"),
        ] {
            assert_eq!(get(host, path).await.unwrap().pod(), pod, "{host}{path}");
        }
        let both = [("x", "y"), ("z", "z")];
        assert_eq!(ask("www.example.com", "/a/x", &both).await.pod(), "two");
        assert_eq!(ask("www.example.com", "/a/x", &both[..1]).await.pod(), "name");
        // A path counts more than a method or headers.
        assert_eq!(ask("www.example.com", "/a/b", &both).await.pod(), "long");
    });
}

#[test]
fn references_that_lead_nowhere_or_are_not_allowed() {
    at_site(async |site| {
        services(site, &["good"]).await;
        site.pod("far", [11, 10, 0, 9]).await;
        site.service_in("other", "far", 8080, &["far"]).await;
        site.apply(CLASS).await;
        site.apply(&gateway("gw", "")).await;
        site.start();
        let to = |name: &str, reference: &str| {
            let spec = format!(
                "\nparentRefs: [{{name: gw}}]\nhostnames: [{name}.a]\nrules: [{{backendRefs: [{{port: 8080, {reference}}}]}}]"
            );
            route(name, &spec)
        };
        site.apply(&to("good", "name: good")).await;
        site.apply(&to("missing", "name: missing")).await;
        site.apply(&to("kind", "name: good, group: example.com, kind: Bucket")).await;
        site.apply(&to("far", "name: far, namespace: other")).await;
        site.until_from("good.a", "/", &["good"]).await;
        for (name, words) in [
            ("missing", "False BackendNotFound"),
            ("kind", "False InvalidKind"),
            ("far", "False RefNotPermitted"),
            ("good", "True ResolvedRefs"),
        ] {
            let wanted = [("Accepted", "True Accepted"), ("ResolvedRefs", words)];
            told(site, "httproute", name, PARENT, &wanted).await;
            let status = if name == "good" { 200 } else { 500 };
            assert_eq!(get(&format!("{name}.a"), "/").await.unwrap().status, status, "{name}");
        }
        site.apply(
            "apiVersion: gateway.networking.k8s.io/v1beta1\nkind: ReferenceGrant\nmetadata: {name: g, namespace: other}\n\
             spec: {from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default}], to: [{group: '', kind: Service}]}",
        )
        .await;
        site.until_from("far.a", "/", &["far"]).await;
        told(site, "httproute", "far", PARENT, &[("ResolvedRefs", "True ResolvedRefs")]).await;
        site.delete("referencegrant", "other", "g").await;
        site.until_status("far.a", "/", 500).await;

        // Routes that may not attach, to listeners that are not there or not for them.
        let spec = "\nparentRefs: [{name: gw, sectionName: none}]\nrules: [{backendRefs: [{name: good, port: 8080}]}]";
        site.apply(&route("section", spec)).await;
        told(site, "httproute", "section", PARENT, &[("Accepted", "False NoMatchingParent")]).await;
        let listener = "allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {team: x}}}}";
        site.apply(&gateway("gw", listener)).await;
        told(site, "httproute", "good", PARENT, &[("Accepted", "False NotAllowedByListeners")]).await;
        site.until_status("good.a", "/", 404).await;
        site.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: default, labels: {team: x}}").await;
        site.until_from("good.a", "/", &["good"]).await;
    });
}

#[test]
fn gateways_that_speak_tls() {
    at_site(async |site| {
        services(site, &["web"]).await;
        site.apply(CLASS).await;
        let listener = "protocol: HTTPS, port: 443, hostname: https-example.foo.com, \
                        tls: {certificateRefs: [{name: cert}]}";
        let gateway = gateway("gw", "").replace("protocol: HTTP, port: 80, ", listener);
        site.apply(&gateway).await;
        site.start();
        let spec = "\nparentRefs: [{name: gw}]\nrules: [{backendRefs: [{name: web, port: 8080}]}]";
        site.apply(&route("web", spec)).await;
        let listener = "/status/listeners/0/conditions";
        let wanted = [("ResolvedRefs", "False InvalidCertificateRef"), ("Programmed", "False Invalid")];
        told(site, "gateway", "gw", listener, &wanted).await;
        site.secret("cert", "cert.pem", "key.pem").await;
        told(site, "gateway", "gw", listener, &[("Programmed", "True Programmed")]).await;
        let answer = site.until("https", || https("https-example.foo.com", "/a", "cert.pem")).await;
        assert!(answer.contains("pod=web") && answer.contains("x-forwarded-proto=https"), "{answer}");
    });
}

#[test]
fn a_bad_gateway_or_route_affects_itself_alone() {
    at_site(async |site| {
        services(site, &["web"]).await;
        site.apply(CLASS).await;
        site.apply(&gateway("gw", "")).await;
        site.start();
        let rule = "rules: [{backendRefs: [{name: web, port: 8080}]}]";
        site.apply(&route("good", &format!("\nparentRefs: [{{name: gw}}]\nhostnames: [good.a]\n{rule}")))
            .await;
        site.until_from("good.a", "/", &["web"]).await;
        // A regular expression that only nginx knows to be none, a protocol that nobody speaks here.
        let bad = "
parentRefs: [{name: gw}]
hostnames: [bad.a]
rules:
- matches: [{path: {type: RegularExpression, value: '/a(b'}}]
  backendRefs: [{name: web, port: 8080}]";
        site.apply(&route("bad", bad)).await;
        site.until("an event of the bad one", || async {
            let events = site.events("bad").await;
            if events.iter().any(|event| event.starts_with("Refused: ")) {
                Ok(())
            } else {
                Err(format!("{events:?}"))
            }
        })
        .await;
        let udp = gateway("udp", "").replace("protocol: HTTP, port: 80", "protocol: UDP, port: 53");
        site.apply(&udp).await;
        let wanted = [("Accepted", "False UnsupportedProtocol")];
        told(site, "gateway", "udp", "/status/listeners/0/conditions", &wanted).await;
        assert_eq!(get("good.a", "/").await.unwrap().pod(), "web");
        // Of a class that is none of ours nothing is said.
        site.apply(&gateway("theirs", "").replace("gatewayClassName: example", "gatewayClassName: theirs"))
            .await;
        site.apply(&route("theirs", &format!("\nparentRefs: [{{name: theirs}}]\n{rule}"))).await;
        site.apply(&route("bad", &bad.replace("/a(b", "/a[bc]+"))).await;
        site.until_from("bad.a", "/abc", &["web"]).await;
        assert_eq!(get("bad.a", "/ad").await.unwrap().status, 404);
        assert!(site.get_object("gateway", "default", "theirs").await["status"].is_null());
        assert!(site.get_object("httproute", "default", "theirs").await["status"].is_null());
    });
}
