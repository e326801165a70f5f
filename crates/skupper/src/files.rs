//! A site's files: the router's configuration, and certificates with their keys, which nobody else may read.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use crate::error::{Error, Result};
use crate::plan::Profile;

fn failed<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Error + 'a {
    move |source| Error::File { what, path: path.into(), source }
}

/// Makes a folder that only its owner may look into.
pub(crate) fn folder(path: &Path) -> Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("make", path))
}

/// Writes a file that only its owner may read, whole or not at all; nothing if it is as it should be.
/// Gives whether it was written.
pub(crate) fn write(path: &Path, data: &[u8]) -> Result<bool> {
    if fs::read(path).is_ok_and(|old| old == data) {
        return Ok(false);
    }
    let next = path.with_extension("new");
    let _ = fs::remove_file(&next);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&next)
        .map_err(failed("write", &next))?;
    file.write_all(data).map_err(failed("write", &next))?;
    fs::rename(&next, path).map_err(failed("replace", path))?;
    Ok(true)
}

/// Writes the files of certificates, and takes away what nobody needs: whole profiles, and single files, as the key
/// of a secret that has none any more.
pub(crate) fn profiles(site: &Path, profiles: &[Profile]) -> Result<()> {
    let certs = site.join("certs");
    folder(&certs)?;
    for profile in profiles {
        folder(&profile.folder)?;
        for (name, data) in &profile.files {
            write(&profile.folder.join(name), data)?;
        }
        keep_only(&profile.folder, |path| {
            profile.files.keys().any(|name| profile.folder.join(name) == path)
        })?;
    }
    keep_only(&certs, |path| profiles.iter().any(|profile| profile.folder == path))
}

/// Removes what is in a folder and not wanted, files and folders.
fn keep_only(folder: &Path, wanted: impl Fn(&Path) -> bool) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(failed("read", folder))? {
        let path = entry.map_err(failed("read", folder))?.path();
        if !wanted(&path) {
            let is_folder = fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir());
            let removed = if is_folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(failed("remove", &path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn keys_are_for_their_owner_and_what_is_not_needed_goes() {
        let site = tempfile::tempdir().unwrap();
        let profile = |name: &str| Profile {
            secret: name.into(),
            folder: site.path().join("certs").join(name),
            files: [("tls.key".to_owned(), b"secret".to_vec())].into(),
            ordinal: 1,
        };
        profiles(site.path(), &[profile("a"), profile("b")]).unwrap();
        let key = site.path().join("certs/a/tls.key");
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(site.path().join("certs")).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(!write(&key, b"secret").unwrap() && write(&key, b"other").unwrap());
        profiles(site.path(), &[profile("b")]).unwrap();
        assert!(!key.exists() && site.path().join("certs/b/tls.key").exists());

        // A secret that has become one of a CA alone; and what a write that was broken off has left.
        let certs = site.path().join("certs");
        fs::write(certs.join("b/tls.new"), b"secret").unwrap();
        fs::write(certs.join("stray.key"), b"secret").unwrap();
        let mut bare = profile("b");
        bare.files = [("ca.crt".to_owned(), b"ca".to_vec())].into();
        profiles(site.path(), &[bare]).unwrap();
        let left = |folder: &Path| -> Vec<_> {
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect()
        };
        assert_eq!(left(&certs), ["b"]);
        assert_eq!(left(&certs.join("b")), ["ca.crt"]);
    }
}
