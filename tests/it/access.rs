//! Who may ask the admin listener.

use std::net::SocketAddr;
use std::time::Duration;

use hms_ops::core::registry::Registry;
use hms_ops::{Config, Ops, OpsBuilder};

use crate::embedded::get;

const TOKEN: &str = "correct-horse-battery";

/// A builder that a config says the listener of, beside a file with the token.
fn builder(listen: &str) -> (tempfile::TempDir, Result<OpsBuilder, String>) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("admin.token"), format!("{TOKEN}\n")).unwrap();
    let name = folder.path().join("ops.toml").display().to_string();
    let config = Config::parse(&name, &format!("[listen]\n{listen}")).map_err(|e| e.to_string());
    let builder =
        config.map(|config| Ops::builder().registry(Registry::new()).config(&config).unwrap());
    (folder, builder)
}

async fn ask(address: SocketAddr, headers: &str) -> String {
    let port = address.port();
    let head = format!("GET /-/healthy HTTP/1.1\r\nhost: 127.0.0.1:{port}{headers}");
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    get(address, &head).await
}

#[tokio::test]
async fn off_loopback_the_listener_needs_a_token_and_tls_and_says_which_of_them_is_missing() {
    let (token, tls) = ("admin_token_file", "admin_tls = \"terminated-upstream\"");
    let both = format!("{token} and {tls}");
    let says_token = "admin_token_file = \"admin.token\"\n";
    for (said, missing) in [("", both.as_str()), (tls, token), (says_token, tls)] {
        let (_folder, builder) = builder(&format!("admin = \"0.0.0.0:0\"\n{said}"));
        let error = builder.unwrap().start().await.unwrap_err().to_string();
        assert!(error.contains(&format!("[listen] needs {missing} too")), "{error}");
    }

    let (_folder, builder) = builder(&format!("admin = \"0.0.0.0:0\"\n{says_token}{tls}"));
    let ops = builder.unwrap().start().await.unwrap();
    let address = ops.admin_address().unwrap();
    assert!(!address.ip().is_loopback());
    let refused = ask(address, "").await;
    assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
    assert!(refused.contains("www-authenticate: Basic realm=\"hms-ops\""), "{refused}");
    for wrong in ["Bearer correct-horse-batterz", "Basic bWU6d3Jvbmc=", "Bearer"] {
        let refused = ask(address, &format!("\r\nauthorization: {wrong}")).await;
        assert!(refused.starts_with("HTTP/1.1 401 "), "{wrong}: {refused}");
    }
    // The second is grafana:correct-horse-battery.
    for right in
        [format!("Bearer {TOKEN}"), "Basic Z3JhZmFuYTpjb3JyZWN0LWhvcnNlLWJhdHRlcnk=".to_owned()]
    {
        let answer = ask(address, &format!("\r\nauthorization: {right}")).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{right}: {answer}");
        let foreign = format!("\r\nauthorization: {right}\r\norigin: https://evil.test");
        assert!(ask(address, &foreign).await.starts_with("HTTP/1.1 403 "), "{right}");
    }
    ops.shutdown(Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn a_token_counts_on_loopback_too() {
    let (_folder, builder) =
        builder("admin = \"127.0.0.1:0\"\nadmin_token_file = \"admin.token\"\n");
    let ops = builder.unwrap().start().await.unwrap();
    let address = ops.admin_address().unwrap();
    assert!(ask(address, "").await.starts_with("HTTP/1.1 401 "));
    let bearer = format!("\r\nauthorization: Bearer {TOKEN}");
    assert!(ask(address, &bearer).await.starts_with("HTTP/1.1 200 "));
    ops.shutdown(Duration::ZERO).await.unwrap();
}

#[test]
fn what_a_config_says_wrong_about_access_is_told_with_its_line() {
    for (said, why) in [
        ("admin_tls = \"on\"", "ops.toml:2: admin_tls is \"terminated-upstream\", not \"on\""),
        ("\nadmin_token_file = \"none\"", "ops.toml:3: cannot read the token in "),
        ("admin_token_file = \"ops.toml\"", "ops.toml:2: cannot read the token in "),
    ] {
        let (_folder, builder) = builder(said);
        let error = builder.unwrap_err();
        assert!(error.contains(why), "{error}");
    }
}
