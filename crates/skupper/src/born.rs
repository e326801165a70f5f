//! Sites that are linked from the begin of a lab: their CAs and certificates are made before there is anybody to
//! exchange tokens with, for this lab alone.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use api::skupper::{Endpoint, Link as LinkObject, LinkSpec, Site, SiteSpec};
use serde::Serialize;

use crate::certs::{self, Ca, Credentials, LIFETIME, Usage};
use crate::error::Result;
use crate::plan::{CA, Ports};
use crate::redeem::RENEW_URL;

/// A cluster that is to have a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// The worker with the router.
    pub node: String,
    /// Its underlay address.
    pub address: Ipv4Addr,
}

/// One that links to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Who connects.
    pub from: Cluster,
    /// To whom.
    pub to: Cluster,
    /// At what cost.
    pub cost: u32,
}

/// Manifests by cluster: a Site and its CA, and for every link the certificate and the Link.
///
/// # Errors
/// When no certificate can be made.
pub fn manifests(links: &[Link]) -> Result<BTreeMap<String, String>> {
    let mut cas: BTreeMap<String, (Ca, String)> = BTreeMap::new();
    for cluster in links.iter().flat_map(|link| [&link.from, &link.to]) {
        if !cas.contains_key(&cluster.name) {
            cas.insert(cluster.name.clone(), site(cluster)?);
        }
    }
    let mut texts: BTreeMap<String, String> =
        cas.iter().map(|(name, (_, text))| (name.clone(), text.clone())).collect();
    for link in links {
        let Some((ca, _)) = cas.get(&link.to.name) else { continue };
        let credentials = ca.sign(Usage::Client, &link.from.name, &[], LIFETIME)?;
        if let Some(text) = texts.get_mut(&link.from.name) {
            text.push_str(&self::link(link, &credentials));
        }
    }
    Ok(texts)
}

/// One document of YAML; JSON is YAML.
fn document(object: &impl Serialize) -> String {
    format!("---\n{}\n", serde_json::to_string(object).unwrap_or_default())
}

fn site(cluster: &Cluster) -> Result<(Ca, String)> {
    let name = cluster.name.to_lowercase();
    let spec = SiteSpec { link_access: "default".into(), ..SiteSpec::default() };
    let credentials = certs::new_ca(&format!("{} {name}", cluster.name))?;
    let secret = certs::to_secret("default", CA, &credentials);
    let text = document(&secret) + &document(&Site::new("default", &name, spec));
    Ok((Ca::of(&secret)?, text))
}

fn link(link: &Link, credentials: &Credentials) -> String {
    let name = format!("to-{}", link.to.name.to_lowercase());
    let ports = Ports::of(0);
    let mut secret = certs::to_secret("default", &name, credentials);
    let renew = format!("https://{}:{}/renew", link.to.address, ports.grants);
    secret.metadata.annotations.get_or_insert_default().insert(RENEW_URL.into(), renew);
    let endpoint = |role: &str, port: u16| Endpoint {
        name: role.into(),
        host: link.to.address.to_string(),
        port: port.to_string(),
        group: "skupper-router".into(),
    };
    let spec = LinkSpec {
        endpoints: vec![endpoint("inter-router", ports.inter_router), endpoint("edge", ports.edge)],
        tls_credentials: name.clone(),
        cost: i32::try_from(link.cost).unwrap_or(i32::MAX),
        ..LinkSpec::default()
    };
    document(&secret) + &document(&LinkObject::new("default", &name, spec))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_links_has_a_certificate_of_whom_it_links_to() {
        let cluster = |number: u8| Cluster {
            name: format!("C{number}"),
            node: format!("C{number}w1"),
            address: [10, 0, 0, number].into(),
        };
        let link = |from, to| Link { from: cluster(from), to: cluster(to), cost: 2 };
        let made = manifests(&[link(1, 0), link(2, 0)]).unwrap();
        assert_eq!(made.keys().collect::<Vec<_>>(), ["C0", "C1", "C2"]);
        assert_eq!(made["C0"].matches("\"kind\":\"Link\"").count(), 0);
        assert_eq!(made["C1"].matches("\"kind\":\"Link\"").count(), 1);
        let documents: Vec<serde_json::Value> =
            made["C1"].split("---\n").skip(1).map(|text| serde_json::from_str(text).unwrap()).collect();
        let kinds: Vec<_> = documents.iter().map(|one| one["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["Secret", "Site", "Secret", "Link"]);
        let of_c0: serde_json::Value =
            serde_json::from_str(made["C0"].split("---\n").nth(1).unwrap()).unwrap();
        assert_eq!(documents[2]["data"]["ca.crt"], of_c0["data"]["tls.crt"]);
        assert!(manifests(&[]).unwrap().is_empty());
    }
}
