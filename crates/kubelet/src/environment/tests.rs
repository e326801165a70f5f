use std::collections::BTreeMap;
use std::sync::Arc;

use api::types::api::core::v1::{ConfigMap, Container, Pod, Secret, Service};
use api::types::apimachinery::pkg::api::resource::Quantity;
use serde_json::{Value, json};

use super::*;

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// A pod of one container, which is made of `container`.
fn pod(container: Value) -> Pod {
    let mut containers = json!([{"name": "a", "image": "nginx"}, {"name": "b", "resources": {
        "limits": {"memory": "64Mi"}}}]);
    containers[0].as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
    read(json!({
        "metadata": {
            "name": "web-0", "namespace": "shop", "uid": "u1",
            "labels": {"app": "web", "k8s.io/tier": "front \"end\""},
            "annotations": {"note": "hello"},
        },
        "spec": {"nodeName": "C0w1", "serviceAccountName": "default", "containers": containers},
    }))
}

fn sources() -> Sources {
    let config: ConfigMap = read(json!({
        "metadata": {"name": "settings", "namespace": "shop"},
        "data": {"colour": "red", "A_B": "ab", "x=y": "bad", "2nd": "two"},
        "binaryData": {"blob": "AAE="},
    }));
    // "secret\0", not UTF-8, and "s3cret".
    let secret: Secret = read(json!({
        "metadata": {"name": "login", "namespace": "shop"},
        "data": {"password": "czNjcmV0", "nul": "c2VjcmV0AA==", "binary": "//4="},
    }));
    Sources {
        config_maps: BTreeMap::from([("settings".into(), Arc::new(config))]),
        secrets: BTreeMap::from([("login".into(), Arc::new(secret))]),
    }
}

fn services() -> Vec<Arc<Service>> {
    let service = |namespace: &str, name: &str, ip: &str, ports: Value| -> Arc<Service> {
        Arc::new(read(json!({
            "metadata": {"name": name, "namespace": namespace}, "spec": {"clusterIP": ip, "ports": ports},
        })))
    };
    vec![
        service("default", "kubernetes", "100.64.0.1", json!([{"name": "https", "port": 443}])),
        service("default", "elsewhere", "100.64.0.2", json!([{"port": 80}])),
        service(
            "shop",
            "my-web.v2",
            "100.64.11.1",
            json!([{"name": "http", "port": 8000}, {"name": "dns-udp", "port": 53, "protocol": "UDP"}]),
        ),
        service("shop", "headless", "None", json!([{"port": 80}])),
        service("shop", "0six", "fd00::1", json!([{"port": 80, "protocol": "TCP"}])),
    ]
}

/// Builds the environment of the pod's first container.
fn built(pod: &Pod) -> Result<Environment, ConfigError> {
    in_world(pod, environment)
}

