//! What a fuzz target does to a log. For it and for tests alone.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::disk::{Disk, DiskFileExt};
use crate::log::{Log, LogError, LogOptions, Recovery, Seq};

type Records = BTreeMap<Seq, Vec<u8>>;

/// The most harm that is done.
const HARMS: usize = 32;

/// Writes a log of three segments to a disk that is empty, and does harm to it.
///
/// Eight bytes say of each harm: what, the segments from and to which, and three times two bytes for
/// where from, where to, and how much.
///
/// # Panics
///
/// When it then delivers another record than its own, one twice, or one too early, or does not go
/// on.
pub fn log(disk: &Arc<dyn Disk>, harms: &[u8]) {
    let mut written = Records::new();
    let (mut log, ..) = open(disk);
    for n in 0..9 {
        let record = vec![b'a' + n; usize::from(n) * 7 % 60];
        written.insert(append(&mut log, &record), record);
    }
    drop(log);
    for harm in harms.as_chunks().0.iter().take(HARMS) {
        do_harm(&**disk, *harm).expect("the disk does not fail");
    }

    let (mut log, recovery, mut records) = open(disk);
    assert_eq!(recovery.records, records.len() as u64);
    for (seq, record) in &records {
        assert_eq!(written.get(seq), Some(record), "record {seq}");
    }
    records.insert(append(&mut log, b"after"), b"after".to_vec());
    drop(log);
    let mut again = Records::new();
    let read = Log::read(&**disk, dir(), &options(), collect(&mut again));
    assert_eq!(read.expect("it was opened before").torn_bytes, 0);
    assert_eq!(again, records);
}

fn dir() -> &'static Path {
    Path::new("/log")
}

fn options() -> LogOptions {
    LogOptions { segment_bytes: 250, ..LogOptions::default() }
}

fn open(disk: &Arc<dyn Disk>) -> (Log, Recovery, Records) {
    let mut records = Records::new();
    let opened = Log::open(disk.clone(), dir(), options(), collect(&mut records));
    let (log, recovery) = opened.expect("damage keeps no log from being opened");
    (log, recovery, records)
}

fn append(log: &mut Log, record: &[u8]) -> Seq {
    log.append(&[record], false).expect("the disk does not fail").start
}

fn collect(to: &mut Records) -> impl FnMut(Seq, &[u8]) -> Result<(), LogError> {
    |seq, record| {
        let last = to.last_key_value().map_or(0, |(last, _)| *last);
        assert!(seq > last, "{seq} after {last}");
        to.insert(seq, record.to_vec());
        Ok(())
    }
}

fn do_harm(disk: &dyn Disk, [what, segments, place @ ..]: [u8; 8]) -> io::Result<()> {
    let names = disk.list(dir())?;
    let path = |n: u8| dir().join(&names[usize::from(n) % names.len()]);
    let source = disk.read(&path(segments & 0xf))?;
    let target = path(segments >> 4);
    let mut bytes = disk.read(&target)?.to_vec();
    let number = |i: usize| usize::from(u16::from_le_bytes([place[i], place[i + 1]]));
    let to = number(2).min(bytes.len());
    let source = &source[number(0).min(source.len())..];
    let source = &source[..number(4).min(source.len())];
    match what % 4 {
        0 => bytes.iter_mut().skip(to).take(1).for_each(|byte| *byte ^= 1 << (what >> 4 & 7)),
        1 => bytes.truncate(to),
        2 => drop(bytes.splice(to..bytes.len().min(to + source.len()), source.iter().copied())),
        _ => drop(bytes.splice(to..to, source.iter().copied())),
    }
    let mut file = disk.open(&target)?;
    file.truncate(0)?;
    file.write_all(&bytes)
}
