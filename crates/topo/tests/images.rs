//! What stands in for images, with real requests in network namespaces of their own.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use net::NetNs;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::{netns, wait_for};

const EXE: &str = env!("CARGO_BIN_EXE_topo");
const LIMIT: Duration = Duration::from_secs(20);

/// A command that runs in a namespace of its own until the test ends.
struct Pod {
    ns: NetNs,
    child: Option<Child>,
}

impl Pod {
    fn start(args: &[&str]) -> Self {
        let mut command = Command::new(EXE);
        command.args(args).env_remove("PORT");
        Self::run(command)
    }

    fn run(command: Command) -> Self {
        let mut pod = Self { ns: netns(), child: None };
        pod.child = Some(pod.spawn(command));
        pod
    }

    fn spawn(&self, mut command: Command) -> Child {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.inside(|| command.spawn().unwrap())
    }

    /// Another command in the same namespace, to its end.
    fn output(&self, args: &[&str]) -> Output {
        self.inside(|| Command::new(EXE).args(args).stdin(Stdio::null()).output().unwrap())
    }

    fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.ns.run(|| Ok::<_, net::Error>(work())).unwrap()
    }

    /// A connection, as soon as somebody listens.
    fn connect(&self, port: u16) -> TcpStream {
        self.inside(|| {
            wait_for("somebody listens", LIMIT, || {
                TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(|e| e.to_string())
            })
        })
    }

    /// Sends bytes as they are, reads until the other side closes.
    fn raw(&self, port: u16, request: &str) -> String {
        let mut stream = self.connect(port);
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn get(&self, port: u16, path: &str) -> (u16, String) {
        split(&self.raw(port, &format!("GET {path} HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n")))
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.as_ref().unwrap().id().cast_signed())
    }

    /// Asks it to end; gives its status and what it has said.
    fn end(mut self, signal: Signal) -> (Option<i32>, String, String) {
        kill(self.pid(), signal).unwrap();
        finish(self.child.take().unwrap())
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn finish(mut child: Child) -> (Option<i32>, String, String) {
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        wait_for("the program ends", LIMIT, || child.try_wait().unwrap().ok_or("it runs".to_owned()));
    }));
    if let Err(panic) = ended {
        let _ = child.kill();
        std::panic::resume_unwind(panic);
    }
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Status and body of an answer.
fn split(answer: &str) -> (u16, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn host() -> String {
    nix::unistd::gethostname().unwrap().into_string().unwrap()
}

fn text(output: &[u8]) -> &str {
    std::str::from_utf8(output).unwrap()
}

#[test]
fn echo_answers_a_text() {
    let pod = Pod::start(&["echo", "--port", "8001", "hello", "there"]);
    let answer = pod.raw(8001, "GET /any/path HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("content-length: 12\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nhello there\n"), "{answer}");
    let head = pod.raw(8001, "HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert!(head.contains("content-length: 12\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    let old = pod.raw(8001, "GET / HTTP/1.0\r\n\r\n");
    assert!(old.starts_with("HTTP/1.0 200 OK\r\n") && old.ends_with("hello there\n"), "{old}");
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc";
    assert_eq!(split(&pod.raw(8001, post)), (200, "hello there\n".into()));
    assert_eq!(split(&pod.raw(8001, "rubbish\r\n\r\n")).0, 400);
}

#[test]
fn echo_keeps_connections_and_takes_requests_ahead() {
    let pod = Pod::start(&["echo", "a"]);
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let last = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answers = pod.raw(8000, &format!("{request}{request}{last}"));
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 3, "{answers}");
    // The beginning of the next request holds no answer back.
    let mut stream = pod.connect(8000);
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(format!("{request}GET / HT").as_bytes()).unwrap();
    let mut buffer = [0; 1024];
    let length = stream.read(&mut buffer).unwrap();
    assert!(text(&buffer[..length]).ends_with("\r\n\r\na\n"));
    // A client that closes its own end, as `nc -N` does, has its answer.
    let mut stream = pod.connect(8000);
    stream.write_all(request.as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(split(&answer).1, "a\n");
}

#[test]
fn echo_without_a_text_names_pod_and_client() {
    let pod = Pod::start(&["echo", "--status", "503"]);
    let (status, body) = pod.get(8000, "/");
    assert_eq!(status, 503);
    assert!(body.starts_with(&format!("name: {}\naddresses:\nclient: 127.0.0.1:", host())), "{body}");
    let added =
        pod.inside(|| Command::new("ip").args(["address", "add", "10.9.8.7/24", "dev", "lo"]).status());
    assert!(added.unwrap().success());
    assert!(pod.get(8000, "/").1.contains("addresses: 10.9.8.7\n"));
}

#[test]
fn echo_logs_when_told_to() {
    let pod = Pod::start(&["echo", "--log", "a"]);
    pod.raw(8000, "GET /p?q HTTP/1.1\r\nHost: a\r\nUser-Agent: me \"x\"\r\nConnection: close\r\n\r\n");
    let (code, out, _) = pod.end(Signal::SIGTERM);
    assert_eq!(code, Some(0));
    assert!(out.starts_with("127.0.0.1 - - ["), "{out}");
    assert!(out.ends_with("+0000] \"GET /p?q HTTP/1.1\" 200 2 \"-\" \"me \\\"x\\\"\"\n"), "{out}");

    let pod = Pod::start(&["echo", "a"]);
    assert_eq!(pod.get(8000, "/").0, 200);
    assert_eq!(pod.end(Signal::SIGINT), (Some(0), String::new(), String::new()));
}

/// Who comes in the first moment is still answered, and asked to leave; then idle connections are closed, and a
/// request under way is finished.
#[test]
fn echo_ends_when_requests_under_way_are_done() {
    let pod = Pod::start(&["echo", "a"]);
    let mut idle = pod.connect(8000);
    idle.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut buffer = [0; 1024];
    let length = idle.read(&mut buffer).unwrap();
    assert!(text(&buffer[..length]).ends_with("a\n"));
    let mut slow = pod.connect(8000);
    slow.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        .unwrap();
    // The server reads the body now: this request is under way.
    let length = slow.read(&mut buffer).unwrap();
    assert!(text(&buffer[..length]).starts_with("HTTP/1.1 100"));
    kill(pod.pid(), Signal::SIGTERM).unwrap();
    wait_for("a last answer", LIMIT, || {
        idle.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let length = idle.read(&mut buffer).unwrap();
        let answer = text(&buffer[..length]).to_ascii_lowercase();
        assert!(answer.starts_with("http/1.1 200"), "{answer}");
        if answer.contains("connection: close\r\n") { Ok(()) } else { Err(answer) }
    });
    assert_eq!(idle.read(&mut buffer).unwrap(), 0);
    // Nobody else is let in. Who knocks would put that off.
    pod.inside(|| {
        wait_for("the port is closed", LIMIT, || {
            let sockets =
                ["tcp", "tcp6"].map(|file| fs::read_to_string(format!("/proc/thread-self/net/{file}")));
            let sockets: String = sockets.into_iter().flatten().collect();
            // Port 8000, LISTEN.
            let open = sockets.lines().any(|line| line.contains(":1F40 ") && line.contains(" 0A "));
            if open { Err(sockets) } else { Ok(()) }
        });
    });
    slow.write_all(b"abc").unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert_eq!(split(&answer), (200, "a\n".into()));
    let mut pod = pod;
    assert_eq!(finish(pod.child.take().unwrap()), (Some(0), String::new(), String::new()));
}

#[test]
fn a_port_that_is_taken_is_told_with_who_has_it() {
    let pod = Pod::start(&["echo", "a"]);
    drop(pod.connect(8000));
    let output = pod.output(&["echo", "b"]);
    assert_eq!(output.status.code(), Some(2));
    let expected = format!("topo: echo: TCP port 8000 is in use by topo (pid {})\nhint: ", pod.pid());
    assert!(text(&output.stderr).starts_with(&expected), "{output:?}");
    let output = pod.output(&["image", "http-echo", "-listen=:8000", "-text=b"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).starts_with("topo image http-echo: TCP port 8000 is in use by topo"),
        "{output:?}"
    );
}

#[test]
fn wrong_command_lines_are_told() {
    let pod = Pod { ns: netns(), child: None };
    for (args, expected) in [
        (&["echo", "--status", "99"][..], "99 is not in 200..600"),
        (&["image"], "which one? there are agnhost, "),
        (&["image", "vim"], "topo image vim: no such program; there are agnhost, "),
        (&["image", "http-echo"], "topo image http-echo: flag --text is missing"),
        (
            &["image", "http-echo", "-txt=a"],
            "no such flag as \"-txt=a\"; there are --listen, --text, --status-code",
        ),
        (&["image", "agnhost"], "a subcommand is missing; there are connect, liveness, "),
        (&["image", "agnhost", "webhook"], "no subcommand \"webhook\" here; there are connect, "),
        (&["image", "agnhost", "serve-hostname", "--tcp"], "--tcp and --udp go with --http=false only"),
        (&["image", "agnhost", "netexec", "--udp-port=x"], "flag --udp-port: \"x\": invalid digit"),
    ] {
        let output = pod.output(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
        assert!(text(&output.stderr).contains(expected), "{args:?}: {output:?}");
    }
    let help = pod.output(&["echo", "--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(text(&help.stdout).contains("topo echo"), "{help:?}");
}

#[test]
fn pause_waits_for_a_signal() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let pod = Pod::start(&["image", "pause"]);
        let waits = format!("/proc/{}/wchan", pod.pid());
        wait_for("it waits for a signal", LIMIT, || {
            let place = fs::read_to_string(&waits).unwrap();
            if place.contains("sigtimedwait") { Ok(()) } else { Err(place) }
        });
        assert_eq!(pod.end(signal), (Some(0), String::new(), String::new()));
    }
}

#[test]
fn http_echo_has_the_real_ones_flags() {
    let pod = Pod::start(&["image", "http-echo", "-listen=:5679", "-text", "foo", "-status-code=418"]);
    assert_eq!(pod.get(5679, "/foo"), (418, "foo\n".into()));
    assert_eq!(pod.get(5679, "/health").0, 200);
    let (code, out, _) = pod.end(Signal::SIGTERM);
    assert_eq!(code, Some(0));
    assert!(out.contains("\"GET /foo HTTP/1.1\" 418 4 "), "{out}");
}

#[test]
fn hello_names_the_pod() {
    let words = "Hello, world!\nVersion: 1.0.0\nHostname: $(HOSTNAME)";
    let pod = Pod::start(&["image", "hello", words]);
    assert_eq!(pod.get(8080, "/").1, format!("Hello, world!\nVersion: 1.0.0\nHostname: {}\n", host()));
    let mut command = Command::new(EXE);
    command.args(["image", "hello", "a"]).env("PORT", "81");
    assert_eq!(Pod::run(command).get(81, "/").1, "a\n");
}

#[test]
fn requests_are_shown_as_they_came() {
    let request = "POST /p?q=1 HTTP/1.1\r\nHost: h:1\r\nX-Real: me\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody";
    let lines = |program: &str, port: u16| {
        let pod = Pod::start(&["image", program]);
        split(&pod.raw(port, request)).1
    };
    let shown = lines("echoserver", 8080);
    for line in [
        &format!("Hostname: {}", host()),
        "\tclient_address=127.0.0.1",
        "\tmethod=POST",
        "\treal path=/p?q=1",
        "\tquery=q=1",
        "\trequest_version=1.1",
        "\trequest_uri=http://h:8080/p",
        "\tx-real=me",
        "\tbody",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}: {shown}");
    }
    let shown = lines("echo-server", 8080);
    assert!(shown.starts_with(&format!("Request served by {}\n\nPOST /p?q=1 HTTP/1.1\n", host())), "{shown}");
    assert!(shown.ends_with("\nbody"), "{shown}");
    let shown = lines("whoami", 80);
    assert!(shown.starts_with(&format!("Hostname: {}\nRemoteAddr: 127.0.0.1:", host())), "{shown}");
    let shown = lines("nginx-hello", 80);
    assert!(
        shown.starts_with(&format!("Server address: 127.0.0.1:80\nServer name: {}\n", host())),
        "{shown}"
    );
}

#[test]
fn a_frontend_hands_on_what_the_backend_says() {
    let pod = Pod::start(&["image", "hello-frontend", "--backend=127.0.0.1", "--backend-port=81"]);
    let (status, body) = pod.get(80, "/");
    assert_eq!(status, 502);
    assert!(body.starts_with("502 Bad Gateway: 127.0.0.1:81: Connection refused"), "{body}");
    let mut command = Command::new(EXE);
    command.args(["image", "hello", "--port=81", "{\"message\":\"Hello\"}"]);
    let mut backend = pod.spawn(command);
    drop(pod.connect(81));
    assert_eq!(pod.get(80, "/"), (200, "{\"message\":\"Hello\"}\n".into()));
    backend.kill().unwrap();
    backend.wait().unwrap();
}

/// A datagram and its answer, as soon as there is one.
fn datagram(pod: &Pod, port: u16, words: &str) -> String {
    pod.inside(|| {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        wait_for("an answer", LIMIT, || {
            let mut buffer = [0; 512];
            let length = socket.send(words.as_bytes()).and_then(|_| socket.recv(&mut buffer));
            length.map(|length| text(&buffer[..length]).to_owned()).map_err(|e| e.to_string())
        })
    })
}

#[test]
fn netexec_answers_what_tests_ask() {
    let pod = Pod::start(&["image", "agnhost", "netexec", "--http-port=81", "--udp-port", "82"]);
    assert_eq!(pod.get(81, "/hostname"), (200, host()));
    assert_eq!(pod.get(81, "/hostName"), (200, host()));
    assert!(pod.get(81, "/clientip").1.starts_with("127.0.0.1:"));
    assert_eq!(pod.get(81, "/echo?msg=a%20b&code=404"), (404, "a b".into()));
    assert_eq!(pod.get(81, "/echo?code=9999").0, 400);
    assert_eq!(pod.get(81, "/healthz").0, 200);
    assert_eq!(pod.get(81, "/header?key=host").1, "pod");
    let redirect =
        pod.raw(81, "GET /redirect?location=/echo%3Fmsg=a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert!(
        redirect.starts_with("HTTP/1.1 302") && redirect.contains("location: /echo?msg=a\r\n"),
        "{redirect}"
    );
    assert!(pod.get(81, "/").1.starts_with("NOW: "));
    assert_eq!(pod.get(81, "/nothing").0, 404);
    assert_eq!(datagram(&pod, 82, "hostname\n"), host());
    assert_eq!(datagram(&pod, 82, "echo a b"), "a b");
    assert!(datagram(&pod, 82, "clientip").starts_with("127.0.0.1:"));
}

#[test]
fn netexec_dials_others() {
    let pod = Pod::start(&["image", "agnhost", "netexec"]);
    let host = host();
    let (status, body) = pod.get(8080, "/dial?host=127.0.0.1&port=8080&request=hostname&tries=2");
    assert_eq!((status, body), (200, format!("{{\"responses\":[\"{host}\",\"{host}\"]}}")));
    let (_, body) = pod.get(8080, "/dial?host=127.0.0.1&port=8081&request=echo%20a&protocol=udp");
    assert_eq!(body, "{\"responses\":[\"a\"]}");
    let (_, body) = pod.get(8080, "/dial?host=127.0.0.1&port=1&request=a");
    assert!(body.starts_with("{\"errors\":[\"Connection refused"), "{body}");
    assert_eq!(pod.get(8080, "/dial?host=127.0.0.1&port=1").0, 400);
    assert_eq!(pod.get(8080, "/dial?host=a&port=x&request=a").0, 400);
    assert_eq!(pod.get(8080, "/dial?host=a&port=1&request=a&protocol=sctp").0, 400);
}

#[test]
fn netexec_ends_when_asked_to() {
    let mut pod = Pod::start(&["image", "agnhost", "netexec"]);
    assert_eq!(pod.get(8080, "/exit?code=300").0, 400);
    assert_eq!(pod.get(8080, "/exit?code=3&timeout=1m").0, 200);
    assert_eq!(finish(pod.child.take().unwrap()).0, Some(3));
    let mut pod = Pod::start(&["image", "agnhost", "netexec", "--udp-port=-1"]);
    pod.raw(8080, "GET /shutdown HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(finish(pod.child.take().unwrap()).0, Some(0));
}

#[test]
fn serve_hostname_over_http_tcp_and_udp() {
    let pod = Pod::start(&["image", "agnhost", "serve-hostname", "--close"]);
    let answer = pod.raw(9376, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(split(&answer), (200, host()));
    let pod =
        Pod::start(&["image", "agnhost", "serve-hostname", "--http=false", "--tcp", "--udp", "--port=9"]);
    assert_eq!(pod.raw(9, ""), host());
    assert_eq!(datagram(&pod, 9, "x"), host());
    assert_eq!(pod.end(Signal::SIGTERM).0, Some(0));
}

#[test]
fn liveness_is_healthy_at_first() {
    let pod = Pod::start(&["image", "agnhost", "liveness"]);
    assert_eq!(pod.get(8080, "/healthz"), (200, "ok".into()));
    assert_eq!(pod.get(8080, "/started").0, 200);
}

#[test]
fn porter_serves_what_its_variables_say() {
    let mut command = Command::new(EXE);
    command.args(["image", "agnhost", "porter", "--json-response"]);
    command.env("SERVE_PORT_80", "a").env("SERVE_TCP_PORT_81", "b").env("SERVE_UDP_PORT_82", "c");
    let pod = Pod::run(command);
    assert_eq!(pod.get(80, "/"), (200, "{\"Body\":\"a\",\"Method\":\"GET\"}".into()));
    assert_eq!(pod.get(81, "/"), (200, "{\"Body\":\"b\",\"Method\":\"GET\"}".into()));
    assert_eq!(datagram(&pod, 82, "x"), "c");
    assert_eq!(pod.end(Signal::SIGTERM).0, Some(0));
}

#[test]
fn connect_says_in_a_word_how_it_went() {
    let pod = Pod::start(&["image", "agnhost", "netexec"]);
    drop(pod.connect(8080));
    let connect = |args: &[&str]| {
        let output = pod.output(&[&["image", "agnhost", "connect"], args].concat());
        (output.status.code(), text(&output.stderr).to_owned())
    };
    assert_eq!(connect(&["127.0.0.1:8080"]), (Some(0), String::new()));
    assert_eq!(connect(&["127.0.0.1:8081", "--protocol=udp"]), (Some(0), String::new()));
    assert_eq!(connect(&["127.0.0.1:9", "--timeout=1s"]), (Some(1), "REFUSED\n".into()));
    assert_eq!(connect(&["127.0.0.1:9", "--protocol=udp"]), (Some(1), "REFUSED\n".into()));
    assert!(connect(&["nowhere.invalid:80"]).1.starts_with("DNS: "));
    assert!(connect(&["10.1.1.1:80"]).1.starts_with("OTHER: "));
    // Packets to here vanish.
    let script = "ip link add v0 type veth peer name v1 && ip link set v0 up && ip link set v1 up && \
        ip address add 10.2.0.1/24 dev v0 && ip neighbour add 10.2.0.9 lladdr 02:00:00:00:00:09 dev v0";
    assert!(pod.inside(|| Command::new("sh").args(["-c", script]).status()).unwrap().success());
    assert_eq!(connect(&["10.2.0.9:80", "--timeout=200ms"]), (Some(1), "TIMEOUT\n".into()));
}

/// A command that runs with a `/run` and a `/usr/share` of its own, after `setup`.
fn with_mounts(setup: &str, path: &str, args: &str) -> Command {
    let script = format!(
        "mount -t tmpfs run /run && mount -t tmpfs share /usr/share && mkdir -p /usr/share/nginx/html && {setup} PATH='{path}' exec {EXE} image {args}"
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script]);
    command
}

#[test]
fn without_nginx_our_server_has_its_page() {
    let pod = Pod::run(with_mounts("", "/nowhere", "nginx nginx -g 'daemon off;'"));
    let (status, body) = pod.get(80, "/");
    assert_eq!(status, 200);
    assert!(body.contains("<title>Welcome to nginx!</title>"), "{body}");
    assert!(body.contains(&format!("This is pod {}.", host())), "{body}");
    assert_eq!(pod.get(80, "/nothing").0, 404);
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    assert_eq!(split(&pod.raw(80, post)).0, 405);
    let (code, out, err) = pod.end(Signal::SIGQUIT);
    assert_eq!(code, Some(0));
    assert!(out.contains("\"GET / HTTP/1.1\" 200 "), "{out}");
    assert!(err.starts_with("nginx is not on this machine (apt install nginx-light): topo serves"), "{err}");
}

#[test]
fn without_nginx_content_that_is_mounted_is_served() {
    let mount = "mount -t tmpfs html /usr/share/nginx/html && mkdir /usr/share/nginx/html/d && \
        echo deep > /usr/share/nginx/html/d/index.html && echo plain > /usr/share/nginx/html/f.txt &&";
    let pod = Pod::run(with_mounts(mount, "/nowhere", "nginx --port=8080"));
    assert_eq!(pod.get(8080, "/").0, 403);
    assert_eq!(pod.get(8080, "/d/"), (200, "deep\n".into()));
    let there = pod.raw(8080, "GET /d HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert!(there.starts_with("HTTP/1.1 301") && there.contains("location: /d/\r\n"), "{there}");
    let plain = pod.raw(8080, "GET /f.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert!(plain.contains("content-type: text/plain") && plain.ends_with("\r\n\r\nplain\n"), "{plain}");
    assert_eq!(pod.get(8080, "/../../../../etc/passwd").0, 400);
    assert_eq!(pod.get(8080, "/none").0, 404);
}

#[test]
fn httpd_works() {
    let pod = Pod::start(&["image", "httpd"]);
    let (status, body) = pod.get(80, "/");
    assert!(status == 200 && body.contains("<h1>It works!</h1>"), "{body}");
}

/// The arguments and the configuration that nginx gets, from a program that only shows them.
#[test]
fn nginx_gets_a_configuration_of_the_pods_own() {
    let folder = tempfile::tempdir().unwrap();
    let shown = |version: &str, setup: &str, args: &str| {
        let program = folder.path().join("nginx");
        let script = format!(
            "#!/bin/sh\nif [ \"$1\" = -v ]; then echo nginx version: nginx/{version} >&2; exit; fi\necho \"ARGS $*\"\n\
             /bin/cat /run/nginx/nginx.conf /run/nginx/html/index.html\n"
        );
        // By another process: one that another test starts meanwhile would hold the file open for writing.
        let write = "printf %s \"$0\" > \"$1\" && chmod 755 \"$1\"";
        let written = Command::new("sh").args(["-c", write, &script]).arg(&program).status();
        assert!(written.unwrap().success());
        let pod = Pod { ns: netns(), child: None };
        let child = pod.spawn(with_mounts(setup, folder.path().to_str().unwrap(), args));
        finish(child).1
    };
    let plain = shown("1.22.1", "", "nginx nginx -g 'daemon off;'");
    assert!(
        plain.starts_with("ARGS -e stderr -c /run/nginx/nginx.conf -g daemon off;\nuser root;\n"),
        "{plain}"
    );
    assert!(plain.contains("listen 80;") && plain.contains("root /run/nginx/html;"), "{plain}");
    assert!(plain.contains(&format!("This is pod {}.", host())), "{plain}");
    let old = shown("1.18.0", "", "nginx");
    assert!(old.starts_with("ARGS -c /run/nginx/nginx.conf -g daemon off;\n"), "{old}");
    let mounted = shown("1.22.1", "mount -t tmpfs html /usr/share/nginx/html &&", "nginx --port=8080");
    assert!(mounted.contains("root /usr/share/nginx/html;") && mounted.contains("listen 8080;"), "{mounted}");
    let own = shown("1.22.1", "", "nginx nginx -c /own.conf");
    assert!(own.starts_with("ARGS -c /own.conf\n"), "{own}");
    assert_eq!(shown("1.22.1", "", "nginx /bin/echo other"), "other\n");
}

/// The real one, where the machine has it; the tests above stand for it where not.
#[test]
fn the_real_nginx_takes_the_configuration() {
    let path = std::env::var("PATH").unwrap();
    if !std::env::split_paths(&path).any(|folder| Path::new(&folder).join("nginx").exists()) {
        return;
    }
    let pod = Pod::run(with_mounts("", &path, "nginx nginx -g 'daemon off;'"));
    let (status, body) = pod.get(80, "/");
    assert!(status == 200 && body.contains(&format!("This is pod {}.", host())), "{body}");
    let (code, out, err) = pod.end(Signal::SIGQUIT);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("\"GET / HTTP/1.1\" 200 "), "{out}");
    assert!(!err.contains("[emerg]") && !err.contains("[alert]"), "{err}");
}