fn in_world<T>(pod: &Pod, run: impl FnOnce(&Container, &Context<'_>) -> T) -> T {
    let pod_ips = ["11.10.0.5".to_owned(), "fd00::5".to_owned()];
    let host_ips = ["10.0.0.3".to_owned()];
    let allocatable =
        BTreeMap::from([("cpu".into(), Quantity("2".into())), ("memory".into(), Quantity("4Gi".into()))]);
    let context = Context {
        pod,
        pod_ips: &pod_ips,
        host_ips: &host_ips,
        allocatable: &allocatable,
        sources: &sources(),
        services: &[],
    };
    run(&pod.spec.as_ref().unwrap().containers[0], &context)
}

/// The variables of a container with these `env` and `envFrom`.
fn vars(container: Value) -> BTreeMap<String, String> {
    built(&pod(container)).unwrap().vars
}

fn error(container: Value) -> String {
    built(&pod(container)).unwrap_err().to_string()
}

#[test]
fn values_refer_to_what_was_declared_before() {
    let vars = vars(json!({"env": [
        {"name": "LATE", "value": "$(B)"},
        {"name": "A", "value": "1"},
        {"name": "B", "value": "$(A)2$$(A)"},
        {"name": "A", "value": "$(A)$(A)"},
        {"name": "NONE"},
    ]}));
    let expected = [("A", "11"), ("B", "12$(A)"), ("LATE", "$(B)"), ("NONE", "")];
    assert_eq!(vars, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
}

#[test]
fn a_pod_tells_its_containers_of_itself() {
    let fields = [
        ("metadata.name", "web-0"),
        ("metadata.namespace", "shop"),
        ("metadata.uid", "u1"),
        ("metadata.labels['app']", "web"),
        ("metadata.labels['k8s.io/tier']", "front \"end\""),
        ("metadata.labels['missing']", ""),
        ("metadata.annotations['note']", "hello"),
        ("metadata.labels", "app=\"web\"\nk8s.io/tier=\"front \\\"end\\\"\""),
        ("spec.nodeName", "C0w1"),
        ("spec.serviceAccountName", "default"),
        ("status.hostIP", "10.0.0.3"),
        ("status.hostIPs", "10.0.0.3"),
        ("status.podIP", "11.10.0.5"),
        ("status.podIPs", "11.10.0.5,fd00::5"),
    ];
    for (path, value) in fields {
        let env = json!({"env": [{"name": "X", "valueFrom": {"fieldRef": {"fieldPath": path}}}]});
        assert_eq!(vars(env)["X"], value, "{path}");
    }
    for path in ["spec.hostname", "metadata.name['x']", ""] {
        let env = json!({"env": [{"name": "X", "valueFrom": {"fieldRef": {"fieldPath": path}}}]});
        assert_eq!(error(env), format!("unsupported fieldPath: {path}"));
    }
}

#[test]
fn resources_are_told_in_multiples_of_the_divisor_rounded_up() {
    let resources = json!({"limits": {"cpu": "1500m", "hugepages-2Mi": "4Mi"}, "requests": {"cpu": "250m", "memory": "100Mi"}});
    let table = [
        ("", "limits.cpu", "0", "2"),
        ("", "limits.cpu", "1m", "1500"),
        ("", "requests.cpu", "1", "1"),
        ("", "requests.memory", "1", "104857600"),
        ("", "requests.memory", "1Gi", "1"),
        // Without a limit it may have what the node has.
        ("", "limits.memory", "1Mi", "4096"),
        ("b", "limits.memory", "1Mi", "64"),
        ("b", "requests.memory", "1Mi", "0"),
        ("", "limits.hugepages-2Mi", "1Mi", "4"),
    ];
    let one = |container: &str, resource: &str, divisor: &str| {
        let from = json!({"containerName": container, "resource": resource, "divisor": divisor});
        json!({"resources": resources, "env": [{"name": "X", "valueFrom": {"resourceFieldRef": from}}]})
    };
    for (container, resource, divisor, value) in table {
        assert_eq!(vars(one(container, resource, divisor))["X"], value, "{resource} in {divisor}");
    }
    assert_eq!(error(one("c", "limits.cpu", "1")), "container c not found");
    assert_eq!(error(one("", "limits.pods", "1")), "unsupported container resource : limits.pods");
    assert_eq!(error(one("", "cpu", "1")), "unsupported container resource : cpu");
    assert_eq!(error(one("", "limits.cpu", "x")), "limits.cpu of container a is not a quantity: \"x\"");
}

#[test]
fn values_of_config_maps_and_secrets() {
    let got = vars(json!({"env": [
        {"name": "COLOUR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "colour"}}},
        {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "login", "key": "password"}}},
        {"name": "BOTH", "value": "$(COLOUR):$(PASSWORD)"},
        {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "no", "optional": true}}},
        {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "no", "key": "no", "optional": true}}},
        {"name": "C", "valueFrom": {"secretKeyRef": {"name": "login", "key": "no", "optional": true}}},
        {"name": "D", "valueFrom": {"secretKeyRef": {"name": "no", "key": "no", "optional": true}}},
    ]}));
    let expected = [("BOTH", "red:s3cret"), ("COLOUR", "red"), ("PASSWORD", "s3cret")];
    assert_eq!(got, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
}

