//! Events, the oldest first.

use api::types::api::core::v1::Event;
use api::types::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::Value;

use super::{Context, Printer, text, typed};

pub(super) static EVENTS: Printer = Printer {
    columns: &[
        "LAST SEEN",
        "TYPE",
        "REASON",
        "OBJECT",
        "SUBOBJECT",
        "SOURCE",
        "MESSAGE",
        "FIRST SEEN",
        "COUNT",
        "NAME",
    ],
    wide: &["SUBOBJECT", "SOURCE", "FIRST SEEN", "COUNT", "NAME"],
    cells,
};

fn cells(object: &Value, context: &Context<'_>) -> Option<Vec<String>> {
    let event: Event = typed(object)?;
    let (first, last) = (first_time(&event), last_time(&event));
    let about = &event.involved_object;
    let (kind, name) = (about.kind.clone().unwrap_or_default(), about.name.clone().unwrap_or_default());
    let count = event.series.as_ref().and_then(|series| series.count).or(event.count).unwrap_or(1).max(1);
    Some(vec![
        context.age(last.as_ref()),
        event.type_.clone().unwrap_or_default(),
        event.reason.clone().unwrap_or_default(),
        format!("{}/{name}", kind.to_lowercase()),
        about.field_path.clone().unwrap_or_default(),
        source(&event),
        event.message.clone().unwrap_or_default().trim().to_owned(),
        context.age(first.as_ref()),
        count.to_string(),
        event.metadata.name.clone().unwrap_or_default(),
    ])
}

/// Who says so, and where.
fn source(event: &Event) -> String {
    let source = event.source.clone().unwrap_or_default();
    let component = source.component.filter(|text| !text.is_empty()).or(event.reporting_component.clone());
    let host = source.host.filter(|text| !text.is_empty()).or(event.reporting_instance.clone());
    let words = [component, host].into_iter().flatten().filter(|text| !text.is_empty());
    words.collect::<Vec<_>>().join(", ")
}

/// When it was first.
pub(crate) fn first_time(event: &Event) -> Option<Time> {
    event.first_timestamp.clone().or(event.event_time.as_ref().map(|at| Time(at.0)))
}

/// When it was last.
pub(crate) fn last_time(event: &Event) -> Option<Time> {
    let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref());
    series.map(|at| Time(at.0)).or(event.last_timestamp.clone()).or_else(|| first_time(event))
}

/// By what events are sorted: the times that their fields have, as text in one form.
pub(crate) fn last_seen(object: &Value) -> String {
    let fields = ["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"];
    let found = fields.into_iter().map(|pointer| text(object, pointer)).find(|at| !at.is_empty());
    // Micro-seconds or none: what is before the dot decides, and then what is behind it.
    found.unwrap_or_default().trim_end_matches('Z').to_owned()
}
