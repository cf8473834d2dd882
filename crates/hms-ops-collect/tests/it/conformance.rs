//! The published OpenMetrics cases.

use std::fs;
use std::path::{Path, PathBuf};

use hms_ops_collect::exposition::{Event, Exposition, ExpositionError, Format};

#[test]
fn every_openmetrics_case_gets_the_published_verdict() {
    let Some(cases) = folder("openmetrics") else { return };
    let mut wrong = Vec::new();
    let mut seen = 0;
    for case in fs::read_dir(cases).unwrap() {
        let case = case.unwrap().path();
        let test: serde_json::Value =
            serde_json::from_slice(&fs::read(case.join("test.json")).unwrap()).unwrap();
        let body = fs::read(case.join(test["file"].as_str().unwrap())).unwrap();
        let verdict = parse(&body);
        println!("{}: {verdict:?}", case.file_name().unwrap().display());
        if verdict.is_ok() != test["shouldParse"].as_bool().unwrap() {
            wrong.push(format!("{}: {verdict:?}", case.display()));
        }
        seen += 1;
    }
    assert!(wrong.is_empty(), "{} of {seen} are wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(seen, 113);
}

/// Reads everything, labels included; counts the samples.
fn parse(body: &[u8]) -> Result<usize, ExpositionError> {
    let mut samples = 0;
    for event in Exposition::new(body, Format::OpenMetrics)? {
        if let Event::Sample(sample) = event? {
            sample.labels.iter().for_each(drop);
            samples += 1;
        }
    }
    Ok(samples)
}

/// A folder of the conformance data; `None`, said out loud, where it is absent.
fn folder(name: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance");
    let folder =
        std::env::var_os("HMS_OPS_CONFORMANCE").map_or_else(beside, PathBuf::from).join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    let required = std::env::var("HMS_OPS_REQUIRE_PEERS").is_ok_and(|required| required == "1");
    assert!(!required, "{} is absent and required", folder.display());
    println!("skipped: {} is absent", folder.display());
    None
}
