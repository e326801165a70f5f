//! Command lines of programs written in Go: `-name=value`, `--name value`, `-switch`.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use crate::Error;

/// What follows a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A value.
    Value,
    /// Nothing, or `=true` or `=false`.
    Switch,
}

/// The flags of a command line, and what is no flag.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Flags {
    values: BTreeMap<&'static str, String>,
    pub(crate) rest: Vec<String>,
}

impl Flags {
    /// Takes `args` apart. One dash is as good as two: Go's own package takes both, and cobra's long
    /// flags have two. What comes after `--` is no flag.
    pub(crate) fn parse(args: &[String], known: &[(&'static str, Kind)]) -> Result<Self, Error> {
        let mut flags = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            if arg == "--" {
                flags.rest.extend(args.by_ref().cloned());
                break;
            }
            let Some(flag) = arg.strip_prefix("--").or(arg.strip_prefix('-')).filter(|flag| !flag.is_empty())
            else {
                flags.rest.push(arg.clone());
                continue;
            };
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (flag, None),
            };
            let Some((name, kind)) = known.iter().find(|(known, _)| *known == name) else {
                let known: Vec<String> = known.iter().map(|(name, _)| format!("--{name}")).collect();
                let there = if known.is_empty() {
                    "there are none".into()
                } else {
                    format!("there are {}", known.join(", "))
                };
                return Err(Error::Usage(format!("no such flag as {arg:?}; {there}")));
            };
            let value = match (value, kind) {
                (Some(value), _) => value,
                (None, Kind::Switch) => "true".into(),
                (None, Kind::Value) => args
                    .next()
                    .ok_or_else(|| Error::Usage(format!("flag --{name}: its value is missing")))?
                    .clone(),
            };
            flags.values.insert(name, value);
        }
        Ok(flags)
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// A flag's value, or `default` without the flag.
    pub(crate) fn value<T: FromStr<Err: Display>>(&self, name: &str, default: T) -> Result<T, Error> {
        let Some(text) = self.text(name) else { return Ok(default) };
        text.parse().map_err(|e| Error::Usage(format!("flag --{name}: {text:?}: {e}")))
    }

    /// That there is nothing but flags.
    pub(crate) fn no_more(&self) -> Result<(), Error> {
        match self.rest.first() {
            None => Ok(()),
            Some(word) => Err(Error::Usage(format!("no argument is expected, and there is {word:?}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[(&str, Kind)] = &[("text", Kind::Value), ("port", Kind::Value), ("http", Kind::Switch)];

    fn parse(line: &str) -> Result<Flags, String> {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Flags::parse(&args, KNOWN).map_err(|e| e.to_string())
    }

    #[test]
    fn one_dash_or_two_with_or_without_an_equals_sign() {
        for line in ["-text=a=b -port 80 -http", "--text a=b --port=80 --http=true"] {
            let flags = parse(line).unwrap();
            assert_eq!(flags.text("text"), Some("a=b"));
            assert_eq!(flags.value("port", 1u16).unwrap(), 80);
            assert!(flags.value("http", false).unwrap());
        }
        assert_eq!(parse("").unwrap().value("port", 7u16).unwrap(), 7);
        assert!(!parse("--http=false").unwrap().value("http", true).unwrap());
    }

    #[test]
    fn what_is_no_flag_is_left() {
        assert_eq!(parse("a -http - b -- -c").unwrap().rest, ["a", "-", "b", "-c"]);
        assert_eq!(
            parse("a").unwrap().no_more().unwrap_err().to_string(),
            "no argument is expected, and there is \"a\""
        );
    }

    #[test]
    fn mistakes_name_the_flag() {
        assert_eq!(
            parse("-tex a").unwrap_err(),
            "no such flag as \"-tex\"; there are --text, --port, --http"
        );
        assert_eq!(parse("-text").unwrap_err(), "flag --text: its value is missing");
        let error = parse("-port x").unwrap().value("port", 1u16).unwrap_err();
        assert_eq!(error.to_string(), "flag --port: \"x\": invalid digit found in string");
    }
}
