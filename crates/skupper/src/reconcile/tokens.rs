//! Grants get what tokens are made of; tokens become links; links' certificates are made anew in time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::Rules;
use api::skupper::{AccessGrant, AccessToken, Link, Site, State, processed, redeemed, resolved};
use api::time;
use api::types::api::core::v1::Secret;
use base64::Engine;
use runtime::chain;
use store::{Object, ObjectName, Store, registry};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::credentials::{ROTATE, annotation, now, owner};
use super::objects::put;
use crate::certs::{self, text};
use crate::error::Result;
use crate::inputs::Inputs;
use crate::plan::{Plan, SitePlan};
use crate::redeem::{self, Failure, RENEW_URL};

/// A site that cannot be reached is asked again after so long.
const RETRY: Duration = Duration::from_secs(1);
/// Upstream's: a quarter of an hour (`config/crd/bases/skupper_access_grant_crd.yaml`).
const WINDOW: Duration = Duration::from_secs(900);

/// Completes the statuses of grants.
pub(super) async fn grants(
    store: &Store,
    inputs: &Inputs,
    plan: &Plan,
    urls: &BTreeMap<String, String>,
) -> Result<()> {
    for (name, grant) in inputs.grants.iter() {
        let site = plan.sites.get(&name.namespace);
        let url = urls.get(&name.namespace);
        let mut status = grant.status.clone().unwrap_or_default();
        let problem = match site {
            None => Some(State::Pending("No active site in namespace".into())),
            Some(site) if site.site.spec.edge => {
                Some(State::Error("Edge sites cannot accept incoming links from remote sites".into()))
            }
            Some(site) if !site.site.spec.takes_links() => {
                Some(State::Error("the site takes in no links: set its linkAccess to default".into()))
            }
            Some(_) => None,
        };
        if status.code.is_empty() {
            status.code = if grant.spec.code.is_empty() { code() } else { grant.spec.code.clone() };
        }
        if status.expiration_time.is_empty() {
            let window = api::skupper::duration(&grant.spec.expiration_window).unwrap_or(WINDOW);
            let end = time::now().0.saturating_add(window).unwrap_or(jiff::Timestamp::MAX);
            status.expiration_time = rounded(end);
        }
        if let (None, Some(url), Some(site)) = (&problem, url, site) {
            status.url = format!("{url}/{}", grant.metadata.uid.clone().unwrap_or_default());
            status.ca = ca(inputs, site).unwrap_or_default();
        }
        let told = problem.unwrap_or(State::Ready);
        let states = vec![
            processed(told),
            resolved(State::waiting(!status.ca.is_empty() && !status.url.is_empty(), "Pending")),
        ];
        status.common.set(states, &["Processed", "Resolved"], grant.metadata.generation, &time::now());
        put::<AccessGrant>(store, grant, status).await?;
    }
    Ok(())
}

fn rounded(time: jiff::Timestamp) -> String {
    let seconds = jiff::Timestamp::from_second(time.as_second());
    seconds.unwrap_or(time).to_string()
}

fn ca(inputs: &Inputs, site: &SitePlan) -> Option<String> {
    let namespace = site.site.metadata.namespace.clone()?;
    text(inputs.secret(&namespace, site.site.spec.issuer())?, "tls.crt")
}

