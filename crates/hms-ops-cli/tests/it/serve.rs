//! `hms-ops serve`, and `hms-ops dashboard` beside it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::{fs, thread};

use hms_ops::core::clock::Stopwatch;
use rustix::process::Signal;

use crate::program::{DEADLINE, Running, refusal, run};

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

#[cfg(unix)]
#[test]
fn a_hangup_has_the_config_read_again_and_a_broken_one_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let [config, data] = ["ops.toml", "history"].map(|name| folder.path().join(name));
    fs::write(&config, "# nothing yet\n").unwrap();
    let [path, data] = [&config, &data].map(|path| path.to_str().unwrap());
    let engine =
        Running::start(&["serve", "--listen", "127.0.0.1:0", "--config", path, "--data", data]);
    let page = engine.line();
    let address = page.rsplit('/').nth(1).unwrap();
    let comes = |what: &str, wanted: &str| {
        let waiting = Stopwatch::start();
        while !get(address, what).contains(wanted) {
            assert!(waiting.elapsed() < DEADLINE, "{what} never said {wanted}");
            thread::yield_now();
        }
    };

    fs::write(&config, "[listen]\nadmn = \"x\"\n").unwrap();
    engine.signal(Signal::HUP);
    comes("/api/v1/status/runtimeinfo", r#""reloadConfigSuccess":false"#);
    assert!(get(address, "/api/v1/status/config").contains(r#""yaml":"{}""#));
    fs::write(&config, "[[budget]]\nmetric = \"x\"\nlimit = 3\n").unwrap();
    engine.signal(Signal::HUP);
    comes("/api/v1/status/config", "budget:");
    comes("/api/v1/status/runtimeinfo", r#""reloadConfigSuccess":true"#);

    engine.signal(Signal::TERM);
    let (status, said) = engine.wait();
    assert!(status.success(), "{status}: {said}");
    let broken = format!("{path}:2: unknown field `admn`");
    assert_eq!(said.matches(&broken).count(), 1, "{said}");
    assert!(said.contains("these keys need a restart") && said.contains("budget"), "{said}");
}

/// The answer to a GET.
#[cfg(unix)]
fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nhost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
