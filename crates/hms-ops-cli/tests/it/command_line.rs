//! Wrong command lines and config files: one clear line that names what is wrong, exit status 2.

use std::fs;

use crate::program::{refusal, run};

#[test]
fn a_bad_flag_is_named() {
    let said = refusal(&["lab", "--fats"]);
    assert_eq!(said, "hms-ops: unexpected argument '--fats' found (see `hms-ops lab --help`)");
}

#[test]
fn an_unknown_command_is_named() {
    let said = refusal(&["heal"]);
    assert_eq!(said, "hms-ops: unrecognized subcommand 'heal' (see `hms-ops --help`)");
}

#[test]
fn a_missing_argument_is_named() {
    assert!(refusal(&["dashboard"]).contains("<SERVICE>"));
}

#[test]
fn a_broken_config_names_file_line_and_key() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ops.toml");
    let file = file.to_str().unwrap();
    fs::write(file, "\n[listen]\nadmn = \"127.0.0.1:0\"\n").unwrap();
    let expected = format!("{file}:3: unknown field `admn`");

    assert!(refusal(&["check", file]).starts_with(&expected));
    let said = refusal(&["serve", "--config", file]);
    assert!(said.starts_with(&format!("hms-ops: {expected}")), "{said}");
}

#[test]
fn check_names_each_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ops.toml");
    fs::write(&file, "").unwrap();
    let good = run(&["check", file.to_str().unwrap()]);
    assert!(good.status.success());
    assert_eq!(String::from_utf8(good.stdout).unwrap(), format!("{}: ok\n", file.display()));

    let missing = folder.path().join("none.toml");
    assert!(refusal(&["check", missing.to_str().unwrap()]).contains("none.toml"));
}

#[test]
fn an_address_that_is_none_is_named() {
    let said = refusal(&["serve", "--listen", "here"]);
    assert_eq!(said, "hms-ops: \"here\" is not an address such as 127.0.0.1:9110");
}

#[test]
fn a_page_without_an_engine_says_how_to_start_one() {
    // Nobody listens at a port that was just given back, or somebody who is no engine.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let said = refusal(&["dashboard", "claims", "--no-open", "--url", &format!("http://{free}/")]);
    assert!(said.starts_with(&format!("hms-ops: no engine answers at http://{free}/")), "{said}");
    assert!(said.contains("hms-ops serve"), "{said}");
}

#[test]
fn help_and_version_go_to_standard_output() {
    for (args, expected) in
        [(&["--help"][..], "lab"), (&["lab", "--help"], "--drill"), (&["--version"], "hms-ops 0")]
    {
        let said = run(args);
        assert!(said.status.success() && said.stderr.is_empty());
        let text = String::from_utf8(said.stdout).unwrap();
        assert!(text.contains(expected) && !text.contains("lab-users"), "{text}");
    }
}
