//! `topo logs -l`: of all pods with some labels, one after the other; with `-f` at the same time.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use api::kinds::PODS;
use kubectl::query::{Scope, list};
use kubelet::logs::{Options, Progress, Reader, files};
use lab::LabName;
use serde_json::Value;

use super::pod::{LOOK, options};
use crate::cli::LogsArgs;
use crate::commands::objects::{cluster_name, with_store};
use crate::output::{self, Hinted, note};

/// So many lines of each, unless more are asked for (kubectl `pkg/cmd/logs/logs.go`, `selectorTail`).
const LINES: u64 = 10;
/// Says which container is meant where none is named.
const DEFAULT: &str = "kubectl.kubernetes.io/default-container";

/// A container, and the folder of its log.
struct Source {
    pod: String,
    container: String,
    folder: PathBuf,
}

/// `root` has a folder a cluster.
pub(super) fn run(lab: &LabName, root: &Path, selector: &str, args: &LogsArgs) -> Result<ExitCode> {
    let asked = &args.selected;
    let labels = selector.parse().map_err(kubectl::Error::from)?;
    let scope = Scope { labels, ..Scope::of(&asked.namespace) };
    let cluster = cluster_name(lab, asked.cluster.as_deref())?;
    let mut pods = Vec::new();
    with_store(lab, Some(&cluster), async |store| {
        pods = list(&store, &PODS, &scope).await?.items;
        Ok(ExitCode::SUCCESS)
    })?;
    if pods.is_empty() {
        note(format_args!("No resources found in {} namespace.", asked.namespace));
        return Ok(ExitCode::SUCCESS);
    }
    let mut options = options(args);
    if args.pod.tail.is_none() {
        options.tail = Some(LINES);
    }
    let mut readers = Vec::new();
    let mut code = ExitCode::SUCCESS;
    for source in sources(&root.join(&cluster), &asked.namespace, &pods, args)? {
        match Reader::open(&source.folder, &options) {
            Ok(reader) => readers.push((Lines::of(&source, asked.prefix), reader)),
            Err(error) => {
                let (pod, container) = (&source.pod, &source.container);
                note(format_args!("topo: logs: container {container:?} in pod {pod:?}: {error}"));
                code = ExitCode::from(output::NO);
            }
        }
    }
    if !args.follow {
        for (lines, reader) in readers {
            print(lines, reader, &options)?;
        }
        return Ok(code);
    }
    if readers.len() > asked.max_log_requests {
        let (logs, most) = (readers.len(), asked.max_log_requests);
        return Err(Hinted {
            message: format!("logs: these are {logs} logs, and no more than {most} are followed at once"),
            hint: format!("--max-log-requests {logs}"),
        }
        .into());
    }
    std::thread::scope(|scope| {
        let options = &options;
        let start = |(lines, reader)| scope.spawn(move || print(lines, reader, options));
        let threads: Vec<_> = readers.into_iter().map(start).collect();
        for thread in threads {
            thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the thread has ended")))?;
        }
        Ok(code)
    })
}

/// The containers that are meant, in the order of the pods' names.
fn sources(root: &Path, namespace: &str, pods: &[Value], args: &LogsArgs) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for pod in pods {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        let folder = files::find_pod(root, namespace, name)?;
        let folder = folder.unwrap_or_else(|| root.join(name));
        for container in containers(pod, args) {
            let folder = folder.join(&container);
            sources.push(Source { pod: name.into(), container, folder });
        }
    }
    Ok(sources)
}

fn containers(pod: &Value, args: &LogsArgs) -> Vec<String> {
    if let Some(container) = &args.pod.container {
        return vec![container.clone()];
    }
    let names = |list: &str| {
        let all = pod["spec"][list].as_array().into_iter().flatten();
        all.filter_map(|container| container["name"].as_str()).map(str::to_owned).collect::<Vec<_>>()
    };
    let mut main = names("containers");
    if args.selected.all_containers {
        return [names("initContainers"), main].concat();
    }
    if let Some(named) = pod["metadata"]["annotations"][DEFAULT].as_str() {
        main.retain(|name| name == named);
    }
    main.truncate(1);
    main
}

fn print(mut lines: Lines, mut reader: Reader, options: &Options) -> Result<()> {
    let mut text = Vec::new();
    loop {
        let progress = reader.read(&mut text)?;
        output::raw(&lines.whole(&text));
        text.clear();
        match progress {
            Progress::More => {}
            Progress::Waiting => reader.wait(LOOK),
            Progress::Done => break,
        }
    }
    // What ends within a line is told as it is, unless another log would go on in that line.
    let mut rest = lines.rest();
    if options.follow && !rest.is_empty() {
        rest.push(b'\n');
    }
    output::raw(&rest);
    Ok(())
}

/// Text of one log, by whole lines, so that several do not mix within one.
struct Lines {
    prefix: String,
    rest: Vec<u8>,
}

impl Lines {
    fn of(source: &Source, prefix: bool) -> Self {
        let prefix =
            if prefix { format!("[pod/{}/{}] ", source.pod, source.container) } else { String::new() };
        Self { prefix, rest: Vec::new() }
    }

    /// The lines that are complete with this text.
    fn whole(&mut self, text: &[u8]) -> Vec<u8> {
        self.rest.extend_from_slice(text);
        let end = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let rest = self.rest.split_off(end);
        let whole = std::mem::replace(&mut self.rest, rest);
        whole
            .split_inclusive(|byte| *byte == b'\n')
            .flat_map(|line| [self.prefix.as_bytes(), line].concat())
            .collect()
    }

    fn rest(self) -> Vec<u8> {
        if self.rest.is_empty() { self.rest } else { [self.prefix.into_bytes(), self.rest].concat() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_and_say_where_they_are_from() {
        let source = Source { pod: "web".into(), container: "c".into(), folder: PathBuf::new() };
        let mut lines = Lines::of(&source, true);
        assert_eq!(lines.whole(b"one\ntw"), b"[pod/web/c] one\n");
        assert_eq!(lines.whole(b""), b"");
        assert_eq!(lines.whole(b"o\nthree\nfo"), b"[pod/web/c] two\n[pod/web/c] three\n");
        assert_eq!(lines.rest(), b"[pod/web/c] fo");
        assert_eq!(Lines::of(&source, false).whole(b"a\nb\n"), b"a\nb\n");
    }
}
