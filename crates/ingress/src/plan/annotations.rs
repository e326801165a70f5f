//! What annotations of an Ingress ask for, by the names that ingress-nginx gave them.
//!
//! Source: <https://kubernetes.github.io/ingress-nginx/user-guide/nginx-configuration/annotations/>. An
//! annotation that cannot be understood is passed over with a [problem](super::Problem); one that was to
//! keep people out closes the Ingress, for open would be worse. Snippets of configuration are refused: text
//! of users does not get into nginx's configuration.

mod access;
mod canary;
mod passing;
mod reader;
mod redirects;

use std::collections::BTreeMap;

use crate::model::{Policy, Protocol};

use super::Cluster;
use super::backend::Manner;
use super::draft::Draft;
use crate::model::Owner;

pub(super) use canary::Canary;
pub(super) use reader::PREFIX;
use reader::Reader;

/// What an Ingress asks for.
#[derive(Debug, Clone)]
pub(super) struct Wishes {
    pub(super) manner: Manner,
    /// But for what depends on the path.
    pub(super) policy: Policy,
    pub(super) protocol: Protocol,
    /// To HTTPS, where the host has a certificate.
    pub(super) ssl_redirect: bool,
    /// To HTTPS in any case.
    pub(super) force_ssl_redirect: bool,
    /// Everything is somewhere else: a status and an address.
    pub(super) elsewhere: Option<(u16, String)>,
    /// Where `/` leads to.
    pub(super) app_root: Option<String>,
    pub(super) rewrite: Option<String>,
    pub(super) regex: bool,
    pub(super) aliases: Vec<String>,
    pub(super) canary: Option<Canary>,
    /// The statuses whose answers come from the default backend, and the service that is this.
    pub(super) errors: Vec<u16>,
    pub(super) default_backend: Option<String>,
    /// Why nobody may come in.
    pub(super) closed: Option<String>,
}

impl Wishes {
    pub(super) fn read(
        annotations: Option<&BTreeMap<String, String>>,
        owner: &Owner,
        cluster: &Cluster,
        draft: &mut Draft<'_>,
    ) -> Self {
        let empty = BTreeMap::new();
        let mut reader = Reader::new(annotations.unwrap_or(&empty), owner, draft);
        let mut wishes = Self {
            manner: passing::manner(&mut reader),
            policy: Policy::default(),
            protocol: passing::protocol(&mut reader),
            ssl_redirect: reader.boolean("ssl-redirect").unwrap_or(true),
            force_ssl_redirect: reader.boolean("force-ssl-redirect").unwrap_or(false),
            elsewhere: redirects::elsewhere(&mut reader),
            app_root: redirects::app_root(&mut reader),
            rewrite: redirects::rewrite(&mut reader),
            regex: reader.boolean("use-regex").unwrap_or(false),
            aliases: redirects::aliases(&mut reader),
            canary: canary::read(&mut reader),
            errors: passing::errors(&mut reader),
            default_backend: reader.text("default-backend"),
            closed: None,
        };
        passing::read(&mut reader, &mut wishes.policy);
        access::read(&mut reader, cluster, &mut wishes);
        reader.finish(&mut wishes.closed);
        wishes
    }
}
