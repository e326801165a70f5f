//! Which rules apply to which kind.

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Event, Namespace, Node, Pod, Secret, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{IPAddress, Ingress, IngressClass, NetworkPolicy, ServiceCIDR};
use k8s_openapi::api::scheduling::v1::PriorityClass;
use serde::Serialize;
use serde_json::Value;

use super::{Rejection, Rules, Stamp, create, pod, service, update, update_status};
use crate::decode;
use crate::default::{
    apps as app_defaults, core as core_defaults, pod as pod_defaults, service as service_defaults,
};
use crate::field::Errors;
use crate::kinds::KindInfo;
use crate::node_ingress::NodeIngress;
use crate::skupper::{AccessGrant, AccessToken, Connector, Link, Listener, Site};
use crate::validate::{
    apps, core, endpoints, ingress, meta, node_ingress, pod as pods, service as services,
    skupper as skupper_rules, virtual_ip,
};
use crate::virtual_ip::VirtualIP;

/// A kind's functions, for those who do not know its type.
pub(super) struct Functions {
    pub(super) create: fn(&Value, &Stamp) -> Result<Value, Rejection>,
    pub(super) update: fn(&Value, &Value) -> Result<Value, Rejection>,
    pub(super) update_status: fn(&Value, &Value) -> Result<Value, Rejection>,
}

impl Functions {
    fn of<K: Rules>() -> Self {
        Self {
            create: |document, stamp| create::<K>(document, stamp).map(document_of),
            update: |document, old| update::<K>(document, &decode::strict(old)?).map(document_of),
            update_status: |document, old| {
                update_status::<K>(document, &decode::strict(old)?).map(document_of)
            },
        }
    }
}

/// What was read from a document can be written as one.
fn document_of(object: impl Serialize) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

/// Fields that several kinds have: `same_spec` and `take_status`.
macro_rules! has {
    (spec) => {
        fn same_spec(&self, other: &Self) -> bool {
            self.spec == other.spec
        }
    };
    (status) => {
        fn take_status(&mut self, other: &Self) {
            self.status.clone_from(&other.status);
        }
    };
    (counted) => {
        const COUNTED: bool = true;
    };
    (no_status_at_first) => {
        fn prepare_create(&mut self) {
            self.status = Some(Default::default());
        }
    };
}

macro_rules! rules {
    ($(
        $type:ty: $($has:ident)* {
            $(defaults: $defaults:path,)? $(validate: $validate:path,)? $(update: $update:path,)?
            $(prepare_create: $prepare_create:path,)? $(prepare_update: $prepare_update:path,)?
        }
    )*) => {
        $(impl Rules for $type {
            $(has!($has);)*
            $(fn set_defaults(&mut self) {
                $defaults(self);
            })?
            $(fn prepare_create(&mut self) {
                $prepare_create(self);
            })?
            $(fn prepare_update(&mut self, old: &Self) {
                $prepare_update(self, old);
            })?
            $(fn validate(&self, errors: &mut Errors) {
                $validate(self, errors);
            })?
            $(fn validate_update(&self, old: &Self, errors: &mut Errors) {
                $update(self, old, errors);
            })?
        })*

        pub(super) fn functions(info: &KindInfo) -> Option<Functions> {
            $(if *info == *<$type as crate::Kind>::INFO {
                return Some(Functions::of::<$type>());
            })*
            None
        }
    };
}

