//! With a script in the place of flanneld.

use std::fs;

use runtime::{ComponentKind, WorkerReport};
use tempfile::TempDir;

use super::*;

const LIMIT: Duration = Duration::from_secs(30);

struct Bed {
    folder: TempDir,
    options: flannel::Options,
    health: Health,
    board: watch::Receiver<WorkerReport>,
    sender: watch::Sender<Option<Ipv4Network>>,
}

impl Bed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let health = Health::default();
        health.announce(COMPONENT, ComponentKind::Real, "v9");
        let options = flannel::Options {
            node: "C0w1".into(),
            etcd: vec!["http://127.0.0.1:1".into()],
            prefix: flannel::PREFIX.into(),
            address: [10, 0, 0, 3].into(),
            subnet_file: folder.path().join("subnet.env"),
            ip_masq: true,
        };
        let board = health.watch();
        Self { folder, options, health, board, sender: watch::Sender::new(None) }
    }

    /// A program that runs a script. Written by another process: what this one has open for writing while
    /// another test forks cannot be executed.
    fn program(&self, script: &str) -> Flanneld {
        let path = self.folder.path().join("flanneld");
        let write = "printf '#!/bin/bash\n%s\n' \"$1\" > \"$2\" && chmod 755 \"$2\"";
        let status =
            std::process::Command::new("sh").args(["-c", write, "sh", script]).arg(&path).status().unwrap();
        assert!(status.success());
        Flanneld { path, version: "v9".into() }
    }

    async fn once(&self, script: &str) -> String {
        let program = self.program(script);
        let once = once(&program, &self.options, &self.health, &self.sender);
        tokio::time::timeout(LIMIT, once).await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn how_it_ended_is_told_with_its_last_words() {
    let bed = Bed::new();
    let why = bed.once("echo first >&2; echo 'lease gone' >&2; exit 3").await;
    assert_eq!(why, "exited with status 3: lease gone");
    assert_eq!(bed.once("kill -9 $$").await, "was killed by signal 9");
    let missing = Flanneld { path: bed.folder.path().join("nothing"), version: String::new() };
    assert!(once(&missing, &bed.options, &bed.health, &bed.sender).await.is_err());
}

#[tokio::test]
async fn it_is_ready_when_it_says_so_and_its_subnet_is_the_lease() {
    let mut bed = Bed::new();
    let env = bed.options.subnet_file.display().to_string();
    let program = bed.program(&format!("echo $NOTIFY_SOCKET > {env}; exec sleep 1000"));
    let (options, health, sender) = (bed.options.clone(), bed.health.clone(), bed.sender.clone());
    let task = tokio::spawn(async move { once(&program, &options, &health, &sender).await });
    // In its stead: a shell cannot speak to such a socket.
    let socket = tokio::time::timeout(LIMIT, async {
        loop {
            match fs::read_to_string(&env) {
                Ok(path) if path.ends_with('\n') => break path.trim().to_owned(),
                _ => tokio::task::yield_now().await,
            }
        }
    });
    let socket = socket.await.unwrap();
    assert!(!bed.board.borrow().ready(), "it has not said so yet");
    fs::write(&env, "FLANNEL_SUBNET=11.10.16.1/20\n").unwrap();
    StdDatagram::unbound().unwrap().send_to(b"READY=1", socket).unwrap();
    tokio::time::timeout(LIMIT, bed.board.wait_for(WorkerReport::ready)).await.unwrap().unwrap();
    assert_eq!(bed.sender.borrow().map(|s| s.to_string()).as_deref(), Some("11.10.16.0/20"));
    assert_eq!(bed.board.borrow().components[COMPONENT].message, "11.10.16.0/20");
    task.abort();
    let _ = task.await;
}

#[tokio::test]
async fn it_is_not_started_before_there_is_something_for_it() {
    let mut bed = Bed::new();
    let program = bed.program(&format!("touch {}/started", bed.folder.path().display()));
    let (options, health, sender) = (bed.options.clone(), bed.health.clone(), bed.sender.clone());
    let task = tokio::spawn(run(program, options, health, sender));
    let said = bed.board.wait_for(|report| report.components[COMPONENT].message.contains("etcd at"));
    tokio::time::timeout(LIMIT, said).await.unwrap().unwrap();
    assert!(!bed.folder.path().join("started").exists());
    task.abort();
}

#[test]
fn the_socket_of_a_former_agent_is_in_nobodys_way() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("worker/flanneld.notify");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        drop(listen(&socket).unwrap());
        assert!(fs::metadata(&socket).is_ok());
        listen(&socket).unwrap();
    });
}
