//! Two routers on one machine, as the course begins with them: `conf/solo0.json` takes clients in at port 1028,
//! `conf/solo1.json` connects to it and has the server. Plain text, and everything on the loopback.

use api::router_config::{Config, Connector, Role, TcpConnector, TcpListener};

use crate::network::Metadata;
use crate::plan::{Access, Ports, base};

/// The first and the second.
#[must_use]
pub fn configs() -> [Config; 2] {
    let [mut first, mut second] = [0, 1].map(|number| {
        let id = format!("c{number}");
        let metadata =
            Metadata { id: id.clone(), name: id.clone(), version: "1.0.2".into(), ..Metadata::default() };
        base(&id, &metadata.to_text(), Ports::of(number), &Access::Plain, false)
    });
    first.tcp_listeners.push(TcpListener {
        name: "listener/svc1".into(),
        address: "svc1".into(),
        port: 1028,
        ..TcpListener::default()
    });
    second.connectors.push(Connector {
        name: "link1".into(),
        host: "localhost".into(),
        port: Ports::of(0).inter_router,
        role: Role::InterRouter,
        cost: 1,
        ..Connector::default()
    });
    second.tcp_connectors.push(TcpConnector {
        name: "connector/svc1".into(),
        address: "svc1".into(),
        host: "localhost".into(),
        port: 8090,
        ..TcpConnector::default()
    });
    [first, second]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_what_is_generated_and_are_read_again() {
        for (number, config) in configs().iter().enumerate() {
            let path = format!("{}/../../conf/solo{number}.json", env!("CARGO_MANIFEST_DIR"));
            let text = config.to_text().unwrap();
            if std::env::var_os("UPDATE").is_some() {
                std::fs::write(&path, &text).unwrap();
            }
            let file = std::fs::read_to_string(&path).unwrap();
            assert_eq!(file, text, "{path}");
            let (read, warnings) = Config::parse(&path, &file).unwrap();
            assert!(warnings.is_empty(), "{warnings:?}");
            assert_eq!(read.to_text().unwrap(), text);
        }
    }
}
