//! The file system itself.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use hms_ops_wal::disk::{Disk, DiskFileExt, OsDisk};
use hms_ops_wal::log::{Log, LogError, LogOptions, Recovery};

fn open(dir: &Path) -> Result<(Log, Recovery, Vec<Vec<u8>>), LogError> {
    let mut records = Vec::new();
    let (log, recovery) =
        Log::open(Arc::new(OsDisk), dir, LogOptions::default(), |_, record: &[u8]| {
            records.push(record.to_vec());
            Ok::<_, LogError>(())
        })?;
    Ok((log, recovery, records))
}

#[test]
fn a_lock_is_held_by_one_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock");
    let held = OsDisk.lock(&path).unwrap();
    assert_eq!(OsDisk.lock(&path).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    drop(held);
    OsDisk.lock(&path).unwrap();
}

#[test]
fn a_log_goes_on_where_the_process_before_has_left_it() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("wal");
    for n in 0..4_u64 {
        let (mut log, recovery, records) = open(&dir).unwrap();
        assert_eq!((recovery.records, records.len() as u64), (n, n));
        assert_eq!(log.append(&[b"again"], n % 2 == 0).unwrap(), n + 1..n + 2);
    }
}

#[test]
fn a_torn_tail_is_cut_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, ..) = open(folder.path()).unwrap();
    log.append(&[b"whole"], true).unwrap();
    let path = folder.path().join("00000000000000000001.wal");
    let len = fs::metadata(&path).unwrap().len();
    drop(log);
    OsDisk.open(&path).unwrap().write_all(b"half a frame").unwrap();
    let (mut log, recovery, records) = open(folder.path()).unwrap();
    assert_eq!((recovery.torn_bytes, records), (12, vec![b"whole".to_vec()]));
    assert_eq!(fs::metadata(&path).unwrap().len(), len);
    log.append(&[b"next"], true).unwrap();
    drop(log);
    assert_eq!(open(folder.path()).unwrap().2, [b"whole".to_vec(), b"next".to_vec()]);
}

#[test]
fn a_newer_format_is_refused_by_name_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("00000000000000000001.wal");
    let mut copy = *b"hwal\x07\0\0\0log \x01\0\0\0\0\0\0\0saltsalt\0\0\0\0";
    let crc = crc32fast::hash(&copy[..28]).to_le_bytes();
    copy[28..].copy_from_slice(&crc);
    // Whatever is behind the first copy, and be it nothing.
    for rest in [&b""[..], b"something new"] {
        let bytes = [&copy[..], rest].concat();
        fs::write(&path, &bytes).unwrap();
        let error = open(folder.path()).unwrap_err();
        let expected = "has format version 7, this release reads up to 1";
        assert_eq!(error.to_string(), format!("{} {expected}", path.display()));
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
}

#[test]
fn an_error_names_the_path() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("file");
    fs::write(&dir, b"").unwrap();
    let error = open(&dir).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot make {}", dir.display()));
}
