//! What is served, for people: `topo ingress show`. Pure.

use std::fmt::Write;

use crate::plan::{Behind, Plan, Route};

/// Columns of [`rows`].
pub const COLUMNS: [&str; 6] = ["PORT", "HOST", "PATH", "BACKEND", "ENDPOINTS", "OBJECT"];

/// A row for each route and, where requests are shared, for each of its backends: port, host, path, backend
/// with its share in percent, endpoints that are ready of all, object.
#[must_use]
pub fn rows(plan: &Plan) -> Vec<[String; 6]> {
    plan.routes.iter().flat_map(rows_of).collect()
}

fn rows_of(route: &Route) -> Vec<[String; 6]> {
    let row = |backend: String, endpoints: String| {
        let (port, owner) = (route.port.to_string(), route.owner.to_string());
        [port, route.host.clone(), route.path.clone(), backend, endpoints, owner]
    };
    if route.to.is_empty() {
        return vec![row(route.instead.clone(), "-".into())];
    }
    let backend = |(percent, behind): &(Option<u32>, Behind)| {
        let share = percent.map(|percent| format!(" {percent} %")).unwrap_or_default();
        row(format!("{}{share}", behind.backend), endpoints(behind))
    };
    route.to.iter().map(backend).collect()
}

/// As `2/3`; `-` where nobody counts.
fn endpoints(behind: &Behind) -> String {
    behind.total.map_or_else(|| "-".into(), |total| format!("{}/{total}", behind.ready))
}

/// The rows as an aligned table, and below it what is wrong.
#[must_use]
pub fn table(plan: &Plan) -> String {
    let rows = rows(plan);
    let mut text = String::new();
    if rows.is_empty() {
        text.push_str("no routes\n");
    } else {
        let width = |i: usize| {
            let longest = rows.iter().map(|row| row[i].chars().count()).max().unwrap_or_default();
            longest.max(COLUMNS[i].len())
        };
        let widths: Vec<_> = (0..COLUMNS.len()).map(width).collect();
        line(&mut text, &COLUMNS.map(str::to_owned), &widths);
        rows.iter().for_each(|row| line(&mut text, row, &widths));
    }
    if !plan.problems.is_empty() {
        text.push('\n');
    }
    for problem in &plan.problems {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{problem}");
    }
    text
}

fn line(text: &mut String, cells: &[String; 6], widths: &[usize]) {
    let mut line = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        let _ = write!(line, "{cell:width$}  ");
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Except, Settings, plan};
    use crate::sample;

    #[test]
    fn routes_and_problems() {
        let mut cluster = sample::cluster(
            "
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: fanout}
spec:
  rules:
  - host: foo.bar.com
    http:
      paths:
      - {path: /foo, pathType: Prefix, backend: {service: {name: one, port: {number: 80}}}}
      - {path: /bar, pathType: Exact, backend: {service: {name: none, port: {number: 80}}}}
      - {path: /baz, pathType: Exact, backend: {service: {name: missing, port: {number: 80}}}}
---
apiVersion: knetsim.dev/v1
kind: NodeIngress
metadata: {name: grp1}
spec: {node: C0w1, port: 8001, paths: [{path: /svc1, backend: '100.64.11.1:8000'}]}",
        );
        sample::service(&mut cluster, "one", 80, &["11.10.0.2", "11.20.0.2"]);
        sample::service(&mut cluster, "none", 80, &[]);
        let plan = plan(&cluster, &Settings::new("C0w1"), &Except::default());
        insta::assert_snapshot!(table(&plan));
        assert_eq!(table(&Plan::default()), "no routes\n");
    }
}
