use std::fmt::Write as _;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::*;

/// One file and what skrouterd 3.5 says to it; `crates/router/tests` asks a real one where there is one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Verdict {
    what: String,
    /// `starts`, `refuses`, or `breaks`: it starts, and dies sooner or later.
    skrouterd: String,
    /// Where this differs from skrouterd.
    ours: Option<String>,
    conf: Option<Value>,
    text: Option<String>,
}

#[test]
fn what_skrouterd_refuses_is_refused_and_what_it_takes_is_taken() {
    let verdicts: Vec<Verdict> = serde_json::from_str(include_str!("verdicts.json")).unwrap();
    let mut said = String::new();
    let mut wrong = String::new();
    for verdict in verdicts {
        let text = verdict.text.unwrap_or_else(|| verdict.conf.unwrap_or_default().to_string());
        let parsed = Config::parse("r.json", &text);
        let ours = if parsed.is_ok() { "starts" } else { "refuses" };
        let what = verdict.what;
        if ours != verdict.ours.as_deref().unwrap_or(&verdict.skrouterd) {
            writeln!(wrong, "{what}: skrouterd {}, ours {ours}: {parsed:?}", verdict.skrouterd).unwrap();
        }
        match parsed {
            Err(error) => writeln!(said, "{what}\n    {error}").unwrap(),
            Ok((_, warnings)) if !warnings.is_empty() => {
                writeln!(said, "{what} (starts)").unwrap();
                for warning in warnings {
                    writeln!(said, "    {warning}").unwrap();
                }
            }
            Ok((config, _)) => {
                // What is taken can be written, and means the same.
                let written = config.to_text().unwrap_or_else(|refused| panic!("{what}: {refused}"));
                assert_eq!(Config::parse("r.json", &written), Ok((config, Vec::new())), "{what}: {written}");
            }
        }
    }
    assert_eq!(wrong, "");
    insta::assert_snapshot!(said);
}

const SITE: &str = r#"# a site of the course
[
  ["router", {"id": "C0", "mode": "interior", "hello-max-age-seconds": "4", "metadata": "site C0"}],
  ["sslProfile", {"name": "tls", "caCertFile": "/c/ca.crt", "certFile": "/c/tls.crt", "privateKeyFile": "/c/tls.key"}],
  ["listener", {"host": "10.0.0.3", "port": 55671, "role": "inter-router", "sslProfile": "tls",
                "saslMechanisms": "EXTERNAL", "authenticatePeer": true, "cost": "3"}],
  ["listener", {"host": "127.0.0.1", "port": "amqp"}],
  ["listener", {"port": 9090, "http": "yes", "httpRootDir": "disabled", "websockets": false}],
  ["connector", {"name": "C1", "host": "10.0.0.8", "port": "55671", "role": "inter-router", "sslProfile": "tls"}],
  ["tcpConnector", {"name": "svc1", "address": "svc1", "host": "11.10.0.2", "port": 80}],
  ["tcpListener", {"name": "svc2", "address": "svc2", "port": 1028, "observer": "none"}],
  ["address", {"prefix": "mc", "distribution": "multicast"}],
  ["address", {"pattern": "near/*", "distribution": "closest", "priority": 4}],
  ["log", {"module": "DEFAULT", "enable": "info+"}],
  ["site", {"name": "C0", "platform": "linux"}]
]
"#;

#[test]
fn a_site_is_read_into_its_types() {
    let (config, warnings) = Config::parse("site.json", SITE).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(config.router.id.as_deref(), Some("C0"));
    assert_eq!(config.router.mode, Mode::Interior);
    assert_eq!(config.router.hello_interval, Duration::from_secs(1));
    assert_eq!(config.router.hello_max_age, Duration::from_secs(4));
    assert_eq!(config.router.data_connection_count, None);
    let [link, amqp, web] = config.listeners.as_slice() else { panic!("{:?}", config.listeners) };
    assert_eq!((link.port, link.role, link.cost), (55671, Role::InterRouter, 3));
    assert_eq!(link.sasl_mechanisms, ["EXTERNAL"]);
    assert!(link.authenticate_peer && !link.http);
    assert_eq!(link.name, "listener/10.0.0.3:55671");
    assert_eq!((amqp.port, amqp.idle_timeout, amqp.max_frame_size), (5672, Duration::from_secs(16), 16384));
    assert!(web.http && web.healthz && web.metrics);
    assert_eq!(config.connectors.first().map(|one| one.verify_hostname), Some(true));
    assert_eq!(config.tcp_connectors.first().map(|one| one.port), Some(80));
    assert_eq!(config.tcp_listeners.first().map(|one| one.host.as_str()), Some(""));
    assert_eq!(config.distribution("mc/all"), Distribution::Multicast);
    assert_eq!(config.distribution("near/x"), Distribution::Closest);
    assert_eq!(config.distribution("svc1"), Distribution::Balanced);
    assert_eq!(config.others.iter().map(Entity::name).collect::<Vec<_>>(), ["log/DEFAULT", "C0"]);
}

#[test]
fn a_site_is_written_the_same_way_each_time_and_loses_nothing() {
    let (config, _) = Config::parse("site.json", SITE).unwrap();
    let text = config.to_text().unwrap();
    insta::assert_snapshot!(text);
    let (again, warnings) = Config::parse("again.json", &text).unwrap();
    assert_eq!((&again, warnings), (&config, Vec::new()));
    assert_eq!(again.to_text().unwrap(), text);
    let json = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<Config>(&json).unwrap(), config);
}

#[test]
fn what_a_router_would_refuse_cannot_be_written() {
    let mut config = Config::of_router(Router { id: Some("A".to_owned()), ..Router::default() });
    let listener =
        TcpListener { name: "x".to_owned(), address: "svc".to_owned(), port: 1028, ..TcpListener::default() };
    config.tcp_listeners = vec![listener.clone(), TcpListener { port: 1029, ..listener.clone() }];
    assert_eq!(
        config.to_text().unwrap_err().to_string(),
        "tcpListener \"x\": the name \"x\" is taken by a tcpListener"
    );
    config.tcp_listeners = vec![TcpListener { address: String::new(), ..listener }];
    assert_eq!(
        config.to_text().unwrap_err().to_string(),
        "tcpListener \"x\": \"address\" is missing: what it leads to"
    );
    config.tcp_listeners.clear();
    config.connectors = vec![Connector {
        name: "up".to_owned(),
        host: "10.0.0.8".to_owned(),
        port: 55671,
        role: Role::InterRouter,
        ..Connector::default()
    }];
    assert_eq!(
        config.to_text().unwrap_err().to_string(),
        "connector \"up\": a connector of role inter-router needs a router of mode interior, and this one is standalone"
    );
}

#[test]
fn defaults_are_the_schemas() {
    let connector = Connector::default();
    assert_eq!((connector.host.as_str(), connector.cost, connector.max_frame_size), ("127.0.0.1", 1, 16384));
    assert!(connector.verify_hostname);
    assert!(connector.more.is_empty());
    assert_eq!(Router::default().hello_max_age, Duration::from_secs(3));
}
