//! `subnet.env`, the file that tells the CNI plugin (and shell scripts) of the lease.
//!
//! Sources: flannel `pkg/subnet/subnet.go` (`WriteSubnetFile`), `pkg/subnet/writefile_other.go` (the file
//! is replaced at once, whatever the umask), `main.go` (`ReadCIDRsFromSubnetFile`).

use std::fmt;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use ipnetwork::Ipv4Network;

use crate::cidr;
use crate::error::{Error, Result};

/// What stands in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubnetEnv {
    /// The whole pod network.
    pub network: Ipv4Network,
    /// The worker's part.
    pub subnet: Ipv4Network,
    /// Largest packet of pods, in bytes.
    pub mtu: u32,
    /// Whether the daemon masquerades what leaves the pod network, so that the plugin need not.
    pub ip_masq: bool,
}

/// The content, byte for byte as the real one writes it.
impl fmt::Display for SubnetEnv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the base of the subnet but its first address: that of the bridge.
        let first = std::net::Ipv4Addr::from(u32::from(self.subnet.network()).wrapping_add(1));
        let (network, prefix) = (self.network.network(), self.network.prefix());
        writeln!(f, "FLANNEL_NETWORK={network}/{prefix}")?;
        writeln!(f, "FLANNEL_SUBNET={first}/{}", self.subnet.prefix())?;
        writeln!(f, "FLANNEL_MTU={}", self.mtu)?;
        writeln!(f, "FLANNEL_IPMASQ={}", self.ip_masq)
    }
}

/// What a former daemon left in the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Previous {
    /// `FLANNEL_SUBNET`, if it is one network.
    pub subnet: Option<Ipv4Network>,
    /// `FLANNEL_IPMASQ`.
    pub ip_masq: bool,
}

impl SubnetEnv {
    /// Writes the file, at once or not at all, with its folders; nothing when it is so already.
    ///
    /// # Errors
    /// The file system's.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = self.to_string();
        if fs::read(path).is_ok_and(|there| there == text.as_bytes()) {
            return Ok(());
        }
        replace(path, text.as_bytes()).map_err(|source| Error::File {
            what: "write",
            path: path.into(),
            source,
        })
    }
}

fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    // Beside it, as only within a file system one file can take another's place.
    name.push(format!(".{}.new", std::process::id()));
    let new = folder.join(name);
    let written = write_new(&new, content).and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        // What failed is told; that the rest stays is no more to tell.
        let _ = fs::remove_file(&new);
    }
    written
}

fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(content)?;
    file.set_permissions(Permissions::from_mode(0o644))
}

impl Previous {
    /// What the file says; nothing where there is none, or what it says is no network.
    #[must_use]
    pub fn read(path: &Path) -> Self {
        fs::read_to_string(path).map(|text| Self::parse(&text)).unwrap_or_default()
    }

    /// Reads the lines of a shell's assignments: `export`, quotes and comments are allowed.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut previous = Self::default();
        for line in text.lines() {
            let line = line.trim();
            let line = line.strip_prefix("export ").unwrap_or(line);
            let Some((name, value)) = line.split_once('=') else { continue };
            let value = value.trim();
            let unquoted = ['"', '\''].iter().find_map(|q| value.strip_prefix(*q)?.strip_suffix(*q));
            let value = unquoted.unwrap_or_else(|| value.split(" #").next().unwrap_or_default().trim());
            match name.trim() {
                // The real one writes one network; of several it takes none.
                "FLANNEL_SUBNET" => previous.subnet = cidr::parse_v4(value),
                "FLANNEL_IPMASQ" => previous.ip_masq = value == "true",
                _ => {}
            }
        }
        previous
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env() -> SubnetEnv {
        SubnetEnv {
            network: "11.0.0.0/8".parse().unwrap(),
            subnet: "11.10.16.0/20".parse().unwrap(),
            mtu: 1450,
            ip_masq: false,
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_real_one() {
        assert_eq!(
            env().to_string(),
            "FLANNEL_NETWORK=11.0.0.0/8\nFLANNEL_SUBNET=11.10.16.1/20\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n"
        );
    }

    #[test]
    fn the_file_is_replaced_with_its_folders_and_left_alone_when_it_is_right() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/flannel/subnet.env");
        env().write(&path).unwrap();
        let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
        let first = inode(&path);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        env().write(&path).unwrap();
        assert_eq!(inode(&path), first, "written again though nothing changed");
        let other = SubnetEnv { ip_masq: true, ..env() };
        other.write(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), other.to_string());
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
        let expected = Previous { subnet: Some("11.10.16.0/20".parse().unwrap()), ip_masq: true };
        assert_eq!(Previous::read(&path), expected);
    }

    #[test]
    fn a_path_that_cannot_be_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        let error = env().write(&folder.path().join("file/subnet.env")).unwrap_err();
        assert!(error.to_string().starts_with("write ") && error.to_string().ends_with("/file/subnet.env"));
    }

    #[test]
    fn reads_what_a_shell_would_read() {
        let subnet = |text: &str| Previous::parse(text).subnet.map(|s| s.to_string());
        assert_eq!(subnet("FLANNEL_SUBNET=11.10.16.1/20"), Some("11.10.16.0/20".into()));
        assert_eq!(
            subnet("# by hand\nexport FLANNEL_SUBNET=\"11.10.16.1/20\""),
            Some("11.10.16.0/20".into())
        );
        assert_eq!(subnet("FLANNEL_SUBNET='11.10.16.1/20' "), Some("11.10.16.0/20".into()));
        assert_eq!(subnet("FLANNEL_SUBNET=11.10.16.1/20 # mine"), Some("11.10.16.0/20".into()));
        for none in [
            "",
            "FLANNEL_SUBNET",
            "FLANNEL_SUBNET=",
            "FLANNEL_SUBNET=11.1.0.1/24,11.2.0.1/24",
            "XFLANNEL_SUBNET=1.1.1.1/24",
        ] {
            assert_eq!(subnet(none), None, "{none}");
        }
        assert_eq!(Previous::read(Path::new("/nowhere/subnet.env")), Previous::default());
    }
}
