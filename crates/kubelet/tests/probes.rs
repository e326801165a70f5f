//! Probes against real servers, each in a namespace of its own.

#![allow(missing_docs, clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::types::api::core::v1::{Container, Probe};
use h2::server;
use hyper::body::Bytes;
use hyper::{HeaderMap, Response};
use kubelet::probe::{Action, ExecOutput, Outcome, ProbeEvent, Prober, Subject};
use serde_json::{Value, json};
use testkit::{in_ns, netns};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Enough for whatever answers at all.
const LONG: Duration = Duration::from_secs(20);
/// Over soon where nothing answers.
const SHORT: Duration = Duration::from_millis(100);

/// Runs a test with an HTTP server that answers with what `answer` makes of the request.
fn with_server<T: Send>(
    answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static,
    test: impl AsyncFnOnce(SocketAddr) -> T + Send,
) -> T {
    let answer = Arc::new(answer);
    with_listener(
        move |mut stream| {
            let answer = answer.clone();
            async move {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(stream.read_u8().await.unwrap());
                }
                stream.write_all(&answer(str::from_utf8(&request).unwrap())).await.unwrap();
            }
        },
        test,
    )
}

/// Runs a test with a server that does with each connection what `serve` says.
fn with_listener<T: Send, F: Future<Output = ()> + Send + 'static>(
    serve: impl Fn(TcpStream) -> F + Send + Sync + 'static,
    test: impl AsyncFnOnce(SocketAddr) -> T + Send,
) -> T {
    // The future of an async closure cannot be said to be Send, so it is made within the thread.
    netns()
        .run(|| -> Result<T, net::Error> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            Ok(runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = listener.local_addr().unwrap();
                tokio::spawn(async move {
                    loop {
                        tokio::spawn(serve(listener.accept().await.unwrap().0));
                    }
                });
                test(address).await
            }))
        })
        .unwrap()
}

/// Does what a container's probe says.
async fn probe(probe: Value, timeout: Duration) -> Outcome {
    let probe: Probe = serde_json::from_value(probe).unwrap();
    let action = Action::resolve(&probe, &Container::default(), "127.0.0.1").unwrap();
    action.run(timeout, &no_exec).await
}

async fn no_exec(_: Vec<String>, _: Duration) -> Result<ExecOutput, String> {
    Err("there is no container".into())
}

async fn get(address: SocketAddr, path: &str) -> Outcome {
    probe(json!({"httpGet": {"port": address.port(), "path": path}}), LONG).await
}

fn page(status: &str, more: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{more}\r\n{body}", body.len()).into()
}

fn failure(text: &str) -> Outcome {
    Outcome::Failure(text.into())
}

#[test]
fn the_status_decides() {
    let answer = |request: &str| {
        let path = request.split(' ').nth(1).unwrap();
        page(&format!("{} Some", &path[1..]), "", "body")
    };
    with_server(answer, async |address| {
        for status in ["200", "204", "299"] {
            assert_eq!(get(address, status).await, Outcome::Success, "{status}");
        }
        for status in ["300", "304", "399"] {
            let Outcome::Warning(text) = get(address, status).await else { panic!("{status}") };
            assert!(text.starts_with("Probe terminated redirects, Response body: "), "{text}");
        }
        for status in ["400", "404", "500", "503"] {
            let text = format!("HTTP probe failed with statuscode: {status}");
            assert_eq!(get(address, status).await, failure(&text));
        }
        // Without a place to go to it is an answer like others.
        assert!(matches!(get(address, "302").await, Outcome::Warning(_)));
    });
}