rules! {
    Pod: spec status {
        defaults: pod_defaults::pod,
        validate: pods::pod,
        update: pods::pod_update,
        prepare_create: pod::prepare_create,
        prepare_update: pod::prepare_update,
    }
    Service: spec status {
        defaults: service_defaults::service,
        validate: services::service,
        update: services::service_update,
        prepare_create: service::prepare_create,
        prepare_update: service::prepare_update,
    }
    Namespace: spec status {
        defaults: core_defaults::namespace,
        validate: core::namespace,
        update: namespace_update,
        prepare_create: namespace_create,
        prepare_update: keep_finalizers,
    }
    ConfigMap: {
        validate: core::config_map,
        update: core::config_map_update,
    }
    Secret: {
        defaults: core_defaults::secret,
        validate: core::secret,
        update: core::secret_update,
    }
    Endpoints: {
        defaults: core_defaults::endpoints,
        validate: endpoints::endpoints,
    }
    EndpointSlice: {
        defaults: core_defaults::endpoint_slice,
        validate: endpoints::endpoint_slice,
        update: endpoints::endpoint_slice_update,
    }
    Deployment: spec status counted no_status_at_first {
        defaults: app_defaults::deployment,
        validate: apps::deployment,
        update: apps::deployment_update,
    }
    ReplicaSet: spec status counted no_status_at_first {
        defaults: app_defaults::replica_set,
        validate: apps::replica_set,
        update: apps::replica_set_update,
    }
    DaemonSet: spec status counted no_status_at_first {
        defaults: app_defaults::daemon_set,
        validate: apps::daemon_set,
        update: apps::daemon_set_update,
    }
    StatefulSet: spec status counted no_status_at_first {
        defaults: app_defaults::stateful_set,
        validate: apps::stateful_set,
        update: apps::stateful_set_update,
    }
    VirtualIP: spec counted {
        validate: virtual_ip::virtual_ip,
    }
    Site: spec status counted {
        validate: skupper_rules::site,
        prepare_create: no_site_status,
    }
    Link: spec status counted {
        validate: skupper_rules::link,
        prepare_create: no_link_status,
    }
    AccessGrant: spec status counted {
        defaults: one_redemption,
        validate: skupper_rules::access_grant,
        prepare_create: no_grant_status,
    }
    AccessToken: spec status counted {
        validate: skupper_rules::access_token,
        prepare_create: no_token_status,
    }
    Listener: spec status counted {
        validate: skupper_rules::listener,
        prepare_create: no_listener_status,
    }
    Connector: spec status counted {
        validate: skupper_rules::connector,
        prepare_create: no_connector_status,
    }
    // A kubelet registers its node with a status.
    Node: spec status {}
    Job: spec status counted no_status_at_first {}
    CronJob: spec status counted no_status_at_first {}
    Ingress: spec status counted no_status_at_first {
        validate: ingress::ingress,
        update: ingress::ingress_update,
    }
    IngressClass: spec counted {
        validate: ingress::class,
        update: ingress::class_update,
    }
    NodeIngress: spec status counted {
        validate: node_ingress::node_ingress,
        prepare_create: without_status,
    }
    NetworkPolicy: spec counted {}
    Lease: spec {}
    PriorityClass: {}
    IPAddress: spec {}
    ServiceCIDR: spec status {}
    ControllerRevision: {}
    ServiceAccount: {}
    Event: {}
}

/// A grant may be redeemed once if it does not say how often (skupper `internal/kube/grants/grants.go`).
fn one_redemption(grant: &mut AccessGrant) {
    if grant.spec.redemptions_allowed == 0 {
        grant.spec.redemptions_allowed = 1;
    }
}

/// Kinds whose status is their controller's from the first word on.
macro_rules! without_status {
    ($($function:ident $type:ty;)*) => {$(
        fn $function(object: &mut $type) {
            object.status = None;
        }
    )*};
}

without_status! {
    no_site_status Site;
    no_link_status Link;
    no_grant_status AccessGrant;
    no_token_status AccessToken;
    no_listener_status Listener;
    no_connector_status Connector;
}

/// Its last finalizer is not one of its metadata (kubernetes `pkg/registry/core/namespace/strategy.go`).
fn namespace_create(namespace: &mut Namespace) {
    let finalizers = &mut namespace.spec.get_or_insert_default().finalizers;
    let kubernetes = "kubernetes".to_owned();
    if !finalizers.get_or_insert_default().contains(&kubernetes) {
        finalizers.get_or_insert_default().push(kubernetes);
    }
    namespace.status = Some(k8s_openapi::api::core::v1::NamespaceStatus {
        phase: Some("Active".into()),
        ..Default::default()
    });
}

fn without_status(proxy: &mut NodeIngress) {
    proxy.status = None;
}

fn keep_finalizers(new: &mut Namespace, old: &Namespace) {
    new.spec.clone_from(&old.spec);
}

fn namespace_update(new: &Namespace, old: &Namespace, errors: &mut Errors) {
    core::namespace(new, errors);
    meta::object_meta_update(&new.metadata, &old.metadata, errors);
}
