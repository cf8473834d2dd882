//! A block of the store: its index, and the chunks where it says they are.
#![no_main]

use hms_ops_testkit::fault_disk::FaultDisk;
use hms_ops_tsdb::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    fuzzing::block(&FaultDisk::new(), bytes);
});
