//! The names of images.

use std::fmt;

/// A name that an image cannot have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("image {name:?}: {why}")]
pub struct InvalidReference {
    /// The name as it was written.
    pub name: String,
    /// What is wrong with it.
    pub why: &'static str,
}

/// A name taken apart: `registry.k8s.io:443/e2e/agnhost:2.39@sha256:…`.
///
/// The grammar is the one of the distribution project (`reference/reference.go`), as far as it
/// matters here: lower-case path components, a tag behind a colon, a digest behind an at sign. What
/// registry it is does not matter, so it is one more component of the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reference<'a> {
    /// Registry and path, `registry.k8s.io:443/e2e/agnhost`.
    path: &'a str,
    tag: Option<&'a str>,
    digest: Option<&'a str>,
}

impl<'a> Reference<'a> {
    pub(crate) fn parse(name: &'a str) -> Result<Self, InvalidReference> {
        Self::read(name).map_err(|why| InvalidReference { name: name.into(), why })
    }

    fn read(name: &'a str) -> Result<Self, &'static str> {
        let (rest, digest) = match name.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (name, None),
        };
        // A colon before a slash is a registry's port.
        let (path, tag) = match rest.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
            _ => (rest, None),
        };
        if path.is_empty() {
            return Err("the name is missing");
        }
        let components: Vec<&str> = path.split('/').collect();
        for (i, component) in components.iter().enumerate() {
            let registry = i == 0 && components.len() > 1 && component.contains(['.', ':']);
            let known = |c: char| match c {
                'a'..='z' | '0'..='9' | '.' | '_' | '-' => true,
                'A'..='Z' | ':' | '[' | ']' => registry,
                _ => false,
            };
            if component.is_empty() {
                return Err("a part between two slashes is missing");
            }
            if component.chars().any(|c| c.is_ascii_uppercase()) && !registry {
                return Err("names are in lower case");
            }
            if !component.chars().all(known) {
                return Err("a name has letters, digits, '.', '_', '-' and '/' only");
            }
        }
        let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        match tag {
            Some("") => return Err("the tag behind the colon is missing"),
            Some(tag) if tag.len() > 128 => return Err("the tag is longer than 128 characters"),
            Some(tag) if !tag.chars().all(word) || tag.starts_with(['.', '-']) => {
                return Err(
                    "a tag has letters, digits, '.', '_' and '-' only, and begins with none of '.' and '-'",
                );
            }
            _ => {}
        }
        match digest.map(|digest| digest.split_once(':')) {
            Some(Some((algorithm, hex)))
                if !algorithm.is_empty() && hex.len() >= 32 && hex.chars().all(|c| c.is_ascii_hexdigit()) => {
            }
            Some(_) => return Err("a digest is an algorithm, a colon and at least 32 hexadecimal digits"),
            None => {}
        }
        Ok(Self { path, tag, digest })
    }

    pub(crate) fn has_digest(&self) -> bool {
        self.digest.is_some()
    }

    /// Under which names a table may have it, the most particular first: with the registry before
    /// without, and with the tag before without.
    pub(crate) fn candidates(&self) -> impl Iterator<Item = String> {
        let starts = std::iter::once(0).chain(self.path.match_indices('/').map(|(i, _)| i + 1));
        starts.flat_map(|start| {
            let path = &self.path[start..];
            let tagged = self.tag.map(|tag| format!("{path}:{tag}"));
            tagged.into_iter().chain([path.to_owned()])
        })
    }

    /// The last part of the path.
    pub(crate) fn short(&self) -> &'a str {
        self.path.rsplit('/').next().unwrap_or(self.path)
    }
}

impl fmt::Display for Reference<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.path)?;
        if let Some(tag) = self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn candidates(name: &str) -> Vec<String> {
        Reference::parse(name).unwrap().candidates().collect()
    }

    #[test]
    fn the_most_particular_name_comes_first() {
        assert_eq!(candidates("nginx"), ["nginx"]);
        assert_eq!(
            candidates("docker.io/library/nginx:1.25"),
            [
                "docker.io/library/nginx:1.25",
                "docker.io/library/nginx",
                "library/nginx:1.25",
                "library/nginx",
                "nginx:1.25",
                "nginx"
            ]
        );
    }

    #[test]
    fn a_port_is_no_tag_and_a_digest_is_left_out() {
        assert_eq!(candidates("localhost:5000/a"), ["localhost:5000/a", "a"]);
        assert_eq!(candidates(&format!("a:1@{DIGEST}")), ["a:1", "a"]);
        let reference = format!("r.io:5000/a/b:1@{DIGEST}");
        assert_eq!(Reference::parse(&reference).unwrap().to_string(), reference);
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let bad = [
            "",
            ":1",
            "a:",
            "a//b",
            "/a",
            "Nginx",
            "a b",
            "a/B",
            "a:-1",
            "a@sha256",
            "a@sha256:12",
            "ä",
            "a:b:c",
        ];
        for name in bad {
            let error = Reference::parse(name).unwrap_err();
            assert_eq!(error.name, name);
            assert!(error.to_string().starts_with(&format!("image {name:?}: ")), "{error}");
        }
    }

    #[test]
    fn a_registry_may_have_capitals() {
        assert_eq!(candidates("Registry.Example:5000/a").len(), 2);
    }
}
