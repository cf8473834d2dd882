//! What is deleted from a block of the store.
#![no_main]

use hms_ops_testkit::fault_disk::FaultDisk;
use hms_ops_tsdb::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    fuzzing::deletions(&FaultDisk::new(), bytes);
});
