//! `topo skupper`: sites, links and what crosses. The verbs write and read objects; each cluster's controller
//! does the rest.

mod expose;
mod show;

use std::future::Future;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use api::skupper::{
    AccessGrant, AccessGrantSpec, AccessToken, AccessTokenSpec, Common, Link, Site, SiteSpec,
};
use lab::LabName;
use store::{Store, registry};

use super::objects::with_store;
use crate::cli::skupper::{
    SkupperCommand, SkupperInitArgs, SkupperLinkCommand, SkupperPlaceArgs, SkupperStatusCommand,
    SkupperTokenCommand,
};
use crate::output::{Hinted, Negative, line};

/// How often a wait looks.
const LOOK: Duration = Duration::from_millis(20);

pub(crate) fn run(lab: &LabName, command: &SkupperCommand) -> Result<ExitCode> {
    match command {
        SkupperCommand::Init(args) => init(lab, args),
        SkupperCommand::Delete(place) => delete(lab, place),
        SkupperCommand::Token(SkupperTokenCommand::Create { file, place, name, expiry, uses }) => {
            token(lab, place, file, name.as_deref(), *expiry, *uses)
        }
        SkupperCommand::Link(SkupperLinkCommand::Create { file, place, cost, name, timeout }) => {
            link(lab, place, file, name.as_deref(), *cost, Duration::from_secs(*timeout))
        }
        SkupperCommand::Link(SkupperLinkCommand::Delete { name, place }) => unlink(lab, place, name),
        SkupperCommand::Link(SkupperLinkCommand::Status(args)) => show::links(lab, args.output),
        SkupperCommand::Expose(args) => expose::expose(lab, args),
        SkupperCommand::Unexpose(args) => expose::unexpose(lab, &args.target),
        SkupperCommand::Service(SkupperStatusCommand::Status(args)) => show::services(lab, args.output),
        SkupperCommand::Network(SkupperStatusCommand::Status(args)) => show::network(lab, args.output),
        SkupperCommand::Graph(args) => show::graph(lab, args.svg, args.output.output),
        SkupperCommand::Rotate(place) => rotate(lab, place),
    }
}

/// The site of a namespace, or how to get one.
async fn site(store: &Store, place: &SkupperPlaceArgs) -> Result<Site> {
    let sites: Vec<Site> = store.list(Some(&place.namespace)).await?;
    let cluster = place.cluster.as_ref().map(|name| format!(" --cluster {name}")).unwrap_or_default();
    sites.into_iter().next().ok_or_else(|| {
        let message = format!("there is no site in namespace {}", place.namespace);
        Hinted { message, hint: format!("`topo skupper init{cluster}` makes one") }.into()
    })
}

/// Looks until something is so.
async fn wait<T, F: Future<Output = Result<std::result::Result<T, String>>>>(
    limit: Duration,
    what: &str,
    look: impl Fn() -> F,
) -> Result<T> {
    let began = Instant::now();
    loop {
        match look().await? {
            Ok(value) => return Ok(value),
            Err(last) if began.elapsed() >= limit => {
                return Err(Negative(format!("{what}: not within {} s: {last}", limit.as_secs())).into());
            }
            Err(_) => tokio::time::sleep(LOOK).await,
        }
    }
}

/// Its message, unless it is ready.
fn is_ready(common: Option<&Common>) -> std::result::Result<(), String> {
    match common {
        Some(common) if common.status == "Ready" => Ok(()),
        Some(common) if !common.message.is_empty() => Err(common.message.clone()),
        _ => Err("nobody has looked at it yet".into()),
    }
}

