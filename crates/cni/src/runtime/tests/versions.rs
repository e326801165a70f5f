use super::*;

fn speaking(versions: &[Version]) -> FakeExec {
    FakeExec::new(&["a"]).with("b", versions)
}

#[tokio::test]
async fn a_plugin_tells_its_versions() {
    let lab = Lab::with(speaking(&[Version::V0_4_0, Version::V1_0_0]));
    assert_eq!(lab.cni.version("b").await.unwrap().supported, ["0.4.0", "1.0.0"]);
    let call = &lab.calls("VERSION")[0];
    assert_eq!(call.environment.keys().collect::<Vec<_>>(), ["CNI_COMMAND"]);
    assert_eq!(call.config, json!({"cniVersion": "1.1.0"}));
    let error = lab.cni.version("x").await.unwrap_err();
    assert_eq!(error.to_string(), "plugin x not found in /plugins:/more");
    lab.next("b", "VERSION", Answer::Print("1.0.0".into()));
    let error = lab.cni.version("b").await.unwrap_err().to_string();
    assert!(error.starts_with("plugin b (/plugins/b): VERSION: printed what is no answer"), "{error}");
}

#[tokio::test]
async fn the_highest_version_that_all_speak_is_negotiated() {
    let lab = Lab::with(speaking(&[Version::V0_4_0, Version::V1_0_0]));
    let all = changed("0.3.1", &["a", "b", "a"], |list| {
        list["cniVersions"] = json!(["0.4.0", "1.0.0", "1.1.0"]);
    });
    assert_eq!(all.version(), Version::V1_1_0);
    let agreed = lab.cni.negotiate(&all).await.unwrap();
    assert_eq!((agreed.version(), agreed.plugins()), (Version::V1_0_0, all.plugins()));
    // Each plugin is asked once.
    assert_eq!(lab.order(), ["VERSION a", "VERSION b"]);
    // What the cache will keep of it says the same.
    assert_eq!(NetworkList::parse(agreed.bytes()).unwrap(), agreed);
}

#[tokio::test]
async fn no_common_version_names_the_plugin_and_both_sides() {
    let lab = Lab::with(speaking(&[Version::V0_3_1]));
    let list = changed("1.0.0", &["a", "b"], |list| list["cniVersions"] = json!(["1.1.0"]));
    let error = lab.cni.negotiate(&list).await.unwrap_err().to_string();
    assert_eq!(error, "network dbnet: plugin b speaks CNI 0.3.1; wanted is one of 1.0.0, 1.1.0");
}
