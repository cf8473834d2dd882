//! A remote write of either version, as any agent sends it.
#![no_main]

use hms_ops_collect::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    fuzzing::remote_write(bytes);
});
