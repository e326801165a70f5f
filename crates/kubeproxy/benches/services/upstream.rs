//! The layout of the real kube-proxy, as text for `nft -f`: a chain for each service and for each endpoint, an anonymous
//! map in each service's chain, a map of verdicts over all (kubernetes `pkg/proxy/nftables/proxier.go`).

use std::fmt::Write;

use crate::objects::{cluster_ip, pod_ip};

pub(crate) fn ruleset(services: u32, endpoints: u32) -> String {
    let mut out = String::from(
        "table ip upstream {\n chain mark-for-masquerade { meta mark set mark or 0x4000; }\n \
         map service-ips { type ipv4_addr . inet_proto . inet_service : verdict; }\n",
    );
    let mut elements = Vec::new();
    for n in 0..services {
        let ip = cluster_ip(n);
        let name = format!("{n:08}-default/svc-{n}/tcp/http");
        let mut targets = Vec::new();
        for k in 0..endpoints {
            let pod = pod_ip(n * 10 + k);
            let chain = format!("endpoint-{n:07}{k}-default/svc-{n}/tcp/http__{pod}/8080");
            writeln!(
                out,
                " chain {chain} {{ ip saddr {pod} jump mark-for-masquerade; meta l4proto tcp dnat to {pod}:8080; }}"
            )
            .unwrap();
            targets.push(format!("{k} : goto {chain}"));
        }
        writeln!(
            out,
            " chain service-{name} {{ ip daddr {ip} tcp dport 80 ip saddr != 11.0.0.0/8 jump mark-for-masquerade; \
             numgen random mod {endpoints} vmap {{ {} }}; }}",
            targets.join(", ")
        )
        .unwrap();
        elements.push(format!("{ip} . tcp . 80 comment \"default/svc-{n}:http\" : goto service-{name}"));
    }
    out += " chain services { ip daddr . meta l4proto . th dport vmap @service-ips; }\n";
    out += " chain nat-prerouting { type nat hook prerouting priority dstnat; jump services; }\n";
    out += " chain nat-output { type nat hook output priority -100; jump services; }\n";
    out += " chain nat-postrouting { type nat hook postrouting priority srcnat; \
             meta mark & 0x4000 == 0 return; meta mark set meta mark & 0xffffbfff; masquerade fully-random; }\n}\n";
    for chunk in elements.chunks(1000) {
        writeln!(out, "add element ip upstream service-ips {{ {} }}", chunk.join(", ")).unwrap();
    }
    out
}