#[test]
fn a_request_looks_as_the_kubelets_does() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let requests = seen.clone();
    let answer = move |request: &str| {
        requests.lock().unwrap().push(request.to_owned());
        page("200 OK", "", "")
    };
    with_server(answer, async |address| {
        let port = address.port();
        assert_eq!(get(address, "/healthz?a=b c").await, Outcome::Success);
        let host = [json!({"name": "host", "value": "shop.example"}), json!({"name": "x-b", "value": "1"})];
        let action = json!({"httpGet": {"port": port, "path": "/", "httpHeaders": host}});
        assert_eq!(probe(action, LONG).await, Outcome::Success);
        let sorted = |request: &str| {
            let mut lines: Vec<_> = request.trim_end().lines().map(str::to_owned).collect();
            lines[1..].sort();
            lines.join("\n")
        };
        let seen = seen.lock().unwrap().clone();
        assert_eq!(
            sorted(&seen[0]),
            format!(
                "GET /healthz?a=b%20c HTTP/1.1\nAccept: */*\nConnection: close\nHost: 127.0.0.1:{port}\n\
                 User-Agent: kube-probe/1.33"
            )
        );
        assert_eq!(
            sorted(&seen[1]),
            "GET / HTTP/1.1\nAccept: */*\nConnection: close\nHost: shop.example\n\
             User-Agent: kube-probe/1.33\nX-B: 1"
        );
        let bad = json!([{"name": "X-A", "value": "a\nb"}]);
        let outcome = probe(json!({"httpGet": {"port": port, "path": "/", "httpHeaders": bad}}), LONG).await;
        let text =
            format!("Get \"http://127.0.0.1:{port}/\": net/http: invalid header field value for \"X-A\"");
        assert_eq!(outcome, failure(&text));
    });
}

#[test]
fn redirects_are_followed_on_the_same_host_only() {
    let answer = |request: &str| {
        let (path, host) = (request.split(' ').nth(1).unwrap(), request.contains("Host: shop.example"));
        let to = |location: &str| page("302 Found", &format!("Location: {location}\r\n"), "moved");
        match path {
            "/relative" => to("deep/../here"),
            "/absolute" => to("http://127.0.0.1:1/"),
            "/elsewhere" => to("http://other.example/"),
            "/secure" => to("https://127.0.0.1/"),
            "/nonsense" => to("http://"),
            "/named" => to("/name"),
            "/name" if host => page("200 OK", "", ""),
            "/here" if request.contains("\r\nReferer: http://127.0.0.1:") => page("200 OK", "", ""),
            "/nine/1" | "/round" => to(if path == "/round" { "/round" } else { "/name" }),
            _ => match path.strip_prefix("/nine/").map(|n| n.parse::<u32>().unwrap()) {
                Some(n) => to(&format!("/nine/{}", n - 1)),
                None => page("404 Not Found", "", ""),
            },
        }
    };
    with_server(answer, async |address| {
        assert_eq!(get(address, "/relative").await, Outcome::Success);
        let text = "Get \"http://127.0.0.1:1/\": dial tcp 127.0.0.1:1: connect: connection refused";
        assert_eq!(get(address, "/absolute").await, failure(text));
        let text = "Probe terminated redirects, Response body: moved";
        assert_eq!(get(address, "/elsewhere").await, Outcome::Warning(text.into()));
        let Outcome::Error(text) = get(address, "/secure").await else { panic!() };
        assert!(
            text.starts_with("Get \"https://127.0.0.1/\": HTTPS probes are not supported here"),
            "{text}"
        );
        let text = format!("Get \"http://{address}/nonsense\": failed to parse Location header \"http://\"");
        assert_eq!(get(address, "/nonsense").await, failure(&text));
        // Nine redirects are fine, ten are too many; without its own name the last page is not there.
        let text = "HTTP probe failed with statuscode: 404";
        assert_eq!(get(address, "/nine/9").await, failure(text));
        let text = format!("Get \"http://{address}/round\": stopped after 10 redirects");
        assert_eq!(get(address, "/round").await, failure(&text));
        let host = [json!({"name": "Host", "value": "shop.example"})];
        let action =
            |path: &str| json!({"httpGet": {"port": address.port(), "path": path, "httpHeaders": host}});
        assert_eq!(probe(action("/named"), LONG).await, Outcome::Success);
        assert_eq!(
            probe(action("/nine/10"), LONG).await,
            failure(&format!("Get \"http://{address}/name\": stopped after 10 redirects"))
        );
    });
}

#[test]
fn only_the_beginning_of_an_answer_is_read() {
    let serve = |mut stream: TcpStream| async move {
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        // Without end.
        while stream.write_all(&[b'x'; 1024]).await.is_ok() {}
    };
    with_listener(serve, async |address| assert_eq!(get(address, "/").await, Outcome::Success));
}

