//! The image `nginx`: the machine's own nginx with a small configuration, or else our server in its
//! stead. `httpd` is always ours.
//!
//! Everything is written below `/run/nginx`, which is the pod's own. What the pod has mounted is seen by
//! its mounts: content at `/usr/share/nginx/html`, servers in `/etc/nginx/conf.d`, or the whole
//! `/etc/nginx/nginx.conf`; the machine's own files at these places do not matter.

mod config;

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use hyper::StatusCode;

use self::config::{Config, Mounts};
use crate::flags::{Flags, Kind};
use crate::image::{PATH, find_program};
use crate::server::{Signals, Visit, answer, serve};
use crate::{Error, files, listen, names};

/// Where the image has its content.
const CONTENT: &str = "/usr/share/nginx/html";
/// Where everything that is written goes.
const FOLDER: &str = "/run/nginx";
/// Where `httpd` has its content.
const HTTPD_CONTENT: &str = "/usr/local/apache2/htdocs";

/// `nginx [--port=80] [COMMAND…]`. As the image's own entry point has it, the command is `nginx` and its
/// arguments, or something else altogether.
pub(crate) fn run(args: &[String]) -> Result<ExitCode, Error> {
    let (flags, command): (Vec<String>, _) = match args.iter().position(|arg| !arg.starts_with("--port")) {
        Some(end) => (args[..end].to_vec(), &args[end..]),
        None => (args.to_vec(), [].as_slice()),
    };
    let port = Flags::parse(&flags, &[("port", Kind::Value)])?.value("port", 80)?;
    let path = env::var_os("PATH").unwrap_or_else(|| PATH.into());
    let arguments: Vec<String> = match command.split_first() {
        None => vec!["-g".into(), "daemon off;".into()],
        Some((name, arguments)) if matches!(name.as_str(), "nginx" | "nginx-debug") => arguments.to_vec(),
        Some((name, arguments)) => return Err(exec(Command::new(name).args(arguments))),
    };
    let mounts = Mounts::read();
    if let Some(program) = find_program("nginx", &path) {
        return real(&program, &mounts, port, &arguments);
    }
    let note = "nginx is not on this machine (apt install nginx-light): topo serves in its stead";
    let unread = if mounts.configured() { ", and the configuration that is mounted is not read" } else { "" };
    let _ = writeln!(io::stderr(), "{note}{unread}");
    let page = page("nginx", &names::host());
    content(port, mounts.content().then(|| CONTENT.into()), page, Signals::Nginx)
}

/// `httpd [--port=80]`: `It works!`, and the pod's name.
pub(crate) fn httpd(args: &[String]) -> Result<ExitCode, Error> {
    let flags = Flags::parse(args, &[("port", Kind::Value)])?;
    flags.no_more()?;
    let root = Mounts::read().has(HTTPD_CONTENT).then(|| HTTPD_CONTENT.into());
    let host = names::host();
    let page =
        format!("<html><body><h1>It works!</h1><p>This is pod {}.</p></body></html>\n", escaped(&host));
    content(flags.value("port", 80)?, root, page, Signals::Graceful)
}

/// Serves a folder, or else one page for every path that a fresh image has something at.
fn content(port: u16, root: Option<PathBuf>, page: String, signals: Signals) -> Result<ExitCode, Error> {
    let page = bytes::Bytes::from(page);
    let site = move |visit: &Visit| match &root {
        Some(root) => files::serve(root, visit),
        None => files::wrong_method(visit).unwrap_or_else(|| match visit.path() {
            "/" | "/index.html" => answer(StatusCode::OK, "text/html; charset=utf-8", page.clone()),
            _ => files::fault(StatusCode::NOT_FOUND),
        }),
    };
    serve(listen::any(port), site, true, signals)
}

/// Becomes the machine's nginx.
fn real(program: &Path, mounts: &Mounts, port: u16, arguments: &[String]) -> Result<ExitCode, Error> {
    let mut command = Command::new(program);
    command.arg0("nginx");
    if arguments.iter().any(|argument| argument == "-c") {
        // The pod brings a configuration of its own.
        return Err(exec(command.args(arguments)));
    }
    let write = |file: &Path, text: String| {
        fs::write(file, text).map_err(Error::io(format!("write {}", file.display())))
    };
    let folder = Path::new(FOLDER);
    let html = folder.join("html");
    fs::create_dir_all(&html).map_err(Error::io(format!("make folder {}", html.display())))?;
    let config = Config {
        folder,
        root: if mounts.content() { Path::new(CONTENT) } else { &html },
        port,
        own_servers: mounts.servers(),
        superuser: nix::unistd::geteuid().is_root(),
        ipv6: Path::new("/proc/net/if_inet6").exists(),
        access_log: stdout_can_be_opened(),
        mime_types: Path::new("/etc/nginx/mime.types").exists(),
    };
    let file =
        if mounts.whole() { PathBuf::from("/etc/nginx/nginx.conf") } else { folder.join("nginx.conf") };
    if !mounts.whole() {
        write(&html.join("index.html"), page("nginx", &names::host()))?;
        write(&file, config.to_string())?;
    }
    if has_error_log_flag(program)? {
        // Or else it opens the log that it was built with, before it reads any configuration.
        command.args(["-e", "stderr"]);
    }
    Err(exec(command.arg("-c").arg(file).args(arguments)))
}

/// nginx opens its log by name, which works for files and pipes and not for sockets.
fn stdout_can_be_opened() -> bool {
    let opened = fs::OpenOptions::new().append(true).open("/dev/stdout");
    if let Err(e) = &opened {
        let _ = writeln!(io::stderr(), "requests are not logged: open /dev/stdout: {e}");
    }
    opened.is_ok()
}

/// nginx has `-e` since 1.19.5 (<https://nginx.org/en/CHANGES>).
fn has_error_log_flag(program: &Path) -> Result<bool, Error> {
    let output = Command::new(program).arg("-v").output();
    let output = output.map_err(Error::io(format!("run {} -v", program.display())))?;
    Ok(config::version(&String::from_utf8_lossy(&output.stderr)).is_none_or(|version| version >= (1, 19, 5)))
}

/// Runs another program in this one's place; comes back only if that cannot be.
fn exec(command: &mut Command) -> Error {
    let program: OsString = command.get_program().to_owned();
    let source = command.exec();
    Error::Io { what: format!("run {}", program.to_string_lossy()), source }
}

/// The page of a fresh image, with the pod's name; tutorials look for its title.
fn page(program: &str, host: &str) -> String {
    let host = escaped(host);
    let addresses: Vec<String> = names::addresses().iter().map(ToString::to_string).collect();
    let at = if addresses.is_empty() { String::new() } else { format!(" at {}", addresses.join(", ")) };
    format!(
        "<!DOCTYPE html>\n<html>\n<head>\n<title>Welcome to {program}!</title>\n</head>\n<body>\n\
         <h1>Welcome to {program}!</h1>\n<p>This is pod {host}{at}.</p>\n</body>\n</html>\n"
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