fn init(lab: &LabName, args: &SkupperInitArgs) -> Result<ExitCode> {
    let place = &args.place;
    let cluster = super::objects::cluster_name(lab, place.cluster.as_deref())?;
    let name = args.name.clone().unwrap_or_else(|| cluster.to_lowercase());
    with_store(lab, place.cluster.as_deref(), async |store| {
        let sites: Vec<Site> = store.list(Some(&place.namespace)).await?;
        if let Some(other) = sites.first().and_then(|site| site.metadata.name.as_deref()) {
            let message = format!("namespace {} of {cluster} has a site already: {other}", place.namespace);
            let hint = format!("`topo skupper delete --cluster {cluster}` deletes it");
            return Err(Hinted { message, hint }.into());
        }
        let spec = SiteSpec { link_access: args.link_access.clone(), ..SiteSpec::default() };
        registry::create(&store, &Site::new(&place.namespace, &name, spec)).await?;
        if args.timeout > 0 {
            let (store, name) = (&store, name.as_str());
            wait(Duration::from_secs(args.timeout), &format!("site {name}"), || async move {
                let site: Option<Site> = store.get(&place.namespace, name).await?;
                let status = site.and_then(|site| site.status);
                Ok(is_ready(status.as_ref().map(|status| &status.common)))
            })
            .await?;
        }
        line(format!("site.skupper.io/{name} created in {cluster}"));
        Ok(ExitCode::SUCCESS)
    })
}

fn delete(lab: &LabName, place: &SkupperPlaceArgs) -> Result<ExitCode> {
    with_store(lab, place.cluster.as_deref(), async |store| {
        let site = site(&store, place).await?;
        let links: Vec<Link> = store.list(Some(&place.namespace)).await?;
        for link in links.iter().filter_map(|link| link.metadata.name.as_deref()) {
            registry::delete::<Link>(&store, &place.namespace, link, &Default::default()).await?;
            line(format!("link.skupper.io \"{link}\" deleted"));
        }
        let name = site.metadata.name.unwrap_or_default();
        registry::delete::<Site>(&store, &place.namespace, &name, &Default::default()).await?;
        line(format!("site.skupper.io \"{name}\" deleted"));
        Ok(ExitCode::SUCCESS)
    })
}

fn token(
    lab: &LabName,
    place: &SkupperPlaceArgs,
    file: &Path,
    name: Option<&str>,
    expiry: Duration,
    uses: i32,
) -> Result<ExitCode> {
    let cluster = super::objects::cluster_name(lab, place.cluster.as_deref())?;
    with_store(lab, place.cluster.as_deref(), async |store| {
        let site = site(&store, place).await?;
        if !site.spec.takes_links() {
            let message = format!("the site of {cluster} takes in no links");
            let hint = "set its linkAccess to default, or make the token at the other site".into();
            return Err(Hinted { message, hint }.into());
        }
        let spec = AccessGrantSpec {
            redemptions_allowed: uses,
            expiration_window: format!("{}ms", expiry.as_millis()),
            ..AccessGrantSpec::default()
        };
        let mut grant = AccessGrant::new(&place.namespace, name.unwrap_or_default(), spec);
        if name.is_none() {
            grant.metadata.name = None;
            grant.metadata.generate_name = Some(format!("to-{}-", cluster.to_lowercase()));
        }
        let grant = registry::create(&store, &grant).await?;
        let name = grant.metadata.name.unwrap_or_default();
        let (store, name) = (&store, name.as_str());
        let grant = wait(Duration::from_secs(30), &format!("grant {name}"), || async move {
            let grant: Option<AccessGrant> = store.get(&place.namespace, name).await?;
            let status = grant.and_then(|grant| grant.status).unwrap_or_default();
            Ok(is_ready(Some(&status.common)).map(|()| status))
        })
        .await?;
        let spec = AccessTokenSpec { url: grant.url, code: grant.code, ca: grant.ca, ..Default::default() };
        write_token(file, &AccessToken::new("", name, spec))?;
        let times = if uses == 1 { "once".into() } else { format!("{uses} times") };
        line(format!("token {name} in {}: good {times}, until {}", file.display(), grant.expiration_time));
        Ok(ExitCode::SUCCESS)
    })
}

/// For its owner's eyes only: who has it may link to the site.
fn write_token(file: &Path, token: &AccessToken) -> Result<()> {
    let context = || format!("write {}", file.display());
    let text = serde_yaml::to_string(token)?;
    let mut out = std::fs::OpenOptions::new();
    let mut out = out.write(true).create(true).truncate(true).mode(0o600).open(file).with_context(context)?;
    out.write_all(text.as_bytes()).with_context(context)
}

