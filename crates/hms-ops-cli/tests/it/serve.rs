//! `hms-ops serve`, and `hms-ops dashboard` beside it.

use std::fs;

use rustix::process::Signal;

use crate::program::{Running, refusal, run};

#[test]
fn a_page_is_opened_for_a_service_that_exists_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("ops.toml");
    let target = "[[target]]\nurl = \"http://127.0.0.1:1/metrics\"\nservice = \"claims svc\"\n";
    fs::write(&config, target).unwrap();
    let data = folder.path().join("history");
    let [config, data] = [&config, &data].map(|path| path.to_str().unwrap());
    let engine =
        Running::start(&["serve", "--listen", "127.0.0.1:0", "--config", config, "--data", data]);
    let page = engine.line();
    let page = page.strip_prefix("page").expect("the page comes first").trim();

    let said = refusal(&["dashboard", "clams", "--no-open", "--url", page]);
    assert_eq!(said, "hms-ops: no service \"clams\": there is claims svc");

    let found = run(&["dashboard", "claims svc", "--no-open", "--url", page]);
    assert!(found.status.success());
    let printed = String::from_utf8(found.stdout).unwrap();
    assert_eq!(printed, format!("{page}?service=claims%20svc\n"));

    engine.signal(Signal::TERM);
    let (status, said) = engine.wait();
    assert!(status.success(), "{status}: {said}");
}
