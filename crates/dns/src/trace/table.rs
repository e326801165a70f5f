//! A look-up as a table in words.

use std::fmt;
use std::net::IpAddr;

use super::{End, Query, Said, Trace};
use crate::metrics::code_name;

impl Trace {
    /// How many queries were sent.
    #[must_use]
    pub fn queries(&self) -> usize {
        self.tries.iter().map(|one| one.queries.len()).sum()
    }

    /// Lines of number, name, type, server, answer, time; the reason of a name on its first line.
    #[must_use]
    pub fn rows(&self) -> Vec<[String; 7]> {
        let mut rows = Vec::new();
        let mut number = 0;
        for one in &self.tries {
            let mut why = one.why.as_str();
            if one.queries.is_empty() {
                let nothing = || "-".to_owned();
                let too_long = "not asked: the name is too long".to_owned();
                rows.push([
                    nothing(),
                    one.name.clone(),
                    nothing(),
                    nothing(),
                    too_long,
                    nothing(),
                    why.into(),
                ]);
            }
            for query in &one.queries {
                number += 1;
                let server = query.server.ip().to_string();
                rows.push([
                    number.to_string(),
                    one.name.clone(),
                    query.kind.to_string(),
                    if query.tcp { format!("{server} by TCP") } else { server },
                    query.words(),
                    format!("{:.1} ms", query.took.as_secs_f64() * 1e3),
                    std::mem::take(&mut why).to_owned(),
                ]);
            }
        }
        rows
    }

    /// How it ended, in a sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        let name = &self.name;
        let cost = match (self.tries.len(), self.queries()) {
            (1, queries) => format!("1 name, {}", plural(queries)),
            (names, queries) => format!("{names} names, {}", plural(queries)),
        };
        match &self.end {
            End::Found(addresses) => format!("{name} is {}: {cost}", joined(addresses)),
            End::Address(_) => format!("{name} is an address: nobody is asked"),
            End::Hosts(addresses) => {
                format!("{name} is {}: /etc/hosts says so, nobody is asked", joined(addresses))
            }
            End::NoName => format!("{name}: Name or service not known (EAI_NONAME): {cost}"),
            End::NoData => format!("{name}: No address associated with hostname (EAI_NODATA): {cost}"),
            End::Again => format!("{name}: Temporary failure in name resolution (EAI_AGAIN): {cost}"),
            End::Fail => format!("{name}: Non-recoverable failure in name resolution (EAI_FAIL): {cost}"),
        }
    }
}

impl Trace {
    /// What would have cost less, if something would: a name that was found as it stands, after all search
    /// domains, is found at once with a dot at its end.
    #[must_use]
    pub fn advice(&self) -> Option<String> {
        let [.., last] = self.tries.as_slice() else { return None };
        let as_it_is = last.name.strip_suffix('.') == Some(self.name.as_str());
        (self.tries.len() > 1 && as_it_is && matches!(self.end, End::Found(_))).then(|| {
            format!(
                "{}. with a dot at its end would cost 1 name, {}: no search domain is tried",
                self.name,
                plural(last.queries.len())
            )
        })
    }
}

impl Query {
    /// The answer in words.
    #[must_use]
    pub fn words(&self) -> String {
        match &self.answer {
            Said::Records { addresses, aliases } if aliases.is_empty() => joined(addresses),
            Said::Records { addresses, aliases } if addresses.is_empty() => {
                format!("alias of {}, which has none", aliases.join(", of "))
            }
            Said::Records { addresses, aliases } => {
                format!("alias of {}: {}", aliases.join(", of "), joined(addresses))
            }
            Said::NoData => format!("no {} record (NODATA)", self.kind),
            Said::NoName => "no such name (NXDOMAIN)".into(),
            Said::Code(code) => format!("the server does not answer ({})", code_name(*code)),
            Said::Truncated => "too long for UDP (truncated)".into(),
            Said::Silence => "no answer".into(),
            Said::Unreachable(why) => format!("not reached: {why}"),
        }
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["", "name", "type", "asked", "answer", "time", "why this name"].map(str::to_owned);
        let rows: Vec<_> = std::iter::once(head).chain(self.rows()).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..7).map(width).collect();
        for row in rows.iter().filter(|_| rows.len() > 1) {
            let mut line = String::new();
            for (text, width) in row.iter().zip(&widths) {
                line.push_str(&format!("{text:width$}  "));
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        write!(f, "{}", self.sentence())?;
        self.advice().map_or(Ok(()), |advice| write!(f, "\n{advice}"))
    }
}

fn joined(addresses: &[IpAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn plural(queries: usize) -> String {
    if queries == 1 { "1 query".into() } else { format!("{queries} queries") }
}
