//! Figures for Prometheus, from the access log and from what the controller knows.
//!
//! nginx hands `/metrics` on to this process over a socket. The log is read when somebody asks, on from where
//! it was read before; who does not ask pays nothing.
//!
//! Source: <https://prometheus.io/docs/instrumenting/exposition_formats> (text format, version 0.0.4).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

/// The most bytes of a question.
const LONGEST: usize = 8192;

/// What the controller knows.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Gauges {
    pub(crate) routes: usize,
    pub(crate) problems: usize,
    /// Configurations that have been in service.
    pub(crate) configurations: u64,
    /// Those that could not be.
    pub(crate) failures: u64,
    /// How often nginx has ended by itself.
    pub(crate) accidents: u64,
    /// Seconds from objects to a configuration in service, the last time.
    pub(crate) took: f64,
}

/// What the log tells.
#[derive(Debug, Default)]
struct Counters {
    /// By route and status.
    requests: BTreeMap<(String, u16), u64>,
    /// By route: how many seconds requests have taken, and how many bytes answers had.
    seconds: BTreeMap<String, f64>,
    bytes: BTreeMap<String, u64>,
    /// By route and pod.
    pods: BTreeMap<(String, String), u64>,
}

/// Of a line what is counted.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    route: Cow<'a, str>,
    status: u16,
    seconds: f64,
    bytes: u64,
    #[serde(borrow)]
    pod: Cow<'a, str>,
}

impl Counters {
    fn count(&mut self, line: &[u8]) {
        // One that is none was cut off by a full disk.
        let Ok(line) = serde_json::from_slice::<Line<'_>>(line) else { return };
        let route = if line.route.is_empty() { "none".into() } else { line.route.into_owned() };
        *self.seconds.entry(route.clone()).or_default() += line.seconds;
        *self.bytes.entry(route.clone()).or_default() += line.bytes;
        if !line.pod.is_empty() {
            *self.pods.entry((route.clone(), line.pod.into_owned())).or_default() += 1;
        }
        *self.requests.entry((route, line.status)).or_default() += 1;
    }
}

/// The log, and how far it has been read.
#[derive(Debug)]
struct Log {
    path: PathBuf,
    inode: u64,
    position: u64,
    counters: Counters,
}

/// The log that was set aside.
pub(crate) fn set_aside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

impl Log {
    fn new(path: PathBuf) -> Self {
        Self { path, inode: 0, position: 0, counters: Counters::default() }
    }

    /// Counts what has come since the last time.
    fn read(&mut self) -> io::Result<()> {
        let Some(file) = open(&self.path)? else { return Ok(()) };
        let inode = file.metadata()?.ino();
        if inode != self.inode {
            // The rest of the one before comes first; at the first time all of it.
            if let Some(old) = open(&set_aside(&self.path))?
                && (self.inode == 0 || old.metadata()?.ino() == self.inode)
            {
                self.read_on(old)?;
            }
            (self.inode, self.position) = (inode, 0);
        }
        self.read_on(file)
    }

    fn read_on(&mut self, mut file: File) -> io::Result<()> {
        file.seek(SeekFrom::Start(self.position))?;
        let mut file = BufReader::with_capacity(1 << 16, file);
        let mut line = Vec::new();
        loop {
            line.clear();
            let length = file.read_until(b'\n', &mut line)?;
            // The last may be on its way.
            if length == 0 || line.last() != Some(&b'\n') {
                return Ok(());
            }
            self.counters.count(&line);
            self.position += u64::try_from(length).unwrap_or_default();
        }
    }
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Who answers.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    gauges: Arc<Mutex<Gauges>>,
    log: Arc<Mutex<Log>>,
}

impl Metrics {
    pub(crate) fn new(log: PathBuf) -> Self {
        Self { gauges: Arc::default(), log: Arc::new(Mutex::new(Log::new(log))) }
    }

    pub(crate) fn set(&self, change: impl FnOnce(&mut Gauges)) {
        change(&mut self.gauges.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Sets the log aside if it has become longer than `most` bytes; says whether.
    pub(crate) fn rotate(&self, most: u64) -> io::Result<bool> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if !fs::metadata(&log.path).is_ok_and(|meta| meta.len() > most) {
            return Ok(false);
        }
        // Where somebody counts, nothing is lost.
        if log.inode != 0 {
            log.read()?;
        }
        fs::rename(&log.path, set_aside(&log.path))?;
        Ok(true)
    }

    fn text(&self) -> io::Result<String> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.read()?;
        let gauges = self.gauges.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(text(&gauges, &log.counters))
    }

    /// Answers at a socket, whoever asks, until dropped.
    pub(crate) async fn serve(self, socket: PathBuf) {
        let _ = fs::remove_file(&socket);
        let listener = match UnixListener::bind(&socket) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::warn!(%error, socket = %socket.display(), "there will be no metrics");
                return;
            }
        };
        let mut answers = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => drop(answers.spawn(answer(self.clone(), stream))),
                    Err(error) => {
                        tracing::warn!(%error, "metrics: accept");
                        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                    }
                },
                Some(_) = answers.join_next() => {}
            }
        }
    }
}

