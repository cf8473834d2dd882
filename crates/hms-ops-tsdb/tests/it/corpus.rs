//! The seeds of the fuzz targets, and what is near them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hms_ops_core::labels::Labels;
use hms_ops_core::matcher::Matcher;
use hms_ops_core::sample::{CounterReset, Exemplar, Histogram, Value};
use hms_ops_core::store::Store;
use hms_ops_core::time::{TimeRange, Timestamp};
use hms_ops_testkit::block_on;
use hms_ops_testkit::fault_disk::FaultDisk;
use hms_ops_tsdb::chunk::{XorEncoder, encode_histograms, encode_times, encode_values};
use hms_ops_tsdb::{Tsdb, fuzzing};
use hms_ops_wal::disk::Disk;
use hms_ops_wal::log::{Log, LogError, LogOptions};

use crate::world::{DIR, labels, make_folder, options, value_of};

#[test]
fn records_of_the_corpus_are_refused_or_written_again_as_they_are() {
    survives("tsdb_record", 8, fuzzing::record);
}

#[test]
fn chunks_of_the_corpus_are_refused_or_encoded_again_as_they_are() {
    survives("tsdb_chunk", 8, fuzzing::chunk);
}

#[test]
fn blocks_of_the_corpus_are_refused_or_serve_what_is_in_order() {
    survives("tsdb_block", 1, |bytes| fuzzing::block(&FaultDisk::new(), bytes));
}

#[test]
fn deletions_of_the_corpus_are_refused_or_written_again_as_they_are() {
    survives("tsdb_deletions", 8, |bytes| fuzzing::deletions(&FaultDisk::new(), bytes));
}

/// Takes every seed; and takes, or refuses, every seed with some bits of a byte flipped, and cut at
/// a byte.
fn survives(target: &str, bits: usize, takes: impl Fn(&[u8]) -> bool) {
    for (path, seed) in seeds(target) {
        assert!(takes(&seed), "{} is not what it was", path.display());
        for at in 0..seed.len() {
            for bit in 0..bits {
                let mut flipped = seed.clone();
                flipped[at] ^= 1 << ((at + bit) % 8);
                takes(&flipped);
            }
            takes(&seed[..at]);
        }
    }
}

/// The seeds of a target. They are not part of a published crate.
fn seeds(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    if !folder().is_dir() {
        eprintln!("no seeds: there is no {}", folder().display());
        return Vec::new();
    }
    let paths = fs::read_dir(folder().join(target)).unwrap().map(|file| file.unwrap().path());
    let seeds: Vec<_> = paths.map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    assert!(!seeds.is_empty(), "{target} has no seeds");
    seeds
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds")
}

#[test]
#[ignore = "writes seeds; for a format that is new"]
fn seeds_of_today() {
    write(
        "tsdb_chunk",
        "numbers",
        &chunk(0, 20, |into| {
            let mut chunk = XorEncoder::new();
            (0..20).for_each(|i| chunk.push(at(i), value_of(1, i)));
            into.extend_from_slice(chunk.bytes());
        }),
    );
    let run: Vec<_> = (0..5).map(|i| (at(i), histogram(i))).collect();
    write("tsdb_chunk", "histograms", &chunk(1, 5, |into| encode_histograms(&run, into)));
    let times: Vec<_> = (0..100).map(|i| at(i) + i * 7 % 5).collect();
    write("tsdb_chunk", "times", &chunk(2, 100, |into| encode_times(&times, into)));
    let column = |name, value: fn(i64) -> f64| {
        let values: Vec<_> = (0..100).map(value).collect();
        write("tsdb_chunk", name, &chunk(3, 100, |into| encode_values(&values, into)));
    };
    column("constant", |_| 0.1);
    column("whole", |i| (i * i) as f64);
    column("decimals", |i| if i == 50 { f64::NAN } else { (i * 17 % 31) as f64 / 100.0 });
    column("floats", |i| (i as f64).sqrt());
    block_on(seeds_of_a_store());
}

