use super::*;

const MANUAL: &str = include_str!("../../../../docs/images.md");

fn table(names: &[&str]) -> Table {
    let image = |name: &str| Image { entrypoint: vec![name.into()], ..Image::default() };
    Table::new(names.iter().map(|name| ((*name).into(), image(name))).collect()).unwrap()
}

/// Which entry answers.
fn answer<'a>(table: &'a Table, name: &str) -> &'a str {
    &table.resolve(name).unwrap().entrypoint[0]
}

#[test]
fn registry_tag_and_digest_do_not_matter() {
    let table = table(&["nginx"]);
    let digest = format!("sha256:{}", "0".repeat(64));
    for name in ["nginx", "nginx:1.25", "docker.io/library/nginx:1.25", "localhost:5000/nginx"] {
        assert_eq!(answer(&table, name), "nginx");
        assert_eq!(answer(&table, &format!("{name}@{digest}")), "nginx");
    }
}

#[test]
fn a_full_name_wins_over_a_short_one_and_a_tag_over_none() {
    let table = table(&[
        "agnhost",
        "registry.k8s.io/e2e-test-images/agnhost",
        "nginx",
        "nginx:1.14.2",
        "agnhost:2.0",
    ]);
    assert_eq!(
        answer(&table, "registry.k8s.io/e2e-test-images/agnhost:2.39"),
        "registry.k8s.io/e2e-test-images/agnhost"
    );
    assert_eq!(
        answer(&table, "registry.k8s.io/e2e-test-images/agnhost:2.0"),
        "registry.k8s.io/e2e-test-images/agnhost"
    );
    assert_eq!(answer(&table, "other.io/agnhost:2.0"), "agnhost:2.0");
    assert_eq!(answer(&table, "other.io/agnhost:2.1"), "agnhost");
    assert_eq!(answer(&table, "docker.io/library/nginx:1.14.2"), "nginx:1.14.2");
    assert_eq!(answer(&table, "nginx:1.14"), "nginx");
}

#[test]
fn what_is_put_on_top_wins() {
    let base = table(&["nginx:1.14.2", "library/nginx", "busybox"]);
    let own = Image { entrypoint: vec!["own".into()], ..Image::default() };
    let own = Table::new([("nginx".to_owned(), own)].into()).unwrap();
    let both = base.with(own);
    assert_eq!(answer(&both, "library/nginx:1.14.2"), "own");
    assert_eq!(answer(&both, "busybox"), "busybox");
    assert_eq!(
        both.entries().keys().copied().collect::<Vec<_>>(),
        ["busybox", "library/nginx", "nginx", "nginx:1.14.2"]
    );
}

#[test]
fn an_unknown_image_is_told_with_what_is_known_and_what_to_write() {
    let error =
        table(&["nginx:1.14.2", "nginx", "r.io/e2e/agnhost"]).resolve("docker.io/me/app:2").unwrap_err();
    assert_eq!(error.reason(), "ErrImagePull");
    assert_eq!(
        error.to_string(),
        "image \"docker.io/me/app:2\" is not in the table of images, and none are pulled here; known are agnhost, nginx\n\
         map it in the topology file: `images: {app: {entrypoint: [PROGRAM, ARGUMENT]}}`"
    );
    let error = Table::default().resolve("No Name").unwrap_err();
    assert_eq!(error.reason(), "InvalidImageName");
    assert_eq!(error.to_string(), "image \"No Name\": names are in lower case");
}

#[test]
fn what_the_message_says_works() {
    let error = Table::default().resolve("docker.io/me/app:2").unwrap_err().to_string();
    let advice = error.split('`').nth(1).unwrap();
    let table = Table::parse(advice, "advice").unwrap();
    assert_eq!(table.resolve("docker.io/me/app:2").unwrap().entrypoint, ["PROGRAM", "ARGUMENT"]);
}

#[test]
fn mistakes_are_told_with_their_place() {
    let told = |text: &str| Table::parse(text, "f.yaml").unwrap_err().to_string();
    let cases = [
        ("images:\n  a: {entrypoint: [x], comand: [y]}\n", "f.yaml:2:24: unknown field `comand`"),
        ("images:\n  a: {entrypoint: x}\n", "f.yaml:2:19: "),
        ("images:\n  a: {}\n", "image \"a\": neither entrypoint nor cmd"),
        ("images:\n  a: {entrypoint: ['']}\n", "image \"a\": the program's name is empty"),
        ("images:\n  A: {entrypoint: [x]}\n", "image \"A\": names are in lower case"),
        ("images:\n  a: {entrypoint: [x]}\n  a: {entrypoint: [y]}\n", "f.yaml:3:"),
        ("images:\n  a: {entrypoint: [x], workingDir: tmp}\n", "workingDir: \"tmp\" is no absolute path"),
        ("images:\n  a: {entrypoint: [x], env: {A=B: c}}\n", "env: \"A=B\" cannot be"),
        ("images:\n  a: {entrypoint: [x], stopSignal: TERM}\n", "stopSignal: \"TERM\" is no signal's name"),
        (
            "images:\n  a: {entrypoint: [x], programs: {/b: []}}\n",
            "programs: \"/b\": there is nothing to run",
        ),
        ("images:\n  a: {entrypoint: [x], absent: true}\n", "absent, and there is something to run"),
        ("image: {}\n", "f.yaml:1:1: unknown field `image`"),
        ("images: [a]\n", "f.yaml:1:9: "),
        ("images: {a: {entrypoint: [x]}\n", "f.yaml:"),
        ("", "f.yaml:"),
    ];
    for (text, expected) in cases {
        let message = told(text);
        assert!(message.starts_with("f.yaml:"), "{text}: {message}");
        assert!(message.contains(expected), "{text}: {message}");
    }
    let digest = format!("images:\n  a@sha256:{}: {{entrypoint: [x]}}\n", "0".repeat(64));
    assert!(told(&digest).contains("has no digest"));
}