/// As long as upstream's.
fn code() -> String {
    let mut bytes = [0; 18];
    // Without chance there are no keys either, and no site.
    if getrandom::fill(&mut bytes).is_err() {
        return String::new();
    }
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

/// What is under way, by the object; it is not begun twice.
#[derive(Debug)]
pub(super) struct Tokens {
    busy: Arc<Mutex<BTreeSet<String>>>,
    tasks: JoinSet<()>,
    wake: Arc<Notify>,
}

impl Tokens {
    pub(super) fn new(wake: Arc<Notify>) -> Self {
        Self { busy: Arc::default(), tasks: JoinSet::new(), wake }
    }

    fn begin(&mut self, key: String, task: impl Future<Output = bool> + Send + 'static) {
        while self.tasks.try_join_next().is_some() {}
        if !self.busy.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone()) {
            return;
        }
        let (busy, wake) = (self.busy.clone(), self.wake.clone());
        self.tasks.spawn(async move {
            let again = task.await;
            // One that was refused stays so: nobody asks again until the agent is another one.
            if again {
                sleep(RETRY).await;
                busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
                wake.notify_one();
            }
        });
    }

    /// Redeems the tokens of namespaces with a site.
    pub(super) fn redeem(&mut self, store: &Store, inputs: &Inputs, plan: &Plan) {
        for (name, token) in inputs.tokens.iter() {
            let Some(site) = plan.sites.get(&name.namespace) else { continue };
            if token.status.as_ref().is_some_and(|status| status.redeemed) {
                continue;
            }
            let uid = token.metadata.uid.clone().unwrap_or_default();
            let generation = token.metadata.generation.unwrap_or_default();
            let (store, site, token) = (store.clone(), site.site.clone(), token.clone());
            self.begin(format!("token {uid} {generation}"), async move { one(&store, &site, &token).await });
        }
    }

    /// Renews the certificates of links for which it is time.
    pub(super) fn renew(&mut self, store: &Store, inputs: &Inputs, plan: &Plan) {
        for (namespace, site) in &plan.sites {
            for secret in site.profiles.iter().filter_map(|one| inputs.secret(namespace, &one.secret)) {
                let annotations = secret.metadata.annotations.clone().unwrap_or_default();
                if !annotations.contains_key(RENEW_URL) {
                    continue;
                }
                let rotate = annotation(&site.site, ROTATE);
                let asked = rotate.as_ref().is_some_and(|value| annotations.get(ROTATE) != Some(value));
                let late = certs::renew_at(secret).is_some_and(|when| when <= now());
                if !asked && !late {
                    continue;
                }
                let version = secret.metadata.resource_version.clone().unwrap_or_default();
                let (store, site, secret) = (store.clone(), site.site.clone(), secret.clone());
                let key = format!("renew {namespace}/{} {version}", ObjectName::of(&secret.metadata));
                self.begin(key, async move { renew(&store, &site, &secret, rotate).await });
            }
        }
    }
}

/// Redeems one; gives whether to try again.
async fn one(store: &Store, site: &Site, token: &Arc<AccessToken>) -> bool {
    let outcome = redeem_into(store, site, token).await;
    let again = matches!(outcome, Err(Failure::Unreachable(_)));
    let state = State::of(outcome.err().map(|failure| failure.to_string()).as_deref());
    let mut status = token.status.clone().unwrap_or_default();
    status.redeemed = state == State::Ready;
    status.common.set(vec![redeemed(state)], &[], token.metadata.generation, &time::now());
    match put::<AccessToken>(store, token, status).await {
        Ok(()) => again,
        // It has become a link all the same, and the grant does not give another one.
        Err(error) => {
            tracing::warn!(error = chain(&error), "a token's status");
            again
        }
    }
}

async fn redeem_into(store: &Store, site: &Site, token: &AccessToken) -> std::result::Result<(), Failure> {
    // A token is good once: what would keep its certificate from being stored is said before it is used up.
    let name = ObjectName::of(&token.metadata);
    let there = store.get::<Secret>(&name.namespace, &name.name).await;
    let link = store.get::<Link>(&name.namespace, &name.name).await;
    let (there, link) = match (there, link) {
        (Ok(there), Ok(link)) => (there, link),
        (Err(error), _) | (_, Err(error)) => return Err(Failure::Unreachable(chain(&error))),
    };
    if let Some(problem) = in_the_way(&name.name, there.as_ref(), link.as_ref()) {
        return Err(Failure::Refused(problem));
    }
    let (secret, links) = redeem::redeem(token, site.metadata.uid.as_deref().unwrap_or_default()).await?;
    take(store, site, token, secret, links).await.map_err(|error| {
        Failure::Refused(format!("what was received could not be stored: {}", chain(&error)))
    })
}

