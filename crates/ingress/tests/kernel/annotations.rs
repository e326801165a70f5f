//! What annotations do, each with requests.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::site::{Answer, Site, ask, at_site, get, send};

/// An Ingress for a host of its own name, whose paths (`Type path service`) lead to services.
fn ingress(name: &str, annotations: Value, paths: &[&str]) -> Value {
    let paths: Vec<_> = paths
        .iter()
        .map(|path| {
            let words: Vec<_> = path.split(' ').collect();
            json!({"pathType": words[0], "path": words[1],
                   "backend": {"service": {"name": words[2], "port": {"name": "http"}}}})
        })
        .collect();
    let annotations: BTreeMap<String, Value> = annotations
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| {
            let prefix = if name.contains('/') { "" } else { "nginx.ingress.kubernetes.io/" };
            (format!("{prefix}{name}"), value.clone())
        })
        .collect();
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
           "metadata": {"name": name, "annotations": annotations},
           "spec": {"rules": [{"host": format!("{name}.example.com"), "http": {"paths": paths}}]}})
}

async fn two_services(site: &mut Site) {
    for (i, name) in (2u8..).zip(["web", "other"]) {
        site.pod(name, [11, 10, 0, i]).await;
        site.service(name, 80, &[name]).await;
    }
}

/// Waits until the host of an Ingress is served with anything but 404.
async fn serve(site: &mut Site, ingress: Value) -> String {
    let name = ingress["metadata"]["name"].as_str().unwrap().to_owned();
    let host = format!("{name}.example.com");
    site.put(ingress).await;
    site.until(&format!("{host} is served"), || async {
        let object = site.get_object("ingress", "default", &name).await;
        let address = &object["status"]["loadBalancer"]["ingress"][0]["ip"];
        if address.is_string() { Ok(()) } else { Err(object.to_string()) }
    })
    .await;
    host
}

#[test]
fn rewriting() {
    at_site(async |site| {
        two_services(site).await;
        site.start();
        let annotations = json!({"rewrite-target": "/$2", "use-regex": "true"});
        let regex = ingress("regex", annotations, &["ImplementationSpecific /something(/|$)(.*) web"]);
        let host = serve(site, regex).await;
        for (path, seen) in [
            ("/something", "/"),
            ("/something/", "/"),
            ("/something/new?a=b", "/new?a=b"),
            ("/SOMETHING/x%20y", "/x%20y"),
        ] {
            assert_eq!(get(&host, path).await.unwrap().field("path"), Some(seen), "{path}");
        }
        assert_eq!(get(&host, "/somethingelse").await.unwrap().status, 404);
        let all = ingress("all", json!({"rewrite-target": "/"}), &["Prefix /testpath web"]);
        let host = serve(site, all).await;
        assert_eq!(get(&host, "/testpath/a?x").await.unwrap().field("path"), Some("/?x"));
        assert_eq!(get(&host, "/testpaths").await.unwrap().status, 404);
        // What are no groups are dollars.
        let dollar = ingress("dollar", json!({"rewrite-target": "/$host$9"}), &["Prefix / web"]);
        let host = serve(site, dollar).await;
        assert_eq!(get(&host, "/").await.unwrap().field("path"), Some("/$host$9"));
    });
}

#[test]
fn redirects() {
    at_site(async |site| {
        two_services(site).await;
        site.start();
        let table = [
            (
                "permanent",
                json!({"permanent-redirect": "https://example.com/$x"}),
                301,
                "https://example.com/$x",
            ),
            (
                "temporal",
                json!({"temporal-redirect": "/there", "temporal-redirect-code": "307"}),
                307,
                "/there",
            ),
            ("force", json!({"force-ssl-redirect": "true"}), 308, "https://force.example.com/?a=b"),
            ("root", json!({"app-root": "/app"}), 302, "http://root.example.com/app?a=b"),
        ];
        for (name, annotations, status, location) in table {
            let host = serve(site, ingress(name, annotations, &["Prefix / web"])).await;
            let answer = get(&host, "/?a=b").await.unwrap();
            assert_eq!((answer.status, answer.header("location")), (status, Some(location)), "{name}");
        }
        assert_eq!(get("root.example.com", "/other").await.unwrap().pod(), "web");
    });
}

