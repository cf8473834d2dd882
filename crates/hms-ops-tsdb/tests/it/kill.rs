//! kill -9 at any moment: a process of its own writes, and says what was acknowledged.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use hms_ops_core::store::{Store, StoreExt};
use hms_ops_core::time::{TimeRange, Timestamp};
use hms_ops_testkit::block_on;
use hms_ops_tsdb::{Options, Tsdb};

use crate::world::{Random, count, labels, options, value_of};

const FOLDER: &str = "HMS_OPS_KILL_FOLDER";
const START: i64 = 1_767_225_600_000;
/// Milliseconds between two batches.
const STEP: i64 = 1_000;
const SERIES: u64 = 20;

/// Sealed by a thread of its own, every minute of data, so that a kill hits that too.
fn background() -> Options {
    Options { background: true, ..options() }
}

/// The process that is killed; in a test run without the folder it has nothing to do.
#[test]
fn the_process_that_is_killed() {
    let Some(folder) = env::var_os(FOLDER) else { return };
    block_on(async {
        let store = Tsdb::open(&folder, background()).unwrap();
        let newest = store.collect(&[], TimeRange::ALL).await.unwrap();
        let newest = newest.iter().flat_map(|(_, s)| s.last()).map(|s| s.at.as_millis()).max();
        let mut at = newest.unwrap_or(START) + STEP;
        let mut out = std::io::stdout();
        loop {
            let commit = {
                let mut batch = store.appender();
                for series in 0..SERIES {
                    let of = batch.series(&labels(series)).unwrap();
                    let value = value_of(series, at);
                    batch.append(of, Timestamp::from_millis(at), value.into()).unwrap();
                }
                batch.commit()
            };
            commit.await.unwrap();
            // Before anything else happens.
            writeln!(out, "\nacknowledged {at}").unwrap();
            out.flush().unwrap();
            at += STEP;
        }
    });
}

#[test]
fn a_process_that_is_killed_loses_nothing_that_it_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for cycle in 0..count("HMS_OPS_TORTURE_KILLS", 50) {
        let mut random = Random(cycle);
        let mut writer = Command::new(env::current_exe().unwrap())
            .args(["kill::the_process_that_is_killed", "--exact", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines();
        let mut note = |line: String| {
            let at = line.strip_prefix("acknowledged ").map(|at| at.parse::<i64>().unwrap());
            acknowledged.extend(at);
            at.is_some()
        };
        let mut left = 1 + random.below(120);
        while left > 0 {
            left -= u64::from(note(lines.next().unwrap().unwrap()));
        }
        // And some instructions later.
        for n in 0..random.below(200_000) {
            std::hint::black_box(n);
        }
        writer.kill().unwrap();
        writer.wait().unwrap();
        for line in lines.map_while(Result::ok) {
            note(line);
        }
        if cycle % 10 == 9 {
            check(folder.path(), &acknowledged);
        }
    }
    check(folder.path(), &acknowledged);
}

/// Every acknowledged sample is there, with its value; and of the others, only such as were under way.
fn check(folder: &std::path::Path, acknowledged: &[i64]) {
    block_on(async {
        let store = Tsdb::open(folder, options()).unwrap();
        let all = store.collect(&[], TimeRange::ALL).await.unwrap();
        assert_eq!(all.len() as u64, SERIES);
        for series in 0..SERIES {
            let (_, samples) = all.iter().find(|(found, _)| *found == labels(series)).unwrap();
            let mut acknowledged = acknowledged.iter().peekable();
            for sample in samples {
                let at = sample.at.as_millis();
                assert_eq!(sample.value.as_float(), Some(value_of(series, at)), "{series} at {at}");
                assert!((at - START) % STEP == 0, "{series} at {at} was never written");
                acknowledged.next_if(|next| **next == at);
            }
            assert_eq!(acknowledged.next(), None, "an acknowledged sample of {series} is missing");
        }
    });
}
