//! What names may look like (specification, sections 1 and 2).

/// Longest name of an interface: `IFNAMSIZ` less the zero byte.
const INTERFACE: usize = 15;

/// Why a text is no network's name or container's id; nothing when it is one.
pub(crate) fn fault_of_name(name: &str) -> Option<&'static str> {
    let mut bytes = name.bytes();
    match bytes.next() {
        None => return Some("empty"),
        Some(first) if !first.is_ascii_alphanumeric() => {
            return Some("does not begin with a letter or digit");
        }
        Some(_) => {}
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    (!bytes.all(allowed)).then_some("only letters, digits, _ . and - may be in it")
}

/// Why a text is no interface's name, by the rules of the kernel.
pub(crate) fn fault_of_interface(name: &str) -> Option<&'static str> {
    match name {
        "" => Some("empty"),
        "." | ".." => Some("reserved by the kernel"),
        _ if name.len() > INTERFACE => Some("longer than 15 bytes"),
        _ if name.contains(|c: char| matches!(c, '/' | ':' | '\0') || c.is_whitespace()) => {
            Some("neither / nor : nor white space may be in it")
        }
        _ => None,
    }
}

/// Why a text is no plugin's type: it must be the name of a file.
pub(crate) fn fault_of_plugin(name: &str) -> Option<&'static str> {
    match name {
        "" => Some("empty"),
        "." | ".." => Some("a folder"),
        _ if name.contains(['/', '\\', '\0']) => Some("neither / nor \\ may be in it"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ids() {
        for good in ["a", "0", "dbnet", "a.b_c-D", "cnitool-0123456789abcdef0123", "a..", &"x".repeat(300)] {
            assert_eq!(fault_of_name(good), None, "{good}");
        }
        for bad in ["", ".", "-a", "_a", "a/b", "a b", "ä", "a\n", "a:b"] {
            assert!(fault_of_name(bad).is_some(), "{bad:?}");
        }
    }

    #[test]
    fn interfaces() {
        for good in ["eth0", "net1@x", "123456789012345", "ä"] {
            assert_eq!(fault_of_interface(good), None, "{good}");
        }
        for bad in ["", ".", "..", "1234567890123456", "a/b", "a:b", "a b", "a\tb", "a\u{a0}b"] {
            assert!(fault_of_interface(bad).is_some(), "{bad:?}");
        }
    }

    #[test]
    fn plugins() {
        assert_eq!(fault_of_plugin("host-local"), None);
        for bad in ["", "..", "a/b", "..\\b", "a\0"] {
            assert!(fault_of_plugin(bad).is_some(), "{bad:?}");
        }
    }
}