/// Why a token of this name cannot be redeemed where these are already. What an earlier token of the name gave is
/// replaced; a secret or a link of somebody's own is not.
fn in_the_way(name: &str, secret: Option<&Secret>, link: Option<&Link>) -> Option<String> {
    let from_token =
        |secret: &Secret| secret.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(RENEW_URL));
    if secret.is_some_and(|secret| !from_token(secret)) {
        return Some(format!(
            "secret \"{name}\" is there already and is not of a token: give the token another name"
        ));
    }
    link.filter(|link| link.spec.tls_credentials != name).map(|link| {
        let other = &link.spec.tls_credentials;
        format!("link \"{name}\" is there already and uses secret \"{other}\": give the token another name")
    })
}

/// Stores the certificate, then the links that use it, in place of those that an earlier token of this name gave.
async fn take(
    store: &Store,
    site: &Site,
    token: &AccessToken,
    mut secret: Secret,
    links: Vec<Link>,
) -> Result<()> {
    secret.metadata.namespace.clone_from(&token.metadata.namespace);
    secret.metadata.owner_references = Some(vec![owner(site)]);
    if let Some(value) = annotation(site, ROTATE) {
        secret.metadata.annotations.get_or_insert_default().insert(ROTATE.into(), value);
    }
    let replace = |old: &mut Secret| {
        old.data.clone_from(&secret.data);
        let annotations = secret.metadata.annotations.clone().unwrap_or_default();
        old.metadata.annotations.get_or_insert_default().extend(annotations);
        old.metadata.owner_references.clone_from(&secret.metadata.owner_references);
    };
    create_or(store, &secret, replace).await?;
    for mut link in links {
        link.metadata.namespace.clone_from(&token.metadata.namespace);
        link.metadata.owner_references = Some(vec![owner(site)]);
        let replace = |old: &mut Link| {
            let cost = if token.spec.link_cost > 0 { link.spec.cost } else { old.spec.cost };
            old.spec.clone_from(&link.spec);
            old.spec.cost = cost;
        };
        create_or(store, &link, replace).await?;
    }
    Ok(())
}

/// Makes an object, or changes the one that is there.
async fn create_or<K>(store: &Store, object: &K, change: impl FnMut(&mut K)) -> Result<()>
where
    K: Object + Rules + Clone + PartialEq,
{
    match registry::create(store, object).await {
        Ok(_) => Ok(()),
        Err(registry::Error::Store(store::Error::Exists { .. })) => {
            let name = ObjectName::of(object.metadata());
            registry::modify(store, &name.namespace, &name.name, change).await?;
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

async fn renew(store: &Store, site: &Site, secret: &Secret, rotate: Option<String>) -> bool {
    let name = ObjectName::of(&secret.metadata);
    let new = match redeem::renew(secret, site.metadata.uid.as_deref().unwrap_or_default()).await {
        Ok(new) => new,
        Err(failure) => {
            tracing::warn!("the certificate of {name} is not renewed: {failure}");
            return matches!(failure, Failure::Unreachable(_));
        }
    };
    let replace = |secret: &mut Secret| {
        secret.data.clone_from(&new.data);
        let annotations = secret.metadata.annotations.get_or_insert_default();
        annotations.extend(new.metadata.annotations.clone().unwrap_or_default());
        annotations.extend(rotate.clone().map(|value| (ROTATE.to_owned(), value)));
    };
    store.modify::<Secret>(&name.namespace, &name.name, replace).await.is_err()
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::skupper::LinkSpec;

    #[test]
    fn only_what_a_token_gave_is_replaced() {
        let mut secret = Secret::default();
        assert_eq!(in_the_way("a", None, None), None);
        assert_eq!(
            in_the_way("a", Some(&secret), None).unwrap(),
            "secret \"a\" is there already and is not of a token: give the token another name"
        );
        secret.metadata.annotations = Some([(RENEW_URL.to_owned(), "https://x".to_owned())].into());
        let link = |credentials: &str| {
            Link::new("default", "a", LinkSpec { tls_credentials: credentials.into(), ..LinkSpec::default() })
        };
        assert_eq!(in_the_way("a", Some(&secret), Some(&link("a"))), None);
        assert_eq!(
            in_the_way("a", Some(&secret), Some(&link("b"))).unwrap(),
            "link \"a\" is there already and uses secret \"b\": give the token another name"
        );
    }
}