fn link(
    lab: &LabName,
    place: &SkupperPlaceArgs,
    file: &Path,
    name: Option<&str>,
    cost: i32,
    timeout: Duration,
) -> Result<ExitCode> {
    let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    let mut token: AccessToken = serde_yaml::from_str(&text).map_err(|error| Hinted {
        message: format!("{} is no token: {error}", file.display()),
        hint: "`topo skupper token create FILE` at the other site writes one".into(),
    })?;
    token.metadata.namespace = Some(place.namespace.clone());
    if let Some(name) = name {
        token.metadata.name = Some(name.into());
    }
    token.spec.link_cost = cost;
    with_store(lab, place.cluster.as_deref(), async |store| {
        site(&store, place).await?;
        let token = registry::create(&store, &token).await.map_err(|error| match error {
            registry::Error::Store(store::Error::Exists { name, .. }) => anyhow::Error::from(Hinted {
                message: format!("a token {name} has been redeemed here already"),
                hint: "a token is for one link: make another one, or name it with --name".into(),
            }),
            error => error.into(),
        })?;
        let name = token.metadata.name.unwrap_or_default();
        let (store, name) = (&store, name.as_str());
        let status = wait(timeout, &format!("token {name}"), || async move {
            let token: Option<AccessToken> = store.get(&place.namespace, name).await?;
            let status = token.and_then(|token| token.status).unwrap_or_default();
            Ok(match status.common.status.as_str() {
                "" => Err("nobody has looked at it yet".into()),
                // What cannot be reached is tried again; a refusal is for good.
                "Error" if !status.common.message.contains("failed response") && !status.redeemed => {
                    Err(status.common.message)
                }
                _ => Ok(status),
            })
        })
        .await;
        let refusal = match status {
            Ok(status) if status.redeemed => None,
            Ok(status) => Some(anyhow::Error::from(Hinted {
                message: format!("token {name} was refused: {}", status.common.message),
                hint: "a token is good as often and as long as it was made for: make another one".into(),
            })),
            Err(error) => Some(error),
        };
        if let Some(error) = refusal {
            // What has come to nothing is not left behind.
            let _ = registry::delete::<AccessToken>(store, &place.namespace, name, &Default::default()).await;
            return Err(error);
        }
        line(format!("link.skupper.io/{name} created"));
        Ok(ExitCode::SUCCESS)
    })
}

fn unlink(lab: &LabName, place: &SkupperPlaceArgs, name: &str) -> Result<ExitCode> {
    with_store(lab, place.cluster.as_deref(), async |store| {
        let link: Option<Link> = store.get(&place.namespace, name).await?;
        registry::delete::<Link>(&store, &place.namespace, name, &Default::default()).await?;
        // With its certificate, which is good for nothing else, and the token that it came from.
        let secret = link.map(|link| link.spec.tls_credentials).unwrap_or_default();
        let _ = registry::delete::<AccessToken>(&store, &place.namespace, name, &Default::default()).await;
        if secret == name {
            let kind = api::kinds::by_name("secret")?;
            let _ = registry::delete_raw(&store, kind, &place.namespace, &secret, &Default::default()).await;
        }
        line(format!("link.skupper.io \"{name}\" deleted"));
        Ok(ExitCode::SUCCESS)
    })
}

fn rotate(lab: &LabName, place: &SkupperPlaceArgs) -> Result<ExitCode> {
    with_store(lab, place.cluster.as_deref(), async |store| {
        let name = site(&store, place).await?.metadata.name.unwrap_or_default();
        let now = api::time::micro_now().0.to_string();
        let ask = |site: &mut Site| {
            let annotations = site.metadata.annotations.get_or_insert_default();
            annotations.insert(skupper::reconcile::ROTATE.into(), now.clone());
        };
        registry::modify::<Site>(&store, &place.namespace, &name, ask).await?;
        line(format!("site.skupper.io/{name}: new certificates for it and its links"));
        Ok(ExitCode::SUCCESS)
    })
}
