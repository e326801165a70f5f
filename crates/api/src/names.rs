//! Which names, labels and ports are well-formed, and why not.
//!
//! Each function gives what is wrong with its argument, in apimachinery's words; nothing if all is well.
//!
//! Source: apimachinery `pkg/util/validation/validation.go` (version 0.33).

use std::net::IpAddr;

const LABEL_FORMAT: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN_FORMAT: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const QUALIFIED_FORMAT: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const QUALIFIED_WORDS: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and \
                               end with an alphanumeric character";

/// The most bytes of a DNS label, of a label's value, and of the name part of its key.
pub const LABEL_MAX: usize = 63;
/// The most bytes of a DNS name.
pub const SUBDOMAIN_MAX: usize = 253;

/// A label in DNS, as a container's name (`IsDNS1123Label`).
#[must_use]
pub fn dns_label(value: &str) -> Vec<String> {
    let mut wrong = too_long(value, LABEL_MAX);
    if !is_label(value) {
        let words = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and \
                     must start and end with an alphanumeric character";
        wrong.push(if is_subdomain(value) {
            "must not contain dots".into()
        } else {
            format_error(words, LABEL_FORMAT, &["my-name", "123-abc"])
        });
    }
    wrong
}

/// A name in DNS, as most objects' names (`IsDNS1123Subdomain`).
#[must_use]
pub fn dns_subdomain(value: &str) -> Vec<String> {
    let mut wrong = too_long(value, SUBDOMAIN_MAX);
    if !is_subdomain(value) {
        let words = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or \
                     '.', and must start and end with an alphanumeric character";
        wrong.push(format_error(words, SUBDOMAIN_FORMAT, &["example.com"]));
    }
    wrong
}

/// A name in DNS whose first label is `*` (`IsWildcardDNS1123Subdomain`).
#[must_use]
pub fn wildcard(value: &str) -> Vec<String> {
    let mut wrong = too_long(value, SUBDOMAIN_MAX);
    if !value.strip_prefix("*.").is_some_and(is_subdomain) {
        let words = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, \
                     which must consist of lower case alphanumeric characters, '-' or '.' and end with an \
                     alphanumeric character";
        wrong.push(format_error(words, &format!(r"\*\.{SUBDOMAIN_FORMAT}"), &["*.example.com"]));
    }
    wrong
}

/// A DNS name, a slash and a path, as a controller's name (`IsDomainPrefixedPath`).
#[must_use]
pub fn domain_prefixed_path(value: &str) -> Vec<String> {
    let Some((domain, path)) = value.split_once('/').filter(|(d, p)| !d.is_empty() && !p.is_empty()) else {
        return vec!["must be a domain-prefixed path (such as \"acme.io/foo\")".into()];
    };
    let mut wrong: Vec<String> =
        dns_subdomain(domain).into_iter().map(|why| format!("prefix part {why}")).collect();
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"/-_.~!$&'()*+,;=:%".contains(&b);
    if !path.bytes().all(legal) {
        let format = "[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+";
        wrong.push(format!("Invalid path (regex used for validation is '{format}')"));
    }
    wrong
}

/// A label that begins with a letter, as a service's name (`IsDNS1035Label`).
#[must_use]
pub fn dns_1035_label(value: &str) -> Vec<String> {
    let mut wrong = too_long(value, LABEL_MAX);
    if !is_label(value) || !value.starts_with(|c: char| c.is_ascii_lowercase()) {
        let words = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an \
                     alphabetic character, and end with an alphanumeric character";
        wrong.push(format_error(words, "[a-z]([-a-z0-9]*[a-z0-9])?", &["my-name", "abc-123"]));
    }
    wrong
}

/// A node's name.
///
/// Kubernetes wants a lowercase DNS name. The nodes of the labs have upper case letters (`C0w1`), because
/// the course has them; so these are allowed here, in names of nodes, of their leases, and where a field
/// refers to a node.
#[must_use]
pub fn node_name(value: &str) -> Vec<String> {
    let mut wrong = too_long(value, SUBDOMAIN_MAX);
    if !is_subdomain(&value.to_ascii_lowercase()) {
        // The words of apimachinery's `IsDNS1123SubdomainCaseless`.
        let words = "an RFC 1123 subdomain must consist of alphanumeric characters, '-' or '.', and must start \
                     and end with an alphanumeric character";
        wrong.push(format_error(words, SUBDOMAIN_FORMAT, &["Example.com"]));
    }
    wrong
}

