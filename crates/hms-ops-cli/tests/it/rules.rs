//! Rule files and their unit tests as people have them, and the verdicts of `promtool` 2.42.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use crate::program::{refusal, run};

/// Where `promtool` 2.42 says otherwise, since Prometheus 3 does: the file, whether it passes here, and
/// why.
const OTHERWISE: [(&str, bool, &str); 6] = [
    (
        "govuk/integration/database_backups_and_syncs_integration_only_alerts_tests.yaml",
        true,
        "2.42 does not know start_timestamp",
    ),
    (
        "govuk/production/database_backups_and_syncs_production_only_alerts_tests.yaml",
        true,
        "2.42 does not know start_timestamp",
    ),
    (
        "govuk/staging/database_backups_and_syncs_staging_only_alerts_tests.yaml",
        true,
        "2.42 does not know start_timestamp",
    ),
    ("govuk/publishing_api_tests.yaml", true, "in 2.42 a test without interval has one of 0"),
    ("govuk/search_api_v2_tests.yaml", true, "in 2.42 a range begins a sample earlier"),
    ("promtool/unittest.yml", false, "in 2.42 a range begins a sample earlier"),
];

#[test]
fn unit_tests_of_rules_have_the_verdicts_of_promtool() {
    let Some(folder) = folder() else { return };
    let mut wrong = Vec::new();
    let mut seen = 0;
    for file in files(&folder) {
        let text = fs::read_to_string(&file).unwrap();
        if !text.contains("\ntests:") && !text.starts_with("tests:") {
            continue;
        }
        seen += 1;
        let name = file.strip_prefix(&folder).unwrap().to_str().unwrap().to_owned();
        let ours = run(&["test", "rules", file.to_str().unwrap()]);
        let passes = ours.status.success();
        let Some(theirs) = promtool(&["test", "rules"], &file) else { return };
        let otherwise = OTHERWISE.iter().find(|(known, ..)| *known == name);
        let (expected, peer) = match otherwise {
            Some((_, passes, _)) => (*passes, !passes),
            None => (theirs, theirs),
        };
        if (passes, theirs) != (expected, peer) {
            let said = String::from_utf8_lossy(&ours.stdout).into_owned();
            wrong.push(format!("{name}: passes {passes}, with promtool {theirs}\n{said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(seen, 28);
}

#[test]
fn rule_files_have_the_verdicts_of_promtool() {
    let Some(folder) = folder() else { return };
    let files = files(&folder);
    for file in &files {
        let ours = run(&["check", file.to_str().unwrap()]);
        let Some(theirs) = promtool(&["check", "rules"], file) else { return };
        assert_eq!(ours.status.success(), theirs, "{}", String::from_utf8_lossy(&ours.stderr));
    }
    assert_eq!(files.len(), 55);
}

#[test]
fn a_failed_check_says_where_it_stands_and_what_is_other_than_expected() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    write(
        "rules.yml",
        "groups:\n- name: g\n  rules:\n  - alert: Down\n    expr: up == 0\n    for: 1m\n    \
         annotations: {summary: '{{ $labels.job }} is down'}\n",
    );
    let tests = write(
        "tests.yml",
        "rule_files: [rules.yml]\ntests:\n- name: outage\n  input_series:\n  \
         - {series: 'up{job=\"a\"}', values: '1 0x9'}\n  alert_rule_test:\n  \
         - {alertname: Down, eval_time: 1m}\n  \
         - alertname: Down\n    eval_time: 2m\n    exp_alerts:\n    \
         - {exp_labels: {job: b}, exp_annotations: {summary: b is down}}\n",
    );
    let done = run(&["test", "rules", &tests]);
    assert_eq!(done.status.code(), Some(1));
    let said = String::from_utf8(done.stdout).unwrap().replace(&tests, "tests.yml");
    assert_eq!(
        said,
        "tests.yml:8: outage: alert Down at 2m\n  \
         expected!{alertname=\"Down\",job=\"b\"} with {summary=\"b is down\"}\n  \
         got     !{alertname=\"Down\",job=\"a\"} with {summary=\"a is down\"}\n\
         tests.yml: 1 of 2 checks failed\n0 of 1 files pass\n"
    );
    let done = run(&["test", "rules", "--json", &tests]);
    let read: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!((&read["ok"], &read["files"][0]["failures"][0]["line"]), (&false.into(), &8.into()));
}

#[test]
fn a_rule_file_that_cannot_be_used_is_told_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rules.yml");
    fs::write(&path, "groups:\n- name: g\n  rules:\n  - record: a\n    expr: up +\n").unwrap();
    let said = refusal(&["check", path.to_str().unwrap()]);
    assert!(
        said.ends_with("rules.yml:5: expr: 1:5: parse error: unexpected end of input"),
        "{said}"
    );
}

/// All YAML below the folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.extension().and_then(|ending| ending.to_str()) {
                _ if path.is_dir() => folders.push(path),
                Some("yml" | "yaml") => all.push(path),
                _ => {}
            }
        }
    }
    all.sort();
    all
}

/// The rule files of others, unless they are not here.
fn folder() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance");
    let folder = env::var_os("HMS_OPS_CONFORMANCE").map_or(beside, PathBuf::from).join("rules");
    if folder.is_dir() {
        return Some(folder);
    }
    skip(&format!("{} is not there", folder.display()));
    None
}

/// Whether it is content, unless it is not installed.
fn promtool(command: &[&str], file: &Path) -> Option<bool> {
    match Command::new("promtool").args(command).arg(file).output() {
        Ok(output) => Some(output.status.success()),
        Err(error) => {
            skip(&format!("promtool: {error}"));
            None
        }
    }
}

fn skip(reason: &str) {
    let required = env::var("HMS_OPS_REQUIRE_PEERS").is_ok_and(|required| required == "1");
    assert!(!required, "{reason}");
    println!("skipped: {reason}");
}
