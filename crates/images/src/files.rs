//! Files of a folder, as an answer.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use hyper::header::{ALLOW, HeaderValue, LOCATION};
use hyper::{Method, StatusCode};
use percent_encoding::percent_decode_str;

use crate::server::{Answer, Visit, answer, text};

/// The file that a request names below `root`; of a folder its `index.html`.
pub(crate) fn serve(root: &Path, visit: &Visit) -> Answer {
    if let Some(refusal) = wrong_method(visit) {
        return refusal;
    }
    let Some(file) = below(root, visit.path()) else { return fault(StatusCode::BAD_REQUEST) };
    let folder = file.is_dir();
    if folder && !visit.path().ends_with('/') {
        // Links in the page are relative to the folder.
        let mut answer = fault(StatusCode::MOVED_PERMANENTLY);
        if let Ok(location) = HeaderValue::from_str(&format!("{}/", visit.path())) {
            answer.headers_mut().insert(LOCATION, location);
        }
        return answer;
    }
    let file = if folder { file.join("index.html") } else { file };
    match fs::read(&file) {
        Ok(content) => answer(StatusCode::OK, kind(&file), content),
        // There are no lists of files.
        Err(e) if folder && e.kind() == io::ErrorKind::NotFound => fault(StatusCode::FORBIDDEN),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => fault(StatusCode::FORBIDDEN),
        Err(_) => fault(StatusCode::NOT_FOUND),
    }
}

/// Files are only read.
pub(crate) fn wrong_method(visit: &Visit) -> Option<Answer> {
    if [Method::GET, Method::HEAD].contains(&visit.head.method) {
        return None;
    }
    let mut answer = fault(StatusCode::METHOD_NOT_ALLOWED);
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    Some(answer)
}

/// A status as a page.
pub(crate) fn fault(status: StatusCode) -> Answer {
    text(status, format!("{status}\n"))
}

/// The path below `root`, unless it leads out of it by its words. Links are followed, as everywhere.
fn below(root: &Path, path: &str) -> Option<PathBuf> {
    let path = percent_decode_str(path).decode_utf8().ok()?;
    if path.contains('\0') {
        return None;
    }
    let inside = |component: &Component<'_>| matches!(component, Component::Normal(_) | Component::CurDir);
    let path = Path::new(path.trim_start_matches('/'));
    path.components().all(|component| inside(&component)).then(|| root.join(path))
}

fn kind(file: &Path) -> &'static str {
    match file.extension().and_then(|extension| extension.to_str()).unwrap_or_default() {
        "html" | "htm" => "text/html; charset=utf-8",
        "txt" | "md" | "log" => "text/plain; charset=utf-8",
        "css" => "text/css",
        "js" => "text/javascript",
        "json" => "application/json",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "svg" => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_way_leads_out_of_the_folder() {
        let root = Path::new("/www");
        assert_eq!(below(root, "/a%20b/c.html"), Some("/www/a b/c.html".into()));
        assert_eq!(below(root, "/"), Some("/www/".into()));
        assert_eq!(below(root, "//etc/passwd"), Some("/www/etc/passwd".into()));
        for path in ["/../etc", "/a/../../etc", "/%2e%2e/etc", "/a/%2E%2E", "/%00", "/%ff"] {
            assert_eq!(below(root, path), None, "{path}");
        }
    }
}
