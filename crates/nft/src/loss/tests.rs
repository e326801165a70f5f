use super::*;

fn loss(device: &str, hook: Hook, percent: f64) -> Loss {
    Loss { device: device.into(), percent, hook, comment: "C0w1 - C0s0".into() }
}

#[test]
fn one_chain_for_each_device_and_direction_in_order() {
    let losses = [
        loss("eth1", Hook::Egress, 100.0),
        loss("eth0", Hook::Egress, 1.0),
        loss("eth0", Hook::Ingress, 2.5),
        loss("eth2", Hook::Ingress, 0.0),
        loss("eth0", Hook::Egress, 0.004),
    ];
    let (batch, positions) = render("loss", &plan(&losses).unwrap()).map(|(b, p)| (b, p.len())).unwrap();
    let steps: Vec<_> = batch.steps().collect();
    assert_eq!(
        steps,
        [
            "add table netdev loss",
            "delete table netdev loss",
            "add table netdev loss",
            "add chain netdev loss ingress-eth0",
            "add rule netdev loss ingress-eth0",
            "add chain netdev loss egress-eth0",
            "add rule netdev loss egress-eth0",
            "add rule netdev loss egress-eth0",
            "add chain netdev loss egress-eth1",
            "add rule netdev loss egress-eth1",
        ]
    );
    assert_eq!(positions, 3);
}

#[test]
fn without_loss_only_the_table_goes() {
    for losses in [&[][..], &[loss("eth0", Hook::Ingress, 0.0)]] {
        let chains = plan(losses).unwrap();
        let steps: Vec<_> = render("loss", &chains).unwrap().0.steps().collect();
        assert_eq!(steps, ["add table netdev loss", "delete table netdev loss"]);
    }
}

#[test]
fn percent_becomes_a_threshold() {
    let of = |percent| threshold(&loss("eth0", Hook::Ingress, percent)).unwrap();
    assert_eq!(
        [0.0, 0.001, 0.01, 0.29, 5.0, 33.333, 99.99, 99.999, 100.0].map(of),
        [0, 1, 1, 29, 500, 3333, 9999, 10_000, 10_000]
    );
}

#[test]
fn what_nftables_cannot_hold_is_refused_by_name() {
    let commented = |comment: &str| Loss { comment: comment.into(), ..loss("eth0", Hook::Ingress, 1.0) };
    for (loss, said) in [
        (loss("eth0", Hook::Ingress, -1.0), "loss of -1 % on device eth0: not within 0 to 100"),
        (loss("eth0", Hook::Ingress, f64::NAN), "loss of NaN % on device eth0: not within 0 to 100"),
        (commented("a \"b\""), r#"comment for device eth0: has a quote or control character: "a \"b\"""#),
        (commented("a\nb"), r#"comment for device eth0: has a quote or control character: "a\nb""#),
    ] {
        assert_eq!(plan(&[loss]).unwrap_err().to_string(), said);
    }
    assert!(plan(&[commented(&"x".repeat(126))]).is_err());
    let chains = plan(&[commented(&"x".repeat(125))]).unwrap();
    assert!(render("loss", &chains).is_ok());
    assert!(render("lo\0ss", &chains).is_err());
}

#[test]
fn a_refused_chain_is_explained() {
    let chains = plan(&[loss("eth0", Hook::Ingress, 1.0), loss("eth0", Hook::Egress, 1.0)]).unwrap();
    let (_, positions) = render("loss", &chains).unwrap();
    let refused = |position, errno| {
        let source = std::io::Error::from_raw_os_error(errno);
        explain(Error::Refused { what: "add chain".into(), position, source }, &positions)
    };
    let (ingress, egress) = (Some(3), Some(5));
    assert!(matches!(refused(egress, libc::EOPNOTSUPP), Error::NoEgress(device) if device == "eth0"));
    assert!(matches!(refused(ingress, libc::EOPNOTSUPP), Error::Refused { .. }));
    assert!(matches!(refused(egress, libc::ENOENT), Error::NoDevice(device) if device == "eth0"));
    // A rule, and the whole.
    assert!(matches!(refused(Some(4), libc::ENOENT), Error::Refused { .. }));
    assert!(matches!(refused(None, libc::EOPNOTSUPP), Error::Refused { .. }));
}
