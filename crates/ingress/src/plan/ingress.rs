//! Ingresses.
//!
//! Source: <https://kubernetes.io/docs/concepts/services-networking/ingress/>; kubernetes
//! `staging/src/k8s.io/api/networking/v1/types.go`.

use api::names;
use api::types::api::networking::v1::{HTTPIngressPath, Ingress, IngressBackend, IngressTLS};

use super::Cluster;
use super::annotations::{Canary, PREFIX, Wishes};
use super::backend::{Backends, Manner, PortRef};
use super::claim::{Claim, Classes};
use super::draft::{Draft, always};
use super::tls;
use crate::model::{
    Action, Case, Choice, ErrorPages, Host, Location, Owner, Path, Policy, Redirect, RedirectPath, Rewrite,
    Tls,
};
use crate::text;

pub(super) const KIND: &str = "Ingress";

pub(super) fn plan(cluster: &Cluster, backends: &Backends<'_>, draft: &mut Draft<'_>) {
    let classes = Classes::new(cluster, draft.settings);
    let mut all: Vec<&Ingress> = cluster.ingresses.values().map(AsRef::as_ref).collect();
    // The oldest first, canaries behind what they are canaries of; names are in order already.
    all.sort_by_key(|ingress| {
        let made = ingress.metadata.creation_timestamp.as_ref().map(|time| time.0);
        (is_canary(ingress), made)
    });
    for ingress in all {
        let meta = &ingress.metadata;
        let owner = Owner::new(
            KIND,
            meta.namespace.as_deref().unwrap_or_default(),
            meta.name.as_deref().unwrap_or_default(),
        );
        match classes.claim(ingress) {
            Claim::Ours => {}
            Claim::Others => continue,
            Claim::NoClass(class) => {
                draft.problem(&owner, "ClassNotFound", format!("ingress class {class} does not exist"));
                continue;
            }
        }
        draft.claim(&owner);
        if !draft.is_excepted(&owner) {
            let wishes = Wishes::read(meta.annotations.as_ref(), &owner, cluster, draft);
            One { ingress, owner, wishes, cluster, backends, draft }.plan();
        }
    }
}

fn is_canary(ingress: &Ingress) -> bool {
    let annotations = ingress.metadata.annotations.as_ref();
    let value = annotations.and_then(|all| all.get(&format!("{PREFIX}canary")));
    value.is_some_and(|value| value.trim() == "true")
}

/// One Ingress.
struct One<'a, 'd> {
    ingress: &'a Ingress,
    owner: Owner,
    wishes: Wishes,
    cluster: &'a Cluster,
    backends: &'a Backends<'a>,
    draft: &'a mut Draft<'d>,
}

impl One<'_, '_> {
    fn problem(&mut self, reason: &'static str, message: impl Into<String>) {
        self.draft.problem(&self.owner, reason, message);
    }

    fn plan(&mut self) {
        let spec = self.ingress.spec.clone().unwrap_or_default();
        let rules = spec.rules.as_deref().unwrap_or_default();
        let tls = self.certificates(spec.tls.as_deref().unwrap_or_default());
        self.error_pages();
        let default = spec.default_backend.as_ref().map(|backend| self.action(backend));
        for rule in rules {
            let names = rule.host.iter().chain(&self.wishes.aliases).cloned().collect::<Vec<_>>();
            let names = if rule.host.is_none() { vec![String::new()] } else { names };
            let paths = rule.http.as_ref().map(|http| http.paths.as_slice()).unwrap_or_default();
            for name in names {
                let Some(host) = self.host(&name) else { continue };
                let tls = find_tls(&tls, &name);
                self.app_root(&host, tls);
                for path in paths {
                    self.path(&host, tls, path);
                }
                if let Some(action) = &default {
                    self.otherwise(&host, tls, action);
                }
            }
        }
        if let Some(action) = &default {
            self.otherwise(&Host::Any, find_tls(&tls, ""), action);
        }
    }

    /// The host of a rule; none if there can be none of that name.
    fn host(&mut self, host: &str) -> Option<Host> {
        let (wrong, host) = match host.strip_prefix("*.") {
            _ if host.is_empty() => return Some(Host::Any),
            Some(rest) => (names::wildcard(host), Host::Label(rest.into())),
            None => (names::dns_subdomain(host), Host::Name(host.into())),
        };
        if let Some(why) = wrong.first() {
            self.problem("InvalidHost", format!("host {:?}: {why}", host.to_string()));
            return None;
        }
        Some(host)
    }

