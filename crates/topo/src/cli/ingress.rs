//! The verbs of `topo ingress`.

use std::net::SocketAddr;

use clap::{Args, Subcommand};

use super::OutputArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum IngressCommand {
    /// Let nginx on a worker lead paths of a port to addresses; return when it does
    Create(IngressCreateArgs),
    /// Take such an ingress away
    Delete(IngressDeleteArgs),
    /// Where requests go, by whatever says so: ingresses by hand, Ingresses, HTTPRoutes
    Show(IngressShowArgs),
}

#[derive(Debug, Args)]
pub(crate) struct IngressCreateArgs {
    /// The worker, as C0w1
    #[arg(value_name = "NODE")]
    pub(crate) node: String,
    /// The ingress's name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// The port on all of the worker's addresses
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: u16,
    /// What begins with a path leads to an address, as /svc1=100.64.11.1:8000; may be given several times
    #[arg(long = "path", value_name = "PATH=ADDRESS:PORT", value_parser = path, required = true)]
    pub(crate) paths: Vec<(String, SocketAddr)>,
    /// Seconds to wait for it
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    pub(crate) timeout: u64,
}

/// `/svc1=100.64.11.1:8000`; a path may have a `=`, an address has none.
fn path(text: &str) -> Result<(String, SocketAddr), String> {
    let (path, address) = text.rsplit_once('=').ok_or("it has to be PATH=ADDRESS:PORT")?;
    if !path.starts_with('/') {
        return Err("the path has to begin with /".into());
    }
    let address = address.parse().map_err(|_| format!("{address:?} is no ADDRESS:PORT"))?;
    Ok((path.into(), address))
}

#[derive(Debug, Args)]
pub(crate) struct IngressDeleteArgs {
    /// The worker, as C0w1
    #[arg(value_name = "NODE")]
    pub(crate) node: String,
    /// The ingress's name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct IngressShowArgs {
    /// Only what this worker serves, as C0w1
    #[arg(value_name = "NODE")]
    pub(crate) node: Option<String>,
    /// Only this cluster; without, all
    #[arg(long, value_name = "CLUSTER", conflicts_with = "node")]
    pub(crate) cluster: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_addresses() {
        let address = "100.64.11.1:8000".parse().unwrap();
        assert_eq!(path("/svc1=100.64.11.1:8000"), Ok(("/svc1".into(), address)));
        assert_eq!(path("/a=b=100.64.11.1:8000"), Ok(("/a=b".into(), address)));
        for bad in ["/svc1", "svc1=100.64.11.1:8000", "/svc1=100.64.11.1", "/svc1=c1:80", "/=1.2.3.4:70000"] {
            assert!(path(bad).is_err(), "{bad}");
        }
    }
}
