use super::*;

/// The same on every kernel that has high resolution timers (`/proc/net/psched`).
const CLOCK: &str = "000003e8 00000040 000f4240 3b9aca00";

/// A message that `tc` of iproute2 6.1 sent; the command is in the file's first line. Taken with
/// `strace -e trace=sendmsg -e write=3`, in a namespace of its own, on link 3.
fn captured(file: &str) -> Vec<u8> {
    file.lines()
        .skip(1)
        .flat_map(|line| {
            (0..line.len()).step_by(2).map(|at| u8::from_str_radix(&line[at..at + 2], 16).unwrap())
        })
        .collect()
}

/// The message that we send for a step, its header included.
fn ours(sequence_like: &[u8], parent: TcHandle, handle: TcHandle, kind: &str, options: Vec<u8>) -> Vec<u8> {
    let mut request = put_request(put_message(3, parent, handle, kind, options));
    request.header.sequence_number = u32::from_ne_bytes(sequence_like[8..12].try_into().unwrap());
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    bytes
}

#[track_caller]
fn assert_netem(file: &str, delay: Option<Duration>, loss: Option<f64>) {
    let clock = wire::Clock::parse(CLOCK).unwrap();
    let theirs = captured(file);
    let options = wire::netem(delay, loss, &clock);
    assert_eq!(wire::read_netem(&options, &clock), Some((delay, loss)));
    assert_eq!(ours(&theirs, TcHandle::ROOT, NETEM_HANDLE, NETEM, options), theirs);
}

#[track_caller]
fn assert_tbf(file: &str, parent: TcHandle, handle: TcHandle, rate: u64) {
    let theirs = captured(file);
    let options = wire::tbf(rate, 1500, &wire::Clock::parse(CLOCK).unwrap());
    assert_eq!(wire::read_tbf(&options), Some(rate));
    assert_eq!(ours(&theirs, parent, handle, TBF, options), theirs);
}

#[test]
fn netem_messages_are_those_of_tc() {
    let delay = Some(Duration::from_millis(20));
    assert_netem(include_str!("captured/netem-delay.hex"), delay, None);
    assert_netem(include_str!("captured/netem-delay-loss.hex"), delay, Some(5.0));
    assert_netem(include_str!("captured/netem-loss.hex"), None, Some(12.5));
    assert_netem(include_str!("captured/netem-loss-all.hex"), None, Some(100.0));
}

#[test]
fn tbf_messages_are_those_of_tc() {
    assert_tbf(include_str!("captured/tbf.hex"), TcHandle::ROOT, TBF_HANDLE, 50_000_000);
    assert_tbf(include_str!("captured/tbf-child.hex"), NETEM_CLASS, TBF_CHILD_HANDLE, 50_000_000);
    assert_tbf(include_str!("captured/tbf-40gbit.hex"), TcHandle::ROOT, TBF_HANDLE, 40_000_000_000);
}

/// A state that the plan itself has made.
fn made(shape: &Shape) -> Vec<Qdisc> {
    plan(&[], shape)
        .into_iter()
        .map(|step| match step {
            Step::Put { parent, handle, what } => qdisc(what.kind(), handle, parent),
            Step::DeleteRoot => panic!("nothing there to delete"),
        })
        .collect()
}

fn qdisc(kind: &str, handle: TcHandle, parent: TcHandle) -> Qdisc {
    Qdisc { kind: kind.into(), handle, parent, options: Vec::new() }
}

fn names(steps: &[Step]) -> Vec<&str> {
    steps
        .iter()
        .map(|step| match step {
            Step::DeleteRoot => "delete",
            Step::Put { what, .. } => what.kind(),
        })
        .collect()
}

const RATE: Shape = Shape { rate: Some(1_000_000), delay: None, loss: None };
const LOSS: Shape = Shape { rate: None, delay: None, loss: Some(1.0) };
const BOTH: Shape = Shape { rate: Some(1_000_000), delay: None, loss: Some(1.0) };
const NONE: Shape = Shape { rate: None, delay: None, loss: None };

#[test]
fn figures_change_in_place() {
    for (shape, steps) in [(RATE, &["tbf"][..]), (LOSS, &["netem"]), (BOTH, &["netem", "tbf"])] {
        assert_eq!(names(&plan(&made(&shape), &shape)), steps);
    }
}

#[test]
fn kinds_replace_each_other_at_once_where_the_kernel_can() {
    assert_eq!(names(&plan(&made(&RATE), &LOSS)), ["netem"]);
    assert_eq!(names(&plan(&made(&RATE), &BOTH)), ["netem", "tbf"]);
    assert_eq!(names(&plan(&made(&LOSS), &RATE)), ["tbf"]);
    assert_eq!(names(&plan(&made(&LOSS), &BOTH)), ["netem", "tbf"]);
    assert_eq!(names(&plan(&made(&BOTH), &RATE)), ["tbf"]);
    // The limit of the rate must go, and with it the root.
    assert_eq!(names(&plan(&made(&BOTH), &LOSS)), ["delete", "netem"]);
}

#[test]
fn an_empty_shape_takes_off_what_shapes_and_nothing_else() {
    for shape in [RATE, LOSS, BOTH] {
        assert_eq!(names(&plan(&made(&shape), &NONE)), ["delete"]);
    }
    assert!(plan(&[], &NONE).is_empty());
    assert!(plan(&[qdisc("noqueue", TcHandle::UNSPEC, TcHandle::ROOT)], &NONE).is_empty());
    let theirs = TcHandle { major: 0x8001, minor: 0 };
    assert!(plan(&[qdisc("htb", theirs, TcHandle::ROOT)], &NONE).is_empty());
    assert_eq!(names(&plan(&[qdisc(TBF, theirs, TcHandle::ROOT)], &NONE)), ["delete"]);
}

#[test]
fn a_handle_in_use_for_something_else_is_freed_first() {
    assert_eq!(names(&plan(&[qdisc("htb", NETEM_HANDLE, TcHandle::ROOT)], &LOSS)), ["delete", "netem"]);
    assert_eq!(names(&plan(&[qdisc("htb", TBF_HANDLE, TcHandle::ROOT)], &LOSS)), ["netem"]);
    // Put below our tbf by hand: it would delay on, unseen.
    let mut have = made(&RATE);
    have.push(qdisc(NETEM, TcHandle { major: 0x20, minor: 0 }, TcHandle { major: 2, minor: 1 }));
    assert_eq!(names(&plan(&have, &RATE)), ["delete", "tbf"]);
}

#[test]
fn nought_is_none_and_nonsense_is_refused() {
    let nought = Shape { rate: None, delay: Some(Duration::ZERO), loss: Some(0.0) };
    assert_eq!(nought.normal(), NONE);
    for (shape, said) in [
        (Shape { rate: Some(7), ..NONE }, "rate of 7 bit/s for link eth0: less than a byte a second"),
        (Shape { loss: Some(100.5), ..NONE }, "loss of 100.5 % for link eth0: not within 0 to 100"),
        (Shape { loss: Some(f64::NAN), ..NONE }, "loss of NaN % for link eth0: not within 0 to 100"),
    ] {
        assert_eq!(shape.check("eth0").unwrap_err().to_string(), said);
    }
}
