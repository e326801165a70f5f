//! Columns of one's own (`-o custom-columns=NAME:.metadata.name`), and the order of rows (`--sort-by`).
//!
//! Source: kubectl `pkg/cmd/get/{customcolumn,sorter}.go`.

use std::cmp::Ordering;

use api::quantity::Amount;
use api::types::apimachinery::pkg::api::resource::Quantity;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::jsonpath::{Path, compare, plain};
use crate::table::Table;

/// Columns, each a name and where its cells are.
#[derive(Debug, Clone, PartialEq)]
pub struct Columns(Vec<(String, Path)>);

impl Columns {
    /// Reads `NAME:.metadata.name,IP:.status.podIP`.
    ///
    /// # Errors
    /// A column without a name or a path.
    pub fn parse(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Err(Error::usage("custom-columns format specified but no custom columns given"));
        }
        let mut columns = Vec::new();
        for column in split(text) {
            let Some((name, path)) = column.split_once(':').filter(|(name, _)| !name.is_empty()) else {
                return Err(Error::Usage(format!(
                    "unexpected custom-columns spec: {column}, expected <header>:<json-path-expr>"
                )));
            };
            columns.push((name.to_owned(), Path::parse(path)?));
        }
        Ok(Self(columns))
    }

    /// The table of objects.
    #[must_use]
    pub fn table(&self, objects: &[Value]) -> Table {
        let names: Vec<&str> = self.0.iter().map(|(name, _)| name.as_str()).collect();
        let mut table = Table::new(&names);
        for object in objects {
            table.row(self.0.iter().map(|(_, path)| {
                let found: Vec<String> = path.find(object).into_iter().map(plain).collect();
                if found.is_empty() { "<none>".into() } else { found.join(",") }
            }));
        }
        table
    }
}

/// Splits at commas that are not within brackets.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut begin, mut depth) = (Vec::new(), 0, 0);
    for (at, c) in text.char_indices() {
        match c {
            '[' | '(' => depth += 1,
            ']' | ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[begin..]);
    parts
}

/// Sorts objects by what is at a path; those that have nothing there come first.
pub fn sort_by(objects: &mut [Value], path: &Path) {
    objects.sort_by(|a, b| order(path.find(a).first().copied(), path.find(b).first().copied()));
}

fn order(a: Option<&Value>, b: Option<&Value>) -> Ordering {
    match (a, b) {
        (Some(Value::String(a)), Some(Value::String(b))) => match (amount(a), amount(b)) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => natural(a, b),
        },
        (Some(a), Some(b)) => compare(a, b).unwrap_or(Ordering::Equal),
        (a, b) => a.is_some().cmp(&b.is_some()),
    }
}

fn amount(text: &str) -> Option<Amount> {
    Amount::parse(&Quantity(text.into())).ok()
}

/// `c2` before `c10`.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let (x, y) = (chunk(a), chunk(b));
        if x.is_empty() || y.is_empty() {
            return x.len().cmp(&y.len());
        }
        let order = match (x.parse::<u64>(), y.parse::<u64>()) {
            (Ok(x), Ok(y)) => x.cmp(&y),
            _ => x.cmp(y),
        };
        if order.is_ne() {
            return order;
        }
        (a, b) = (&a[x.len()..], &b[y.len()..]);
    }
}

/// Digits, or what are none, at the begin of a text.
fn chunk(text: &str) -> &str {
    let digits = text.starts_with(|c: char| c.is_ascii_digit());
    let end = text.find(|c: char| c.is_ascii_digit() != digits);
    &text[..end.unwrap_or(text.len())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_of_ones_own() {
        let objects = [
            json!({"metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}, {"port": 443}]}}),
            json!({"metadata": {"name": "b"}}),
        ];
        let columns = Columns::parse("NAME:.metadata.name,PORTS:.spec.ports[*].port,X:spec.ports[0,1].port");
        insta::assert_snapshot!(columns.unwrap().table(&objects).text(), @r"
        NAME   PORTS    X
        a      80,443   80,443
        b      <none>   <none>
        ");
        let said = ["", "a", ":b", "a:{"].map(|text| Columns::parse(text).unwrap_err().to_string());
        insta::assert_snapshot!(said.join("\n"));
    }

    #[test]
    fn rows_in_the_order_of_what_is_in_them() {
        let of = |values: &[Value]| -> String {
            let mut objects: Vec<Value> = values.iter().map(|value| json!({"v": value})).collect();
            objects.push(json!({}));
            sort_by(&mut objects, &Path::parse("{.v}").unwrap());
            objects.iter().map(|object| plain(&object["v"])).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(of(&[json!(3), json!(1.5), json!(20)]), " 1.5 3 20");
        assert_eq!(of(&[json!("c10"), json!("c2"), json!("c"), json!("b3")]), " b3 c c2 c10");
        assert_eq!(of(&[json!("1Gi"), json!("2Ki"), json!("500m")]), " 500m 2Ki 1Gi");
        assert_eq!(
            of(&[json!("2026-11-02T00:00:00Z"), json!("2026-11-01T00:00:00Z")]),
            " 2026-11-01T00:00:00Z 2026-11-02T00:00:00Z"
        );
        assert_eq!(of(&[json!(true), json!(false)]), " false true");
    }
}
