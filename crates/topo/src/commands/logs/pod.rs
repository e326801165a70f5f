//! `topo logs` of a pod. The files lie on the host, so the lab need not be entered.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use kubelet::logs::{self, Options, Progress, Reader, files};

use super::{missing, names};
use crate::cli::pods::LogsArgs;
use crate::output::{self, Hinted, note};

/// Even if nothing wakes, it is looked so often whether the log is still there.
pub(super) const LOOK: Duration = Duration::from_secs(5);

/// `root` has a folder a cluster.
pub(super) fn run(root: &Path, args: &LogsArgs) -> Result<ExitCode> {
    let parts: Vec<&str> = args.target.split('/').collect();
    let (cluster, namespace, pod) = match parts[..] {
        [cluster, pod] if !pod.is_empty() => (cluster, "default", pod),
        [cluster, namespace, pod] if !pod.is_empty() => (cluster, namespace, pod),
        _ => {
            let message = format!("logs: {} is no pod", args.target);
            return Err(Hinted { message, hint: "a pod is C0/c1 or C0/NAMESPACE/POD".into() }.into());
        }
    };
    of_pod(root, (cluster, namespace, pod), args)
}

/// Of the pod of that cluster, namespace and name.
pub(super) fn of_pod(
    root: &Path,
    (cluster, namespace, pod): (&str, &str, &str),
    args: &LogsArgs,
) -> Result<ExitCode> {
    let Some(folder) = files::find_pod(&root.join(cluster), namespace, pod)? else {
        return Err(no_pod(root, args));
    };
    let containers = files::containers(&folder)?;
    let asked = args.pod.container.as_ref().or(args.component.as_ref());
    let container = match (asked, &containers[..]) {
        (Some(asked), known) if known.contains(asked) => asked,
        (Some(asked), known) => {
            return Err(missing(&format!("container {asked} is not valid for pod {pod}"), asked, known));
        }
        (None, []) => return Err(waiting(pod)),
        (None, [one]) => one,
        (None, several @ [first, ..]) => {
            note(format_args!("Defaulted container \"{first}\" out of: {}", several.join(", ")));
            first
        }
    };
    let reader = Reader::open(&folder.join(container), &options(args)).map_err(|error| match error {
        logs::Error::Nothing(_) => waiting(pod),
        logs::Error::NoPrevious(_) => Hinted {
            message: format!(
                "logs: previous terminated container \"{container}\" in pod \"{pod}\" not found"
            ),
            hint: "it has not been restarted; without -p there is the log of the one that runs".into(),
        }
        .into(),
        other => other.into(),
    })?;
    print(reader)
}

pub(super) fn options(args: &LogsArgs) -> Options {
    let pod = &args.pod;
    Options {
        follow: args.follow,
        previous: pod.previous,
        tail: pod.tail.and_then(|lines| u64::try_from(lines).ok()),
        // Before the beginning of time is all of it.
        since: pod.since.map(|age| Timestamp::now().saturating_sub(age).unwrap_or(Timestamp::MIN)),
        timestamps: pod.timestamps,
        limit_bytes: pod.limit_bytes,
    }
}

fn print(mut reader: Reader) -> Result<ExitCode> {
    let mut text = Vec::new();
    loop {
        let progress = reader.read(&mut text)?;
        if !text.is_empty() {
            output::raw(&text);
            text.clear();
        }
        match progress {
            Progress::More => {}
            Progress::Waiting => reader.wait(LOOK),
            Progress::Done => return Ok(ExitCode::SUCCESS),
        }
    }
}

fn waiting(pod: &str) -> anyhow::Error {
    Hinted {
        message: format!("logs: no container of pod {pod} has been started"),
        hint: "the pod's events say why".into(),
    }
    .into()
}

/// Says which pods there are, as they are to be named.
fn no_pod(root: &Path, args: &LogsArgs) -> anyhow::Error {
    let mut known = Vec::new();
    for cluster in names(root) {
        for (namespace, pod) in files::pods(&root.join(&cluster)).unwrap_or_default() {
            known.push(match namespace.as_str() {
                "default" => format!("{cluster}/{pod}"),
                _ => format!("{cluster}/{namespace}/{pod}"),
            });
        }
    }
    let what = format!("there are no logs of {}", args.target);
    if known.is_empty() {
        return Hinted { message: format!("logs: {what}"), hint: "no pod has been started yet".into() }
            .into();
    }
    missing(&what, &args.target, &known)
}