#[test]
fn canaries() {
    at_site(async |site| {
        two_services(site).await;
        site.start();
        let table = [
            ("always", json!({"canary-by-header": "X-Canary"})),
            ("value", json!({"canary-by-header": "X-Canary", "canary-by-header-value": "Ye$.*"})),
            ("pattern", json!({"canary-by-header": "X-Canary", "canary-by-header-pattern": "^y[e]+s$"})),
            ("cookie", json!({"canary-by-cookie": "try.it"})),
            ("weight", json!({"canary-weight": "30"})),
            (
                "total",
                json!({"canary-weight": "30", "canary-weight-total": "30", "canary-by-header": "X-Canary"}),
            ),
        ];
        for (name, annotations) in table {
            let host = serve(site, ingress(name, json!({}), &["Prefix / web"])).await;
            let mut canary = ingress(&format!("{name}-canary"), annotations, &["Prefix / other"]);
            canary["metadata"]["annotations"]["nginx.ingress.kubernetes.io/canary"] = "true".into();
            canary["spec"]["rules"][0]["host"] = host.as_str().into();
            serve(site, canary).await;
        }
        let asked = async |name: &str, header: &str, value: &str| {
            ask(&format!("{name}.example.com"), "/", &[(header, value)]).await.pod().to_owned()
        };
        let expected = [
            ("always", "x-canary", "always", "other"),
            ("always", "x-canary", "never", "web"),
            ("always", "x-canary", "ALWAYS", "web"),
            ("always", "x", "always", "web"),
            ("value", "x-canary", "Ye$.*", "other"),
            ("value", "x-canary", "Ye$.x", "web"),
            ("value", "x-canary", "always", "web"),
            ("pattern", "x-canary", "yees", "other"),
            ("pattern", "x-canary", "yss", "web"),
            ("cookie", "cookie", "a=b; try.it=always", "other"),
            ("cookie", "cookie", "try.it=always", "other"),
            ("cookie", "cookie", "try.it=never; b=c", "web"),
            ("cookie", "cookie", "tryxit=always", "web"),
            ("cookie", "cookie", "xtry.it=always", "web"),
            ("total", "x", "y", "other"),
            ("total", "x-canary", "never", "web"),
        ];
        for (name, header, value, pod) in expected {
            assert_eq!(asked(name, header, value).await, pod, "{name}: {header}: {value}");
        }
        let mut others = 0;
        for _ in 0..400 {
            others += u32::from(asked("weight", "x", "y").await == "other");
        }
        // 120 expected; seven standard deviations to either side.
        assert!((56..=184).contains(&others), "{others} of 400");
    });
}

#[test]
fn sessions_stay_at_their_endpoint() {
    at_site(async |site| {
        let pods = ["a", "b", "c", "d"];
        for (i, pod) in (2u8..).zip(pods) {
            site.pod(pod, [11, 10, 0, i]).await;
        }
        site.service("web", 80, &pods).await;
        site.start();
        let annotations = json!({
            "affinity": "cookie", "session-cookie-name": "route", "session-cookie-max-age": "3600",
            "session-cookie-samesite": "Lax",
        });
        let host = serve(site, ingress("sticky", annotations, &["Prefix / web"])).await;
        let mut seen = BTreeSet::new();
        for _ in 0..20 {
            let first = get(&host, "/").await.unwrap();
            let cookie = first.header("set-cookie").unwrap();
            assert!(cookie.ends_with("; Path=/; Max-Age=3600; SameSite=Lax; HttpOnly"), "{cookie}");
            let cookie = format!("other=1; {}", cookie.split(';').next().unwrap());
            for _ in 0..4 {
                let again = ask(&host, "/", &[("cookie", &cookie)]).await;
                assert_eq!((again.pod(), again.header("set-cookie")), (first.pod(), None));
            }
            seen.insert(first.pod().to_owned());
        }
        assert!(seen.len() > 1, "{seen:?}");

        let by_uri = json!({"upstream-hash-by": "$request_uri"});
        let host = serve(site, ingress("hash", by_uri, &["Prefix / web"])).await;
        let mut by_path = BTreeMap::new();
        for path in ["/a", "/b", "/c", "/d", "/e", "/f", "/g", "/h"].into_iter().cycle().take(32) {
            let pod = get(&host, path).await.unwrap().pod().to_owned();
            assert_eq!(by_path.entry(path).or_insert_with(|| pod.clone()), &pod, "{path}");
        }
        assert!(by_path.values().collect::<BTreeSet<_>>().len() > 1, "{by_path:?}");
    });
}