#[test]
fn what_is_missing_is_told_as_the_kubelet_does() {
    let one = |kind: &str, name: &str, key: &str| {
        error(json!({"env": [{"name": "X", "valueFrom": {kind: {"name": name, "key": key}}}]}))
    };
    assert_eq!(one("configMapKeyRef", "settings", "x"), "couldn't find key x in ConfigMap shop/settings");
    // Binary data is for volumes only.
    assert_eq!(
        one("configMapKeyRef", "settings", "blob"),
        "couldn't find key blob in ConfigMap shop/settings"
    );
    assert_eq!(one("configMapKeyRef", "y", "x"), "configmap \"y\" not found");
    assert_eq!(one("secretKeyRef", "login", "x"), "couldn't find key x in Secret shop/login");
    assert_eq!(one("secretKeyRef", "y", "x"), "secret \"y\" not found");
    let whole = |kind: &str| error(json!({"envFrom": [{kind: {"name": "y", "optional": false}}]}));
    assert_eq!(whole("configMapRef"), "configmap \"y\" not found");
    assert_eq!(whole("secretRef"), "secret \"y\" not found");
    assert_eq!(one("secretKeyRef", "login", "nul"), "environment variable X contains a NUL byte");
    assert_eq!(
        one("secretKeyRef", "login", "binary"),
        "value of key binary in Secret shop/login is not UTF-8, as environment variables are"
    );
}

