//! What the kubelet reports of the machine.

use std::fs;

use nix::sys::utsname::uname;

/// The machine below, which all workers of a lab share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineInfo {
    /// As `6.1.0-18-amd64`.
    pub kernel: String,
    /// As `Debian GNU/Linux 12 (bookworm)`.
    pub os_image: String,
    /// Go's name of the architecture, as Kubernetes uses: `amd64`.
    pub architecture: String,
    /// Processors.
    pub cpus: usize,
    /// Memory, in KiB.
    pub memory_kib: u64,
    /// Changes with every boot.
    pub boot_id: String,
}

impl MachineInfo {
    /// Looks at this machine; what cannot be read is left empty.
    #[must_use]
    pub fn read() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Self {
            kernel: uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default(),
            os_image: pretty_name(&read("/etc/os-release")),
            architecture: go_architecture(std::env::consts::ARCH).into(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory_kib: total_memory(&read("/proc/meminfo")),
            boot_id: read("/proc/sys/kernel/random/boot_id").trim().into(),
        }
    }
}

/// `PRETTY_NAME` of a file as `os-release(5)` describes it.
fn pretty_name(text: &str) -> String {
    let value = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    value.unwrap_or("Linux").trim_matches('"').into()
}

/// `MemTotal` of `/proc/meminfo`, in KiB.
fn total_memory(text: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    value.and_then(|v| v.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn go_architecture(rust: &str) -> &str {
    match rust {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_files_of_the_machine() {
        assert_eq!(
            pretty_name("ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n"),
            "Debian GNU/Linux 12 (bookworm)"
        );
        assert_eq!(pretty_name(""), "Linux");
        assert_eq!(total_memory("MemTotal:       24684300 kB\nMemFree: 1 kB\n"), 24_684_300);
        assert_eq!(total_memory("nonsense"), 0);
        assert!(MachineInfo::read().cpus > 0);
    }
}
