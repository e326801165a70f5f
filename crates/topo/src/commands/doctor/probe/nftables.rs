//! The features of nftables that services and links use.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};
use nft::loss::{Hook, Loss};

use super::super::program::{self, Ran};
use super::{Lane, NotTried};

const LIMIT: Duration = Duration::from_secs(2);

/// Each in the words of nft(8), within `table ip t { … }`.
const RULES: [(&str, &str); 11] = [
    ("tables", "chain c { type filter hook input priority 0; counter accept; }"),
    ("nat", "chain c { type nat hook prerouting priority -100; ip daddr 100.64.0.1 dnat to 10.0.0.3; }"),
    (
        "numgen maps",
        "map eps { typeof ip daddr . meta l4proto . th dport . numgen random mod 2 : ip daddr . th dport
           elements = { 100.64.0.1 . tcp . 80 . 0 : 10.0.0.3 . 8000, 100.64.0.1 . tcp . 80 . 1 : 10.0.0.4 . 8000 } }
         chain c { type nat hook prerouting priority -100;
           dnat ip to ip daddr . meta l4proto . th dport . numgen random mod 2 map @eps; }",
    ),
    (
        "verdict maps",
        "chain lb { }
         map services { type mark : verdict; elements = { 1 : goto lb } }
         chain c { type filter hook input priority 0; meta mark vmap @services; }",
    ),
    ("masquerade", "chain c { type nat hook postrouting priority 100; meta mark 0x4000 masquerade; }"),
    ("conntrack", "chain c { type filter hook forward priority 0; ct state established,related accept; }"),
    (
        "jhash",
        "chain c { type nat hook prerouting priority -100;
           dnat to jhash ip saddr mod 2 map { 0 : 10.0.0.3, 1 : 10.0.0.4 }; }",
    ),
    ("fib", "chain c { type filter hook prerouting priority 0; fib daddr type local accept; }"),
    ("reject", "chain c { type filter hook input priority 0; meta l4proto tcp reject with tcp reset; }"),
    (
        "dynamic sets",
        "set s { type ipv4_addr; flags dynamic; timeout 3h; size 16; }
         chain c { type filter hook input priority 0; update @s { ip saddr }; }",
    ),
    ("trace", "chain c { type filter hook prerouting priority -301; meta nftrace set 1; }"),
];

pub(super) fn rules(lane: &Lane<'_>) {
    // What keeps `nft` from running for one rule keeps it from that for all.
    let mut hopeless: Option<String> = None;
    for (name, text) in RULES {
        // A table that is there already is deleted in the same transaction.
        let script = format!("table ip t\ndelete table ip t\ntable ip t {{\n{text}\n}}\n");
        lane.attempt(name, || {
            let asked = match &hopeless {
                Some(why) => Err(NotTried(why.clone())),
                None => ask(&script),
            };
            match asked {
                Ok(ran) => judge(&ran),
                Err(why) => {
                    hopeless = Some(why.0.clone());
                    // There is still one way to see whether there are tables at all.
                    if name == "tables" { lose(Hook::Ingress) } else { Err(why.into()) }
                }
            }
        });
    }
}

/// The two hooks by which links lose packets.
pub(super) fn hooks(lane: &Lane<'_>) {
    lane.attempt("ingress hook", || lose(Hook::Ingress));
    lane.attempt("egress hook", || lose(Hook::Egress));
}

fn lose(hook: Hook) -> Result<String> {
    let loss = Loss { device: "lo".into(), percent: 50.0, hook, comment: "probe".into() };
    nft::loss::set_loss("doctor", &[loss])?;
    Ok(String::new())
}

/// Has `nft` load a script in the calling thread's namespace, which must work.
pub(super) fn load(script: &str) -> Result<String> {
    judge(&ask(script)?)
}

fn ask(script: &str) -> Result<Ran, NotTried> {
    let Some(nft) = lab::programs::find("nft") else {
        return Err(NotTried("the program nft is missing".into()));
    };
    let ran = program::run(Command::new(nft).args(["-f", "-"]), script.as_bytes(), LIMIT);
    match ran {
        Ok(ran) if ran.is_broken() => Err(NotTried(format!("nft does not run: {}", ran.first_line()))),
        Ok(ran) => Ok(ran),
        Err(e) => Err(NotTried(format!("nft does not run: {e}"))),
    }
}

fn judge(ran: &Ran) -> Result<String> {
    if ran.status.success() {
        return Ok(String::new());
    }
    match refusal(&ran.text) {
        Some(why) => bail!("the kernel refuses: {why}"),
        // An old nft: the kernel was not even asked.
        None => Err(NotTried(format!("nft: {}", ran.first_line())).into()),
    }
}

/// What the kernel said, in nft's words (`/dev/stdin:3:1-9: Error: Could not process rule: …`).
fn refusal(text: &str) -> Option<&str> {
    let (_, why) = text.split_once("Could not process rule: ")?;
    why.lines().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nft_cannot_read_is_no_refusal_of_the_kernel() {
        let text = "/dev/stdin:1:67-71: Error: Could not process rule: No such file or directory\n queue\n";
        assert_eq!(refusal(text), Some("No such file or directory"));
        assert_eq!(refusal("/dev/stdin:1:1-3: Error: syntax error, unexpected string"), None);
    }
}
