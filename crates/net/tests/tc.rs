//! Shaped links against the real kernel.
// clippy.toml allows it in tests, but does not see that their helpers are part of them.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use net::links::VethEnd;
use net::tc::Shape;
use net::{Error, Links, NetNs};
use testkit::{in_ns, netns};

const fn rate(rate: u64) -> Shape {
    Shape { rate: Some(rate), delay: None, loss: None }
}

/// Two namespaces, 192.0.2.1 and 192.0.2.2, with a veth `eth0` in each.
fn pair() -> (NetNs, NetNs) {
    let (a, b) = (netns(), netns());
    let end = VethEnd { name: "eth0", alias: "" };
    in_ns(&a, async { Links::open()?.add_veth(end, None, end, Some(&b), 1500).await }).unwrap();
    for (ns, address) in [(&a, "192.0.2.1/24"), (&b, "192.0.2.2/24")] {
        in_ns(ns, async {
            let links = Links::open()?;
            links.add_address(links.get("eth0").await?.index, address.parse().unwrap()).await?;
            links.set_up("eth0", true).await
        })
        .unwrap();
    }
    (a, b)
}

/// What `tc -j qdisc show` says of `eth0`.
fn tc_show(ns: &NetNs) -> String {
    let output = ns
        .run(|| Ok::<_, Error>(Command::new("tc").args(["-j", "qdisc", "show", "dev", "eth0"]).output()))
        .unwrap();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().into()
}

/// Seconds that `bytes` take from `from` to 192.0.2.2 in `to`, over one TCP connection.
fn transfer(from: &NetNs, to: &NetNs, bytes: usize) -> f64 {
    let listener = to.run(|| TcpListener::bind("192.0.2.2:0").map_err(|e| Error::sys("bind", e))).unwrap();
    let address = listener.local_addr().unwrap();
    thread::scope(|scope| {
        let receiver = scope.spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let start = Instant::now();
            let got = std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
            (got, start.elapsed())
        });
        let mut stream =
            from.run(|| TcpStream::connect(address).map_err(|e| Error::sys("connect", e))).unwrap();
        stream.write_all(&vec![0; bytes]).unwrap();
        drop(stream);
        let (got, time) = receiver.join().unwrap();
        assert_eq!(got, bytes as u64);
        time.as_secs_f64()
    })
}

