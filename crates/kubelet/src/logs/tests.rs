use std::fs::{self, OpenOptions};
use std::io::Write;
use std::thread;

use runtime::crilog::{Stream, format_line};

use super::*;

/// A container's folder.
struct Log(tempfile::TempDir);

impl Log {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn raw(&self, name: &str, bytes: &[u8]) {
        let path = self.0.path().join(name);
        let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(bytes).unwrap();
    }

    /// Appends lines, one a second from that second on; one that ends in `…` goes on in the next.
    fn write(&self, name: &str, second: i64, lines: &[&str]) {
        for (i, line) in lines.iter().enumerate() {
            let time = Timestamp::from_second(second + i as i64).unwrap();
            let (text, partial) = line.strip_suffix('…').map_or((*line, false), |text| (text, true));
            self.raw(name, &format_line(time, Stream::Stdout, partial, text.as_bytes()));
        }
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.0.path().join(from), self.0.path().join(to)).unwrap();
    }

    fn open(&self, options: &Options) -> Reader {
        Reader::open(self.0.path(), options).unwrap()
    }

    fn read(&self, options: &Options) -> String {
        let mut reader = self.open(options);
        let (text, progress) = drain(&mut reader);
        assert_eq!(progress, Progress::Done);
        text
    }
}

/// What there is now.
fn drain(reader: &mut Reader) -> (String, Progress) {
    let mut out = Vec::new();
    loop {
        let progress = reader.read(&mut out).unwrap();
        if progress != Progress::More {
            return (String::from_utf8(out).unwrap(), progress);
        }
    }
}

fn follow() -> Options {
    Options { follow: true, ..Options::default() }
}

#[test]
fn lines_are_shown_and_parts_put_together() {
    let log = Log::new();
    log.write("0.log", 0, &["one", "", "a very …", "long …", "line", "end"]);
    log.raw("0.log", b"panic: not by the runtime\n");
    let all = "one\n\na very long line\nend\npanic: not by the runtime\n";
    assert_eq!(log.read(&Options::default()), all);
    let timestamps = log.read(&Options { timestamps: true, ..Options::default() });
    assert_eq!(
        timestamps,
        "1970-01-01T00:00:00.000000000Z one\n1970-01-01T00:00:01.000000000Z \n\
         1970-01-01T00:00:02.000000000Z a very long line\n1970-01-01T00:00:05.000000000Z end\n\
         panic: not by the runtime\n"
    );
    // An entry that is cut is shown as far as it goes.
    log.raw("0.log", b"1970-01-01T00:00:00Z stdout F ha");
    assert_eq!(log.read(&Options::default()), all.to_owned() + "ha");
}

#[test]
fn the_last_container_or_the_one_before() {
    let log = Log::new();
    assert!(matches!(Reader::open(log.0.path(), &follow()), Err(Error::Nothing(_))));
    assert!(matches!(Reader::open(&log.0.path().join("no"), &follow()), Err(Error::Nothing(_))));
    log.write("9.log", 0, &["nine"]);
    let previous = Options { previous: true, ..follow() };
    assert!(matches!(Reader::open(log.0.path(), &previous), Err(Error::NoPrevious(_))));
    log.write("10.log", 0, &["ten"]);
    assert_eq!(log.read(&Options::default()), "ten\n");
    // There is nothing to follow.
    assert_eq!(log.read(&previous), "nine\n");
}

#[test]
fn rotated_files_come_first_in_their_order() {
    let log = Log::new();
    log.write("0.log", 0, &["of another"]);
    log.write("1.log.20240101-120000", 0, &["first"]);
    log.write("1.log.20240102-090000", 0, &["second"]);
    log.write("1.log", 0, &["third"]);
    for other in ["1.log.20240101-110000.gz", "1.log.20240103-000000.tmp", "1.txt", "x.log"] {
        log.write(other, 0, &["not this"]);
    }
    assert_eq!(log.read(&Options::default()), "first\nsecond\nthird\n");
}

#[test]
fn the_last_lines_are_found_across_files() {
    let log = Log::new();
    log.write("0.log.20240101-120000", 0, &["1", "2…", "…", "…"]);
    log.write("0.log.20240101-120000", 0, &["2", "3"]);
    log.write("0.log", 0, &["4", "5…", "5"]);
    let tail = |lines| log.read(&Options { tail: Some(lines), ..Options::default() });
    let table = ["", "55\n", "4\n55\n", "3\n4\n55\n", "22\n3\n4\n55\n", "1\n22\n3\n4\n55\n"];
    for (lines, text) in table.into_iter().enumerate() {
        assert_eq!(tail(lines as u64), text, "{lines}");
    }
    assert_eq!(tail(u64::MAX), table[5]);
}

