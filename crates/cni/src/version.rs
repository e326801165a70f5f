//! Versions of the CNI specification.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

/// A version of the specification that this crate speaks. Newer ones are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// Rich results and chaining.
    V0_3_0,
    /// As 0.3.0, a typing error less.
    V0_3_1,
    /// CHECK, and `prevResult` for DEL.
    V0_4_0,
    /// Lists only; `ips` without `version`.
    V1_0_0,
    /// GC, STATUS, `cniVersions`, plugins from a folder.
    V1_1_0,
}

/// Text that is no version of this crate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// A version, but none that is supported.
    #[error("version {0} is not supported, only {list}", list = Version::list())]
    Unsupported(String),
    /// No version at all.
    #[error("{0:?} is no version of the form 1.1.0")]
    Malformed(String),
}

impl Version {
    /// All of them, oldest first.
    pub const ALL: [Self; 5] = [Self::V0_3_0, Self::V0_3_1, Self::V0_4_0, Self::V1_0_0, Self::V1_1_0];

    /// The newest.
    pub const LATEST: Self = Self::V1_1_0;

    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V0_3_0 => "0.3.0",
            Self::V0_3_1 => "0.3.1",
            Self::V0_4_0 => "0.4.0",
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
        }
    }

    /// Whether plugins understand CHECK and take a `prevResult` on DEL (new in 0.4.0).
    #[must_use]
    pub fn has_check(self) -> bool {
        self >= Self::V0_4_0
    }

    /// Whether plugins understand GC and STATUS (new in 1.1.0).
    #[must_use]
    pub fn has_gc_and_status(self) -> bool {
        self >= Self::V1_1_0
    }

    /// All of them in one line, for messages.
    #[must_use]
    pub fn list() -> String {
        Self::ALL.map(Self::as_str).join(", ")
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(version) = Self::ALL.into_iter().find(|version| version.as_str() == text) {
            return Ok(version);
        }
        let (core, _) = text.split_once(['-', '+']).unwrap_or((text, ""));
        let parts: Vec<&str> = core.split('.').collect();
        let numbers = parts.iter().all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
        if parts.len() == 3 && numbers {
            return Err(VersionError::Unsupported(text.into()));
        }
        Err(VersionError::Malformed(text.into()))
    }
}

/// What a plugin answers to VERSION (specification, section 5, "VERSION Success").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginVersions {
    /// As the plugin named them, also those that this crate does not speak.
    pub supported: Vec<String>,
}

impl PluginVersions {
    /// Whether the plugin speaks a version.
    #[must_use]
    pub fn speaks(&self, version: Version) -> bool {
        self.supported.iter().any(|supported| supported == version.as_str())
    }

    /// Reads the answer; the error says what is wrong with it.
    pub(crate) fn parse(stdout: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(stdout).map_err(|e| e.to_string())?;
        let list = value.get("supportedVersions").and_then(Value::as_array);
        let list = list.ok_or("supportedVersions: missing, or no list")?;
        let supported: Option<Vec<String>> = list.iter().map(|v| v.as_str().map(String::from)).collect();
        match supported {
            Some(supported) if !supported.is_empty() => Ok(Self { supported }),
            Some(_) => Err("supportedVersions: empty".into()),
            None => Err("supportedVersions: not all of them strings".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_written_and_in_order() {
        for version in Version::ALL {
            assert_eq!(version.to_string().parse(), Ok(version));
        }
        assert!(Version::ALL.is_sorted());
        assert_eq!(Version::ALL.last(), Some(&Version::LATEST));
    }

    #[test]
    fn other_versions_are_told_from_rubbish() {
        let error = |text: &str| text.parse::<Version>().unwrap_err().to_string();
        assert_eq!(error("1.2.0"), "version 1.2.0 is not supported, only 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0");
        assert!(matches!("2.0.0-rc.1".parse::<Version>(), Err(VersionError::Unsupported(_))));
        for text in ["", "1", "1.1", "v1.1.0", "1.1.0.0", "1..0", "banana"] {
            assert!(matches!(text.parse::<Version>(), Err(VersionError::Malformed(_))), "{text}");
        }
        assert_eq!(error("banana"), r#""banana" is no version of the form 1.1.0"#);
    }

    #[test]
    fn what_each_version_brought() {
        let all = Version::ALL;
        assert_eq!(all.map(Version::has_check), [false, false, true, true, true]);
        assert_eq!(all.map(Version::has_gc_and_status), [false, false, false, false, true]);
    }

    #[test]
    fn a_plugins_versions_are_read_also_those_unknown_here() {
        let answer = br#"{"cniVersion":"1.1.0","supportedVersions":["0.4.0","9.0.0"],"more":1}"#;
        let versions = PluginVersions::parse(answer).unwrap();
        assert_eq!(versions.supported, ["0.4.0", "9.0.0"]);
        assert!(versions.speaks(Version::V0_4_0) && !versions.speaks(Version::V1_0_0));
        for broken in ["", "[]", "{}", r#"{"supportedVersions":[]}"#, r#"{"supportedVersions":[1]}"#] {
            assert!(PluginVersions::parse(broken.as_bytes()).is_err(), "{broken}");
        }
    }
}