    /// Which hosts have which certificate; an empty name stands for all hosts.
    fn certificates(&mut self, entries: &[IngressTLS]) -> Vec<(String, Tls)> {
        let mut found = Vec::new();
        for entry in entries {
            let Some(secret) = entry.secret_name.as_deref().filter(|secret| !secret.is_empty()) else {
                self.problem("NoCertificate", "its TLS names no secret, and there is no other certificate");
                continue;
            };
            match tls::certificate(self.cluster, &self.owner.namespace, secret, self.draft) {
                Ok(tls) => {
                    let hosts = entry.hosts.clone().filter(|hosts| !hosts.is_empty());
                    let hosts = hosts.unwrap_or_else(|| vec![String::new()]);
                    found.extend(hosts.into_iter().map(|host| (host, tls.clone())));
                }
                Err(why) => self.problem("NoCertificate", format!("{why}; its hosts have no HTTPS")),
            }
        }
        found
    }

    /// Where `/` itself leads to.
    fn app_root(&mut self, host: &Host, tls: Option<&Tls>) {
        let Some(path) = self.wishes.app_root.clone() else { return };
        let to = Redirect::Parts { scheme: None, host: None, port: None, path: RedirectPath::Full(path) };
        let action = Action::Redirect { status: 302, to };
        let root = Path::Exact("/".into());
        let place = |draft: &mut Draft<'_>, port, case| draft.locate(port, host, root.clone(), case);
        self.serve(host, tls, place, &action, None);
    }

    fn path(&mut self, host: &Host, tls: Option<&Tls>, path: &HTTPIngressPath) {
        let Some(place) = self.place(path) else { return };
        if let Some(canary) = self.wishes.canary.clone() {
            return self.try_out(host, &place, &canary, &path.backend);
        }
        let rewrite = self.wishes.rewrite.clone().map(|target| match &place {
            Path::Regex(pattern) => Rewrite::Regex(pattern.clone(), target),
            _ => Rewrite::Full(target),
        });
        let action = self.action(&path.backend);
        let at = |draft: &mut Draft<'_>, port, case| draft.locate(port, host, place.clone(), case);
        self.serve(host, tls, at, &action, rewrite);
    }

    /// What a path of the Ingress means; none if it cannot be.
    fn place(&mut self, path: &HTTPIngressPath) -> Option<Path> {
        let text = path.path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/");
        let wrong = text::refusal(text).or((!text.starts_with('/')).then_some("it has to begin with /"));
        if let Some(why) = wrong {
            self.problem("InvalidPath", format!("path {text:?}: {why}"));
            return None;
        }
        let special = text.contains(|c: char| "()[]{}|*+?^$\\".contains(c));
        let is_regex = self.wishes.regex || (self.wishes.rewrite.is_some() && special);
        let is_regex = is_regex && path.path_type != "Exact";
        if let Some(why) = is_regex.then(|| text::refusal_of_pattern(text)).flatten() {
            self.problem("InvalidPath", format!("path {text:?}: {why}"));
            return None;
        }
        Some(match path.path_type.as_str() {
            "Exact" => Path::Exact(text.into()),
            _ if is_regex => Path::Regex(text.into()),
            _ => Path::Prefix(text.trim_end_matches('/').into()),
        })
    }

    /// Leads a part of the requests that another Ingress serves to the backend of this one.
    fn try_out(&mut self, host: &Host, place: &Path, canary: &Canary, backend: &IngressBackend) {
        let other = match self.choice(backend) {
            Ok(other) => other,
            Err((reason, message)) => return self.problem(reason, message),
        };
        let mut found = false;
        for port in [self.draft.settings.http_port, self.draft.settings.https_port] {
            let server = self.draft.model.servers.get_mut(&(port, host.clone()));
            let location = server.and_then(|server| server.locations.get_mut(place));
            for case in location.into_iter().flat_map(|location| &mut location.cases) {
                if let Action::Proxy { to, .. } = &mut case.action {
                    *to = canary.choose(to, &other);
                    found = true;
                }
            }
        }
        if !found {
            let message =
                format!("host {host}, path {place}: no other Ingress serves what it is a canary of");
            return self.problem("CanaryWithoutMain", message);
        }
        let owner = self.owner.clone();
        self.draft.server(self.draft.settings.http_port, host, &owner);
    }

