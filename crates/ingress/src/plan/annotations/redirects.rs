//! Other paths, other hosts, other sites.

use api::names;

use super::reader::Reader;

/// `permanent-redirect` and `temporal-redirect`, with their codes.
pub(super) fn elsewhere(reader: &mut Reader<'_, '_>) -> Option<(u16, String)> {
    let kinds = [
        ("temporal-redirect", "temporal-redirect-code", 302),
        ("permanent-redirect", "permanent-redirect-code", 301),
    ];
    let mut found = None;
    for (name, code, usual) in kinds {
        let is_url =
            |url: &str| url.starts_with("http://") || url.starts_with("https://") || url.starts_with('/');
        let url = reader.text_if(name, is_url, "must begin with http://, https:// or /");
        let code = reader.number(code, 300, 308).unwrap_or(usual);
        // Of both the temporary one counts.
        found = found.or(url.map(|url| (code, url)));
    }
    found
}

pub(super) fn app_root(reader: &mut Reader<'_, '_>) -> Option<String> {
    reader.text_if("app-root", |path| path.starts_with('/') && path != "/", "must be a path other than /")
}

pub(super) fn rewrite(reader: &mut Reader<'_, '_>) -> Option<String> {
    reader.text_if("rewrite-target", |path| path.starts_with('/'), "must begin with /")
}

/// Other names of the hosts.
pub(super) fn aliases(reader: &mut Reader<'_, '_>) -> Vec<String> {
    let mut aliases = reader.list("server-alias").unwrap_or_default();
    let wrong = |name: &String| {
        let wrong = if name.contains('*') { names::wildcard(name) } else { names::dns_subdomain(name) };
        !wrong.is_empty()
    };
    if aliases.iter().any(wrong) {
        reader.wrong("server-alias", "must be names of hosts with commas between them");
        aliases.clear();
    }
    aliases
}