#[test]
fn a_rate_is_set_read_back_changed_and_removed() {
    let (a, _b) = pair();
    let before = tc_show(&a);
    in_ns(&a, async {
        let links = Links::open()?;
        for shape in [rate(50_000_000), rate(8_000), rate(100_000_000_000), Shape::default()] {
            links.set_shape("eth0", &shape).await?;
            // Twice is once.
            links.set_shape("eth0", &shape).await?;
            assert_eq!(links.shape("eth0").await?, shape);
            let shown = tc_show(&a);
            match shape.rate {
                None => assert_eq!(shown, before),
                Some(rate) => {
                    let (kind, rate) =
                        (r#""kind":"tbf","handle":"2:","root":true"#, format!(r#""rate":{},"#, rate / 8));
                    assert!(shown.contains(kind) && shown.contains(&rate), "{shown}");
                }
            }
        }
        Ok::<_, Error>(())
    })
    .unwrap();
}

#[test]
fn a_shape_set_by_hand_is_seen_and_replaced() {
    let (a, _b) = pair();
    let tc = |args: &str| {
        let status = a
            .run(|| Ok::<_, Error>(Command::new("tc").args(args.split_whitespace()).status()))
            .unwrap()
            .unwrap();
        assert!(status.success(), "tc {args}");
    };
    tc("qdisc add dev eth0 root handle 7: tbf rate 3mbit burst 10kb limit 100kb");
    in_ns(&a, async {
        let links = Links::open()?;
        assert_eq!(links.shape("eth0").await?, rate(3_000_000));
        links.set_shape("eth0", &rate(5_000_000)).await?;
        assert_eq!(links.shape("eth0").await?, rate(5_000_000));
        Ok::<_, Error>(())
    })
    .unwrap();
    assert!(!tc_show(&a).contains(r#""handle":"7:""#));
    // Below ours, where it would go on shaping: the root is made anew.
    tc("qdisc add dev eth0 parent 2:1 handle 20: tbf rate 1mbit burst 10kb limit 100kb");
    in_ns(&a, async {
        let links = Links::open()?;
        links.set_shape("eth0", &rate(5_000_000)).await?;
        assert_eq!(links.shape("eth0").await?, rate(5_000_000));
        links.set_shape("eth0", &Shape::default()).await
    })
    .unwrap();
    assert!(tc_show(&a).contains("noqueue"), "{}", tc_show(&a));
}

#[test]
fn tcp_gets_the_rate_that_is_set() {
    const BYTES: usize = 2_000_000;
    let (a, b) = pair();
    in_ns(&a, async { Links::open()?.set_shape("eth0", &rate(50_000_000)).await }).unwrap();
    let ideal = BYTES as f64 * 8.0 / 50e6;
    let limited = transfer(&a, &b, BYTES);
    assert!((0.7 * ideal..3.0 * ideal).contains(&limited), "{limited:.3} s, ideal {ideal:.3} s");
    in_ns(&a, async { Links::open()?.set_shape("eth0", &Shape::default()).await }).unwrap();
    let free = transfer(&a, &b, BYTES);
    assert!(free < 0.7 * ideal, "{free:.3} s without a limit");
}

#[test]
fn a_slow_link_is_slow_from_the_first_bytes_on() {
    const BYTES: usize = 100_000;
    let (a, b) = pair();
    in_ns(&a, async { Links::open()?.set_shape("eth0", &rate(2_000_000)).await }).unwrap();
    let ideal = BYTES as f64 * 8.0 / 2e6;
    let limited = transfer(&a, &b, BYTES);
    assert!((0.7 * ideal..3.0 * ideal).contains(&limited), "{limited:.3} s, ideal {ideal:.3} s");
}

#[test]
fn delay_and_loss_work_or_are_refused_by_name() {
    let (a, _b) = pair();
    in_ns(&a, async {
        let links = Links::open()?;
        let delay = Shape { delay: Some(Duration::from_millis(20)), ..Shape::default() };
        let loss = Shape { loss: Some(5.0), ..delay };
        let all = Shape { rate: Some(10_000_000), ..loss };
        links.set_shape("eth0", &rate(8_000_000)).await?;
        if links.has_qdisc("netem").await? {
            for shape in [delay, loss, all, loss, all, rate(8_000_000), all, Shape::default()] {
                links.set_shape("eth0", &shape).await?;
                assert_eq!(links.shape("eth0").await?, shape, "{}", tc_show(&a));
            }
        } else {
            let error = links.set_shape("eth0", &all).await.unwrap_err();
            assert!(matches!(error, Error::Unsupported(_)), "{error:?}");
            assert_eq!(error.to_string(), "this kernel has no netem (module sch_netem)");
            assert_eq!(links.shape("eth0").await?, rate(8_000_000), "the shape it had stays");
        }
        Ok::<_, Error>(())
    })
    .unwrap();
}

#[test]
fn asking_for_a_discipline_leaves_nothing_behind() {
    let ns = netns();
    in_ns(&ns, async {
        let links = Links::open()?;
        assert!(links.has_qdisc("tbf").await?);
        assert!(links.has_qdisc("pfifo").await?);
        assert!(!links.has_qdisc("no-such").await?);
        let (tbf, none) = tokio::join!(links.has_qdisc("tbf"), links.has_qdisc("no-such"));
        assert_eq!((tbf?, none?), (true, false));
        assert_eq!(links.list().await?.len(), 1, "only lo");
        Ok::<_, Error>(())
    })
    .unwrap();
}

#[test]
fn a_missing_link_and_a_bad_figure_are_named() {
    let ns = netns();
    in_ns(&ns, async {
        let links = Links::open()?;
        assert!(
            matches!(links.set_shape("eth9", &rate(8_000)).await, Err(Error::NoLink(name)) if name == "eth9")
        );
        assert!(matches!(links.shape("eth9").await, Err(Error::NoLink(_))));
        let error = links.set_shape("lo", &rate(0)).await.unwrap_err();
        assert_eq!(error.to_string(), "rate of 0 bit/s for link lo: less than a byte a second");
        Ok::<_, Error>(())
    })
    .unwrap();
}
