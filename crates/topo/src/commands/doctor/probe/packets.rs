//! Two nodes on a switch, a connection between them, and one through a service.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};
use net::{Links, NetNs};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

use super::links::end;
use super::{Lane, nftables};

const CLIENT: &str = "10.0.0.3";
const SERVER: &str = "10.0.0.4";
const SERVICE: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 1);

/// Once it is lost, the kernel sends the first packet again after a second.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) fn run(lane: &Lane<'_>) {
    let mut pair = None;
    lane.attempt("tcp", || {
        let (client, server) = lane.runtime.block_on(nodes())?;
        let listener =
            server.run(|| Ok::<_, anyhow::Error>(TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?))?;
        setsockopt(&listener, sockopt::ReceiveTimeout, &TimeVal::seconds(PATIENCE.as_secs() as i64))?;
        let port = listener.local_addr()?.port();
        cross(&client, &listener, SocketAddr::new(SERVER.parse()?, port))?;
        pair = Some((client, listener, port));
        Ok("between two namespaces on a bridge".into())
    });
    // Without a pair it counts as missing, too.
    if let Some((client, listener, port)) = pair {
        lane.attempt("service", || service(&client, &listener, port));
    }
}

async fn nodes() -> Result<(NetNs, NetNs)> {
    let links = Links::open()?;
    links.add_bridge("br", 1500).await?;
    let bridge = Some(links.get("br").await?.index);
    let mut nodes = Vec::new();
    for (port, address) in [("port1", CLIENT), ("port2", SERVER)] {
        let ns = NetNs::create()?;
        links.add_veth(end(port), bridge, end("eth0"), Some(&ns), 1500).await?;
        let own = Links::open_in(&ns)?;
        let index = own.get("eth0").await?.index;
        own.add_address(index, format!("{address}/8").parse()?).await?;
        own.set_up("eth0", true).await?;
        own.add_route("0.0.0.0/0".parse()?, None, index).await?;
        nodes.push(ns);
    }
    let server = nodes.pop().context("no server")?;
    Ok((nodes.pop().context("no client")?, server))
}

/// A few bytes from `client` to whoever answers at `to`, which must be `listener`.
fn cross(client: &NetNs, listener: &TcpListener, to: SocketAddr) -> Result<()> {
    const TEXT: &[u8] = b"knetsim";
    let mut near = client
        .run(|| Ok::<_, anyhow::Error>(TcpStream::connect_timeout(&to, PATIENCE)?))
        .with_context(|| format!("connect to {to} across a bridge"))?;
    near.write_all(TEXT)?;
    let (mut far, _) = listener.accept().context("accept the connection")?;
    far.set_read_timeout(Some(PATIENCE))?;
    far.read_exact(&mut [0; TEXT.len()]).context("read what was sent")?;
    Ok(())
}

/// A virtual address with two endpoints, as a worker has them; here both are the one server.
fn service(client: &NetNs, listener: &TcpListener, port: u16) -> Result<String> {
    let rules = format!(
        "table ip t {{ chain c {{ type nat hook output priority -100;\n\
         ip daddr {SERVICE} tcp dport 80 dnat ip to numgen random mod 2 map {{ \
         0 : {SERVER} . {port}, 1 : {SERVER} . {port} }}; }}; }}"
    );
    client.run(|| nftables::load(&rules))?;
    cross(client, listener, SocketAddr::new(SERVICE.into(), 80))?;
    Ok(format!("{SERVICE}:80 leads to {SERVER}:{port}"))
}
