//! `/proc/self/mountinfo` (`proc_pid_mountinfo(5)`).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Where.
    pub(crate) point: PathBuf,
    /// The file system's kind, as `ext4`.
    pub(crate) kind: String,
}

/// The caller's mounts, in the order in which they were made.
pub(crate) fn read() -> net::Result<Vec<Mount>> {
    // Not /proc/self: that is the main thread, and namespaces are a thread's own.
    let path = Path::new("/proc/thread-self/mountinfo");
    let text = std::fs::read_to_string(path).map_err(|e| net::Error::file("read", path, e))?;
    Ok(parse(&text))
}

/// Lines of another form are none of Linux'.
pub(crate) fn parse(text: &str) -> Vec<Mount> {
    let mount = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        let point = unescape(before.split(' ').nth(4)?);
        Some(Mount { point, kind: after.split(' ').next()?.to_owned() })
    };
    text.lines().filter_map(mount).collect()
}

/// Blanks and the like are written as a backslash and three octal digits.
fn unescape(text: &str) -> PathBuf {
    let (mut path, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, after @ ..] = rest {
        rest = after;
        match (first, after) {
            (b'\\', [a, b, c, others @ ..]) => {
                let digits = [a, b, c].map(|digit| u32::from(digit.wrapping_sub(b'0')) & 7);
                path.push((digits[0] << 6 | digits[1] << 3 | digits[2]) as u8);
                rest = others;
            }
            _ => path.push(*first),
        }
    }
    OsString::from_vec(path).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_a_place_and_a_kind() {
        let text = "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
                    42 27 254:0 /a /mnt/two\\040words rw shared:1 master:2 - fuse.x y rw\n\
                    nonsense\n";
        let mount = |point: &str, kind: &str| Mount { point: point.into(), kind: kind.into() };
        assert_eq!(parse(text), [mount("/", "ext4"), mount("/mnt/two words", "fuse.x")]);
        assert!(read().unwrap().iter().any(|mount| mount.point == Path::new("/")));
    }
}