#[test]
fn who_may_come_in() {
    at_site(async |site| {
        two_services(site).await;
        site.start();
        let host = serve(site, {
            ingress("allow", json!({"whitelist-source-range": "10.0.0.0/8, 192.168.1.1"}), &["Prefix / web"])
        })
        .await;
        assert_eq!(get(&host, "/").await.unwrap().status, 403);
        let annotations =
            json!({"whitelist-source-range": "127.0.0.0/8", "denylist-source-range": "127.0.0.2"});
        let host = serve(site, ingress("deny", annotations, &["Prefix / web"])).await;
        assert_eq!(get(&host, "/").await.unwrap().status, 200);
        // What cannot be read keeps everyone out.
        let broken = ingress("broken", json!({"whitelist-source-range": "10.0.0.300"}), &["Prefix / web"]);
        let host = serve(site, broken).await;
        assert_eq!(get(&host, "/").await.unwrap().status, 503);
        let unknown = ingress("unknown", json!({"auth-url": "http://auth"}), &["Prefix / web"]);
        let host = serve(site, unknown).await;
        assert_eq!(get(&host, "/").await.unwrap().status, 503);
    });
}

#[test]
fn passwords() {
    at_site(async |site| {
        two_services(site).await;
        site.start();
        let annotations =
            json!({"auth-type": "basic", "auth-secret": "users", "auth-realm": "say $who; you"});
        let host = serve(site, ingress("auth", annotations, &["Prefix / web"])).await;
        assert_eq!(get(&host, "/").await.unwrap().status, 503, "without the secret nobody may come in");
        // `{SHA}` and the hash of `secret`.
        let line = "foo:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n";
        let auth = serde_json::to_value(api::types::ByteString(line.into())).unwrap();
        site.put(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "users"}, "data": {"auth": auth}}))
            .await;
        let answer = site.until_status(&host, "/", 401).await;
        assert_eq!(answer.header("www-authenticate"), Some("Basic realm=\"say $who; you\""));
        // foo:secret
        let answer = ask(&host, "/", &[("authorization", "Basic Zm9vOnNlY3JldA==")]).await;
        assert_eq!((answer.pod(), answer.field("authorization")), ("web", None));
        assert_eq!(answer.field("host"), Some(host.as_str()));
        assert_eq!(ask(&host, "/", &[("authorization", "Basic Zm9vOndyb25n")]).await.status, 401);
    });
}

