//! What goes on while the configuration changes, and what happens when something goes wrong.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use ingress::apply::{Generations, Nginx, Proxy};
use ingress::model::Model;
use ingress::render::{Setup, render};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde_json::json;
use tokio::time::timeout;

use super::load::Load;
use super::site::{NODE, Site, at_site, get, https, send};

const WEB: &str = "
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web}
spec:
  rules:
  - host: web.example.com
    http:
      paths:
      - {path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}
";

const HOST: &str = "web.example.com";

async fn web(site: &mut Site) {
    for (i, pod) in (2u8..).zip(["a", "b", "c", "d"]) {
        site.pod(pod, [11, 10, 0, i]).await;
    }
    site.service("web", 80, &["a", "b"]).await;
    site.apply(WEB).await;
    site.start();
    site.until_from(HOST, "/", &["a", "b"]).await;
}

/// The first process of the nginx that serves.
async fn nginx(site: &Site) -> Pid {
    let folder = site.folder.path().join("ingress");
    site.until("nginx's number", || async {
        let config = std::fs::read_link(folder.join("nginx.conf")).map_err(|e| e.to_string())?;
        let pid = std::fs::read_to_string(folder.join(config).with_file_name("nginx.pid"));
        pid.map_err(|e| e.to_string())?.trim().parse().map(Pid::from_raw).map_err(|e| format!("{e}"))
    })
    .await
}

/// Each has a folder, as long as it lives.
fn one_generation(site: &Site) -> Result<(), String> {
    let folders = std::fs::read_dir(site.folder.path().join("ingress")).unwrap();
    let folders: Vec<_> = folders.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    if folders.len() == 1 { Ok(()) } else { Err(format!("{folders:?}")) }
}

#[test]
fn nothing_fails_while_endpoints_roll() {
    at_site(async |site| {
        web(site).await;
        let load = Load::start(16, HOST, "/");
        let rounds =
            [&["b", "c"], &["c", "d"], &["d", "a"], &["a", "b"]].into_iter().cycle().take(24).enumerate();
        for (i, pods) in rounds {
            let before = load.done();
            site.service("web", 80, pods).await;
            if i % 6 == 5 {
                // One that is no endpoint any more is gone at once, with the connections it has.
                let gone = ["a", "b", "c", "d"].into_iter().position(|pod| !pods.contains(&pod)).unwrap();
                let name = ["a", "b", "c", "d"][gone];
                site.until_from(HOST, "/", pods).await;
                site.kill_pod(name).await;
                site.pod(name, [11, 10, 0, 2 + u8::try_from(gone).unwrap()]).await;
            }
            // Some changes come while another is being brought into service, some after it.
            let enough = before + if i % 3 == 0 { 500 } else { 20 };
            site.until("requests", || async {
                if load.done() >= enough { Ok(()) } else { Err(load.done().to_string()) }
            })
            .await;
        }
        let last = site.until_from(HOST, "/", &["a", "b"]).await;
        assert!(["a", "b"].contains(&last.pod()));
        let done = load.done();
        let failed = load.end().await;
        assert!(failed.is_empty(), "{} of {done} requests failed, as {}", failed.len(), failed[0]);
        site.until("the old ones end", || async { one_generation(site) }).await;
    });
}

/// The kernel numbers sockets anew when one is closed.
#[test]
fn new_connections_go_to_the_newest_while_old_ones_end() {
    at_site(async |site| {
        web(site).await;
        for pod in ["c", "d", "a", "b"].into_iter().cycle().take(10) {
            site.service("web", 80, &[pod]).await;
            site.until_from(HOST, "/", &[pod]).await;
            // Long enough for some of the old ones to end.
            for _ in 0..100 {
                assert_eq!(get(HOST, "/delay/2").await.unwrap().pod(), pod);
            }
        }
    });
}

#[test]
fn endpoints_take_turns() {
    at_site(async |site| {
        web(site).await;
        let mut pods = Vec::new();
        for _ in 0..6 {
            pods.push(get(HOST, "/").await.unwrap().pod().to_owned());
        }
        assert!(pods.windows(2).all(|two| two[0] != two[1]), "{pods:?}");
    });
}

#[test]
fn nginx_is_back_when_it_was_killed() {
    at_site(async |site| {
        web(site).await;
        let load = Load::start(4, HOST, "/");
        // Its worker goes on; nothing is lost.
        kill(nginx(site).await, Signal::SIGKILL).unwrap();
        site.until("it is said on the board", || async {
            let board = site.board();
            let said = "nginx was killed by SIGKILL; it was started again";
            if board.ready && board.warnings == [said] { Ok(()) } else { Err(format!("{board:?}")) }
        })
        .await;
        let failed = load.end().await;
        assert!(failed.is_empty(), "{failed:?}");
        site.until("an event", || async {
            let events = site.events(NODE).await;
            let said = "NginxEnded: nginx was killed by SIGKILL; it was started again";
            if events.iter().any(|event| event == said) { Ok(()) } else { Err(format!("{events:?}")) }
        })
        .await;
        // All of it: who had been accepted is lost, who comes meanwhile waits and is not refused.
        killpg(nginx(site).await, Signal::SIGKILL).unwrap();
        site.until("an answer", || async {
            let answer = get(HOST, "/").await;
            assert!(!matches!(&answer, Err(error) if error.contains("refused")), "{answer:?}");
            answer
        })
        .await;
    });
}

