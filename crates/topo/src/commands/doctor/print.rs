//! The report for people.

use comfy_table::{Attribute, Cell, Color, Table};

use super::check::{Check, Group, Outcome, Report};
use crate::output::{self, line};

pub(super) fn report(report: &Report) {
    let mut table = output::table(&["CHECK", "RESULT", "DETAIL"]);
    let mut group = None;
    for check in &report.checks {
        if group != Some(check.group) {
            table.add_row([heading(check.group)]);
            group = Some(check.group);
        }
        add(&mut table, check);
    }
    output::print_table(&table);
    line("");
    line(verdict(report));
    for hint in hints(&report.checks) {
        line(hint);
    }
}

fn heading(group: Group) -> Cell {
    let cell = Cell::new(group.word());
    if output::colours() { cell.add_attribute(Attribute::Bold) } else { cell }
}

fn add(table: &mut Table, check: &Check) {
    let word = Cell::new(check.result.word());
    let colour = match check.result {
        Outcome::Ok => Color::Green,
        Outcome::Missing => Color::Red,
        Outcome::Limited => Color::Yellow,
    };
    let word = if output::colours() { word.fg(colour) } else { word };
    let parts = [Some(check.detail.as_str()), check.cost.as_deref()];
    let parts: Vec<&str> = parts.into_iter().flatten().filter(|part| !part.is_empty()).collect();
    table.add_row([Cell::new(format!("  {}", check.name)), word, Cell::new(parts.join("; "))]);
}

fn verdict(report: &Report) -> String {
    if report.labs {
        return "labs work here".into();
    }
    let missing = report.checks.iter().filter(|check| check.required && check.result == Outcome::Missing);
    let names: Vec<&str> = missing.map(|check| check.name).collect();
    format!("labs do not work here: {} missing", names.join(", "))
}

/// What to do, a line each; what several need is said once. What labs depend on comes first.
fn hints(checks: &[Check]) -> Vec<String> {
    let mut fixes: Vec<(&str, Vec<&str>)> = Vec::new();
    let vital = |check: &&Check| check.required && check.result == Outcome::Missing;
    let (first, later): (Vec<_>, Vec<_>) = checks.iter().partition(vital);
    for check in first.into_iter().chain(later) {
        let Some(fix) = check.fix.as_deref() else { continue };
        match fixes.iter_mut().find(|(known, _)| *known == fix) {
            Some((_, names)) => names.push(check.name),
            None => fixes.push((fix, vec![check.name])),
        }
    }
    fixes.iter().map(|(fix, names)| format!("hint: {}: {fix}", names.join(", "))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::check::User;
    use super::*;

    fn missing(name: &'static str, required: bool, fix: &str) -> Check {
        Check { fix: Some(fix.into()), ..Check::not(Outcome::Missing, Group::Tools, name, required) }
    }

    #[test]
    fn what_labs_depend_on_is_named_and_comes_first() {
        let checks = vec![
            missing("ip", false, "install iproute2"),
            missing("etcd", true, "install etcd"),
            missing("tc", false, "install iproute2"),
            Check::ok(Group::Machine, "cores", false, "2"),
        ];
        assert_eq!(hints(&checks), ["hint: etcd: install etcd", "hint: ip, tc: install iproute2"]);
        let user = User { uid: 0, root: true, user_namespace: None, ids: None };
        let report = Report { labs: false, user, kernel: "6.1".into(), checks };
        assert_eq!(verdict(&report), "labs do not work here: etcd missing");
    }
}
