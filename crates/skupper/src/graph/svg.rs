//! A picture of sites, links and addresses, without any help from outside.

use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::fmt::Write as _;

use super::{Graph, of};

const WIDTH: f64 = 900.0;
const TOP: f64 = 40.0;
const RADIUS: f64 = 190.0;
const BOX: (f64, f64) = (170.0, 64.0);
const LINE: f64 = 18.0;

/// As SVG: sites in a circle, links between them (dashed where they are down), arrows for who talks to whom, and
/// the addresses below.
#[must_use]
pub fn svg(graph: &Graph) -> String {
    let places = places(graph);
    let lines =
        2 + graph.addresses.iter().map(|one| 1 + one.listeners.len() + one.connectors.len()).sum::<usize>();
    let below = TOP + 2.0 * RADIUS + 2.0 * BOX.1;
    #[allow(clippy::cast_precision_loss)] // A few lines.
    let height = below + lines as f64 * LINE + TOP;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<defs><marker id=\"to\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" \
         markerHeight=\"8\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" fill=\"#1f6feb\"/></marker></defs>\n"
    );
    links(graph, &places, &mut text);
    flows(graph, &places, &mut text);
    sites(graph, &places, &mut text);
    addresses(graph, below, &mut text);
    text.push_str("</svg>\n");
    text
}

type Places = BTreeMap<String, (f64, f64)>;

fn places(graph: &Graph) -> Places {
    let count = graph.sites.len().max(1);
    let center = (WIDTH / 2.0, TOP + RADIUS + BOX.1 / 2.0);
    let place = |(number, site): (usize, &super::SiteRow)| {
        #[allow(clippy::cast_precision_loss)] // A few sites.
        let angle = TAU * (number as f64 / count as f64 + 0.5);
        let at = (center.0 + 1.6 * RADIUS * angle.cos(), center.1 + RADIUS * angle.sin());
        (of(&site.cluster, &site.namespace), at)
    };
    graph.sites.iter().enumerate().map(place).collect()
}

fn links(graph: &Graph, places: &Places, text: &mut String) {
    for link in &graph.links {
        let ends = (places.get(&of(&link.cluster, &link.namespace)), places.get(&link.remote_cluster));
        let (Some(from), Some(to)) = ends else { continue };
        let (colour, dash) = if link.status == "Ready" { ("#57606a", "") } else { ("#cf222e", "6 5") };
        let (x, y) = ((from.0 + to.0) / 2.0, (from.1 + to.1) / 2.0 - 8.0);
        let label = escape(&format!("{} (cost {})", link.name, link.cost));
        let _ = writeln!(
            text,
            "<line x1=\"{:.0}\" y1=\"{:.0}\" x2=\"{:.0}\" y2=\"{:.0}\" stroke=\"{colour}\" stroke-width=\"3\" \
             stroke-dasharray=\"{dash}\"/>\n<text x=\"{x:.0}\" y=\"{y:.0}\" text-anchor=\"middle\">{label}</text>",
            from.0, from.1, to.0, to.1
        );
    }
}

fn flows(graph: &Graph, places: &Places, text: &mut String) {
    for (number, address) in graph.addresses.iter().enumerate() {
        for (from, to) in address.flows.iter().filter(|(from, to)| from != to) {
            let (Some(from), Some(to)) = (places.get(from), places.get(to)) else { continue };
            #[allow(clippy::cast_precision_loss)] // A few addresses.
            let bend = 40.0 + 24.0 * number as f64;
            let (x, y) = ((from.0 + to.0) / 2.0, (from.1 + to.1) / 2.0 + bend);
            let label = escape(&address.address);
            let _ = writeln!(
                text,
                "<path d=\"M{:.0} {:.0}Q{x:.0} {y:.0} {:.0} {:.0}\" fill=\"none\" stroke=\"#1f6feb\" \
                 marker-end=\"url(#to)\"/>\n<text x=\"{x:.0}\" y=\"{:.0}\" fill=\"#1f6feb\" \
                 text-anchor=\"middle\">{label}</text>",
                from.0,
                from.1 + BOX.1 / 2.0,
                to.0,
                to.1 + BOX.1 / 2.0,
                y - bend / 2.0 + 14.0
            );
        }
    }
}

fn sites(graph: &Graph, places: &Places, text: &mut String) {
    for site in &graph.sites {
        let place = of(&site.cluster, &site.namespace);
        let Some((x, y)) = places.get(&place) else { continue };
        let colour = if site.status == "Ready" { "#1a7f37" } else { "#cf222e" };
        let _ = writeln!(
            text,
            "<rect x=\"{:.0}\" y=\"{:.0}\" width=\"{}\" height=\"{}\" rx=\"8\" fill=\"#fff\" stroke=\"{colour}\" \
             stroke-width=\"2\"/>\n<text x=\"{x:.0}\" y=\"{:.0}\" text-anchor=\"middle\" \
             font-weight=\"bold\">{}</text>\n<text x=\"{x:.0}\" y=\"{:.0}\" text-anchor=\"middle\">{} \
             {}</text>",
            x - BOX.0 / 2.0,
            y - BOX.1 / 2.0,
            BOX.0,
            BOX.1,
            y - 6.0,
            escape(&place),
            y + 14.0,
            escape(&site.name),
            escape(&site.endpoint)
        );
    }
}

fn addresses(graph: &Graph, mut y: f64, text: &mut String) {
    let mut line = |x: f64, weight: &str, words: &str| {
        let words = escape(words);
        let _ = writeln!(text, "<text x=\"{x:.0}\" y=\"{y:.0}\" font-weight=\"{weight}\">{words}</text>");
        y += LINE;
    };
    for address in &graph.addresses {
        line(40.0, "bold", &address.address);
        address.listeners.iter().for_each(|one| line(60.0, "normal", &format!("clients {one}")));
        address.connectors.iter().for_each(|one| line(60.0, "normal", &format!("servers {one}")));
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