#[test]
fn servers_that_do_not_behave_are_told_in_gos_words() {
    let serve = |mut stream: TcpStream| async move {
        let mut request = vec![0; 1024];
        let read = stream.read(&mut request).await.unwrap();
        let request = str::from_utf8(&request[..read]).unwrap().to_owned();
        let answer: &[u8] = match request.split(' ').nth(1) {
            Some("/closes") => b"",
            Some("/rubbish") => b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
            Some("/cut") => b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
            Some("/slow") => b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
            _ => b"",
        };
        let _ = stream.write_all(answer).await;
        if request.contains("/slow") || request.contains("/hangs") {
            std::future::pending::<()>().await;
        }
    };
    with_listener(serve, async |address| {
        let url = |path: &str| format!("Get \"http://{address}/{path}\": ");
        assert_eq!(get(address, "closes").await, failure(&(url("closes") + "EOF")));
        let Outcome::Failure(text) = get(address, "rubbish").await else { panic!() };
        let said = "net/http: HTTP/1.x transport connection broken: malformed HTTP response";
        assert!(text.starts_with(&(url("rubbish") + said)), "{text}");
        assert_eq!(get(address, "cut").await, Outcome::Error("unexpected EOF".into()));

        let short =
            async |path: &str| probe(json!({"httpGet": {"port": address.port(), "path": path}}), SHORT).await;
        let text = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
        assert_eq!(short("hangs").await, failure(&(url("hangs") + text)));
        let text = "context deadline exceeded (Client.Timeout or context cancellation while reading body)";
        assert_eq!(short("slow").await, Outcome::Error(text.into()));
    });
}

#[test]
fn what_cannot_be_connected_to_is_told_in_gos_words() {
    in_ns(&netns(), async {
        let outcome = probe(json!({"tcpSocket": {"port": 1}}), LONG).await;
        assert_eq!(outcome, failure("dial tcp 127.0.0.1:1: connect: connection refused"));
        let outcome = probe(json!({"tcpSocket": {"port": 1, "host": "10.9.9.9"}}), LONG).await;
        assert_eq!(outcome, failure("dial tcp 10.9.9.9:1: connect: network is unreachable"));
        let outcome = probe(json!({"tcpSocket": {"port": 1, "host": "::1"}}), LONG).await;
        assert_eq!(outcome, failure("dial tcp [::1]:1: connect: connection refused"));
        let outcome = probe(json!({"tcpSocket": {"port": 1, "host": "localhost"}}), LONG).await;
        assert!(
            matches!(&outcome, Outcome::Failure(text) if text.ends_with("connection refused")),
            "{outcome:?}"
        );
        let outcome = probe(json!({"httpGet": {"port": 1, "path": "/", "scheme": "HTTPS"}}), LONG).await;
        assert!(matches!(outcome, Outcome::Error(_)), "{outcome:?}");
    });
    // A listener whose queue is full does not answer.
    in_ns(&netns(), async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let _first = TcpStream::connect(address).await.unwrap();
        let outcome = probe(json!({"tcpSocket": {"port": address.port()}}), SHORT).await;
        assert_eq!(outcome, failure(&format!("dial tcp {address}: i/o timeout")));
        let outcome = probe(json!({"httpGet": {"port": address.port(), "path": "/"}}), SHORT).await;
        let text = format!(
            "Get \"http://{address}/\": dial tcp {address}: i/o timeout (Client.Timeout exceeded while \
             awaiting headers)"
        );
        assert_eq!(outcome, failure(&text));
        let outcome = probe(json!({"grpc": {"port": address.port()}}), SHORT).await;
        assert!(
            matches!(&outcome, Outcome::Failure(text) if text.starts_with("timeout: failed to connect service")),
            "{outcome:?}"
        );
    });
}

#[test]
fn a_connection_is_enough_for_tcp() {
    with_listener(
        |stream| async move { drop(stream) },
        async |address| {
            let outcome = probe(json!({"tcpSocket": {"port": address.port()}}), LONG).await;
            assert_eq!(outcome, Outcome::Success);
        },
    );
}

