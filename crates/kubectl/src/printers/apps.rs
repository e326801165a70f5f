//! What makes pods.

use api::selector::Selector;
use api::types::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use api::types::api::batch::v1::{CronJob, Job};
use api::types::api::core::v1::PodSpec;
use api::types::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use super::{Context, Printer, none_if_empty, typed};
use crate::age;

fn ends(meta: &ObjectMeta, context: &Context<'_>) -> (String, String) {
    (meta.name.clone().unwrap_or_default(), context.age(meta.creation_timestamp.as_ref()))
}

/// Names and images of the containers.
fn layout(pod: Option<&PodSpec>) -> (String, String) {
    let containers = pod.map_or(&[][..], |pod| pod.containers.as_slice());
    let names: Vec<_> = containers.iter().map(|container| container.name.as_str()).collect();
    let images: Vec<_> =
        containers.iter().map(|container| container.image.as_deref().unwrap_or_default()).collect();
    (names.join(","), images.join(","))
}

fn selector(selector: Option<&LabelSelector>) -> String {
    let Some(selector) = selector else { return "<none>".into() };
    match Selector::try_from(selector) {
        Ok(selector) => none_if_empty(selector.to_string()),
        Err(_) => "<error>".into(),
    }
}

fn number(number: Option<i32>) -> String {
    number.unwrap_or_default().to_string()
}

pub(super) static DEPLOYMENTS: Printer = Printer {
    columns: &["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE", "CONTAINERS", "IMAGES", "SELECTOR"],
    wide: &["CONTAINERS", "IMAGES", "SELECTOR"],
    cells: |object, context| {
        let deployment: Deployment = typed(object)?;
        let (name, age) = ends(&deployment.metadata, context);
        let (spec, status) = (deployment.spec.unwrap_or_default(), deployment.status.unwrap_or_default());
        let (names, images) = layout(spec.template.spec.as_ref());
        Some(vec![
            name,
            format!("{}/{}", number(status.ready_replicas), number(spec.replicas.or(Some(1)))),
            number(status.updated_replicas),
            number(status.available_replicas),
            age,
            names,
            images,
            selector(Some(&spec.selector)),
        ])
    },
};

pub(super) static REPLICA_SETS: Printer = Printer {
    columns: &["NAME", "DESIRED", "CURRENT", "READY", "AGE", "CONTAINERS", "IMAGES", "SELECTOR"],
    wide: &["CONTAINERS", "IMAGES", "SELECTOR"],
    cells: |object, context| {
        let set: ReplicaSet = typed(object)?;
        let (name, age) = ends(&set.metadata, context);
        let (spec, status) = (set.spec.unwrap_or_default(), set.status.unwrap_or_default());
        let (names, images) = layout(spec.template.as_ref().and_then(|template| template.spec.as_ref()));
        Some(vec![
            name,
            number(spec.replicas.or(Some(1))),
            status.replicas.to_string(),
            number(status.ready_replicas),
            age,
            names,
            images,
            selector(Some(&spec.selector)),
        ])
    },
};

pub(super) static DAEMON_SETS: Printer = Printer {
    columns: &[
        "NAME",
        "DESIRED",
        "CURRENT",
        "READY",
        "UP-TO-DATE",
        "AVAILABLE",
        "NODE SELECTOR",
        "AGE",
        "CONTAINERS",
        "IMAGES",
        "SELECTOR",
    ],
    wide: &["CONTAINERS", "IMAGES", "SELECTOR"],
    cells: |object, context| {
        let set: DaemonSet = typed(object)?;
        let (name, age) = ends(&set.metadata, context);
        let (spec, status) = (set.spec.unwrap_or_default(), set.status.unwrap_or_default());
        let pod = spec.template.spec.as_ref();
        let (names, images) = layout(pod);
        let nodes = pod.and_then(|pod| pod.node_selector.clone()).unwrap_or_default();
        Some(vec![
            name,
            status.desired_number_scheduled.to_string(),
            status.current_number_scheduled.to_string(),
            status.number_ready.to_string(),
            number(status.updated_number_scheduled),
            number(status.number_available),
            super::label_text(&nodes),
            age,
            names,
            images,
            selector(Some(&spec.selector)),
        ])
    },
};

