//! Servers: a port and a host.

use super::location::{self, Place};
use super::writer::Writer;
use super::{Names, Setup};
use crate::model::{Host, Location, Model, Path, Server, Tls};
use crate::text::{Word, literal};

/// Writes a server, and before it the maps that its locations need.
pub(super) fn write(
    out: &mut Writer,
    names: &mut Names,
    port: u16,
    host: &Host,
    server: &Server,
    model: &Model,
    setup: &Setup,
) {
    let tls = server.tls.is_some() || model.servers.iter().any(|((at, _), s)| *at == port && s.tls.is_some());
    if tls && server.tls.is_none() && *host != Host::Any {
        // Without a certificate nobody can ask for it.
        return;
    }
    if tls && server.tls.is_none() && setup.version < (1, 19, 4) {
        return;
    }
    out.gap();
    let places: Vec<_> = places(server);
    let mut prepared = Vec::with_capacity(places.len());
    for (path, location) in places {
        prepared.push(Place::prepare(out, names, &format!("{port} {host} {path}"), path, location));
    }
    out.owned_by(server.owners.first());
    let owners: Vec<_> = server.owners.iter().take(3).map(ToString::to_string).collect();
    let more = if server.owners.len() > owners.len() { " …" } else { "" };
    let of = if owners.is_empty() { "of no object".to_owned() } else { owners.join(", ") };
    out.comment(&format!("Port {port}, host {host}: {of}{more}"));
    out.open("server", []);
    listen(out, port, host, server.tls.as_ref(), tls, setup);
    for place in &prepared {
        place.write(out, server);
    }
    if location::any_jumps(&prepared) {
        out.gap();
        out.comment("No case's conditions are met");
        out.open("location", ["@nowhere".into()]);
        out.put("return", [404u32.into()]);
        out.close();
    }
    let everything = [Path::Prefix(String::new()), Path::Beginning("/".into())];
    let covered =
        server.otherwise.is_some() || everything.iter().any(|path| server.locations.contains_key(path));
    let refused = tls && server.tls.is_none();
    if !covered && !refused {
        out.owned_by(None);
        out.gap();
        out.comment("Nobody's path");
        out.open("location", ["/".into()]);
        out.put("return", [404u32.into()]);
        out.close();
    }
    out.owned_by(None);
    out.close();
}

/// The locations in the order in which nginx has to see them, which matters for regular expressions alone.
fn places(server: &Server) -> Vec<(Path, &Location)> {
    let mut places: Vec<_> =
        server.locations.iter().map(|(path, location)| (path.clone(), location)).collect();
    places.sort_by_key(|(path, _)| match path {
        Path::Regex(pattern) => std::cmp::Reverse(pattern.len()),
        _ => std::cmp::Reverse(usize::MAX),
    });
    let everything = Path::Prefix(String::new());
    if let Some(otherwise) = server.otherwise.as_ref().filter(|_| !server.locations.contains_key(&everything))
    {
        places.push((everything, otherwise));
    }
    places
}

fn listen(out: &mut Writer, port: u16, host: &Host, own: Option<&Tls>, tls: bool, setup: &Setup) {
    let directive = setup.version >= (1, 25, 1);
    let mut words = vec![Word::from(port)];
    if *host == Host::Any {
        words.push("default_server".into());
    }
    if tls {
        words.push("ssl".into());
        if !directive {
            words.push("http2".into());
        }
    }
    out.put("listen", words);
    if tls && directive {
        out.put("http2", ["on".into()]);
    }
    match host {
        Host::Any => {}
        Host::Name(name) => out.put("server_name", [Word::text(name)]),
        Host::Suffix(rest) => out.put("server_name", [Word::text(&format!("*.{rest}"))]),
        Host::Label(rest) => {
            out.put("server_name", [Word::text(&format!("~^[^.]+\\.{}$", literal(rest)))]);
        }
    }
    match own {
        Some(tls) => {
            out.put_with_comment("ssl_certificate", [Word::text(&tls.certificate)], &tls.secret.to_string());
            out.put("ssl_certificate_key", [Word::text(&tls.key)]);
        }
        None if tls => {
            out.comment("Hosts without a certificate");
            out.put("ssl_reject_handshake", ["on".into()]);
        }
        None => {}
    }
}