#[test]
fn limits() {
    at_site(async |site| {
        two_services(site).await;
        site.start();
        let annotations = json!({"limit-rpm": "1", "limit-burst-multiplier": "4"});
        let host = serve(site, ingress("rate", annotations, &["Prefix / web"])).await;
        let mut statuses = Vec::new();
        for _ in 0..8 {
            statuses.push(get(&host, "/").await.unwrap().status);
        }
        assert_eq!(statuses, [200, 200, 200, 200, 200, 503, 503, 503]);
        let annotations = json!({"limit-rpm": "1", "limit-whitelist": "127.0.0.0/8"});
        let host = serve(site, ingress("free", annotations, &["Prefix / web"])).await;
        for _ in 0..8 {
            assert_eq!(get(&host, "/").await.unwrap().status, 200);
        }
        let body = async |host: &str, size: usize| {
            let request = Request::post("/").header("host", host).body(Full::new(vec![b'x'; size].into()));
            send(80, request.unwrap()).await
        };
        let annotations = json!({"proxy-body-size": "1k", "limit-connections": "1"});
        let host = serve(site, ingress("body", annotations, &["Prefix / web"])).await;
        assert_eq!(body(&host, 1024).await.unwrap().field("body"), Some("1024"));
        assert_eq!(body(&host, 1025).await.unwrap().status, 413);
        let (one, two) = tokio::join!(get(&host, "/delay/200"), get(&host, "/delay/200"));
        let statuses = BTreeSet::from([one.unwrap().status, two.unwrap().status]);
        assert_eq!(statuses, [200, 503].into(), "a second connection is too many");
    });
}

#[test]
fn other_sites_may_ask() {
    at_site(async |site| {
        two_services(site).await;
        site.start();
        let annotations = json!({
            "enable-cors": "true", "cors-allow-origin": "https://*.example.org, https://a.com:8443",
            "cors-allow-methods": "GET, POST", "cors-expose-headers": "X-Pod", "cors-max-age": "60",
        });
        let host = serve(site, ingress("cors", annotations, &["Prefix / web"])).await;
        let allowed = async |origin: &str, method: Method| {
            let request =
                Request::builder().method(method).uri("/").header("host", &host).header("origin", origin);
            send(80, request.body(Full::<Bytes>::default()).unwrap()).await.unwrap()
        };
        for origin in ["https://x.example.org", "https://a.com:8443"] {
            let answer = allowed(origin, Method::GET).await;
            assert_eq!((answer.pod(), answer.header("access-control-allow-origin")), ("web", Some(origin)));
            assert_eq!(answer.header("access-control-expose-headers"), Some("X-Pod"));
            let answer = allowed(origin, Method::OPTIONS).await;
            assert_eq!((answer.status, answer.header("access-control-allow-origin")), (204, Some(origin)));
            assert_eq!(answer.header("access-control-allow-methods"), Some("GET, POST"));
            assert_eq!(answer.header("access-control-max-age"), Some("60"));
        }
        for origin in
            ["https://example.org", "https://x.y.example.org", "https://xa.com:8443", "http://a.com:8443"]
        {
            let answer = allowed(origin, Method::GET).await;
            assert_eq!(answer.header("access-control-allow-origin"), None, "{origin}");
        }
    });
}

#[test]
fn errors_are_answered_by_another_service() {
    at_site(async |site| {
        two_services(site).await;
        site.start();
        let annotations = json!({"custom-http-errors": "404,502", "default-backend": "other"});
        let host = serve(site, ingress("errors", annotations, &["Prefix / web"])).await;
        let answer = get(&host, "/status/404").await.unwrap();
        assert_eq!((answer.pod(), answer.field("x-code")), ("other", Some("404")));
        assert_eq!(answer.field("x-original-uri"), Some("/status/404"));
        assert_eq!(answer.field("x-ingress-name"), Some("errors"));
        assert_eq!(get(&host, "/status/500").await.unwrap().pod(), "web");
        site.kill_pod("web").await;
        let answer = get(&host, "/").await.unwrap();
        assert_eq!((answer.pod(), answer.field("x-code")), ("other", Some("502")));
    });
}

#[test]
fn times_and_headers() {
    at_site(async |site| {
        two_services(site).await;
        site.start();
        let annotations = json!({
            "proxy-read-timeout": "1", "upstream-vhost": "inside $host", "x-forwarded-prefix": "/a b",
        });
        let host = serve(site, ingress("times", annotations, &["Prefix / web"])).await;
        assert_eq!(get(&host, "/delay/3000").await.unwrap().status, 504);
        let answer = get(&host, "/").await.unwrap();
        assert_eq!(answer.field("host"), Some("inside $host"));
        assert_eq!(answer.field("x-forwarded-prefix"), Some("/a b"));
        assert_eq!(answer.field("x-forwarded-host"), Some(host.as_str()));
    });
}

