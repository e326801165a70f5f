//! `kubectl api-resources`: which kinds there are, and what one calls them.
//!
//! Source: kubectl `pkg/cmd/apiresources/apiresources.go`.

use api::KindInfo;
use api::kinds::KINDS;

use crate::table::Table;

/// Which kinds, in which order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Only those in namespaces, or only the others.
    pub namespaced: Option<bool>,
    /// Only those of a group; empty for the core group.
    pub group: Option<String>,
    /// How they are sorted.
    pub order: Order,
}

/// How kinds are sorted, within that by their names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    /// By group.
    #[default]
    Group,
    /// By name.
    Name,
    /// By kind.
    Kind,
}

/// The kinds that are wanted.
#[must_use]
pub fn kinds(wanted: &Wanted) -> Vec<&'static KindInfo> {
    let mut found: Vec<_> = KINDS
        .iter()
        .copied()
        .filter(|info| wanted.namespaced.is_none_or(|namespaced| namespaced == info.namespaced))
        .filter(|info| wanted.group.as_ref().is_none_or(|group| group == info.group))
        .collect();
    found.sort_by_key(|info| {
        let first = match wanted.order {
            Order::Group => info.group,
            Order::Name => info.plural,
            Order::Kind => info.kind,
        };
        (first, info.plural)
    });
    found
}

/// The table of kinds.
#[must_use]
pub fn table(kinds: &[&KindInfo]) -> Table {
    let mut table = Table::new(&["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"]);
    for info in kinds {
        let namespaced = info.namespaced.to_string();
        table.row([
            info.plural.into(),
            info.short.join(","),
            info.api_version(),
            namespaced,
            info.kind.into(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_stand_by_group_and_name() {
        insta::assert_snapshot!(table(&kinds(&Wanted::default())).text());
        let names =
            |wanted: Wanted| kinds(&wanted).iter().map(|info| info.resource()).collect::<Vec<_>>().join(" ");
        let apps = Wanted { group: Some("apps".into()), order: Order::Kind, ..Wanted::default() };
        insta::assert_snapshot!(names(apps), @"controllerrevisions.apps daemonsets.apps deployments.apps replicasets.apps statefulsets.apps");
        let cluster = Wanted { namespaced: Some(false), group: Some(String::new()), order: Order::Name };
        insta::assert_snapshot!(names(cluster), @"namespaces nodes");
    }
}
