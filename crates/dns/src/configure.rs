//! Follows the ConfigMap that has the Corefile: who turns the query log on is heard at once, in every server.
//!
//! What cannot be read changes nothing: the server goes on as it last understood. Without the ConfigMap it is
//! as it was started.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use api::types::api::core::v1::ConfigMap;
use runtime::chain;
use store::{ObjectName, Reflector, Store};
use tokio::sync::watch;

use crate::corefile::{Classes, Corefile, Upstream};
use crate::follow::State;
use crate::serve::Options;
use crate::server::Server;

/// The key of the file in its ConfigMap.
const KEY: &str = "Corefile";
const PORT: u16 = 53;

/// What a server does that can be changed while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) log: Classes,
    pub(crate) upstreams: Vec<SocketAddr>,
}

/// Never ends. The server is ready once `state` says that the ConfigMap has been looked for.
pub(crate) async fn follow(
    store: Store,
    source: ObjectName,
    options: Options,
    server: Arc<Server>,
    state: watch::Sender<State>,
) {
    let (namespace, name) = (source.namespace.as_str(), source.name.as_str());
    let wanted = source.name.clone();
    let maps = Reflector::<ConfigMap>::start_where(&store, Some(namespace), move |map| {
        map.metadata.name.as_ref() == Some(&wanted)
    });
    let mut changed = maps.subscribe();
    maps.wait_synced().await;
    let mut last = None;
    loop {
        changed.mark_unchanged();
        let map = maps.get(namespace, name);
        let text = map.as_ref().and_then(|map| map.data.as_ref()?.get(KEY));
        if text != last.as_ref() {
            if let Some(settings) = read(text.map(String::as_str), &options) {
                tracing::info!(config = %source, log = %settings.log, upstreams = ?settings.upstreams, "configured");
                server.configure(settings);
            }
            last = text.cloned();
        }
        // That etcd is away is told by those who follow names.
        state.send_replace(State { synced: true, connected: true, error: None });
        // The reflector is held here.
        if changed.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// What a Corefile says, or without one the server's own options; none if it cannot be read.
fn read(text: Option<&str>, options: &Options) -> Option<Settings> {
    let Some(text) = text else { return Some(options.settings()) };
    match Corefile::parse(text) {
        Ok(corefile) => {
            for warning in &corefile.warnings {
                tracing::warn!("{warning}");
            }
            let upstreams = corefile.forward.into_iter().flat_map(resolvers).collect();
            Some(Settings { log: corefile.log, upstreams: options.others(upstreams) })
        }
        Err(error) => {
            tracing::error!(error = chain(&error), "the configuration stays as it was");
            None
        }
    }
}

/// A file that is not there names nobody.
fn resolvers(upstream: Upstream) -> Vec<SocketAddr> {
    let path = match upstream {
        Upstream::Address(address) => return vec![address],
        Upstream::File(path) => path,
    };
    match std::fs::read_to_string(&path) {
        Ok(text) => named(&text),
        Err(error) => {
            tracing::warn!(%error, path, "names of others: no resolvers");
            vec![]
        }
    }
}

/// The name servers of a `resolv.conf(5)`.
fn named(text: &str) -> Vec<SocketAddr> {
    let address = |line: &str| {
        let mut words = line.split_whitespace();
        let ip: IpAddr =
            words.next().filter(|word| *word == "nameserver").and_then(|_| words.next())?.parse().ok()?;
        Some(SocketAddr::new(ip, PORT))
    };
    text.lines().filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_named_in_a_file() {
        assert_eq!(
            named("# a\nnameserver 192.0.2.1\nsearch x\nnameserver nonsense\nnameserver ::1 \n"),
            ["192.0.2.1:53", "[::1]:53"].map(|text| text.parse().unwrap())
        );
        assert_eq!(resolvers(Upstream::File("/nowhere/resolv.conf".into())), []);
    }

    #[test]
    fn without_a_file_the_options_hold_and_a_bad_one_changes_nothing() {
        let upstreams: Vec<SocketAddr> = vec!["192.0.2.1:53".parse().unwrap()];
        let options = Options { upstreams: upstreams.clone(), ..Options::new("cluster.local") };
        assert_eq!(read(None, &options), Some(Settings { log: Classes::NONE, upstreams }));
        assert_eq!(read(Some("nonsense"), &options), None);
        // The server itself is not asked.
        let own = ".:53 {\n log\n forward . 127.0.0.1 192.0.2.2\n}";
        let others = vec!["192.0.2.2:53".parse().unwrap()];
        assert_eq!(read(Some(own), &options), Some(Settings { log: Classes::ALL, upstreams: others }));
    }
}
