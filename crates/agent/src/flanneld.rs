//! The real flanneld as a child: started, told apart when it is ready, started again when it ends.
//!
//! It ends when its lease is deleted and when another worker was faster, so ending is nothing bad. What it
//! left in the kernel carries packets meanwhile.

use std::io;
use std::os::unix::net::UnixDatagram as StdDatagram;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use flannel::COMPONENT;
use flannel::real::Flanneld;
use flannel::subnet_env::Previous;
use ipnetwork::Ipv4Network;
use runtime::{Backoff, Health, Notice, chain, notify};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::net::UnixDatagram;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(10);
const LAST_WORDS: Duration = Duration::from_millis(50);

/// Runs it again and again until dropped.
pub(crate) async fn run(
    program: Flanneld,
    options: flannel::Options,
    health: Health,
    lease: watch::Sender<Option<Ipv4Network>>,
) {
    let mut backoff = Backoff::new(FIRST_DELAY, LONGEST_DELAY);
    loop {
        // It asks once a second; one that is started when there is something to be had need not ask twice.
        flannel::wait_for_config(&options.etcd, &options.prefix, |why| {
            health.set(COMPONENT, false, why);
        })
        .await;
        let began = Instant::now();
        let why = match once(&program, &options, &health, &lease).await {
            Ok(why) => why,
            Err(error) => format!("cannot be run: {}", chain(&error)),
        };
        let delay = backoff.after(began.elapsed());
        tracing::warn!(why, ?delay, "flanneld has ended");
        health.set(COMPONENT, false, &format!("flanneld {why}; next try in {} ms", delay.as_millis()));
        tokio::time::sleep(delay).await;
    }
}

/// Runs it once; says how it ended.
async fn once(
    program: &Flanneld,
    options: &flannel::Options,
    health: &Health,
    lease: &watch::Sender<Option<Ipv4Network>>,
) -> io::Result<String> {
    let socket = options.subnet_file.with_file_name("flanneld.notify");
    let notices = listen(&socket)?;
    let mut child = spawn(program, options, &socket)?;
    health.set(COMPONENT, false, "starting");
    let (sender, mut lines) = mpsc::channel(64);
    let mut pumps = JoinSet::new();
    child.stdout.take().map(|output| pumps.spawn(pump(output, sender.clone())));
    child.stderr.take().map(|output| pumps.spawn(pump(output, sender)));
    let mut last = String::new();
    let mut buffer = [0; 4096];
    let status = loop {
        tokio::select! {
            // What it said comes before that it has ended.
            biased;
            Some(line) = lines.recv() => {
                tracing::info!(target: "flanneld", "{line}");
                last = line;
            }
            received = notices.recv(&mut buffer) => {
                if Notice::parse(&buffer[..received?]).ready {
                    ready(options, health, lease);
                }
            }
            status = child.wait() => break status?,
        }
    };
    // What it printed is in the pipe by now; whoever inherited that may hold it open.
    let rest = async {
        while let Some(line) = lines.recv().await {
            tracing::info!(target: "flanneld", "{line}");
            last = line;
        }
    };
    let _ = tokio::time::timeout(LAST_WORDS, rest).await;
    Ok(ended(status, &last))
}

/// It writes the file first, then says that it is ready (flannel `main.go`).
fn ready(options: &flannel::Options, health: &Health, lease: &watch::Sender<Option<Ipv4Network>>) {
    match Previous::read(&options.subnet_file).subnet {
        Some(subnet) => {
            lease.send_if_modified(|lease| lease.replace(subnet) != Some(subnet));
            health.set(COMPONENT, true, &subnet.to_string());
        }
        None => {
            let message = format!("no subnet in {}", options.subnet_file.display());
            health.set(COMPONENT, false, &message);
        }
    }
}

fn listen(socket: &Path) -> io::Result<UnixDatagram> {
    if let Some(folder) = socket.parent() {
        std::fs::create_dir_all(folder)?;
    }
    match std::fs::remove_file(socket) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let datagrams = StdDatagram::bind(socket)?;
    datagrams.set_nonblocking(true)?;
    UnixDatagram::from_std(datagrams)
}

/// On this thread, which lives as long as the agent: with the thread that started it the child would die.
fn spawn(program: &Flanneld, options: &flannel::Options, socket: &PathBuf) -> io::Result<Child> {
    let mut command = std::process::Command::new(&program.path);
    command.args(Flanneld::arguments(options)).env(notify::SOCKET, socket);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    net::process::die_with_parent(&mut command);
    Command::from(command).kill_on_drop(true).spawn()
}

async fn pump(output: impl AsyncRead + Unpin, lines: mpsc::Sender<String>) {
    let mut output = BufReader::new(output).lines();
    while let Ok(Some(line)) = output.next_line().await {
        if lines.send(line).await.is_err() {
            return;
        }
    }
}

/// How it ended, with its last words where it went by itself.
fn ended(status: ExitStatus, last: &str) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) if last.is_empty() => format!("exited with status {code}"),
        (Some(code), _) => format!("exited with status {code}: {last}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "has ended".into(),
    }
}

#[cfg(test)]
mod tests;
