//! Which objects the words of a command line mean: `pods`, `pod c1 c2`, `po,svc`, `pod/c1 svc/web`, `all`.
//!
//! Source: cli-runtime `pkg/resource/builder.go`; `all`: the categories of kubernetes
//! `pkg/registry/**/storage.go`.

use api::KindInfo;
use api::kinds::{
    CRON_JOBS, DAEMON_SETS, DEPLOYMENTS, JOBS, PODS, REPLICA_SETS, SERVICES, STATEFUL_SETS, by_name,
};

use crate::error::{Error, Result};

/// Objects of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The kind.
    pub info: &'static KindInfo,
    /// Their names; none for all of them.
    pub names: Option<Vec<String>>,
}

/// What is meant by words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Targets {
    /// In the order of the words.
    pub each: Vec<Target>,
    /// Whether one object is meant, by its name: it is then shown as itself, not as a list of one.
    pub single: bool,
}

const ALL: [&KindInfo; 8] =
    [&PODS, &SERVICES, &DAEMON_SETS, &DEPLOYMENTS, &REPLICA_SETS, &STATEFUL_SETS, &JOBS, &CRON_JOBS];

impl Targets {
    /// Reads words.
    ///
    /// # Errors
    /// Words that name no kind, or that make no sense together; in kubectl's words.
    pub fn parse<S: AsRef<str>>(words: &[S]) -> Result<Self> {
        let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
        let Some((first, names)) = words.split_first() else {
            return Err(Error::usage("you must specify the type of resource, as pods or deploy/web"));
        };
        if words.iter().any(|word| word.contains('/')) {
            return Self::references(&words);
        }
        let mut infos: Vec<&'static KindInfo> = Vec::new();
        for kind in first.split(',').filter(|kind| !kind.is_empty()) {
            let meant = if kind == "all" { ALL.to_vec() } else { vec![by_name(kind)?] };
            infos.extend(meant.into_iter().filter(|info| !infos.contains(info)).collect::<Vec<_>>());
        }
        if infos.is_empty() {
            by_name(first)?;
        }
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let single = infos.len() == 1 && names.len() == 1;
        let names = Some(names).filter(|names| !names.is_empty());
        let each = infos.into_iter().map(|info| Target { info, names: names.clone() });
        Ok(Self { each: each.collect(), single })
    }

    /// `kind/name` each; several of one kind are one target, if they stand together.
    fn references(words: &[&str]) -> Result<Self> {
        let mut each: Vec<Target> = Vec::new();
        for word in words {
            let Some((kind, name)) = word.split_once('/') else {
                return Err(Error::usage(
                    "there is no need to specify a resource type as a separate argument when passing \
                     arguments in resource/name form (e.g. 'topo get resource/<resource_name>' instead of \
                     'topo get resource resource/<resource_name>')",
                ));
            };
            if kind.is_empty() || name.is_empty() || name.contains('/') {
                return Err(Error::Usage(format!(
                    "arguments in resource/name form must have a single resource and name: {word}"
                )));
            }
            let info = by_name(kind)?;
            match each.last_mut() {
                Some(Target { info: last, names: Some(names) }) if *last == info => names.push(name.into()),
                _ => each.push(Target { info, names: Some(vec![name.into()]) }),
            }
        }
        Ok(Self { each, single: words.len() == 1 })
    }

    /// Whether objects are named.
    #[must_use]
    pub fn named(&self) -> bool {
        self.each.iter().any(|target| target.names.is_some())
    }

    /// Whether several kinds are meant.
    #[must_use]
    pub fn mixed(&self) -> bool {
        self.each.iter().any(|target| target.info != self.each[0].info)
    }

    /// The one object that is meant.
    ///
    /// # Errors
    /// Another number than one.
    pub fn one(&self) -> Result<(&'static KindInfo, &str)> {
        match self.each.as_slice() {
            [Target { info, names: Some(names) }] if names.len() == 1 => Ok((info, &names[0])),
            _ => Err(Error::usage("one object is wanted, as deploy/web or deploy web")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(words: &str) -> String {
        let words: Vec<_> = words.split_whitespace().collect();
        match Targets::parse(&words) {
            Ok(targets) => {
                let each = targets.each.iter().map(|target| match &target.names {
                    Some(names) => format!("{}={}", target.info.plural, names.join("+")),
                    None => target.info.plural.into(),
                });
                let single = if targets.single { " (single)" } else { "" };
                each.collect::<Vec<_>>().join(" ") + single
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn words_mean_what_kubectl_users_mean() {
        let lines = [
            "po",
            "pod c1",
            "pods c1 c2",
            "po,svc",
            "deploy,po,svc,endpointslices",
            "po,svc web",
            "pod/c1",
            "pod/c1 po/c2 svc/web",
            "all",
            "all,pods,cm",
            "deploy.v1.apps/web",
            "",
            "foo",
            "foo/bar",
            "po,foo",
            "pod pod/c1",
            "pod/",
            "/c1",
            "pod/a/b",
            ",",
        ];
        let all: Vec<_> = lines.iter().map(|line| format!("{line}: {}", said(line))).collect();
        insta::assert_snapshot!(all.join("\n"));
    }
}
