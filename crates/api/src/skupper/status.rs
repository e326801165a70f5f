//! How Skupper's objects say how they are.
//!
//! Source: skupper 2 `pkg/apis/skupper/v2alpha1/types.go`: which conditions there are, their words, and
//! that an object is ready when all that its kind requires are true.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use serde::{Deserialize, Serialize};

use super::parts;

/// How a condition is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It is so.
    Ready,
    /// Not yet; what it waits for.
    Pending(String),
    /// It will not be until somebody does something; what is wrong.
    Error(String),
}

impl State {
    /// Ready, or what is wrong.
    #[must_use]
    pub fn of(problem: Option<&str>) -> Self {
        problem.map_or(Self::Ready, |problem| Self::Error(problem.into()))
    }

    /// Ready, or what it waits for.
    #[must_use]
    pub fn waiting(done: bool, message: &str) -> Self {
        if done { Self::Ready } else { Self::Pending(message.into()) }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Pending(_) => "Pending",
            Self::Error(_) => "Error",
        }
    }

    fn message(&self) -> &str {
        match self {
            Self::Ready => "OK",
            Self::Pending(message) | Self::Error(message) => message,
        }
    }
}

/// A condition's name and state.
pub type Named = (&'static str, State);

macro_rules! conditions {
    ($($(#[$doc:meta])* $function:ident $name:literal;)*) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $function(state: State) -> Named {
            ($name, state)
        }
    )*};
}

conditions! {
    /// The router has been told.
    configured "Configured";
    /// The router runs.
    running "Running";
    /// It is known where it can be reached.
    resolved "Resolved";
    /// There is a counterpart in the network.
    matched "Matched";
    /// The controller has accepted it.
    processed "Processed";
    /// The token has become a link.
    redeemed "Redeemed";
    /// The other site answers.
    operational "Operational";
    /// All is well.
    ready "Ready";
}

parts! {
    /// What all statuses have.
    Common {
        /// The single truths.
        conditions: Vec<Condition>,
        /// `Ready`, `Pending` or `Error`.
        status: String,
        /// `OK`, or what is wrong.
        message: String,
    }

    /// Where something can be reached.
    Endpoint {
        /// Its role: `inter-router` or `edge`.
        name: String,
        /// The host.
        host: String,
        /// The port.
        port: String,
        /// Those of one router have one group.
        group: String,
    }

    /// Who takes care of a site.
    Controller {
        /// Its name.
        name: String,
        /// Its namespace.
        namespace: String,
        /// Its version.
        version: String,
    }

    /// A site of the network, as this one sees it.
    SiteRecord {
        /// The Site's UID.
        id: String,
        /// Its name.
        name: String,
        /// Its namespace.
        namespace: String,
        /// Its platform: here the cluster.
        platform: String,
        /// The version of its controller.
        version: String,
        /// Its links.
        links: Vec<LinkRecord>,
        /// What it offers and what it wants.
        services: Vec<ServiceRecord>,
    }

    /// What a site has to do with a routing key.
    ServiceRecord {
        /// The key.
        routing_key: String,
        /// Servers there.
        connectors: Vec<String>,
        /// Listeners there.
        listeners: Vec<String>,
    }

    /// A link of a site.
    LinkRecord {
        /// Its name; of one that the other site has made, `from` and the other's name.
        name: String,
        /// The other site's UID.
        remote_site_id: String,
        /// The other site's name.
        remote_site_name: String,
        /// Whether the other site answers.
        operational: bool,
    }

    /// A pod that a connector selects.
    PodDetails {
        /// Its name.
        name: String,
        /// Its address.
        ip: String,
    }
}

/// A status: what all have, and more.
macro_rules! statuses {
    ($(
        $(#[$doc:meta])*
        $name:ident { $( $(#[$field_doc:meta])* $field:ident: $type:ty, )* }
    )*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct $name {
            /// What all statuses have.
            #[serde(flatten)]
            pub common: Common,
            $(
                $(#[$field_doc])*
                #[serde(skip_serializing_if = "crate::skupper::is_default")]
                pub $field: $type,
            )*
        }
    )*};
}

statuses! {
    /// How a site is.
    SiteStatus {
        /// Where other sites can link to.
        endpoints: Vec<Endpoint>,
        /// How many sites there are in the network, this one too.
        sites_in_network: i32,
        /// Which.
        network: Vec<SiteRecord>,
        /// The secret with the CA in use.
        default_issuer: String,
        /// Who takes care of it.
        controller: Controller,
    }

    /// How a link is.
    LinkStatus {
        /// The other site's UID.
        remote_site_id: String,
        /// The other site's name.
        remote_site_name: String,
    }

    /// How a grant is.
    AccessGrantStatus {
        /// Where it is redeemed.
        url: String,
        /// With which code.
        code: String,
        /// Who answers there, PEM.
        ca: String,
        /// How often it was redeemed.
        redemptions: i32,
        /// Until when it may be, RFC 3339.
        expiration_time: String,
    }

    /// How a token is.
    AccessTokenStatus {
        /// Whether it has become a link.
        redeemed: bool,
    }

    /// How a listener is.
    ListenerStatus {
        /// Whether there is a connector with its key anywhere in the network.
        has_matching_connector: bool,
    }

    /// How a connector is.
    ConnectorStatus {
        /// The pods that serve.
        selected_pods: Vec<PodDetails>,
        /// Whether there is a listener with its key anywhere in the network.
        has_matching_listener: bool,
    }
}

impl Common {
    /// Sets conditions, and `Ready` from those that are `required`: the first that is not true says why.
    /// Without required ones there is no `Ready`, and the last of `states` is the status.
    pub fn set(&mut self, states: Vec<Named>, required: &[&str], generation: Option<i64>, now: &Time) {
        let last = states.last().map(|(_, state)| state.clone());
        for (name, state) in states {
            self.condition(name, &state, generation, now);
        }
        let state = match required {
            [] => last.unwrap_or(State::Ready),
            required => self.overall(required),
        };
        self.status = state.reason().into();
        self.message = state.message().into();
        if !required.is_empty() {
            self.condition("Ready", &state, generation, now);
        }
    }

    /// Whether a condition is true.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.find(name).is_some_and(|condition| condition.status == "True")
    }

    fn find(&self, name: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.type_ == name)
    }

    fn overall(&self, required: &[&str]) -> State {
        for name in required {
            match self.find(name) {
                None => return State::Pending(format!("Not {name}")),
                Some(condition) if condition.status != "True" => {
                    let message = condition.message.clone();
                    return match condition.reason.as_str() {
                        "Error" => State::Error(message),
                        _ => State::Pending(message),
                    };
                }
                Some(_) => {}
            }
        }
        State::Ready
    }

    fn condition(&mut self, name: &str, state: &State, generation: Option<i64>, now: &Time) {
        let status = if *state == State::Ready { "True" } else { "False" };
        let mut new = Condition {
            type_: name.into(),
            status: status.into(),
            reason: state.reason().into(),
            message: state.message().into(),
            observed_generation: generation,
            last_transition_time: now.clone(),
        };
        match self.conditions.iter_mut().find(|condition| condition.type_ == name) {
            None => self.conditions.push(new),
            Some(old) => {
                if old.status == new.status {
                    new.last_transition_time = old.last_transition_time.clone();
                }
                *old = new;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_ready_when_all_that_is_required_is_true() {
        let (early, late) = (Time("2026-01-01T00:00:00Z".parse().unwrap()), crate::time::now());
        let mut common = Common::default();
        let set = |common: &mut Common, running: State, now: &Time| {
            let states = vec![configured(State::Ready), super::running(running)];
            common.set(states, &["Configured", "Running", "Resolved"], Some(3), now);
        };
        set(&mut common, State::Pending("the router starts".into()), &early);
        assert_eq!((common.status.as_str(), common.message.as_str()), ("Pending", "the router starts"));
        set(&mut common, State::Ready, &late);
        assert_eq!((common.status.as_str(), common.message.as_str()), ("Pending", "Not Resolved"));
        assert!(!common.is("Ready"));
        common.set(vec![resolved(State::Ready)], &["Configured", "Running", "Resolved"], Some(3), &late);
        assert_eq!((common.status.as_str(), common.message.as_str()), ("Ready", "OK"));
        assert!(common.is("Ready"));
        assert_eq!(common.find("Configured").unwrap().last_transition_time, early, "it did not change");
        assert_eq!(common.find("Running").unwrap().last_transition_time, late);
        common.set(vec![configured(State::Error("no CA".into()))], &["Configured", "Running"], None, &late);
        assert_eq!((common.status.as_str(), common.message.as_str()), ("Error", "no CA"));
    }

    #[test]
    fn a_token_has_one_condition_and_no_ready() {
        let mut common = Common::default();
        common.set(vec![redeemed(State::Error("refused".into()))], &[], None, &crate::time::now());
        assert_eq!((common.status.as_str(), common.conditions.len()), ("Error", 1));
    }
}
