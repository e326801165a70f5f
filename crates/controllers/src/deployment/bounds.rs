//! How many pods a rolling update may have too many, and too few.
//!
//! Source: kubernetes `pkg/controller/deployment/util/deployment_util.go` (`ResolveFenceposts`), apimachinery
//! `pkg/util/intstr/intstr.go`.

use api::types::api::apps::v1::DeploymentSpec;
use api::types::apimachinery::pkg::util::intstr::IntOrString;

/// Bounds, in pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// As many are wanted.
    pub(crate) replicas: i32,
    /// As many may be there beside them.
    pub(crate) surge: i32,
    /// As many of them may be missing.
    pub(crate) unavailable: i32,
}

impl Bounds {
    pub(crate) fn of(spec: &DeploymentSpec) -> Self {
        let replicas = spec.replicas.unwrap_or(1).max(0);
        let strategy = spec.strategy.clone().unwrap_or_default();
        if strategy.type_.as_deref() == Some("Recreate") {
            return Self { replicas, surge: 0, unavailable: 0 };
        }
        let rolling = strategy.rolling_update.unwrap_or_default();
        let surge = scaled(rolling.max_surge.as_ref(), replicas, true);
        let unavailable = scaled(rolling.max_unavailable.as_ref(), replicas, false);
        // Something has to give.
        let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
        Self { replicas, surge, unavailable: unavailable.min(replicas) }
    }

    /// Never more.
    pub(crate) fn most(self) -> i32 {
        if self.replicas == 0 { 0 } else { self.replicas.saturating_add(self.surge) }
    }

    /// Never fewer that are available.
    pub(crate) fn least(self) -> i32 {
        self.replicas - self.unavailable
    }
}

/// A number, or a share of `of`; none is a quarter.
fn scaled(value: Option<&IntOrString>, of: i32, up: bool) -> i32 {
    let percent = match value {
        Some(IntOrString::Int(number)) => return (*number).max(0),
        Some(IntOrString::String(text)) => text.trim_end_matches('%').parse().unwrap_or(0),
        None => 25,
    };
    let exact = i64::from(of) * i64::from(percent.max(0));
    let rounded = if up { (exact + 99) / 100 } else { exact / 100 };
    i32::try_from(rounded).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn bounds_are_rounded_as_upstreams() {
        let table = [
            (10, json!("25%"), json!("25%"), (3, 2)),
            (1, json!("25%"), json!("25%"), (1, 0)),
            (3, json!(0), json!(0), (0, 1)),
            (3, json!("0%"), json!("10%"), (0, 1)),
            (4, json!(1), json!(0), (1, 0)),
            (2, json!(0), json!(5), (0, 2)),
            (10, json!("150%"), json!("100%"), (15, 10)),
            (0, json!("25%"), json!("25%"), (0, 0)),
        ];
        for (replicas, surge, unavailable, expected) in table {
            let rolling = json!({"maxSurge": surge, "maxUnavailable": unavailable});
            let strategy = json!({"type": "RollingUpdate", "rollingUpdate": rolling});
            let document: Value =
                json!({"replicas": replicas, "strategy": strategy, "selector": {}, "template": {}});
            let spec = serde_json::from_value(document).unwrap();
            let bounds = Bounds::of(&spec);
            assert_eq!((bounds.surge, bounds.unavailable), expected, "{replicas} {surge} {unavailable}");
        }
    }
}