/// The key of a label: a name, perhaps after a DNS name and a slash (`IsQualifiedName`).
#[must_use]
pub fn qualified_name(value: &str) -> Vec<String> {
    let examples = ["MyName", "my.name", "123-abc"];
    let parts: Vec<&str> = value.split('/').collect();
    let mut wrong = Vec::new();
    let name = match parts.as_slice() {
        [name] => *name,
        [prefix, name] => {
            if prefix.is_empty() {
                wrong.push("prefix part must be non-empty".into());
            } else {
                wrong.extend(dns_subdomain(prefix).into_iter().map(|why| format!("prefix part {why}")));
            }
            name
        }
        _ => {
            let why = format_error(QUALIFIED_WORDS, QUALIFIED_FORMAT, &examples);
            let hint = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
            return vec![format!("a qualified name {why} {hint}")];
        }
    };
    if name.is_empty() {
        wrong.push("name part must be non-empty".into());
    }
    wrong.extend(too_long(name, LABEL_MAX).into_iter().map(|why| format!("name part {why}")));
    if !is_qualified_part(name) {
        let why = format_error(QUALIFIED_WORDS, QUALIFIED_FORMAT, &examples);
        wrong.push(format!("name part {why}"));
    }
    wrong
}

/// The value of a label (`IsValidLabelValue`).
#[must_use]
pub fn label_value(value: &str) -> Vec<String> {
    let mut wrong = too_long(value, LABEL_MAX);
    if !value.is_empty() && !is_qualified_part(value) {
        let words = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or \
                     '.', and must start and end with an alphanumeric character";
        let format = format!("({QUALIFIED_FORMAT})?");
        wrong.push(format_error(words, &format, &["MyValue", "my_value", "12345"]));
    }
    wrong
}

/// A port's name: `IANA_SVC_NAME`, RFC 6335 section 5.1 (`IsValidPortName`).
#[must_use]
pub fn port_name(value: &str) -> Vec<String> {
    let mut wrong = too_long(value, 15);
    if value.is_empty() || !value.bytes().all(is_label_byte) {
        wrong.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".into());
    }
    if !value.contains(|c: char| c.is_ascii_lowercase()) {
        wrong.push("must contain at least one letter (a-z)".into());
    }
    if value.contains("--") {
        wrong.push("must not contain consecutive hyphens".into());
    }
    if value.starts_with('-') || value.ends_with('-') {
        wrong.push("must not begin or end with a hyphen".into());
    }
    wrong
}

/// A port's number (`IsValidPortNum`).
#[must_use]
pub fn port_number(value: i32) -> Vec<String> {
    in_range(value.into(), 1, 65535)
}

/// A number from `least` to `most` (`IsInRange`).
#[must_use]
pub fn in_range(value: i64, least: i64, most: i64) -> Vec<String> {
    let inside = (least..=most).contains(&value);
    if inside { vec![] } else { vec![format!("must be between {least} and {most}, inclusive")] }
}

/// The name of an environment variable (`IsRelaxedEnvVarName`, the default since 1.32).
#[must_use]
pub fn env_name(value: &str) -> Vec<String> {
    let printable = |c: char| c == ' ' || c.is_ascii_graphic() && c != '=';
    if value.is_empty() {
        vec!["environment variable name must be non-empty".into()]
    } else if value.chars().all(printable) {
        vec![]
    } else {
        vec!["a valid environment variable name must consist only of printable ASCII characters other than '='"
            .into()]
    }
}

/// A key in a ConfigMap or Secret (`IsConfigMapKey`).
#[must_use]
pub fn config_key(value: &str) -> Vec<String> {
    let mut wrong = too_long(value, SUBDOMAIN_MAX);
    if value.is_empty() || !value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)) {
        let words = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
        wrong.push(format_error(words, "[-._a-zA-Z0-9]+", &["key.name", "KEY_NAME", "key-name"]));
    }
    match value {
        "." | ".." => wrong.push(format!("must not be '{value}'")),
        _ if value.starts_with("..") => wrong.push("must not start with '..'".into()),
        _ => {}
    }
    wrong
}

/// The name of an HTTP header (`IsHTTPHeaderName`).
#[must_use]
pub fn http_header(value: &str) -> Vec<String> {
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return vec![];
    }
    let words = "a valid HTTP header must consist of alphanumeric characters or '-'";
    vec![format_error(words, "[-A-Za-z0-9]+", &["X-Header-Name"])]
}

/// A part of a whole, as `25%` (`IsValidPercent`).
#[must_use]
pub fn percent(value: &str) -> Vec<String> {
    let digits = value.strip_suffix('%').unwrap_or_default();
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        return vec![];
    }
    let words = "a valid percent string must be a numeric string followed by an ending '%'";
    vec![format_error(words, "[0-9]+%", &["1%", "93%"])]
}

