//! What is said of a verb that is not there: what to type instead, and nothing that users have no use for.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, CommandFactory};

use crate::cli::Cli;
use crate::output::{self, note};

/// kubectl's verbs that are not here, and what does here what they do.
const KUBECTL: &[(&str, &str)] = &[
    ("alpha", "nothing is only tried out here: `topo --help` has all verbs"),
    ("api-versions", "`topo api-resources` has every kind with its version"),
    ("attach", "`topo logs -f C0/POD` goes on printing, `topo exec C0/POD -- sh` is a shell in it"),
    ("auth", "there is no API server that would ask who you are: everything is allowed"),
    ("autoscale", "nothing scales by itself: `topo scale deployment/NAME --replicas N`"),
    (
        "certificate",
        "there is no API server that would sign any; between sites `topo skupper rotate` makes new ones",
    ),
    ("cluster-info", "`topo status` has clusters, nodes and components"),
    ("completion", "`topo completions SHELL`"),
    ("config", "there are no contexts: --lab, --cluster and -n say which; `topo list` has the labs"),
    ("cp", "`topo exec C0/POD -- cat FILE >COPY`, and back `topo exec C0/POD -- tee FILE <COPY`"),
    (
        "debug",
        "`topo exec C0/POD -- COMMAND` and `topo exec C0w1 -- COMMAND` run this machine's own programs there",
    ),
    ("diff", "`topo apply -f FILE --dry-run=server -o yaml` shows what would be there"),
    (
        "edit",
        "`topo patch KIND NAME -p …`, or `topo get KIND NAME -o yaml >FILE`, an editor, and `topo apply -f FILE`",
    ),
    ("events", "`topo get events`, and `topo get events -w` goes on"),
    (
        "explain",
        "`topo api-resources` has the kinds; their fields: https://kubernetes.io/docs/reference/kubernetes-api/",
    ),
    ("kustomize", "`kubectl kustomize FOLDER | topo apply -f -`"),
    ("options", "`topo VERB --help` has all flags of a verb"),
    ("plugin", "there are none; `topo --help` has all verbs"),
    (
        "port-forward",
        "nothing is in between: `topo exec C0e1 -- curl http://ADDRESS:PORT` reaches pods and services",
    ),
    ("replace", "`topo apply -f FILE`; or `topo delete -f FILE` and `topo create -f FILE`"),
    ("top", "`topo exec C0w1 -- top` for a node, `topo exec C0/POD -- top` for a pod"),
];

const PROXY: &str = "proxy is another one here, `topo proxy show` tells the rules of services; there is no API server that \
                     kubectl's would lead to: `topo get KIND -o json`";

/// Tells what is wrong with a command line, whose words these are, the program first.
pub(crate) fn usage(mut error: clap::Error, words: impl Iterator<Item = OsString>) -> ExitCode {
    let words: Vec<String> = words.skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let all = Cli::command();
    if let Some(text) = instead(&error, &all, &words) {
        note(format_args!("topo: {text}"));
        return ExitCode::from(output::ERROR);
    }
    hide(&mut error, &all, &words);
    output::usage(&error)
}

/// What to type instead of a verb of kubectl's.
fn instead(error: &clap::Error, all: &Command, words: &[String]) -> Option<String> {
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let (verb, instead) = kubectl_verb(error, all, words)?;
            Some(format!("{verb} is not here: {instead}"))
        }
        // The one verb that both have, for something else.
        ErrorKind::UnknownArgument if asks_for_a_proxy(all, words) => Some(PROXY.into()),
        _ => None,
    }
}

/// kubectl's has nothing but flags.
fn asks_for_a_proxy(all: &Command, words: &[String]) -> bool {
    let mut verbs = words.iter().skip_while(|word| all.find_subcommand(word).is_none());
    verbs.next().is_some_and(|verb| verb == "proxy") && verbs.next().is_none_or(|word| word.starts_with('-'))
}

/// The verb of kubectl's that was typed as one of ours, not as a verb below one.
fn kubectl_verb(
    error: &clap::Error,
    all: &Command,
    words: &[String],
) -> Option<&'static (&'static str, &'static str)> {
    let typed = unknown(error)?;
    let is_first = std::ptr::eq(place(all, words, typed), all);
    KUBECTL.iter().find(|(verb, _)| is_first && verb == typed)
}

/// The verb that is not there.
fn unknown(error: &clap::Error) -> Option<&String> {
    match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(typed)) => Some(typed),
        _ => None,
    }
}

/// The command below which something unknown was typed.
fn place<'a>(all: &'a Command, words: &[String], typed: &str) -> &'a Command {
    let before = words.iter().take_while(|word| *word != typed);
    before.fold(all, |command, word| command.find_subcommand(word).unwrap_or(command))
}

/// Takes commands out of the suggestions that only other processes start.
fn hide(error: &mut clap::Error, all: &Command, words: &[String]) {
    let Some(ContextValue::Strings(near)) = error.get(ContextKind::SuggestedSubcommand) else { return };
    let Some(typed) = unknown(error) else { return };
    let place = place(all, words, typed);
    let is_shown = |name: &&String| !place.find_subcommand(name).is_some_and(Command::is_hide_set);
    let stay: Vec<String> = near.iter().filter(is_shown).cloned().collect();
    if stay.is_empty() {
        error.remove(ContextKind::SuggestedSubcommand);
        // An empty list is a blank line.
        if matches!(error.get(ContextKind::Suggested), Some(ContextValue::StyledStrs(more)) if more.is_empty())
        {
            error.remove(ContextKind::Suggested);
        }
    } else {
        error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(stay));
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn said(line: &str) -> String {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let mut error = Cli::try_parse_from(&words).unwrap_err();
        let all = Cli::command();
        instead(&error, &all, &words[1..]).unwrap_or_else(|| {
            hide(&mut error, &all, &words[1..]);
            error.to_string()
        })
    }

    #[test]
    fn commands_that_only_processes_start_are_never_suggested() {
        for typed in ["delay-lin", "agnt", "control-plan", "imag", "rout", "prob", "dns serv", "la"] {
            let text = said(&format!("topo {typed}"));
            for hidden in ["delay-line", "agent", "control-plane", "image", "router", "probe", "serve", "lab"]
            {
                assert!(!text.contains(&format!("'{hidden}'")), "{typed}: {text}");
            }
        }
        assert!(said("topo statu").contains("'status'"));
        // What is hidden in one place is not in another.
        assert!(said("topo set imag").contains("a similar subcommand exists: 'image'"));
    }

    #[test]
    fn kubectls_verbs_lead_to_ours() {
        assert!(said("topo explain").starts_with("explain is not here: `topo api-resources`"));
        assert!(said("topo --lab mine edit pod c1").starts_with("edit is not here: `topo patch"));
        assert!(said("topo rollout edit").contains("unrecognized subcommand 'edit'"));
        assert!(said("topo proxy --port=8001").starts_with("proxy is another one here"));
        assert!(said("topo proxy show --port=8001").contains("unexpected argument '--port'"));
        let all = Cli::command();
        for (verb, instead) in KUBECTL {
            assert!(all.find_subcommand(verb).is_none(), "{verb} is here");
            for words in instead.split("`topo ").skip(1) {
                let ours = words.split([' ', '`']).next().unwrap_or_default();
                let there = all.find_subcommand(ours).is_some_and(|found| !found.is_hide_set());
                assert!(there || ["--help", "VERB"].contains(&ours), "{verb}: there is no {ours}");
            }
        }
    }
}
