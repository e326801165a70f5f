//! Which Ingresses are this controller's.
//!
//! Source: <https://kubernetes.io/docs/concepts/services-networking/ingress/#ingress-class>.

use std::collections::BTreeSet;

use api::types::api::networking::v1::{Ingress, IngressClass};
use store::ObjectName;

use super::{Cluster, Settings};

/// How a class was named before there was a field for it.
const ANNOTATION: &str = "kubernetes.io/ingress.class";
const DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class";

/// The classes of a cluster.
#[derive(Debug)]
pub(super) struct Classes<'a> {
    /// Those of this controller.
    ours: BTreeSet<&'a str>,
    all: BTreeSet<&'a str>,
    /// The class of Ingresses that name none.
    default: Option<&'a str>,
    classless: bool,
}

/// Whose an Ingress is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Claim<'a> {
    /// This controller's.
    Ours,
    /// Another one's, or nobody's.
    Others,
    /// It names a class that does not exist.
    NoClass(&'a str),
}

impl<'a> Classes<'a> {
    pub(super) fn new(cluster: &'a Cluster, settings: &Settings) -> Self {
        let name = |(name, _): (&'a ObjectName, _)| name.name.as_str();
        let is_ours = |class: &IngressClass| {
            let controller = class.spec.as_ref().and_then(|spec| spec.controller.as_ref());
            controller.is_some_and(|controller| settings.controllers.contains(controller))
        };
        let is_default = |class: &IngressClass| {
            let annotations = class.metadata.annotations.as_ref();
            annotations.and_then(|all| all.get(DEFAULT)).is_some_and(|value| value == "true")
        };
        // Of several default ones the newest counts (kubernetes `plugin/pkg/admission/network/defaultingressclass`).
        let defaults = cluster.classes.iter().filter(|(_, class)| is_default(class));
        let default = defaults.max_by_key(|(name, class)| {
            let made = class.metadata.creation_timestamp.as_ref().map(|time| time.0);
            (made, std::cmp::Reverse(*name))
        });
        Self {
            ours: cluster.classes.iter().filter(|(_, class)| is_ours(class)).map(name).collect(),
            all: cluster.classes.iter().map(name).collect(),
            default: default.map(name),
            classless: settings.classless,
        }
    }

    pub(super) fn claim(&self, ingress: &'a Ingress) -> Claim<'a> {
        let field = ingress.spec.as_ref().and_then(|spec| spec.ingress_class_name.as_deref());
        let annotation = ingress.metadata.annotations.as_ref().and_then(|all| all.get(ANNOTATION));
        match field.or(annotation.map(String::as_str)).or(self.default) {
            Some(class) if self.ours.contains(class) => Claim::Ours,
            Some(class) if self.all.contains(class) => Claim::Others,
            // The annotation named controllers too, without a class of that name.
            Some("nginx") if field.is_none() && self.all.is_empty() && self.classless => Claim::Ours,
            Some(class) => Claim::NoClass(class),
            None if self.classless => Claim::Ours,
            None => Claim::Others,
        }
    }
}
