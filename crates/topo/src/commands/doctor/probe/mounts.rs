//! The mounts of a lab's world, in the order in which a lab makes them.

use std::fs;
use std::path::Path;

use anyhow::{Result, anyhow};
use net::mount;
use nix::mount::MsFlags;

use super::Teller;
use runtime::chain;

const PLAIN: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC);

/// Tries all; says whether `/run` is our own now, and may be written to.
pub(super) fn run(teller: &Teller) -> bool {
    let private = mount::make_private().map_err(|e| chain(&e));
    // Before that a mount could reach the machine.
    let attempt = |name, what: &dyn Fn() -> Result<()>| {
        teller.attempt(name, || {
            private.clone().map_err(|why| anyhow!(why))?;
            what().map(|()| String::new())
        })
    };
    attempt("mount proc", &|| Ok(mount::fs("proc", Path::new("/proc"), PLAIN, "")?));
    attempt("mount sysfs", &|| {
        mount::detach(Path::new("/sys"));
        Ok(mount::fs("sysfs", Path::new("/sys"), PLAIN, "")?)
    });
    let own = attempt("mount tmpfs", &|| {
        Ok(mount::fs("tmpfs", Path::new("/run"), MsFlags::MS_NOSUID, "mode=755")?)
    });
    if own {
        attempt("mount overlay", &overlay);
    }
    own
}

/// A changed file below `/etc`, all others as they are.
fn overlay() -> Result<()> {
    for folder in ["/run/etc", "/run/etc.work"] {
        fs::create_dir(folder)?;
    }
    let options = "lowerdir=/etc,upperdir=/run/etc,workdir=/run/etc.work";
    mount::fs("overlay", Path::new("/etc"), MsFlags::empty(), options)?;
    fs::write("/etc/knetsim-doctor", "")?;
    Ok(())
}
