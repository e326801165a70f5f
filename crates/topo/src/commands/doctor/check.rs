//! What doctor finds out, and the JSON form of it (`docs/doctor.md`).

use serde::{Deserialize, Serialize};

/// What came of trying.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    /// It works.
    Ok,
    /// It does not.
    Missing,
    /// It works in part, or could not be tried.
    Limited,
}

impl Outcome {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Missing => "missing",
            Self::Limited => "limited",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Group {
    Namespaces,
    Links,
    Nftables,
    Impairments,
    Tools,
    Machine,
}

impl Group {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Namespaces => "namespaces",
            Self::Links => "links",
            Self::Nftables => "nftables",
            Self::Impairments => "impairments",
            Self::Tools => "tools",
            Self::Machine => "machine",
        }
    }
}

/// One line of the report.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Check {
    pub(super) group: Group,
    pub(super) name: &'static str,
    pub(super) result: Outcome,
    /// Whether labs do not work without.
    pub(super) required: bool,
    /// A version or figure, or what the kernel said.
    pub(super) detail: String,
    /// What it costs the user; none when all is well.
    pub(super) cost: Option<String>,
    /// How to get it; none when all is well, or nothing is known.
    pub(super) fix: Option<String>,
}

impl Check {
    pub(super) fn ok(group: Group, name: &'static str, required: bool, detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), ..Self::not(Outcome::Ok, group, name, required) }
    }

    /// One without any explanation yet.
    pub(super) fn not(result: Outcome, group: Group, name: &'static str, required: bool) -> Self {
        Self { group, name, result, required, detail: String::new(), cost: None, fix: None }
    }
}

/// Who asks, and what namespaces are like for that user.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) root: bool,
    /// Whether it takes a user namespace; none when there are no namespaces at all.
    pub(super) user_namespace: Option<bool>,
    /// `host`, `range` or `single`.
    pub(super) ids: Option<&'static str>,
}

#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) labs: bool,
    pub(super) user: User,
    pub(super) kernel: String,
    pub(super) checks: Vec<Check>,
}

/// A command as this user has to type it.
pub(super) fn as_root(root: bool, command: &str) -> String {
    if root { command.to_owned() } else { format!("sudo {command}") }
}
