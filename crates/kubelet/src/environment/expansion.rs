//! `$(NAME)` in values, commands and arguments.
//!
//! Source: kubernetes `third_party/forked/golang/expansion/expand.go`; the rules are in the API's words
//! on `EnvVar.value`.

/// Puts values in place of `$(NAME)`. `$$` is a plain `$`, so `$$(NAME)` stays as `$(NAME)`; a name
/// without a value, a `$` before anything else and one without a closing bracket stay as they are.
/// Values are not looked into again.
#[must_use]
pub fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
            match lookup(name) {
                Some(value) => out.push_str(&value),
                None => out.extend(["$(", name, ")"]),
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_escapes_and_what_is_neither() {
        let lookup = |name: &str| match name {
            "A" => Some("a".to_owned()),
            "B" => Some("$(A)".to_owned()),
            "EMPTY" => Some(String::new()),
            "B$(A" => Some("odd".to_owned()),
            _ => None,
        };
        let table = [
            ("", ""),
            ("plain", "plain"),
            ("$(A)", "a"),
            ("x$(A)y$(A)z", "xayaz"),
            // A value is not looked into again.
            ("$(B)", "$(A)"),
            ("$(EMPTY)|", "|"),
            ("$(MISSING)", "$(MISSING)"),
            ("$()", "$()"),
            // Each pair is one.
            ("$$", "$"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$a"),
            ("$$$$(A)", "$$(A)"),
            ("$$$$$$$(A)", "$$$a"),
            // Not ours: the shell's.
            ("$A ${A} $1", "$A ${A} $1"),
            ("$", "$"),
            ("end$", "end$"),
            ("$(A", "$(A"),
            ("$(A$(A)", "$(A$(A)"),
            ("$(B$(A)", "odd"),
            ("$((A))", "$((A))"),
            ("ä$(A)ö$é", "äaö$é"),
            ("f$(MISSING)$(A)", "f$(MISSING)a"),
        ];
        for (text, expanded) in table {
            assert_eq!(expand(text, lookup), expanded, "{text}");
        }
    }
}