async fn answer(metrics: Metrics, mut stream: UnixStream) -> io::Result<()> {
    let mut asked = Vec::new();
    let mut buffer = [0; 1024];
    while !asked.windows(4).any(|four| four == b"\r\n\r\n") {
        let length = stream.read(&mut buffer).await?;
        if length == 0 || asked.len() > LONGEST {
            return Ok(());
        }
        asked.extend_from_slice(&buffer[..length]);
    }
    // A long log takes a while.
    let text = tokio::task::spawn_blocking(move || metrics.text()).await.map_err(io::Error::other)?;
    let (status, text) = match text {
        Ok(text) => ("200 OK", text),
        Err(error) => ("500 Internal Server Error", format!("the access log cannot be read: {error}\n")),
    };
    let head = format!(
        "HTTP/1.0 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\n\r\n",
        text.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(text.as_bytes()).await
}

/// A family of figures: what it is called, of which type, and what it means.
fn family(text: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a String does not fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn text(gauges: &Gauges, counters: &Counters) -> String {
    let mut text = String::new();
    let mut one = |name: &str, kind: &str, help: &str, value: String| {
        family(&mut text, name, kind, help);
        let _ = writeln!(text, "{name} {value}");
    };
    one("knetsim_ingress_routes", "gauge", "Routes in service.", gauges.routes.to_string());
    one("knetsim_ingress_problems", "gauge", "What is wrong with objects.", gauges.problems.to_string());
    one(
        "knetsim_ingress_configurations_total",
        "counter",
        "Configurations brought into service.",
        gauges.configurations.to_string(),
    );
    one(
        "knetsim_ingress_configuration_failures_total",
        "counter",
        "Configurations that could not be brought into service.",
        gauges.failures.to_string(),
    );
    one(
        "knetsim_ingress_last_apply_seconds",
        "gauge",
        "From objects to a configuration in service, the last time.",
        format!("{:.6}", gauges.took),
    );
    one(
        "knetsim_ingress_nginx_ended_total",
        "counter",
        "How often nginx has ended by itself.",
        gauges.accidents.to_string(),
    );
    let name = "knetsim_ingress_requests_total";
    family(&mut text, name, "counter", "Requests by route and status.");
    for ((route, status), count) in &counters.requests {
        let _ = writeln!(text, "{name}{{route=\"{}\",status=\"{status}\"}} {count}", label(route));
    }
    let name = "knetsim_ingress_request_seconds_total";
    family(&mut text, name, "counter", "Seconds that requests have taken.");
    for (route, seconds) in &counters.seconds {
        let _ = writeln!(text, "{name}{{route=\"{}\"}} {seconds:.3}", label(route));
    }
    let name = "knetsim_ingress_response_bytes_total";
    family(&mut text, name, "counter", "Bytes of answers, without their headers.");
    for (route, bytes) in &counters.bytes {
        let _ = writeln!(text, "{name}{{route=\"{}\"}} {bytes}", label(route));
    }
    let name = "knetsim_ingress_pod_requests_total";
    family(&mut text, name, "counter", "Requests by route and the pod that has answered.");
    for ((route, pod), count) in &counters.pods {
        let _ = writeln!(text, "{name}{{route=\"{}\",pod=\"{}\"}} {count}", label(route), label(pod));
    }
    text
}

fn label(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(route: &str, status: u16, pod: &str) -> String {
        format!(
            "{{\"client\":\"10.1.0.1\",\"status\":{status},\"bytes\":10,\"seconds\":0.250,\"route\":\"{route}\",\"pod\":\"{pod}\"}}\n"
        )
    }

    #[test]
    fn figures_in_the_format_of_prometheus() {
        let mut counters = Counters::default();
        for (route, status, pod) in [
            ("Ingress default/web", 200, "default/web-1"),
            ("Ingress default/web", 200, "default/web-2"),
            ("Ingress default/web", 502, ""),
            ("", 404, ""),
        ] {
            counters.count(line(route, status, pod).as_bytes());
        }
        counters.count(b"{\"cut");
        let gauges = Gauges { routes: 3, configurations: 7, took: 0.0125, ..Gauges::default() };
        insta::assert_snapshot!(text(&gauges, &counters));
        assert_eq!(label("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }

    #[test]
    fn nothing_is_counted_twice_or_lost_when_the_log_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ingress.log");
        let metrics = Metrics::new(path.clone());
        let count = || {
            metrics.text().unwrap();
            metrics.log.lock().unwrap().counters.requests.values().sum::<u64>()
        };
        assert_eq!(count(), 0, "no log yet");
        let write = |path: &Path, text: &str| {
            use std::io::Write;
            fs::OpenOptions::new().create(true).append(true).open(path).unwrap().write_all(text.as_bytes())
        };
        write(&path, &line("a", 200, "").repeat(3)).unwrap();
        assert_eq!((count(), count()), (3, 3));
        let whole = line("a", 200, "");
        let (begin, end) = whole.split_at(10);
        write(&path, begin).unwrap();
        assert_eq!(count(), 3, "half a line");
        assert!(!metrics.rotate(1_000_000).unwrap());
        assert!(metrics.rotate(10).unwrap());
        // nginx goes on with the old file until it is told.
        write(&set_aside(&path), end).unwrap();
        write(&path, &line("b", 200, "")).unwrap();
        assert_eq!((count(), count()), (5, 5));
    }
}