/// An IP address (`IsValidIP`).
#[must_use]
pub fn ip(value: &str) -> Vec<String> {
    if value.parse::<IpAddr>().is_ok() {
        return vec![];
    }
    vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".into()]
}

/// A name to which something will be appended: it may end in a dash (`maskTrailingDash`).
#[must_use]
pub fn as_prefix(value: &str) -> String {
    match value.strip_suffix('-') {
        Some(rest) if !rest.is_empty() => format!("{rest}a"),
        _ => value.into(),
    }
}

fn too_long(value: &str, most: usize) -> Vec<String> {
    if value.len() > most { vec![format!("must be no more than {most} characters")] } else { vec![] }
}

fn is_label_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'
}

fn is_label(value: &str) -> bool {
    !value.is_empty() && value.bytes().all(is_label_byte) && !value.starts_with('-') && !value.ends_with('-')
}

fn is_subdomain(value: &str) -> bool {
    value.split('.').all(is_label)
}

fn is_qualified_part(value: &str) -> bool {
    let alphanumeric = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    alphanumeric(value.bytes().next())
        && alphanumeric(value.bytes().last())
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

fn format_error(words: &str, format: &str, examples: &[&str]) -> String {
    let examples: Vec<_> = examples.iter().map(|example| format!("'{example}', ")).collect();
    format!("{words} (e.g. {}regex used for validation is '{format}')", examples.join(" or "))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Rule = (&'static str, fn(&str) -> Vec<String>);

    /// Every rule against what is well-formed and what is not, with the whole message.
    #[test]
    fn rules_and_their_words() {
        let rules: &[(Rule, &[&str])] = &[
            (("dns_label", dns_label), &["a", "my-name", "9", "", "a.b", "A", "-a", "a_b"]),
            (("dns_subdomain", dns_subdomain), &["example.com", "a", "a..b", "C0w1", ".a", ""]),
            (("dns_1035_label", dns_1035_label), &["web-1", "1web", "a.b"]),
            (("node_name", node_name), &["C0w1", "node.example", "C0_w1", ""]),
            (
                ("qualified_name", qualified_name),
                &["app", "k8s.io/My_name.1", "/a", "a/", "A_/b", "a/b/c", "-a", ""],
            ),
            (("label_value", label_value), &["", "My_value.1", "a b", "-a"]),
            (
                ("port_name", port_name),
                &["http", "web-1", "1", "a--b", "-a", "HTTP", "a-very-long-port-name", ""],
            ),
            (("env_name", env_name), &["A_B", "a b.c", "a=b", "ä", ""]),
            (("config_key", config_key), &["nginx.conf", "a/b", ".", "..", "..a", ""]),
            (("http_header", http_header), &["X-A", "X A"]),
            (("wildcard", wildcard), &["*.example.com", "*", "a.*.com", "*.A"]),
            (
                ("domain_prefixed_path", domain_prefixed_path),
                &["example.com/ingress", "ingress", "/a", "a/", "A/b", "a/b c"],
            ),
            (("percent", percent), &["25%", "25", "%", "a%"]),
            (("ip", ip), &["10.1.0.1", "::1", "10.1.0", "010.1.0.1", ""]),
        ];
        let mut all = String::new();
        for ((name, rule), values) in rules {
            for value in *values {
                let said = rule(value);
                let said = if said.is_empty() { vec!["fine".into()] } else { said };
                all += &format!("{name} {value:?}:\n    {}\n", said.join("\n    "));
            }
        }
        insta::assert_snapshot!(all);
    }

    #[test]
    fn lengths_and_ranges() {
        assert_eq!(dns_label(&"a".repeat(63)), [""; 0]);
        assert_eq!(dns_label(&"a".repeat(64)), ["must be no more than 63 characters"]);
        assert_eq!(dns_subdomain(&"a".repeat(254)), ["must be no more than 253 characters"]);
        let key = format!("example.com/{}", "a".repeat(64));
        assert_eq!(qualified_name(&key), ["name part must be no more than 63 characters"]);
        assert_eq!(port_number(0), ["must be between 1 and 65535, inclusive"]);
        assert_eq!(port_number(65535), [""; 0]);
    }

    #[test]
    fn a_prefix_may_end_in_a_dash() {
        assert_eq!(as_prefix("web-"), "weba");
        assert_eq!(as_prefix("-"), "-");
        assert_eq!(as_prefix("web"), "web");
    }
}