#[test]
fn whole_config_maps_and_secrets_come_below_single_variables() {
    let got = built(&pod(json!({
        "envFrom": [
            {"configMapRef": {"name": "settings"}},
            {"configMapRef": {"name": "settings"}, "prefix": "P_"},
            {"configMapRef": {"name": "no", "optional": true}},
            {"secretRef": {"name": "no", "optional": true}},
        ],
        "env": [
            {"name": "colour", "value": "not $(colour)"},
            {"name": "A_B", "valueFrom": {"configMapKeyRef": {"name": "no", "key": "no", "optional": true}}},
        ],
    })))
    .unwrap();
    let expected = [
        ("2nd", "two"),
        // Optional and not there, so what was declared before stays.
        ("A_B", "ab"),
        ("P_2nd", "two"),
        ("P_A_B", "ab"),
        ("P_colour", "red"),
        ("colour", "not red"),
    ];
    assert_eq!(got.vars, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    assert_eq!(
        got.skipped,
        [
            "Keys [x=y] from the EnvFrom configMap shop/settings were skipped since they are considered \
             invalid environment variable names.",
            "Keys [P_x=y] from the EnvFrom configMap shop/settings were skipped since they are considered \
             invalid environment variable names.",
        ]
    );
}

#[test]
fn services_of_the_namespace_and_of_the_api_server_are_told() {
    let all = service_variables(&services(), "shop", true);
    let lines: Vec<_> = all.iter().map(|(name, value)| format!("{name}={value}")).collect();
    insta::assert_snapshot!(lines.join("\n"));

    let names: Vec<_> = service_variables(&services(), "shop", false).into_keys().collect();
    assert!(names.contains(&"KUBERNETES_SERVICE_HOST".to_owned()), "{names:?}");
    assert!(names.iter().all(|name| name.starts_with("KUBERNETES_")), "{names:?}");
}

#[test]
fn variables_of_services_can_be_referred_to_and_overridden() {
    let pod = pod(json!({"env": [
        {"name": "URL", "value": "http://$(MY_WEB_V2_SERVICE_HOST):$(MY_WEB_V2_SERVICE_PORT)/"},
        {"name": "KUBERNETES_SERVICE_HOST", "value": "10.0.0.1"},
    ]}));
    let services = services();
    let got = in_world(&pod, |container, context| {
        environment(container, &Context { services: &services, ..context.clone() }).unwrap().vars
    });
    assert_eq!(got["URL"], "http://100.64.11.1:8000/");
    assert_eq!(got["KUBERNETES_SERVICE_HOST"], "10.0.0.1");
    assert_eq!(got["KUBERNETES_SERVICE_PORT"], "443");
}

#[test]
fn command_and_args_stand_for_the_images() {
    let image = Image {
        entrypoint: vec!["/entry".into(), "-x".into()],
        cmd: vec!["serve".into()],
        ..Image::default()
    };
    let table = [
        (json!({}), vec!["/entry", "-x", "serve"]),
        (json!({"args": ["$(A)"]}), vec!["/entry", "-x", "a"]),
        (json!({"command": ["run", "$(B)"]}), vec!["run", "$(B)"]),
        (json!({"command": ["run"], "args": ["$$(A)", "$(A)"]}), vec!["run", "$(A)", "a"]),
    ];
    let vars = BTreeMap::from([("A".into(), "a".into())]);
    for (container, argv) in table {
        let pod = pod(container.clone());
        let container_ = &pod.spec.unwrap().containers[0];
        assert_eq!(command_line(container_, &image, &vars).unwrap(), argv, "{container}");
    }
    let error = command_line(&Container::default(), &Image::default(), &vars).unwrap_err();
    assert_eq!(error.to_string(), "no command specified");
}

#[test]
fn a_container_starts_with_what_its_image_adds() {
    let image = Image {
        entrypoint: vec!["nginx".into()],
        env: BTreeMap::from([("PATH".into(), "/opt".into()), ("VERSION".into(), "1".into())]),
        working_dir: "/srv".into(),
        ..Image::default()
    };
    let start = |container: Value, image: &Image| {
        in_world(&pod(container), |container, context| {
            invocation(container, image, "web-0", context).unwrap()
        })
    };
    let plain = start(json!({}), &Image { cmd: vec!["x".into()], ..Image::default() });
    assert_eq!((plain.env["PATH"].as_str(), plain.env["HOSTNAME"].as_str()), (PATH, "web-0"));
    assert_eq!(plain.working_dir, PathBuf::from("/"));

    // What the image sets is no `$(NAME)`: the kubelet does not know it.
    let env = json!([{"name": "VERSION", "value": "2 $(PATH)"}]);
    let full = start(json!({"env": env, "workingDir": "/work"}), &image);
    assert_eq!((full.env["PATH"].as_str(), full.env["VERSION"].as_str()), ("/opt", "2 $(PATH)"));
    assert_eq!(full.working_dir, PathBuf::from("/work"));
    assert_eq!(start(json!({}), &image).working_dir, PathBuf::from("/srv"));
}

#[test]
fn commands_of_probes_know_plain_values_only() {
    let pod = pod(json!({"env": [
        {"name": "A", "value": "$(B)"},
        {"name": "B", "value": "b"},
        {"name": "C", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ]}));
    let command = ["$(A)", "$(B)", "[$(C)]", "$(D)", "$$(B)"].map(str::to_owned);
    let container = &pod.spec.unwrap().containers[0];
    assert_eq!(static_command(&command, container), ["$(B)", "b", "[]", "$(D)", "$(B)"]);
}

#[test]
fn references_are_found_wherever_they_stand() {
    let pod: Pod = read(json!({
        "metadata": {"name": "x"},
        "spec": {
            "initContainers": [{"name": "i", "envFrom": [{"secretRef": {"name": "s1"}}]}],
            "containers": [{
                "name": "a",
                "envFrom": [{"configMapRef": {"name": "c1"}}],
                "env": [
                    {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c2", "key": "k", "optional": true}}},
                    {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s2", "key": "k"}}},
                ],
            }],
            "volumes": [
                {"name": "v", "configMap": {"name": "c3"}},
                {"name": "w", "secret": {"secretName": "s3"}},
                {"name": "p", "projected": {"sources": [{"configMap": {"name": "c4"}}, {"secret": {"name": "s4"}}]}},
                {"name": "e", "emptyDir": {}},
            ],
        },
    }));
    let names = |prefix: &str| (1..=4).map(|i| format!("{prefix}{i}")).collect();
    assert_eq!(References::of(&pod), References { config_maps: names("c"), secrets: names("s") });
    assert!(References::of(&Pod::default()).is_empty());
}
