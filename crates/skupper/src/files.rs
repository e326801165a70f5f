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

/// Writes the files of certificates, and takes away those that nobody needs.
pub(crate) fn profiles(site: &Path, profiles: &[Profile]) -> Result<()> {
    let certs = site.join("certs");
    folder(&certs)?;
    for profile in profiles {
        folder(&profile.folder)?;
        for (name, data) in &profile.files {
            write(&profile.folder.join(name), data)?;
        }
    }
    for entry in fs::read_dir(&certs).map_err(failed("read", &certs))?.flatten() {
        if !profiles.iter().any(|profile| profile.folder == entry.path()) {
            let path = entry.path();
            fs::remove_dir_all(&path).map_err(failed("remove", &path))?;
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
    }
}
