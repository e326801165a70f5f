//! Routers that know one another by certificates.
#![allow(missing_docs, clippy::unwrap_used)]

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use api::router_config::Config;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};

/// Writes `name.ca`, `name.crt`, `name.key`: a certificate for `host` (a dNSName, even of an address, as skrouterd
/// wants it) by a CA of its own or that of another.
fn identity(folder: &Path, name: &str, host: &str, ca: &CertifiedIssuer<'_, KeyPair>) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.subject_alt_names.push(SanType::DnsName(host.try_into().unwrap()));
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, ca).unwrap();
    std::fs::write(folder.join(format!("{name}.ca")), ca.pem()).unwrap();
    std::fs::write(folder.join(format!("{name}.crt")), certificate.pem()).unwrap();
    std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
}

fn ca() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn profile(folder: &Path, name: &str) -> String {
    let file = |kind: &str| folder.join(format!("{name}.{kind}")).display().to_string();
    let (ca, cert, key) = (file("ca"), file("crt"), file("key"));
    format!(
        r#"["sslProfile", {{"name": "tls", "caCertFile": "{ca}", "certFile": "{cert}", "privateKeyFile": "{key}"}}]"#
    )
}

const TLS: &str = r#", "sslProfile": "tls", "saslMechanisms": "EXTERNAL""#;

/// A router that serves `port`'s address from another site, connected as `identity` says.
fn site(folder: &Path, id: &str, port: u16, identity: Option<&str>) -> String {
    let (profile, tls) = match identity {
        Some(name) => (format!("{},", profile(folder, name)), TLS),
        None => (String::new(), ""),
    };
    format!(
        r#"[["router", {{"id": "{id}", "mode": "interior"}}], {profile}
            ["connector", {{"name": "out", "host": "127.0.0.1", "port": 5001, "role": "inter-router"{tls}}}],
            ["tcpListener", {{"name": "far", "address": "svc", "host": "127.0.0.1", "port": {port}}}]]"#
    )
}

#[test]
fn only_who_has_a_certificate_of_the_same_ca_is_a_neighbour() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, foreign) = (ca(), ca());
    identity(folder.path(), "hub", "127.0.0.1", &ours);
    identity(folder.path(), "good", "good", &ours);
    identity(folder.path(), "bad", "bad", &foreign);
    // It trusts the hub, and is not trusted.
    std::fs::write(folder.path().join("bad.ca"), ours.pem()).unwrap();
    let hub = format!(
        r#"[["router", {{"id": "hub", "mode": "interior"}}], {},
            ["listener", {{"name": "in", "host": "127.0.0.1", "port": 5001, "role": "inter-router",
                "authenticatePeer": true{TLS}}}],
            ["tcpConnector", {{"name": "here", "address": "svc", "host": "127.0.0.1", "port": 7000}}]]"#,
        profile(folder.path(), "hub")
    );
    let sites = [
        hub,
        site(folder.path(), "good", 8001, Some("good")),
        site(folder.path(), "bad", 8002, Some("bad")),
        site(folder.path(), "plain", 8003, None),
    ];
    let main = move || {
        let _server = TcpListener::bind("127.0.0.1:7000").unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut routers = Vec::new();
            for config in sites {
                let (config, _) = Config::parse("test", &config).unwrap();
                routers.push(Box::pin(router::run(config)));
            }
            let mut routers = routers.into_iter();
            let (a, b, c, d) = (
                routers.next().unwrap(),
                routers.next().unwrap(),
                routers.next().unwrap(),
                routers.next().unwrap(),
            );
            tokio::select! {
                ended = a => { ended.unwrap(); }
                ended = b => { ended.unwrap(); }
                ended = c => { ended.unwrap(); }
                ended = d => { ended.unwrap(); }
                opened = tokio::time::timeout(Duration::from_secs(60), async {
                    while tokio::net::TcpStream::connect("127.0.0.1:8001").await.is_err() {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                    // While the good one is served, the others are not.
                    for port in [8002, 8003] {
                        let refused = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
                        assert!(refused.is_err(), "{port} is open");
                    }
                }) => opened.unwrap(),
            }
        });
    };
    let ns = testkit::netns();
    let thread = ns.run(|| -> Result<_, net::Error> { Ok(std::thread::spawn(main)) }).unwrap();
    thread.join().unwrap();
}
