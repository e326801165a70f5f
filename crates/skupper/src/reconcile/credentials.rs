//! A site's CA and its server certificate: made when they are missing, made anew when it is time, when the CA is
//! another one, or when the site asks for it. Connections stay: a router takes new ones for new connections.

use std::sync::Arc;
use std::time::Duration;

use api::skupper::Site;
use api::types::api::core::v1::Secret;
use api::types::apimachinery::pkg::apis::meta::v1::OwnerReference;
use store::{Store, registry};

use crate::certs::{self, Ca, Usage};
use crate::error::Result;
use crate::inputs::{Inputs, Place};
use crate::plan::{SERVER, SitePlan};

/// Of a Site: another value means new certificates.
pub const ROTATE: &str = "knetsim.dev/rotate";
/// Of a Site: how long its certificates hold, as `1h`.
pub const LIFETIME: &str = "knetsim.dev/certificate-lifetime";

/// How long a site's certificates hold.
pub(super) fn lifetime(site: &Site, otherwise: Duration) -> Duration {
    let said = annotation(site, LIFETIME).and_then(|text| api::skupper::duration(&text));
    said.filter(|lifetime| !lifetime.is_zero()).unwrap_or(otherwise)
}

pub(super) fn annotation(site: &Site, key: &str) -> Option<String> {
    site.metadata.annotations.as_ref()?.get(key).cloned()
}

/// Makes what a site lacks.
pub(super) async fn ensure(
    store: &Store,
    inputs: &Inputs,
    place: &Place,
    plan: &SitePlan,
    otherwise: Duration,
) -> Result<()> {
    let site = &plan.site;
    if !site.spec.takes_links() {
        return Ok(());
    }
    let namespace = site.metadata.namespace.clone().unwrap_or_default();
    let name = site.metadata.name.clone().unwrap_or_default();
    let Some(ca) = inputs.secret(&namespace, site.spec.issuer()) else {
        let ca = certs::new_ca(&format!("{} {name}", place.cluster))?;
        return create(store, site, certs::to_secret(&namespace, site.spec.issuer(), &ca)).await;
    };
    let ca = Ca::of(ca)?;
    let old = inputs.secret(&namespace, SERVER);
    if old.is_some_and(|old| !is_due(old, &ca, site)) {
        return Ok(());
    }
    let hosts = [place.address.to_string(), place.node.clone()];
    let credentials = ca.sign(Usage::Server, &name, &hosts, lifetime(site, otherwise))?;
    let mut new = certs::to_secret(&namespace, SERVER, &credentials);
    if let Some(value) = annotation(site, ROTATE) {
        new.metadata.annotations.get_or_insert_default().insert(ROTATE.into(), value);
    }
    if old.is_none() {
        return create(store, site, new).await;
    }
    let replace = |secret: &mut Secret| {
        secret.data.clone_from(&new.data);
        secret
            .metadata
            .annotations
            .get_or_insert_default()
            .extend(new.metadata.annotations.clone().unwrap_or_default());
    };
    store.modify::<Secret>(&namespace, SERVER, replace).await?;
    Ok(())
}

fn is_due(secret: &Arc<Secret>, ca: &Ca, site: &Site) -> bool {
    let annotations = secret.metadata.annotations.clone().unwrap_or_default();
    let late = certs::renew_at(secret).is_some_and(|when| when <= now());
    let other = annotations.get(certs::SIGNED_BY).is_some_and(|by| *by != certs::fingerprint(ca.pem()));
    let asked = annotation(site, ROTATE).is_some_and(|value| annotations.get(ROTATE) != Some(&value));
    late || other || asked
}

pub(super) fn now() -> i64 {
    api::time::now().0.as_second()
}

/// Stores a secret that goes with its site. That it is there meanwhile is no error.
pub(super) async fn create(store: &Store, site: &Site, mut secret: Secret) -> Result<()> {
    secret.metadata.owner_references = Some(vec![owner(site)]);
    match registry::create(store, &secret).await {
        Ok(_) | Err(registry::Error::Store(store::Error::Exists { .. })) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn owner(site: &Site) -> OwnerReference {
    OwnerReference {
        api_version: "skupper.io/v2alpha1".into(),
        kind: "Site".into(),
        name: site.metadata.name.clone().unwrap_or_default(),
        uid: site.metadata.uid.clone().unwrap_or_default(),
        ..OwnerReference::default()
    }
}
