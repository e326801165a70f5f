//! The documentation's table.

use super::*;
use serde_json::json;

fn document() -> Value {
    json!({
        "kind": "List",
        "items": [
            {"kind": "None", "metadata": {"name": "127.0.0.1", "labels": {"kubernetes.io/hostname": "a"}},
             "status": {"capacity": {"cpu": "4"}, "addresses": [{"type": "LegacyHostIP", "address": "127.0.0.1"}]}},
            {"kind": "None", "metadata": {"name": "127.0.0.2"},
             "status": {"capacity": {"cpu": "8"}, "addresses": [
                {"type": "LegacyHostIP", "address": "127.0.0.2"}, {"type": "another", "address": "127.0.0.3"}]}},
        ],
        "users": [
            {"name": "myself", "user": {}, "age": 20, "on": true},
            {"name": "e2e", "user": {"username": "admin", "password": "secret"}, "age": 30},
        ],
    })
}

/// The table of the Kubernetes documentation, and what may go wrong.
#[test]
fn templates_mean_what_the_documentation_says() {
    let table = [
        "{.kind}",
        "{['kind']}",
        "{$.kind} is it",
        "kind is {.kind}",
        "{..name}",
        "{.items[*].metadata.name}",
        "{.users[0].name}",
        "{.users[-1].name}",
        "{.users[0:1].name}",
        "{.users[-1:].name}",
        "{.users[::2].name}",
        "{.users[0,1].name}",
        "{.items[*]['metadata.name', 'status.capacity']}",
        r#"{.users[?(@.name=="e2e")].user.password}"#,
        "{.users[?(@.age>20)].name}",
        "{.users[?(@.age<=20)].name}",
        "{.users[?(@.on==true)].name}",
        "{.users[?(@.user.username)].name}",
        "{.users[?(@.name!='e2e')].name}",
        r#"{range .items[*]}[{.metadata.name}, {.status.capacity.cpu}] {end}"#,
        r#"{range .items[*]}{.metadata.name}{"\t"}{range .status.addresses[*]}{.address};{end}{"\n"}{end}"#,
        r"{.items[*].metadata.labels.kubernetes\.io/hostname}",
        "{.items[0].metadata.labels['kubernetes\\.io/hostname']}",
        "{.users[0]}",
        "{.users[0].user}",
        "{.nothing}",
        "{.users[9].name}",
        "{@.kind}",
        "text only",
        "{}",
        "{.users[}",
        "{.users[a]}",
        "{.kind",
        "{range .users[*]}{.name}",
        "{end}",
        "{.users[?(@.name=)]}",
        "{'open}",
    ];
    let document = document();
    let said = table.map(|text| match Template::parse(text) {
        Ok(template) => format!("{text}\n    {:?}", template.render(&document)),
        Err(error) => format!("{text}\n    error: {error}"),
    });
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn a_path_alone_needs_no_braces() {
    let document = document();
    for text in [".users[1].name", "users[1].name", "{.users[1].name}", "{users[1].name}"] {
        assert_eq!(Path::parse(text).unwrap().find(&document), ["e2e"], "{text}");
    }
    assert!(Path::parse("{.a}{.b}").is_err());
    assert!(Path::parse("").is_err());
}
