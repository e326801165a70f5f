//! What a pod has mounted for nginx, and the configuration that is written for it.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Where the pod has mounted something.
#[derive(Debug, Default)]
pub(super) struct Mounts(Vec<PathBuf>);

impl Mounts {
    pub(super) fn read() -> Self {
        Self::parse(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
    }

    /// The fifth field of each line (proc(5)).
    fn parse(mountinfo: &str) -> Self {
        let point = |line: &str| line.split(' ').nth(4).map(|field| PathBuf::from(unescape(field)));
        Self(mountinfo.lines().filter_map(point).collect())
    }

    /// Whether something is mounted there or below.
    pub(super) fn has(&self, path: &str) -> bool {
        self.0.iter().any(|point| point.starts_with(path))
    }

    pub(super) fn content(&self) -> bool {
        self.has(super::CONTENT) || self.0.iter().any(|point| point == Path::new("/usr/share/nginx"))
    }

    pub(super) fn servers(&self) -> bool {
        self.has("/etc/nginx/conf.d")
    }

    pub(super) fn whole(&self) -> bool {
        self.has("/etc/nginx/nginx.conf") || self.0.iter().any(|point| point == Path::new("/etc/nginx"))
    }

    pub(super) fn configured(&self) -> bool {
        self.servers() || self.whole()
    }
}

/// Blanks, tabs, line ends and backslashes stand as `\040`, `\011`, `\012` and `\134`.
fn unescape(field: &str) -> String {
    field.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

/// `nginx version: nginx/1.22.1` as numbers.
pub(super) fn version(text: &str) -> Option<(u32, u32, u32)> {
    let (_, text) = text.split_once("nginx/")?;
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// nginx's configuration, which `Display` writes.
#[derive(Debug)]
pub(super) struct Config<'a> {
    /// Where nginx may write.
    pub(super) folder: &'a Path,
    /// What is served.
    pub(super) root: &'a Path,
    /// The port of the server, if there is one of ours.
    pub(super) port: u16,
    /// Whether the pod has brought servers, in the place of ours.
    pub(super) own_servers: bool,
    /// Whether nginx runs as root, and would become another user.
    pub(super) superuser: bool,
    /// Whether the kernel has IPv6.
    pub(super) ipv6: bool,
    /// Whether standard output can be opened by its name.
    pub(super) access_log: bool,
    /// Whether the machine has nginx's table of types.
    pub(super) mime_types: bool,
}

impl fmt::Display for Config<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let folder = self.folder.display();
        if self.superuser {
            // In a user namespace there may be no other user.
            writeln!(f, "user root;")?;
        }
        writeln!(f, "worker_processes 1;\npid {folder}/nginx.pid;\nerror_log stderr notice;")?;
        writeln!(f, "events {{\n    worker_connections 512;\n}}\nhttp {{")?;
        if self.mime_types {
            writeln!(f, "    include /etc/nginx/mime.types;\n    default_type application/octet-stream;")?;
        } else {
            writeln!(f, "    types {{\n        text/html html htm;\n        text/css css;")?;
            writeln!(f, "        text/plain txt;\n        application/json json;\n    }}")?;
        }
        let log = if self.access_log { "/dev/stdout combined" } else { "off" };
        writeln!(f, "    access_log {log};\n    sendfile on;\n    keepalive_timeout 65;")?;
        for what in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
            writeln!(f, "    {what}_temp_path {folder}/{what};")?;
        }
        if self.own_servers {
            return writeln!(f, "    include /etc/nginx/conf.d/*.conf;\n}}");
        }
        writeln!(f, "    server {{\n        listen {};", self.port)?;
        if self.ipv6 {
            writeln!(f, "        listen [::]:{};", self.port)?;
        }
        writeln!(f, "        root {};\n        index index.html index.htm;\n    }}\n}}", self.root.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_told_from_the_machines_files() {
        let line =
            |point: &str| format!("36 35 98:0 /mnt1 {point} rw,noatime master:1 - ext3 /dev/root rw\n");
        let mounts =
            |points: &[&str]| Mounts::parse(&points.iter().map(|point| line(point)).collect::<String>());
        let none = mounts(&["/", "/usr", "/etc", "/usr/share/nginx/htmlx", "/etc/nginx/conf.dx"]);
        assert!(!none.content() && !none.configured());
        assert!(mounts(&["/usr/share/nginx/html"]).content());
        assert!(mounts(&["/usr/share/nginx/html/index.html"]).content());
        assert!(mounts(&["/etc/nginx/conf.d/default.conf"]).servers());
        assert!(mounts(&["/etc/nginx"]).whole());
        assert_eq!(mounts(&["/a\\040b"]).0, [PathBuf::from("/a b")]);
    }

    #[test]
    fn versions() {
        assert_eq!(version("nginx version: nginx/1.22.1\n"), Some((1, 22, 1)));
        assert_eq!(version("nginx version: nginx/1.18.0 (Ubuntu)\n"), Some((1, 18, 0)));
        assert_eq!(version("what?"), None);
    }

    #[test]
    fn everything_is_written_in_the_folder() {
        let config = Config {
            folder: Path::new("/run/nginx"),
            root: Path::new("/run/nginx/html"),
            port: 80,
            own_servers: false,
            superuser: true,
            ipv6: true,
            access_log: true,
            mime_types: false,
        };
        let text = config.to_string();
        assert!(text.starts_with("user root;\n"), "{text}");
        assert!(
            text.contains("listen 80;\n        listen [::]:80;\n        root /run/nginx/html;"),
            "{text}"
        );
        let paths = text.split([' ', ';']).filter(|word| word.starts_with('/'));
        for path in paths {
            assert!(path.starts_with("/run/nginx/") || path == "/dev/stdout", "{path}");
        }
        let other = Config { own_servers: true, superuser: false, access_log: false, ..config }.to_string();
        assert!(other.contains("include /etc/nginx/conf.d/*.conf;") && !other.contains("listen"), "{other}");
        assert!(!other.contains("user") && other.contains("access_log off;"), "{other}");
    }
}