    fn otherwise(&mut self, host: &Host, tls: Option<&Tls>, action: &Action) {
        let owner = self.owner.clone();
        let place = |draft: &mut Draft<'_>, port, case| {
            let server = draft.server(port, host, &owner);
            server.otherwise.get_or_insert_with(|| Location { cases: vec![case] });
        };
        self.serve(host, tls, place, action, None);
    }

    /// Puts something in its place on the port of HTTP and, if the host has a certificate, on that of HTTPS.
    fn serve(
        &mut self,
        host: &Host,
        tls: Option<&Tls>,
        place: impl Fn(&mut Draft<'_>, u16, Case),
        action: &Action,
        rewrite: Option<Rewrite>,
    ) {
        let (http, https) = (self.draft.settings.http_port, self.draft.settings.https_port);
        let policy = Policy { rewrite, ..self.wishes.policy.clone() };
        let case = always(&self.owner, action.clone(), policy);
        if let Some(tls) = tls {
            let server = self.draft.server(https, host, &self.owner);
            let own = server.tls.get_or_insert_with(|| tls.clone());
            if own != tls {
                let holder = own.secret.clone();
                self.problem("CertificateConflict", format!("host {host} has its certificate from {holder}"));
            }
            place(self.draft, https, case.clone());
        }
        if !(self.wishes.force_ssl_redirect || tls.is_some() && self.wishes.ssl_redirect) {
            return place(self.draft, http, case);
        }
        let to = Redirect::Parts {
            scheme: Some("https".into()),
            host: None,
            port: (https != 443).then_some(https),
            path: RedirectPath::Same,
        };
        let redirect = Action::Redirect { status: 308, to };
        place(self.draft, http, always(&self.owner, redirect, Policy::default()));
    }

    /// The answers of the statuses that are not to come from the endpoints.
    fn error_pages(&mut self) {
        let service = self.wishes.default_backend.clone();
        if self.wishes.errors.is_empty() {
            return;
        }
        let Some(service) = service else {
            let message =
                "annotation custom-http-errors: there is no annotation default-backend that names a service";
            return self.problem("InvalidAnnotation", message);
        };
        let namespace = self.owner.namespace.clone();
        let manner = Manner::default();
        match self.backends.choose(&namespace, &service, PortRef::First, &manner, self.draft) {
            Ok(Choice::Upstream(upstream)) => {
                let statuses = self.wishes.errors.iter().copied().collect();
                self.wishes.policy.errors = Some(ErrorPages { statuses, upstream });
            }
            Ok(_) => {}
            Err(fault) => self.problem(fault.reason, fault.message),
        }
    }

    fn action(&mut self, backend: &IngressBackend) -> Action {
        if let Some(why) = &self.wishes.closed {
            return Action::Answer { status: 503, why: why.clone() };
        }
        if let Some((status, url)) = &self.wishes.elsewhere {
            return Action::Redirect { status: *status, to: Redirect::Url(url.clone()) };
        }
        match self.choice(backend) {
            Ok(to) => Action::Proxy { to, protocol: self.wishes.protocol },
            Err((reason, message)) => {
                self.problem(reason, message.clone());
                Action::Answer { status: 503, why: message }
            }
        }
    }

    fn choice(&mut self, backend: &IngressBackend) -> Result<Choice, (&'static str, String)> {
        let Some(service) = &backend.service else {
            return Err(("UnsupportedBackend", "a backend that is no service is not supported".into()));
        };
        let port = service.port.clone().unwrap_or_default();
        let port = match (&port.name, port.number) {
            (Some(name), _) if !name.is_empty() => PortRef::Name(name),
            (_, number) => PortRef::Number(number.unwrap_or_default()),
        };
        let namespace = self.owner.namespace.clone();
        let manner = self.wishes.manner.clone();
        let chosen = self.backends.choose(&namespace, &service.name, port, &manner, self.draft);
        chosen.map_err(|fault| (fault.reason, fault.message))
    }
}

/// The certificate of a rule's host: one of that very name, one of a wildcard, one for all.
fn find_tls<'t>(certificates: &'t [(String, Tls)], host: &str) -> Option<&'t Tls> {
    let covers =
        |wildcard: &str| wildcard.strip_prefix("*.").is_some_and(|rest| Host::Label(rest.into()).takes(host));
    let exact = certificates.iter().find(|(name, _)| name == host && !host.is_empty());
    let wildcard = || certificates.iter().find(|(name, _)| covers(name));
    let any = || certificates.iter().find(|(name, _)| name.is_empty());
    exact.or_else(wildcard).or_else(any).map(|(_, tls)| tls)
}