#[test]
fn what_nginx_refuses_is_left_out_and_nothing_else() {
    at_site(async |site| {
        web(site).await;
        // A key that belongs to another certificate: only nginx sees that.
        site.secret("bad-tls", "cert.pem", "other-key.pem").await;
        site.secret("good-tls", "cert.pem", "key.pem").await;
        for (name, secret) in [("bad", "bad-tls"), ("good", "good-tls")] {
            let host = format!("{name}.tls.example.com");
            let backend = json!({"service": {"name": "web", "port": {"name": "http"}}});
            let path = json!({"path": "/", "pathType": "Prefix", "backend": backend});
            site.put(json!({
                "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": name},
                "spec": {"tls": [{"hosts": [host], "secretName": secret}],
                         "rules": [{"host": host, "http": {"paths": [path]}}]},
            }))
            .await;
        }
        site.until_status("good.tls.example.com", "/", 308).await;
        assert!(https("good.tls.example.com", "/", "cert.pem").await.unwrap().contains("pod="));
        assert_eq!(get("bad.tls.example.com", "/").await.unwrap().status, 200, "it has HTTP");
        assert_eq!(get(HOST, "/").await.unwrap().status, 200);
        site.until("events", || async {
            let (secret, ingress) = (site.events("bad-tls").await, site.events("bad").await);
            let told = secret.iter().any(|event| event.starts_with("Refused: nginx refuses it: "))
                && ingress
                    .iter()
                    .any(|event| event.starts_with("NoCertificate: nginx refuses the certificate"));
            if told { Ok(()) } else { Err(format!("{secret:?} {ingress:?}")) }
        })
        .await;
        // Put right, it is served.
        site.secret("bad-tls", "cert.pem", "key.pem").await;
        site.until_status("bad.tls.example.com", "/", 308).await;
    });
}

#[test]
fn a_port_that_is_taken() {
    at_site(async |site| {
        let taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 80)).unwrap();
        site.pod("a", [11, 10, 0, 2]).await;
        site.service("web", 80, &["a"]).await;
        site.apply(WEB).await;
        site.apply(
            "apiVersion: knetsim.dev/v1\nkind: NodeIngress\nmetadata: {name: grp1}\nspec:\n  node: C0w1\n  \
             port: 8001\n  paths: [{path: /svc1, backend: '11.10.0.2:8000'}]",
        )
        .await;
        site.start();
        site.until("the other port is served", || async {
            let request = hyper::Request::get("/svc1").header("host", "x").body(Default::default()).unwrap();
            send(8001, request).await
        })
        .await;
        site.until("a warning", || async {
            let board = site.board();
            let told = board.warnings.iter().any(|one| one.contains("port 80 of C0w1 cannot be had"));
            if told { Ok(()) } else { Err(String::new()) }
        })
        .await;
        drop(taken);
        site.until_from(HOST, "/", &["a"]).await;
    });
}

#[test]
fn a_successor_takes_over() {
    at_site(async |site| {
        web_without_controller(site).await;
        let (store, health) = (site.store.clone(), site.health.clone());
        let mut options = site.options();
        options.stay = true;
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let ns = net::NetNs::current().unwrap();
        let first = std::thread::Builder::new().stack_size(8 << 20);
        let first = first.spawn(move || {
            ns.enter().unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = ingress::run(options, store, health) => {}
                    _ = stopped => {}
                }
            });
        });
        site.until_from(HOST, "/", &["a"]).await;
        let load = Load::start(8, HOST, "/");
        stop.send(()).unwrap();
        tokio::task::spawn_blocking(|| first.unwrap().join()).await.unwrap().unwrap();
        // Nobody looks after it, and it goes on.
        assert_eq!(get(HOST, "/").await.unwrap().status, 200);
        site.service("web", 80, &["b"]).await;
        site.start();
        site.until_from(HOST, "/", &["b"]).await;
        // Its folder goes with the last of its processes.
        site.until("what was left has ended", || async { one_generation(site) }).await;
        let failed = load.end().await;
        assert!(failed.is_empty(), "{failed:?}");
    });
}

async fn web_without_controller(site: &mut Site) {
    site.pod("a", [11, 10, 0, 2]).await;
    site.pod("b", [11, 10, 0, 3]).await;
    site.service("web", 80, &["a"]).await;
    site.apply(WEB).await;
}