#[test]
fn options_go_together() {
    let log = Log::new();
    log.write("0.log", 100, &["one", "two", "three", "four"]);
    let since = Some(Timestamp::from_second(102).unwrap());
    assert_eq!(log.read(&Options { since, ..Options::default() }), "three\nfour\n");
    assert_eq!(log.read(&Options { since, tail: Some(1), ..Options::default() }), "four\n");
    assert_eq!(log.read(&Options { since, tail: Some(9), ..Options::default() }), "three\nfour\n");
    let limit = |bytes| log.read(&Options { limit_bytes: Some(bytes), ..Options::default() });
    assert_eq!((limit(0).as_str(), limit(5).as_str(), limit(8).as_str()), ("", "one\nt", "one\ntwo\n"));
    assert_eq!(limit(1000), "one\ntwo\nthree\nfour\n");
    // A limit ends following, too.
    let mut reader = log.open(&Options { limit_bytes: Some(4), ..follow() });
    assert_eq!(drain(&mut reader), ("one\n".into(), Progress::Done));
}

#[test]
fn what_comes_is_followed_over_rotations_and_restarts() {
    let log = Log::new();
    log.write("0.log", 0, &["old", "one"]);
    let mut reader = log.open(&Options { tail: Some(1), ..follow() });
    let next = |reader: &mut Reader| {
        let (text, progress) = drain(reader);
        assert_eq!(progress, Progress::Waiting);
        text
    };
    assert_eq!(next(&mut reader), "one\n");
    assert_eq!(next(&mut reader), "");
    log.raw("0.log", b"1970-01-01T00:00:00Z stdout F tw");
    assert_eq!(next(&mut reader), "");
    log.raw("0.log", b"o\n");
    assert_eq!(next(&mut reader), "two\n");

    // Rotated twice between two looks, with a line each before and after.
    log.write("0.log", 0, &["three"]);
    log.rename("0.log", "0.log.20240101-120000");
    log.write("0.log", 0, &["four"]);
    log.rename("0.log", "0.log.20240101-120001");
    log.write("0.log", 0, &["five"]);
    assert_eq!(next(&mut reader), "three\nfour\nfive\n");

    // The one that is being read is rotated and thrown away.
    log.rename("0.log", "0.log.20240101-120002");
    fs::remove_file(log.0.path().join("0.log.20240101-120002")).unwrap();
    fs::remove_file(log.0.path().join("0.log.20240101-120000")).unwrap();
    fs::remove_file(log.0.path().join("0.log.20240101-120001")).unwrap();
    assert_eq!(next(&mut reader), "");
    log.write("0.log", 0, &["six", "cut…"]);
    // Restarted twice.
    log.write("1.log", 0, &["seven"]);
    log.write("3.log", 0, &["eight"]);
    assert_eq!(next(&mut reader), "six\ncut\nseven\neight\n");

    fs::remove_dir_all(log.0.path()).unwrap();
    assert_eq!(drain(&mut reader), (String::new(), Progress::Done));
}

#[test]
fn whoever_waits_is_woken() {
    let log = Log::new();
    log.write("0.log", 0, &["one"]);
    let mut reader = log.open(&follow());
    assert_eq!(drain(&mut reader).0, "one\n");
    let text = thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let mut all = String::new();
            while !all.contains("three") {
                // Far longer than the test may take: only a change wakes in time.
                reader.wait(Duration::from_secs(3600));
                all += &drain(&mut reader).0;
            }
            all
        });
        log.write("0.log", 0, &["two"]);
        log.write("1.log", 0, &["three"]);
        waiting.join().unwrap()
    });
    assert_eq!(text, "two\nthree\n");
}

#[test]
fn pods_and_containers_are_found_by_their_folders() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    assert_eq!(files::pods(&root.join("no")).unwrap(), []);
    assert_eq!(files::find_pod(&root.join("no"), "default", "c1").unwrap(), None);
    let old = root.join(files::pod_folder("default", "c1", "zz"));
    let new = root.join(files::pod_folder("default", "c1", "aa"));
    for folder in [&old, &new, &root.join("shop_c1_u"), &root.join("shop_web.v1_u"), &root.join("rubbish")] {
        fs::create_dir(folder).unwrap();
    }
    let hour = std::time::SystemTime::now() - Duration::from_secs(3600);
    File::open(&old).unwrap().set_modified(hour).unwrap();
    assert_eq!(files::find_pod(root, "default", "c1").unwrap(), Some(new.clone()));
    assert_eq!(files::find_pod(root, "default", "c").unwrap(), None);
    let pods: Vec<_> =
        files::pods(root).unwrap().into_iter().map(|(ns, name)| format!("{ns}/{name}")).collect();
    assert_eq!(pods, ["default/c1", "shop/c1", "shop/web.v1"]);
    for container in ["b", "a"] {
        fs::create_dir(new.join(container)).unwrap();
    }
    fs::write(new.join("x"), "").unwrap();
    assert_eq!(files::containers(&new).unwrap(), ["a", "b"]);
}
