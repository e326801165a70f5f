//! Plugins that misbehave.

use std::time::Duration;

use super::*;

async fn failing(answer: Answer) -> Error {
    let lab = Lab::new();
    lab.next("b", "ADD", answer);
    let error = lab.cni.add(&network("1.1.0", &["a", "b"]), &attachment("c1")).await.unwrap_err();
    assert_eq!(lab.order(), ["ADD a", "ADD b", "DEL b", "DEL a"], "{error}");
    error
}

const WHO: &str = "network dbnet: plugin b (/plugins/b): ADD: ";

#[tokio::test]
async fn an_error_in_a_plugins_own_words_keeps_every_code() {
    for number in (0..=12).chain([50, 51, 99, 100, 999]) {
        let error = failing(Answer::Error(number, "why".into())).await;
        let code = error.code().unwrap();
        assert_eq!((code, code.number()), (Code::from(number), number));
    }
    let error = failing(Answer::Error(7, "why".into())).await.to_string();
    assert_eq!(error, format!("{WHO}exit status: 1: code 7, invalid configuration: why"));
}

#[tokio::test]
async fn a_failure_without_a_cni_error_has_status_and_stderr() {
    let error = failing(Answer::Exit(3, String::new(), "boom\nbang\n".into())).await;
    assert_eq!(error.code(), None);
    assert_eq!(error.failure().unwrap().stderr, "boom\nbang\n");
    let text = format!("{WHO}exit status: 3, without a CNI error; stderr: boom | bang");
    assert_eq!(error.to_string(), text);
    let error = failing(Answer::Exit(3, "not json".into(), String::new())).await.to_string();
    assert_eq!(error, format!("{WHO}exit status: 3, without a CNI error; stdout: not json"));
}

#[tokio::test]
async fn rubbish_for_a_result_is_shown() {
    let error = failing(Answer::Print("hello".into())).await.to_string();
    assert!(error.starts_with(&format!("{WHO}printed what is no answer (")), "{error}");
    assert!(error.ends_with("; stdout: hello"), "{error}");
    let error = failing(Answer::Print(String::new())).await.to_string();
    assert!(error.starts_with(&format!("{WHO}printed nothing where an answer is due")), "{error}");
    let error = failing(print(&json!({"ips": [{"address": "nowhere"}]}))).await.to_string();
    assert!(error.contains(r#"(ips[0].address: "nowhere" has no prefix length)"#), "{error}");
    let error = failing(print(&result("0.1.0", "old"))).await.to_string();
    assert!(error.contains("(cniVersion: version 0.1.0 is not supported"), "{error}");
}

#[tokio::test]
async fn what_is_printed_where_nothing_is_due_does_not_matter() {
    let lab = Lab::new();
    let network = network("1.1.0", &["a"]);
    lab.cni.add(&network, &attachment("c1")).await.unwrap();
    for command in ["CHECK", "STATUS", "DEL"] {
        lab.next("a", command, Answer::Print("hello".into()));
    }
    lab.cni.check(&network, &attachment("c1")).await.unwrap();
    lab.cni.status(&network).await.unwrap();
    lab.cni.del(&network, &attachment("c1")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_hangs_is_given_up_after_the_limit() {
    let start = tokio::time::Instant::now();
    let error = failing(Answer::Hang).await;
    assert_eq!(start.elapsed(), Duration::from_secs(60));
    assert_eq!(error.to_string(), format!("{WHO}did not end within 60s and was killed"));
}

#[tokio::test]
async fn a_plugin_that_cannot_be_started_says_why() {
    let error = failing(Answer::Unstartable(13)).await;
    assert_eq!(error.to_string(), format!("{WHO}cannot be started"));
    assert_eq!(
        crate::error::chain(&error),
        format!("{WHO}cannot be started: Permission denied (os error 13)")
    );
}

#[tokio::test]
async fn a_missing_plugin_stops_every_operation() {
    let lab = Lab::new();
    let network = network("1.1.0", &["x"]);
    let missing = "network dbnet: plugin x not found in /plugins:/more";
    assert_eq!(lab.cni.add(&network, &attachment("c1")).await.unwrap_err().to_string(), missing);
    assert_eq!(lab.cni.del(&network, &attachment("c1")).await.unwrap_err().to_string(), missing);
    assert_eq!(lab.cni.status(&network).await.unwrap_err().to_string(), missing);
    let error = lab.cni.gc(&network, &[]).await.unwrap_err().to_string();
    assert_eq!(error, format!("network dbnet: garbage collection: {missing}"));
}

#[tokio::test]
async fn without_folders_there_are_no_plugins() {
    let folder = tempfile::tempdir().unwrap();
    let cni = Cni::new(FakeExec::new(&["a"]), Vec::new(), folder.path(), TIME_LIMIT);
    let error = cni.add(&network("1.1.0", &["a"]), &attachment("c1")).await.unwrap_err().to_string();
    assert_eq!(error, "network dbnet: plugin a not found in no folder at all: the plugin path is empty");
}
