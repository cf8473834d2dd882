//! A log whose segments somebody has harmed.
#![no_main]

use std::sync::Arc;

use hms_ops_testkit::fault_disk::FaultDisk;
use hms_ops_wal::disk::Disk;
use hms_ops_wal::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let disk: Arc<dyn Disk> = Arc::new(FaultDisk::new());
    fuzzing::log(&disk, bytes);
});