/// A health server that knows the services `good`, `bad` and `odd`, and the whole as well.
async fn health(stream: TcpStream) {
    let mut connection = server::handshake(stream).await.unwrap();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        tokio::spawn(async move {
            let method = request.uri().path().to_owned();
            assert_eq!(request.headers()["content-type"], "application/grpc");
            assert_eq!(request.headers()["user-agent"], "kube-probe/1.33");
            let mut body = request.into_body();
            let mut bytes = Vec::new();
            while let Some(chunk) = body.data().await {
                bytes.extend_from_slice(&chunk.unwrap());
            }
            assert_eq!(method, "/grpc.health.v1.Health/Check");
            let service = bytes.get(7..).map(|name| str::from_utf8(name).unwrap().to_owned());
            let status = match service.as_deref() {
                None | Some("good") => 1,
                Some("bad") => 2,
                Some("odd") => 9,
                Some("hangs") => std::future::pending().await,
                Some(other) => {
                    let (code, text) =
                        if other == "old" { ("12", "unknown%20method") } else { ("5", "unknown service") };
                    let head = Response::builder()
                        .header("content-type", "application/grpc")
                        .header("grpc-status", code)
                        .header("grpc-message", text);
                    respond.send_response(head.body(()).unwrap(), true).unwrap();
                    return;
                }
            };
            let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
            let mut stream = respond.send_response(head, false).unwrap();
            stream.send_data(Bytes::from(vec![0, 0, 0, 0, 2, 8, status]), false).unwrap();
            let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
            stream.send_trailers(trailers).unwrap();
        });
    }
}

#[test]
fn grpc_servers_are_asked_for_their_health() {
    with_listener(health, async |address| {
        let port = address.port();
        assert_eq!(probe(json!({"grpc": {"port": port}}), LONG).await, Outcome::Success);
        let ask = async |service: &str, timeout| {
            probe(json!({"grpc": {"port": port, "service": service}}), timeout).await
        };
        assert_eq!(ask("good", LONG).await, Outcome::Success);
        let text = "service unhealthy (responded with \"NOT_SERVING\")";
        assert_eq!(ask("bad", LONG).await, failure(text));
        assert_eq!(ask("odd", LONG).await, failure("service unhealthy (responded with \"9\")"));
        let text = "error: health rpc probe failed: rpc error: code = NotFound desc = unknown service";
        assert_eq!(ask("none", LONG).await, failure(text));
        let text = "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): \
                    unknown method";
        assert_eq!(ask("old", LONG).await, failure(text));
        let text = "timeout: health rpc did not complete within 1s";
        assert_eq!(ask("hangs", Duration::from_secs(1)).await, failure(text));
    });
}

#[test]
fn servers_that_are_none_of_grpc() {
    with_server(
        |_| page("200 OK", "", ""),
        async |address| {
            // The preface of HTTP/2 reads as a request; its answer is no frame.
            let outcome = probe(json!({"grpc": {"port": address.port()}}), LONG).await;
            let Outcome::Failure(text) = outcome else { panic!("{outcome:?}") };
            assert!(
                text.starts_with("error: health rpc probe failed: rpc error: code = Unavailable desc = "),
                "{text}"
            );
        },
    );
    in_ns(&netns(), async {
        let outcome = probe(json!({"grpc": {"port": 1}}), LONG).await;
        let text = "error: failed to connect service at \"127.0.0.1:1\": dial tcp 127.0.0.1:1: connect: \
                    connection refused";
        assert_eq!(outcome, failure(text));
    });
}

#[test]
fn a_container_becomes_ready_and_ceases_to_be() {
    let status = Arc::new(Mutex::new("200 OK"));
    let answer = {
        let status = status.clone();
        move |_: &str| page(*status.lock().unwrap(), "", "")
    };
    with_server(answer, async |address| {
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let readiness = json!({
            "httpGet": {"port": "web", "path": "/"}, "periodSeconds": 1, "failureThreshold": 1,
        });
        let ports = json!([{"name": "web", "containerPort": address.port()}]);
        let container = json!({"name": "a", "ports": ports, "readinessProbe": readiness});
        let prober = Prober::start(Subject {
            container: serde_json::from_value(container).unwrap(),
            pod_ip: address.ip().to_string(),
            running_for: Duration::ZERO,
            before: None,
            exec: Arc::new(no_exec),
            events: Arc::new(move |event: ProbeEvent| tell.send(event).unwrap()),
        });
        let mut state = prober.watch();
        let wait = async {
            state.wait_for(|state| state.ready).await.unwrap();
            *status.lock().unwrap() = "500 Oh";
            state.wait_for(|state| !state.ready).await.unwrap();
            told.recv().await.unwrap()
        };
        let event = tokio::time::timeout(LONG, wait).await.unwrap();
        let message = "Readiness probe failed: HTTP probe failed with statuscode: 500";
        assert_eq!(event, ProbeEvent { reason: "Unhealthy", message: message.into() });
    });
}