#[test]
fn nothing_to_serve_is_no_nginx() {
    at_site(async |site| {
        web(site).await;
        site.delete("ingress", "default", "web").await;
        site.until("nobody listens", || async {
            match get(HOST, "/").await {
                Err(error) if error.contains("refused") => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        assert_eq!(site.board().message, "nothing to serve");
        site.apply(WEB).await;
        site.until_from(HOST, "/", &["a", "b"]).await;
    });
}

/// Who looks after nginx is called away by every change; in the end it is started all the same.
#[test]
fn changes_that_keep_coming_do_not_put_off_the_restart() {
    at_site(async |site| {
        let folder = site.folder.path().join("ingress");
        let (mut generations, setup) = generations(&folder);
        generations.apply(&render(&Model::default(), &setup)).await.unwrap();
        let mut before = None;
        for _ in 0..3 {
            let pid = number_of_nginx(site, &folder.join("1/nginx.pid"), before).await;
            before = Some(pid);
            killpg(pid, Signal::SIGKILL).unwrap();
            // Each time anew, and never for as long as the first delay, nor as nginx takes to start.
            let limit = Instant::now() + Duration::from_secs(30);
            let said = loop {
                match timeout(Duration::from_millis(2), generations.tend()).await {
                    Ok(said) => break said,
                    Err(_) => assert!(Instant::now() < limit, "it is not started again"),
                }
            };
            assert_eq!(said, "nginx was killed by SIGKILL; it was started again");
            assert!(generations.status().await.is_some());
        }
    });
}

/// The next one is started while the one that serves ends.
#[test]
fn an_end_that_a_new_configuration_hides_is_told_of() {
    at_site(async |site| {
        let folder = site.folder.path().join("ingress");
        let (mut generations, setup) = generations(&folder);
        generations.apply(&render(&Model::default(), &setup)).await.unwrap();
        let pid = number_of_nginx(site, &folder.join("1/nginx.pid"), None).await;
        killpg(pid, Signal::SIGKILL).unwrap();
        site.until("its end", || async {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            if stat.contains(") Z ") { Ok(()) } else { Err(stat) }
        })
        .await;
        generations.apply(&render(&Model::default(), &Setup { connections: 512, ..setup })).await.unwrap();
        let said = timeout(Duration::from_secs(30), generations.tend()).await.unwrap();
        assert_eq!(said, "nginx was killed by SIGKILL; it was started again");
        // What is left of it goes, and once is enough.
        let limit = Instant::now() + Duration::from_secs(30);
        while folder.join("1").exists() {
            assert!(timeout(Duration::from_millis(20), generations.tend()).await.is_err());
            assert!(Instant::now() < limit, "its folder stays");
        }
    });
}

/// nginx was started again, what the one before had left was not gone yet, and then the agent ended: nobody but who
/// looks for it finds it, and it would answer for ever.
#[test]
fn a_successor_finds_what_a_killed_nginx_has_left() {
    at_site(async |site| {
        let folder = site.folder.path().join("ingress");
        let (_, setup) = generations(&folder);
        let config = render(&Model::default(), &Setup { metrics_port: Some(10_254), ..setup.clone() });
        let nginx = Nginx::find(std::env::var_os("PATH").as_deref()).unwrap();
        let mut first = Generations::new(nginx, &folder, Duration::from_secs(60), true).unwrap();
        first.apply(&config).await.unwrap();
        let pid = number_of_nginx(site, &folder.join("1/nginx.pid"), None).await;
        kill(pid, Signal::SIGKILL).unwrap();
        assert_eq!(first.tend().await, "nginx was killed by SIGKILL; it was started again");
        assert!(is_there(pid), "its child goes on");
        drop(first);

        let (mut second, _) = generations(&folder);
        second.apply(&config).await.unwrap();
        let limit = Instant::now() + Duration::from_secs(30);
        while is_there(pid) || folder.join("1").exists() {
            assert!(timeout(Duration::from_millis(20), second.tend()).await.is_err());
            assert!(Instant::now() < limit, "it goes on");
        }
    });
}

/// Whether a process of the group has not ended.
fn is_there(group: Pid) -> bool {
    let stats = std::fs::read_dir("/proc").unwrap().flatten();
    let stats = stats.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
    let mut states = stats.filter_map(|stat| {
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?.to_owned();
        (fields.nth(1)? == group.to_string()).then_some(state)
    });
    states.any(|state| state != "Z")
}

fn generations(folder: &Path) -> (Generations, Setup) {
    let nginx = Nginx::find(std::env::var_os("PATH").as_deref()).unwrap();
    let superuser = nix::unistd::geteuid().is_root();
    let setup = Setup { superuser, version: nginx.version, ..Setup::default() };
    (Generations::new(nginx, folder, Duration::ZERO, false).unwrap(), setup)
}

async fn number_of_nginx(site: &Site, file: &Path, not: Option<Pid>) -> Pid {
    site.until("nginx's number", || async {
        let number = std::fs::read_to_string(file).unwrap_or_default();
        number.trim().parse().ok().map(Pid::from_raw).filter(|pid| Some(*pid) != not).ok_or(number)
    })
    .await
}