pub(super) static STATEFUL_SETS: Printer = Printer {
    columns: &["NAME", "READY", "AGE", "CONTAINERS", "IMAGES"],
    wide: &["CONTAINERS", "IMAGES"],
    cells: |object, context| {
        let set: StatefulSet = typed(object)?;
        let (name, age) = ends(&set.metadata, context);
        let (spec, status) = (set.spec.unwrap_or_default(), set.status.unwrap_or_default());
        let (names, images) = layout(spec.template.spec.as_ref());
        let ready = format!("{}/{}", number(status.ready_replicas), number(spec.replicas.or(Some(1))));
        Some(vec![name, ready, age, names, images])
    },
};

pub(super) static JOBS: Printer = Printer {
    columns: &["NAME", "STATUS", "COMPLETIONS", "DURATION", "AGE", "CONTAINERS", "IMAGES", "SELECTOR"],
    wide: &["CONTAINERS", "IMAGES", "SELECTOR"],
    cells: |object, context| {
        let job: Job = typed(object)?;
        let (name, age) = ends(&job.metadata, context);
        let deleted = job.metadata.deletion_timestamp.is_some();
        let (spec, status) = (job.spec.unwrap_or_default(), job.status.unwrap_or_default());
        let has = |wanted: &str| {
            let conditions = status.conditions.iter().flatten();
            conditions.into_iter().any(|one| one.type_ == wanted && one.status == "True")
        };
        let word = if has("Complete") {
            "Complete"
        } else if has("Failed") {
            "Failed"
        } else if deleted {
            "Terminating"
        } else if has("Suspended") {
            "Suspended"
        } else if has("FailureTarget") {
            "FailureTarget"
        } else if has("SuccessCriteriaMet") {
            "SuccessCriteriaMet"
        } else {
            "Running"
        };
        let succeeded = number(status.succeeded);
        let completions = match (spec.completions, spec.parallelism) {
            (Some(wanted), _) => format!("{succeeded}/{wanted}"),
            (None, Some(parallel)) if parallel > 1 => format!("{succeeded}/1 of {parallel}"),
            (None, _) => format!("{succeeded}/1"),
        };
        let end = status.completion_time.as_ref().unwrap_or(context.now);
        let duration = status.start_time.as_ref().map(|start| age::since(Some(start), end));
        let (names, images) = layout(spec.template.spec.as_ref());
        let selector = selector(spec.selector.as_ref());
        Some(vec![name, word.into(), completions, duration.unwrap_or_default(), age, names, images, selector])
    },
};

pub(super) static CRON_JOBS: Printer = Printer {
    columns: &[
        "NAME",
        "SCHEDULE",
        "TIMEZONE",
        "SUSPEND",
        "ACTIVE",
        "LAST SCHEDULE",
        "AGE",
        "CONTAINERS",
        "IMAGES",
        "SELECTOR",
    ],
    wide: &["CONTAINERS", "IMAGES", "SELECTOR"],
    cells: |object, context| {
        let job: CronJob = typed(object)?;
        let (name, age) = ends(&job.metadata, context);
        let (spec, status) = (job.spec.unwrap_or_default(), job.status.unwrap_or_default());
        let of = spec.job_template.spec.unwrap_or_default();
        let (names, images) = layout(of.template.spec.as_ref());
        let last = status.last_schedule_time.as_ref();
        Some(vec![
            name,
            spec.schedule,
            none_if_empty(spec.time_zone.unwrap_or_default()),
            if spec.suspend == Some(true) { "True" } else { "False" }.into(),
            status.active.map_or(0, |active| active.len()).to_string(),
            last.map_or("<none>".into(), |last| context.age(Some(last))),
            age,
            names,
            images,
            selector(of.selector.as_ref()),
        ])
    },
};
