//! Probes and hooks of containers.

use k8s_openapi::api::core::v1::{
    Container, ExecAction, HTTPGetAction, LifecycleHandler, Probe, SleepAction, TCPSocketAction,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::one_of;
use crate::field::{Errors, Path};
use crate::names;

/// What a container may have if it runs as long as the pod.
pub(super) fn lifecycle_and_probes(
    container: &Container,
    grace: Option<i64>,
    path: &Path,
    errors: &mut Errors,
) {
    if let Some(lifecycle) = &container.lifecycle {
        let hooks = [("postStart", &lifecycle.post_start), ("preStop", &lifecycle.pre_stop)];
        for (field, hook) in hooks {
            if let Some(hook) = hook {
                handler(&Handler::of_hook(hook), grace, &path.child("lifecycle").child(field), errors);
            }
        }
    }
    let probes = [
        ("livenessProbe", &container.liveness_probe),
        ("readinessProbe", &container.readiness_probe),
        ("startupProbe", &container.startup_probe),
    ];
    for (field, one) in probes {
        let Some(one) = one else { continue };
        let at = path.child(field);
        probe(one, grace, &at, errors);
        if field == "readinessProbe" {
            if let Some(seconds) = one.termination_grace_period_seconds {
                let why = "must not be set for readinessProbes";
                errors.invalid(&at.child("terminationGracePeriodSeconds"), seconds, why);
            }
        } else if one.success_threshold.unwrap_or_default() != 1 {
            errors.invalid(&at.child("successThreshold"), one.success_threshold, "must be 1");
        }
    }
}

/// (`validateProbe`)
fn probe(probe: &Probe, grace: Option<i64>, path: &Path, errors: &mut Errors) {
    handler(&Handler::of_probe(probe), grace, path, errors);
    let numbers = [
        ("initialDelaySeconds", probe.initial_delay_seconds),
        ("timeoutSeconds", probe.timeout_seconds),
        ("periodSeconds", probe.period_seconds),
        ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ];
    for (field, number) in numbers {
        errors.negative(&path.child(field), number.unwrap_or_default());
    }
    if let Some(seconds) = probe.termination_grace_period_seconds.filter(|seconds| *seconds <= 0) {
        errors.invalid(&path.child("terminationGracePeriodSeconds"), seconds, "must be greater than 0");
    }
}

/// What probes and hooks have in common.
#[derive(Default)]
struct Handler<'a> {
    exec: Option<&'a ExecAction>,
    http_get: Option<&'a HTTPGetAction>,
    tcp_socket: Option<&'a TCPSocketAction>,
    grpc_port: Option<i32>,
    sleep: Option<&'a SleepAction>,
}

impl<'a> Handler<'a> {
    fn of_probe(probe: &'a Probe) -> Self {
        Self {
            exec: probe.exec.as_ref(),
            http_get: probe.http_get.as_ref(),
            tcp_socket: probe.tcp_socket.as_ref(),
            grpc_port: probe.grpc.as_ref().map(|grpc| grpc.port),
            sleep: None,
        }
    }

    fn of_hook(hook: &'a LifecycleHandler) -> Self {
        Self {
            exec: hook.exec.as_ref(),
            http_get: hook.http_get.as_ref(),
            tcp_socket: hook.tcp_socket.as_ref(),
            grpc_port: None,
            sleep: hook.sleep.as_ref(),
        }
    }

    fn fields(&self) -> impl Iterator<Item = &'static str> + use<> {
        let set = [
            ("exec", self.exec.is_some()),
            ("httpGet", self.http_get.is_some()),
            ("tcpSocket", self.tcp_socket.is_some()),
            ("grpc", self.grpc_port.is_some()),
            ("sleep", self.sleep.is_some()),
        ];
        set.into_iter().filter(|(_, set)| *set).map(|(field, _)| field)
    }
}

/// (`validateHandler`)
fn handler(handler: &Handler<'_>, grace: Option<i64>, path: &Path, errors: &mut Errors) {
    let mut fields = handler.fields();
    let Some(first) = fields.next() else {
        return errors.required(path, "must specify a handler type");
    };
    let at = path.child(first);
    // Only the first is looked at.
    match first {
        "exec" if handler.exec.is_some_and(|exec| exec.command.as_ref().is_none_or(Vec::is_empty)) => {
            errors.required(&at.child("command"), "");
        }
        "httpGet" => handler.http_get.into_iter().for_each(|get| http_get(get, &at, errors)),
        "tcpSocket" => {
            handler.tcp_socket.into_iter().for_each(|tcp| super::port(&tcp.port, &at.child("port"), errors));
        }
        "grpc" => {
            let port = IntOrString::Int(handler.grpc_port.unwrap_or_default());
            super::port(&port, &at.child("port"), errors);
        }
        "sleep" => {
            let seconds = handler.sleep.map_or(0, |sleep| sleep.seconds);
            if let Some(grace) = grace.filter(|grace| seconds < 0 || seconds > *grace) {
                let why = "must be non-negative and less than terminationGracePeriodSeconds";
                errors.invalid(&at, seconds, &format!("{why} ({grace})"));
            }
        }
        _ => {}
    }
    for other in fields {
        errors.forbidden(&path.child(other), "may not specify more than 1 handler type");
    }
}

fn http_get(get: &HTTPGetAction, path: &Path, errors: &mut Errors) {
    if get.path.as_deref().unwrap_or_default().is_empty() {
        errors.required(&path.child("path"), "");
    }
    super::port(&get.port, &path.child("port"), errors);
    one_of(get.scheme.as_deref(), &path.child("scheme"), &["HTTP", "HTTPS"], errors);
    for header in get.http_headers.iter().flatten() {
        errors.invalid_each(&path.child("httpHeaders"), &header.name, names::http_header(&header.name));
    }
}
