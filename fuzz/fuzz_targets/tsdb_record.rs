//! A record of the store's log.
#![no_main]

use hms_ops_tsdb::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    fuzzing::record(bytes);
});
