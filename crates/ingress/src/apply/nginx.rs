//! The program.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Error, Refusal, Result};
use crate::render::Version;

/// Where Debian keeps nginx, and users' `PATH`s do not look.
const SBIN: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// The machine's nginx.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nginx {
    /// Where it is.
    pub program: PathBuf,
    /// Its version.
    pub version: Version,
}

impl Nginx {
    /// Looks for it in the folders of `path` and those of a system's programs.
    ///
    /// # Errors
    /// There is none, or it cannot be run.
    pub fn find(path: Option<&OsStr>) -> Result<Self> {
        let folders = path.map(std::env::split_paths).into_iter().flatten();
        let mut programs = folders.chain(SBIN.map(PathBuf::from)).map(|folder| folder.join("nginx"));
        let is_program = |path: &PathBuf| {
            path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
        };
        Self::at(programs.find(is_program).ok_or(Error::NoNginx)?)
    }

    /// The nginx at a path.
    ///
    /// # Errors
    /// It cannot be run, or is none.
    pub fn at(program: PathBuf) -> Result<Self> {
        let run = format!("run {} -v", program.display());
        let output = Command::new(&program).arg("-v").output().map_err(Error::io(run))?;
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        match version(&said) {
            Some(version) => Ok(Self { program, version }),
            None => Err(Error::NoVersion { program, said }),
        }
    }

    /// A command that runs it on a folder's `nginx.conf`, with nothing of this process's environment.
    pub(super) fn command(&self, folder: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.arg0("nginx").env_clear().current_dir(folder).stdin(Stdio::null());
        if self.version >= (1, 19, 5) {
            // Or else it opens the log that it was built with, before it reads any configuration.
            command.args(["-e", "stderr"]);
        }
        let mut prefix = OsString::from(folder);
        prefix.push("/");
        command.arg("-p").arg(prefix).args(["-c", "nginx.conf"]);
        command
    }
}

/// `nginx version: nginx/1.22.1 (Ubuntu)` as numbers.
fn version(said: &str) -> Option<Version> {
    let (_, text) = said.split_once("nginx/")?;
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// What nginx said of the configuration in a folder, as `nginx: [emerg] host not found in upstream "a" in
/// /x/nginx.conf:12`; the last line of that kind.
pub(super) fn refusal(said: &str, folder: &Path) -> Refusal {
    let mut errors = said.lines().filter_map(|line| line.split_once("[emerg]"));
    let message = errors.next_back().map_or(said.trim(), |(_, message)| message.trim());
    // As `12#12: message` where it logs in its usual form.
    let message = match message.split_once("#") {
        Some((pid, rest)) if pid.bytes().all(|b| b.is_ascii_digit()) => {
            rest.split_once(": ").map_or(rest, |(_, message)| message)
        }
        _ => message,
    };
    let prefix = format!("{}/", folder.display());
    let place = format!(" in {prefix}nginx.conf:");
    let (message, line) = match message.rsplit_once(&place) {
        Some((message, line)) => (message, line.trim().parse().ok()),
        None => (message, None),
    };
    let file = message.split_once(&prefix).map(|(_, rest)| rest.split('"').next().unwrap_or(rest).to_owned());
    Refusal { message: message.replace(&prefix, ""), line, file }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert_eq!(version("nginx version: nginx/1.22.1"), Some((1, 22, 1)));
        assert_eq!(version("nginx version: nginx/1.18.0 (Ubuntu)"), Some((1, 18, 0)));
        assert_eq!(version("what?"), None);
    }

    #[test]
    fn places_are_found_in_what_nginx_says() {
        let folder = Path::new("/run/x/7");
        let said = "nginx: [warn] low address bits of 10.0.0.1/8 are meaningless in /run/x/7/nginx.conf:9\n\
                    nginx: [emerg] unknown directive \"a\" in /run/x/7/nginx.conf:12\n\
                    nginx: configuration file /run/x/7/nginx.conf test failed\n";
        let expected = Refusal { message: "unknown directive \"a\"".into(), line: Some(12), file: None };
        assert_eq!(refusal(said, folder), expected);
        let said = "2026/01/01 00:00:00 [emerg] 12#12: cannot load certificate \"/run/x/7/tls/a.crt\": PEM_read_bio_X509_AUX() failed";
        let refusal = refusal(said, folder);
        assert_eq!(refusal.file.as_deref(), Some("tls/a.crt"));
        assert_eq!(refusal.message, "cannot load certificate \"tls/a.crt\": PEM_read_bio_X509_AUX() failed");
        assert_eq!(super::refusal("killed", folder).message, "killed");
    }

    #[test]
    fn a_machine_without_nginx_is_told_from_one_whose_nginx_is_broken() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("nginx");
        std::fs::write(&program, "#!/bin/sh\necho no >&2\n").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let error = Nginx::find(Some(folder.path().as_os_str())).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{} -v says \"no\", which is no version of nginx", program.display())
        );
    }
}
