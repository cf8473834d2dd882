//! The config file, as an operator writes it. Built without the parts that open files of their own.
#![no_main]

use hms_ops::Config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match Config::parse("ops.toml", text) {
        Ok(config) => drop(config.targets().to_vec()),
        Err(error) => assert!(error.to_string().starts_with("ops.toml:"), "{error}"),
    }
});
