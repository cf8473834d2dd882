//! `hms-ops query`, of an engine that runs and of history that none has open.

use std::fs;

use rustix::process::Signal;

use crate::program::{Running, refusal, run};

fn printed(args: &[&str]) -> String {
    let done = run(args);
    assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// A folder with a counter that grows by 2 a second for ten minutes.
fn history() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("in.om");
    let lines: String = (0..=40)
        .map(|i| format!("claims_total{{zone=\"a\"}} {} {}\n", i * 30, 1_700_000_000 + i * 15))
        .collect();
    fs::write(&text, format!("# TYPE claims counter\n{lines}# EOF\n")).unwrap();
    let data = folder.path().join("history").to_str().unwrap().to_owned();
    printed(&["tsdb", "import", text.to_str().unwrap(), "--data", &data]);
    (folder, data)
}

#[test]
fn history_on_disk_is_asked_without_an_engine() {
    let (_folder, data) = history();
    let ask = |args: &[&str]| printed(&[&["query", "--data", &data], args].concat());
    assert_eq!(ask(&["1 + 1"]), "2\n");
    assert_eq!(ask(&["claims_total"]), "nothing\n");
    assert_eq!(
        ask(&["sum by (zone) (claims_total) / 600", "--at", "1700000600"]),
        "  value  time                  series\n      2  2023-11-14T22:23:20Z  {zone=\"a\"}\n"
    );
    let json = ask(&["sum(claims_total)", "--at", "2023-11-14T22:23:20Z", "--json"]);
    assert_eq!(
        json,
        "{\"result\":[{\"metric\":{},\"value\":[1700000600,\"1200\"]}],\"resultType\":\"vector\"}\n"
    );
    let plot = ask(&["claims_total", "--start", "1700000000", "--end", "1700000600"]);
    assert!(plot.starts_with("claims_total{zone=\"a\"} = 1200\n      1200 ┤"), "{plot}");
    assert!(!plot.contains('\x1b'), "{plot}");
    assert!(plot.ends_with("2023-11-14T22:23:20Z\n"), "{plot}");
}

#[test]
fn a_running_engine_is_asked_by_its_url() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("history");
    let engine =
        Running::start(&["serve", "--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()]);
    let page = engine.line();
    let url = page.strip_prefix("page").expect("the page comes first").trim();
    assert_eq!(printed(&["query", "--url", url, "time() - time()"]), "0\n");
    let said = refusal(&["query", "--url", url, "sum("]);
    assert_eq!(said, "hms-ops: 1:5: parse error: unclosed left parenthesis");
    let range = ["query", "--url", url, "1", "--start", "0", "--end", "9e6", "--step", "1"];
    assert!(refusal(&range).contains("11,000 points"));
    engine.signal(Signal::TERM);
    assert!(engine.wait().0.success());
}

#[test]
fn whoever_asks_nobody_is_told_whom_to_ask() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let said = refusal(&["query", "up", "--url", &format!("http://{free}")]);
    assert!(said.starts_with(&format!("hms-ops: no engine answers at http://{free}/")), "{said}");
    assert!(said.contains("hms-ops serve") && said.contains("--data"), "{said}");
    let said = refusal(&["query", "up", "--data", "/nowhere"]);
    assert_eq!(said, "hms-ops: /nowhere has no history; `--data` says where it is");
    assert!(refusal(&["query", "up", "--end", "0"]).contains("--start"));
    assert!(refusal(&["query", "up", "--at", "0", "--start", "0"]).contains("--start"));
}

#[test]
fn an_engine_that_wants_a_token_gets_it_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("token"), "a token of some length\n".replace(' ', "-")).unwrap();
    fs::write(path("wrong"), "another-token-of-some-length").unwrap();
    fs::write(path("ops.toml"), "[listen]\nadmin_token_file = \"token\"\n").unwrap();
    let [config, token, wrong] = ["ops.toml", "token", "wrong"].map(path);
    let engine = Running::start(&["serve", "--config", &config, "--listen", "127.0.0.1:0"]);
    let page = engine.line();
    let url = page.strip_prefix("page").expect("the page comes first").trim();
    assert_eq!(printed(&["query", "--url", url, "--token-file", &token, "1"]), "1\n");
    let wanted = "hms-ops: the engine wants a token: --token-file names the file that has it";
    assert_eq!(refusal(&["query", "--url", url, "1"]), wanted);
    assert_eq!(refusal(&["query", "--url", url, "--token-file", &wrong, "1"]), wanted);
}