#[test]
fn by_the_services_address() {
    at_site(async |site| {
        two_services(site).await;
        // What would be the service's own address leads to another pod here.
        site.pod("proxy", [100, 64, 0, 9]).await;
        site.service_at("both", "100.64.0.9", 8000, &["web"]).await;
        site.start();
        let host = serve(site, ingress("endpoints", json!({}), &["Prefix / both"])).await;
        assert_eq!(get(&host, "/").await.unwrap().pod(), "web");
        for (name, annotation) in [
            ("service", json!({"knetsim.dev/upstream": "service"})),
            ("nginx", json!({"service-upstream": "true"})),
        ] {
            let host = serve(site, ingress(name, annotation, &["Prefix / both"])).await;
            assert_eq!(get(&host, "/").await.unwrap().pod(), "proxy");
        }
    });
}

#[test]
fn web_sockets() {
    at_site(async |site| {
        two_services(site).await;
        site.start();
        let host = serve(site, ingress("socket", json!({}), &["Prefix / web"])).await;
        let mut stream = TcpStream::connect("127.0.0.1:80").await.unwrap();
        let request =
            format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        // A change of the configuration does not end it.
        for (i, text) in ["one", "two", "three"].into_iter().enumerate() {
            stream.write_all(text.as_bytes()).await.unwrap();
            let mut back = vec![0; text.len()];
            stream.read_exact(&mut back).await.unwrap();
            assert_eq!(back, text.as_bytes());
            serve(site, ingress(&format!("other-{i}"), json!({}), &["Prefix / web"])).await;
        }
    });
}

#[test]
fn grpc() {
    at_site(async |site| {
        site.grpc_pod("grpc", [11, 10, 0, 2]).await;
        site.service("web", 80, &["grpc"]).await;
        site.secret("tls", "cert.pem", "key.pem").await;
        site.start();
        let mut grpc = ingress("grpc", json!({"backend-protocol": "GRPC"}), &["Prefix / web"]);
        grpc["spec"]["tls"] = json!([{"hosts": ["grpc.tls.example.com"], "secretName": "tls"}]);
        grpc["spec"]["rules"][0]["host"] = "grpc.tls.example.com".into();
        serve(site, grpc).await;
        let answer =
            super::site::https("grpc.tls.example.com", "/pkg.Service/Method", "cert.pem").await.unwrap();
        assert!(answer.contains("pod=grpc") && answer.contains("path=/pkg.Service/Method"), "{answer}");
    });
}

#[test]
fn annotations_that_nobody_understands_are_told_and_do_no_harm() {
    at_site(async |site| {
        two_services(site).await;
        site.start();
        let annotations = json!({
            "configuration-snippet": "return 418;", "proxy-body-size": "much", "no-such": "x",
            "rewrite-target": "}\nreturn 418;",
        });
        let host = serve(site, ingress("odd", annotations, &["Prefix / web"])).await;
        let Answer { status, .. } = get(&host, "/").await.unwrap();
        assert_eq!(status, 200);
        let expected = [
            "UnsupportedAnnotation: annotation configuration-snippet: no text of users gets into nginx's configuration",
            "InvalidAnnotation: annotation proxy-body-size: \"much\": must be a number of bytes, perhaps followed by k, m or g",
            "UnsupportedAnnotation: annotation no-such is not supported, and is passed over",
            "InvalidAnnotation: annotation rewrite-target: \"}\\nreturn 418;\": it has a control character",
        ];
        site.until("events", || async {
            let events = site.events("odd").await;
            let told = expected.iter().all(|wanted| events.iter().any(|event| event == wanted));
            if told { Ok(()) } else { Err(format!("{events:#?}")) }
        })
        .await;
    });
}
