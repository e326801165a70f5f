//! Whether a part is the real program or ours.

use topology::Choice;

/// What was decided, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision<T> {
    /// The real one.
    Real(T),
    /// Ours; why, where nobody had said so.
    Builtin {
        /// As `no flanneld in PATH`; may be empty.
        why: String,
    },
    /// The real one is wanted and cannot be had.
    Impossible {
        /// Why not.
        message: String,
        /// What to do.
        hint: String,
    },
}

/// A part that may exist as a real program, for messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    /// The program's name.
    pub(crate) program: &'static str,
    /// Where it was looked for and not found, as `no flanneld in PATH`.
    pub(crate) absent: &'static str,
    /// Its key in the topology file.
    pub(crate) key: &'static str,
}

/// Decides; `missing` says what a program that was found lacks.
pub(crate) fn decide<T>(
    choice: Choice,
    part: Part,
    find: impl FnOnce() -> Option<T>,
    missing: impl FnOnce(&T) -> Vec<String>,
) -> Decision<T> {
    if choice == Choice::Builtin {
        return Decision::Builtin { why: String::new() };
    }
    let why = match find() {
        None => part.absent.to_owned(),
        Some(real) => {
            let missing = missing(&real);
            if missing.is_empty() {
                return Decision::Real(real);
            }
            format!("{} is there, but not {}", part.program, missing.join(", nor "))
        }
    };
    if choice == Choice::Auto {
        return Decision::Builtin { why };
    }
    let hint = format!(
        "the topology file wants the real one: install it, or say components: {{{}: builtin}}",
        part.key
    );
    Decision::Impossible { message: why, hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PART: Part = Part { program: "flanneld", absent: "no flanneld in PATH", key: "flannel" };

    fn decided(choice: Choice, found: Option<&'static str>, missing: &[&str]) -> Decision<&'static str> {
        decide(choice, PART, || found, |_| missing.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_real_one_is_taken_where_it_is_found_and_can_run() {
        for choice in [Choice::Auto, Choice::Real] {
            assert_eq!(decided(choice, Some("it"), &[]), Decision::Real("it"));
        }
        assert_eq!(decided(Choice::Builtin, Some("it"), &[]), Decision::Builtin { why: String::new() });
    }

    #[test]
    fn without_it_ours_is_taken_and_says_why_unless_the_real_one_is_demanded() {
        let builtin = |why: &str| Decision::Builtin { why: why.into() };
        assert_eq!(decided(Choice::Auto, None, &[]), builtin("no flanneld in PATH"));
        let lacks = "flanneld is there, but not iptables (apt install iptables), nor a module";
        let missing = ["iptables (apt install iptables)", "a module"];
        assert_eq!(decided(Choice::Auto, Some("it"), &missing), builtin(lacks));
        for (found, why) in [(None, "no flanneld in PATH"), (Some("it"), lacks)] {
            let Decision::Impossible { message, hint } = decided(Choice::Real, found, &missing) else {
                panic!("{found:?}")
            };
            assert_eq!(message, why);
            assert!(hint.contains("components: {flannel: builtin}"), "{hint}");
        }
    }
}