#[test]
fn a_wrong_entry_is_told_with_its_line() {
    let message = Table::parse("images:\n  b: {cmd: [x]}\n  a: {}\n", "f.yaml").unwrap_err().to_string();
    assert!(message.starts_with("f.yaml:3:"), "{message}");
}

/// What each image of the documentation's chapters is run as.
#[test]
fn the_documentations_images_are_known() {
    let table = Table::builtin().unwrap();
    let run = |reference: &str, command: &str, args: &str| {
        let words = |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
        table.resolve(reference).unwrap().command(Some(&words(command)), Some(&words(args))).join(" ")
    };
    let agnhost = "registry.k8s.io/e2e-test-images/agnhost:2.39";
    assert_eq!(run(agnhost, "", ""), "topo image agnhost pause");
    assert_eq!(run(agnhost, "", "liveness"), "topo image agnhost liveness");
    assert_eq!(
        run(agnhost, "/agnhost netexec --http-port=8080", ""),
        "topo image agnhost netexec --http-port=8080"
    );
    assert_eq!(run("registry.k8s.io/liveness", "", "/server"), "topo image agnhost liveness");
    assert_eq!(run("registry.k8s.io/serve_hostname", "", ""), "topo image agnhost serve-hostname");
    assert_eq!(run("nginx:1.14.2", "", ""), "topo image nginx nginx -g daemon off;");
    assert_eq!(run("nginx", "nginx -g x", ""), "topo image nginx nginx -g x");
    assert_eq!(run("registry.k8s.io/nginx-slim:0.8", "", ""), "topo image nginx nginx -g daemon off;");
    assert_eq!(run("hashicorp/http-echo:0.2.3", "", "-text=a"), "topo image http-echo -text=a");
    assert_eq!(run("busybox:1.28", "sh -c", "date"), "sh -c date");
    assert_eq!(run("registry.k8s.io/pause:3.9", "", ""), "topo image pause");
    assert!(run("gcr.io/google-samples/hello-app:1.0", "", "").contains("Version: 1.0.0\n"));
    assert!(
        run("us-docker.pkg.dev/google-samples/containers/gke/hello-app:2.0", "", "")
            .contains("Version: 2.0.0\n")
    );
    assert!(run("jocatalin/kubernetes-bootcamp:v2", "", "").ends_with("v=2"));
    assert_eq!(table.resolve("nginx").unwrap().stop_signal(), Signal::SIGQUIT);
}

#[test]
fn some_tags_do_not_exist_on_purpose() {
    let table = Table::builtin().unwrap();
    for image in ["nginx:1.161", "gcr.io/google-samples/kubernetes-bootcamp:v10"] {
        let error = table.resolve(image).unwrap_err();
        assert_eq!(error.reason(), "ErrImagePull");
        assert!(error.to_string().starts_with(&format!("image {image:?} does not exist: ")), "{error}");
    }
}

#[test]
fn the_manuals_example_is_a_table() {
    let (_, rest) = MANUAL.split_once("```yaml\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    let table = Table::builtin().unwrap().with(Table::parse(example, "docs/images.md").unwrap());
    assert_eq!(answer(&table, "me.example/shop:1.0"), "/home/me/shop/server");
    assert_eq!(answer(&table, "shop:2.0"), "topo");
    assert_eq!(answer(&table, "nginx:1.14.2"), "python3");
}

/// As in the real image: flags and addresses are curl's, another program is another program.
#[test]
fn curl_is_curl_unless_something_else_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let fake = folder.path().join("curl");
    std::fs::write(&fake, "#!/bin/sh\necho curl \"$@\"\n").unwrap();
    std::fs::set_permissions(&fake, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", folder.path().display());
    let table = Table::builtin().unwrap();
    let said = |args: &str| {
        let args: Vec<String> = args.split_whitespace().map(str::to_owned).collect();
        let command = table.resolve("curlimages/curl:8.18.0").unwrap().command(None, Some(&args));
        let output = std::process::Command::new(&command[0]).args(&command[1..]).env("PATH", &path).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    assert_eq!(said(""), "curl --help\n");
    assert_eq!(said("-s http://a"), "curl -s http://a\n");
    assert_eq!(said("http://a b"), "curl http://a b\n");
    assert_eq!(said("curl http://a"), "curl http://a\n");
    assert_eq!(said("echo a b"), "a b\n");
}

#[test]
fn the_manual_has_every_entry() {
    for name in Table::builtin().unwrap().entries().keys() {
        assert!(MANUAL.contains(&format!("`{name}`")), "docs/images.md: {name}");
    }
}

/// Whatever the table runs of this program, this program has.
#[test]
fn every_program_of_the_table_is_there() {
    let table = Table::builtin().unwrap();
    for (name, image) in table.entries() {
        assert!(!image.description.is_empty(), "{name}");
        let commands = image.programs.values().chain([&image.entrypoint, &image.cmd]);
        for command in commands.filter(|command| command.first().is_some_and(|first| first == crate::TOPO)) {
            let known = match command[1].as_str() {
                "echo" => true,
                "dns" => command[2] == "serve",
                "image" => crate::program::PROGRAMS.iter().any(|(known, _)| *known == command[2]),
                _ => false,
            };
            assert!(known, "{name}: {command:?}");
        }
    }
}
