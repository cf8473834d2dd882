//! A service whose history is in a backend.

use std::time::Duration;

use hms_ops::core::labels::Labels;
use hms_ops::core::store::StoreExt;
use hms_ops::core::time::{TimeRange, Timestamp};
use hms_ops::{Config, Ops};

#[tokio::test]
async fn samples_wait_in_the_queue_of_the_config_file_while_the_backend_is_away() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[store]\nremote = { url = \"http://127.0.0.1:1\", queue = \"queue\" }\n";
    let config = Config::parse(folder.path().join("ops.toml").to_str().unwrap(), text).unwrap();
    let up = Labels::metric("up").with("zone", "a");
    let at = Timestamp::from_millis(4_000_000_000_000);
    let here = TimeRange::new(at, at);
    for expected in [1.0, 1.0] {
        let ops = Ops::builder().config(&config).unwrap().start().await.unwrap();
        ops.store().append_one(&up, at, expected).await.unwrap();
        let found = ops.store().collect(&[], here).await.unwrap();
        assert_eq!(found[0].0, up);
        ops.shutdown(Duration::ZERO).await.unwrap();
    }
    assert!(folder.path().join("queue/lock").exists());
}

#[test]
fn a_backend_is_known_by_one_kind_of_secret_and_history_has_one_place() {
    let remote = "remote = { url = \"http://a\", queue = \"q\", ";
    for more in ["user = \"me\" }", "password_file = \"p\" }", "user = \"a\", token_file = \"t\" }"]
    {
        let error = Config::parse("ops.toml", &format!("[store]\n{remote}{more}")).unwrap_err();
        let expected = "ops.toml:2: a backend takes `user` and `password_file`, or `token_file`";
        assert_eq!(error.to_string(), expected);
    }
}
