//! Where an HTTP probe goes, and where it is sent from there.
//!
//! Sources: kubernetes `pkg/probe/http/request.go` (`formatURL`), `http.go` (`RedirectChecker`); RFC 3986
//! sections 5.2 and 3.

use std::fmt;

/// A URL of scheme http or https.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// `http` or `https`.
    pub(super) scheme: String,
    /// Name or address, without brackets.
    pub(super) host: String,
    /// As it was given.
    pub(super) port: Option<u16>,
    /// Begins with a slash, with the query if there is one; only bytes that may stand in a request.
    pub(super) path: String,
}

impl Target {
    /// The path as a manifest has it: perhaps without the first slash, perhaps with a query, perhaps
    /// with what would have to be escaped.
    pub(super) fn new(scheme: &str, host: &str, port: u16, path: &str) -> Self {
        Self { scheme: scheme.into(), host: host.into(), port: Some(port), path: request_path(path) }
    }

    /// The port to connect to.
    pub(super) fn port(&self) -> u16 {
        self.port.unwrap_or(if self.scheme == "https" { 443 } else { 80 })
    }

    /// As in the header `Host`.
    pub(super) fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        self.port.map_or(host.clone(), |port| format!("{host}:{port}"))
    }

    /// Where the header `Location` leads from here; none if it is no URL that can be gone to.
    pub(super) fn join(&self, location: &str) -> Option<Self> {
        let location = location.trim();
        let scheme_end = location.find(':').filter(|at| {
            let scheme = &location[..*at];
            scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
        });
        if let Some(at) = scheme_end {
            let scheme = location[..at].to_lowercase();
            let rest = location[at + 1..].strip_prefix("//")?;
            return ["http", "https"].contains(&scheme.as_str()).then(|| absolute(scheme, rest))?;
        }
        if let Some(rest) = location.strip_prefix("//") {
            return absolute(self.scheme.clone(), rest);
        }
        let own = self.path.split('?').next().unwrap_or_default();
        let path = match location.chars().next() {
            None | Some('#') => self.path.clone(),
            Some('?') => format!("{own}{location}"),
            Some('/') => location.into(),
            Some(_) => format!("{}/{location}", own.rsplit_once('/').map_or("", |(folder, _)| folder)),
        };
        Some(Self { path: request_path(&without_dots(&path)), ..self.clone() })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.authority(), self.path)
    }
}

/// What comes after `//`.
fn absolute(scheme: String, rest: &str) -> Option<Target> {
    let at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (host, port) = match authority.strip_prefix('[') {
        Some(inner) => inner.split_once(']').map(|(host, rest)| (host, rest.strip_prefix(':')))?,
        None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    let port = match port.filter(|port| !port.is_empty()) {
        Some(port) => Some(port.parse().ok()?),
        None => None,
    };
    (!host.is_empty()).then(|| Target { scheme, host: host.into(), port, path: request_path(path) })
}

/// With a slash in front, without a fragment, and with everything escaped that may not stand in a request.
fn request_path(path: &str) -> String {
    let path = path.split('#').next().unwrap_or_default();
    let mut out = String::with_capacity(path.len() + 1);
    if !path.starts_with('/') {
        out.push('/');
    }
    let bytes = path.as_bytes();
    for (i, byte) in bytes.iter().enumerate() {
        let escaped = || bytes.get(i + 1..i + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit));
        let bad = match byte {
            b'%' => !escaped(),
            b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => true,
            byte => !byte.is_ascii_graphic(),
        };
        if bad {
            out.push_str(&format!("%{byte:02X}"));
        } else {
            out.push(char::from(*byte));
        }
    }
    out
}

/// Without `.` and `..` (RFC 3986 section 5.2.4).
fn without_dots(path: &str) -> String {
    let (path, query) = path.split_at(path.find(['?', '#']).unwrap_or(path.len()));
    let mut kept: Vec<&str> = Vec::new();
    let mut parts = path.trim_start_matches('/').split('/').peekable();
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        match part {
            "." | ".." => {
                if part == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            part => kept.push(part),
        }
    }
    format!("/{}{query}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_manifests_can_be_asked_for() {
        let table = [
            ("", "/"),
            ("/", "/"),
            ("healthz", "/healthz"),
            ("/a b/é?q=\"x\"#part", "/a%20b/%C3%A9?q=%22x%22"),
            ("/100%/%41", "/100%25/%41"),
            ("/a?b=c&d=[e]", "/a?b=c&d=[e]"),
        ];
        for (path, wanted) in table {
            assert_eq!(Target::new("http", "h", 80, path).path, wanted, "{path}");
        }
    }

    #[test]
    fn locations_lead_on_as_the_standard_says() {
        let base = Target::new("http", "11.10.0.5", 8080, "/a/b?q");
        let table = [
            ("/x", "http://11.10.0.5:8080/x"),
            ("x", "http://11.10.0.5:8080/a/x"),
            ("../x/./y/..", "http://11.10.0.5:8080/x/"),
            ("../../../x", "http://11.10.0.5:8080/x"),
            ("?p", "http://11.10.0.5:8080/a/b?p"),
            ("", "http://11.10.0.5:8080/a/b?q"),
            ("#end", "http://11.10.0.5:8080/a/b?q"),
            ("//other/x", "http://other/x"),
            ("https://11.10.0.5/x?y#z", "https://11.10.0.5/x?y"),
            ("http://user@[fd00::1]:81", "http://[fd00::1]:81/"),
            ("HTTP://h:/x", "http://h/x"),
            ("/a:b", "http://11.10.0.5:8080/a:b"),
        ];
        for (location, wanted) in table {
            let target = base.join(location).unwrap_or_else(|| panic!("{location}"));
            assert_eq!(target.to_string(), wanted, "{location}");
        }
        for location in ["ftp://h/x", "mailto:a", "http://", "http://h:x/", "http://[::1/"] {
            assert_eq!(base.join(location), None, "{location}");
        }
        assert_eq!(base.join("https://h/").unwrap().port(), 443);
    }
}