async fn seeds_of_a_store() {
    let disk = FaultDisk::new();
    make_folder(&disk);
    let store = Tsdb::open_on(Arc::new(disk.clone()), DIR, options()).unwrap();
    for i in 0..70 {
        let batch = {
            let mut batch = store.appender();
            for series in 1..=4 {
                let of = batch.series(&labels(series)).unwrap();
                let value = match series {
                    4 if i % 10 == 0 => Value::Histogram(histogram(i)),
                    3 if i % 10 == 0 => Value::Float(i as f64),
                    1 | 2 => Value::Float((i * series as i64 % 9) as f64),
                    _ => continue,
                };
                batch.append(of, Timestamp::from_millis(at(i)), value).unwrap();
                if i == 60 {
                    let labels = Labels::from_pairs([("trace_id", "4bf92f3577b34da6")]);
                    let at = Timestamp::from_millis(at(i));
                    batch.exemplar(of, Exemplar { labels, value: 312.5, at }).unwrap();
                }
            }
            batch.commit()
        };
        batch.await.unwrap();
    }
    let gone = TimeRange::new(Timestamp::from_millis(at(5)), Timestamp::from_millis(at(8)));
    store.delete(&[Matcher::equal("instance", "i1")], gone).unwrap();
    let mut records = BTreeMap::new();
    records_in(&disk, &Path::new(DIR).join("wal"), *b"tsdb", &mut records);
    // What is left in the head goes into a checkpoint, and then into a block.
    store.maintain().unwrap();
    for name in disk.list(Path::new(DIR)).unwrap() {
        if name.starts_with("checkpoint-") {
            records_in(&disk, &Path::new(DIR).join(name), *b"chkp", &mut records);
        }
    }
    store.seal().unwrap();
    store.delete(&[], gone).unwrap();
    let names = ["series", "batch", "delete", "floor", "chunk", "exemplars"];
    for (name, record) in names.iter().zip(records.into_values()) {
        write("tsdb_record", name, &record);
    }
    for path in disk.files().into_keys() {
        let target = match path.extension().and_then(|extension| extension.to_str()) {
            Some("block") => "tsdb_block",
            Some("deleted") => "tsdb_deletions",
            _ => continue,
        };
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let (start, _) = stem.split_once('_').unwrap();
        write(target, &format!("from-{start}"), &disk.read(&path).unwrap());
    }
}

/// The longest record of each kind.
fn records_in(disk: &FaultDisk, dir: &Path, kind: [u8; 4], into: &mut BTreeMap<u8, Vec<u8>>) {
    let options = LogOptions { kind, ..LogOptions::default() };
    let read = Log::read(disk, dir, &options, |_, record| {
        let longest = into.entry(record[0]).or_default();
        if longest.len() < record.len() {
            *longest = record.to_vec();
        }
        Ok::<_, LogError>(())
    });
    read.unwrap();
}

fn at(i: i64) -> i64 {
    1_767_225_600_000 + i * 5_000
}

fn histogram(i: i64) -> Arc<Histogram> {
    let n = i as f64;
    Arc::new(Histogram {
        schema: 3,
        zero_threshold: 0.001,
        zero_count: 1.0,
        count: 3.0 * n + 1.0,
        sum: n / 3.0,
        positive: vec![(-1, n), (4, 2.0 * n)],
        negative: Vec::new(),
        custom_edges: if i > 2 { vec![0.5, 1.0] } else { Vec::new() },
        reset: CounterReset::NotReset,
    })
}

/// A chunk as the fuzz target takes it.
fn chunk(encoding: u8, count: u16, encode: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut chunk = vec![encoding];
    chunk.extend_from_slice(&count.to_le_bytes());
    encode(&mut chunk);
    chunk
}

fn write(target: &str, name: &str, seed: &[u8]) {
    let folder = folder().join(target);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(name), seed).unwrap();
}
