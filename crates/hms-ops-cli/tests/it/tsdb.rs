//! `hms-ops tsdb`, on folders with hostile history.

use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use hms_ops::core::labels::{Labels, NAME};
use hms_ops::core::sample::{CounterReset, Exemplar, Histogram, Sample, Value};
use hms_ops::core::store::{Store, StoreExt};
use hms_ops::core::time::{TimeRange, Timestamp};
use hms_ops::tsdb::{Options, Tsdb};
use tempfile::TempDir;

use crate::program::{refusal, run};

/// The first timestamp, in milliseconds.
const START: i64 = 1_767_225_600_000;

/// Runs what must go well and say nothing on standard error; returns what it prints.
fn quiet(args: &[&str]) -> String {
    let (printed, said) = loud(args);
    assert!(said.is_empty(), "{args:?}: {said}");
    printed
}

/// Runs what must go well; returns what is on standard output and on standard error.
fn loud(args: &[&str]) -> (String, String) {
    let done = run(args);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (printed, said) = (text(done.stdout), text(done.stderr));
    assert!(done.status.success(), "{args:?}: {said}");
    (printed, said)
}

/// A folder in which tests keep things, and paths in it.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn name(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

fn options() -> Options {
    Options { background: false, ..Options::default() }
}

/// Everything that a store has.
fn all(dir: &Path) -> Vec<(Labels, Vec<Sample>)> {
    let store = Tsdb::open(dir, options()).unwrap();
    let all = runtime().block_on(store.collect(&[], TimeRange::ALL)).unwrap();
    store.close().unwrap();
    all
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(START + millis)
}

/// Stores samples; half of them sealed into a block, half of them in the log.
fn fill(dir: &Path, series: &[(Labels, Vec<Sample>)]) {
    let store = Tsdb::open(dir, options()).unwrap();
    for sealed in [true, false] {
        let mut batch = store.appender();
        for (labels, samples) in series {
            let series = batch.series(labels).unwrap();
            let (first, second) = samples.split_at(samples.len() / 2);
            for sample in if sealed { first } else { second } {
                batch.append(series, sample.at, sample.value.clone()).unwrap();
            }
        }
        runtime().block_on(batch.commit()).unwrap();
        if sealed {
            store.seal().unwrap();
        }
    }
    store.close().unwrap();
}

/// Series with labels that have to be escaped, in an order in which names do not stand together,
/// and with numbers that are hard to write.
fn hostile() -> Vec<(Labels, Vec<Sample>)> {
    let numbers = [
        0.0,
        -0.0,
        0.1 + 0.2,
        f64::MIN_POSITIVE,
        5e-324,
        f64::MAX,
        -1e21,
        1e-6,
        9_007_199_254_740_993.0,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
    ];
    let mut all: Vec<_> = [
        Labels::metric("up"),
        Labels::metric("up").with("A", "before the name"),
        Labels::metric("up").with("job", "a\\b\"c\nd\re\tf{}=,# \u{1f980}\u{202e}"),
        Labels::metric("down").with("A", "between"),
        Labels::metric("a:rule_total").with("le", "+Inf").with("_", "\\n"),
    ]
    .into_iter()
    .enumerate()
    .map(|(place, labels)| {
        let sample = |(number, value): (usize, &f64)| Sample {
            at: at((number * 1001 + place) as i64),
            value: Value::Float(*value),
        };
        (labels, numbers.iter().enumerate().map(sample).collect())
    })
    .collect();
    all.sort_by(|a: &(Labels, Vec<Sample>), b| a.0.cmp(&b.0));
    all
}

#[test]
fn what_is_exported_and_imported_is_the_same_to_the_bit() {
    let folder = Folder::new();
    let (from, to, text) = (folder.name("from"), folder.name("to"), folder.name("all.om"));
    fill(Path::new(&from), &hostile());

    let printed = quiet(&["tsdb", "export", "--data", &from, "--output", &text]);
    assert!(printed.starts_with(&format!("{text}: 60 samples, ")), "{printed}");
    assert_eq!(quiet(&["tsdb", "export", "--data", &from]), fs::read_to_string(&text).unwrap());

    assert_eq!(quiet(&["tsdb", "import", "--data", &to, &text]), format!("{text}: 60 samples\n"));
    assert_eq!(all(Path::new(&to)), hostile());
    assert_eq!(quiet(&["tsdb", "export", "--data", &to]), fs::read_to_string(&text).unwrap());

    // What is there stays.
    quiet(&["tsdb", "import", "--data", &to, &text]);
    assert_eq!(all(Path::new(&to)), hostile());
}

/// One sample of 1.5, 50 ms after the start.
fn one(labels: Labels) -> (Labels, Vec<Sample>) {
    (labels, vec![Sample { at: at(50), value: 1.5.into() }])
}

#[test]
fn an_export_has_each_name_in_one_place_and_its_end_marked() {
    let folder = Folder::new();
    let up = Labels::metric("up");
    let series = [up.with("A", "x"), Labels::metric("down").with("A", "y"), up.with("b", "\"\n")];
    fill(&folder.path("data"), &series.map(one));
    let expected = "down{A=\"y\"} 1.5 1767225600.050\n\
                    up{A=\"x\"} 1.5 1767225600.050\n\
                    up{b=\"\\\"\\n\"} 1.5 1767225600.050\n\
                    # EOF\n";
    assert_eq!(quiet(&["tsdb", "export", "--data", &folder.name("data")]), expected);
}

#[test]
fn an_export_has_what_is_asked_for_and_each_series_once() {
    let folder = Folder::new();
    let data = folder.name("data");
    let samples: Vec<_> = (0..4).map(|i| Sample { at: at(i * 1000), value: 1.0.into() }).collect();
    let series =
        ["a", "b", "c"].map(|name| (Labels::metric(name).with("x", name), samples.clone()));
    fill(Path::new(&data), &series);
    let export = |args: &[&str]| {
        let args = [&["tsdb", "--data", &data, "export"], args].concat();
        let lines = quiet(&args).replace(" 1 17672256", " ");
        lines.lines().collect::<Vec<_>>().join("; ")
    };
    assert_eq!(
        export(&["--match", "{x=~\"a|b\"}", "--match", "b", "--from", "2026-01-01T00:00:02.5Z"]),
        "a{x=\"a\"} 03; b{x=\"b\"} 03; # EOF"
    );
    assert_eq!(
        export(&["--match", "c", "--from", "1767225601", "--to", "2026-01-01T01:00:02+01:00"]),
        "c{x=\"c\"} 01; c{x=\"c\"} 02; # EOF"
    );
    assert_eq!(export(&["--match", "d"]), "# EOF");

    let wrong = ["tsdb", "export", "--data", &data, "--match", "up{"];
    let expected = "hms-ops: --match \"up{\": column 4: expected a label name, found \"\"";
    assert_eq!(refusal(&wrong), expected);
    let backwards = refusal(&["tsdb", "export", "--data", &data, "--from", "1", "--to", "0.5"]);
    let expected = "--to 1970-01-01T00:00:00.500Z is before --from 1970-01-01T00:00:01.000Z";
    assert!(backwards.ends_with(expected), "{backwards}");
}

#[test]
fn what_the_format_cannot_hold_is_left_out_and_counted() {
    let folder = Folder::new();
    let data = folder.name("data");
    let histogram = Histogram {
        schema: 3,
        zero_threshold: 0.0,
        zero_count: 1.0,
        count: 1.0,
        sum: 0.0,
        positive: vec![],
        negative: vec![],
        custom_edges: vec![],
        reset: CounterReset::Unknown,
    };
    let values = [1.0.into(), Value::STALE, Value::Histogram(Arc::new(histogram))];
    let samples = |up: Labels| {
        let sample =
            |(i, value): (usize, &Value)| Sample { at: at(i as i64), value: value.clone() };
        (up, values.iter().enumerate().map(sample).collect())
    };
    let nameless = Labels::from_pairs([("job", "x")]);
    let foreign = Labels::from_pairs([(NAME, "größe")]);
    fill(Path::new(&data), &[samples(Labels::metric("up")), one(nameless), one(foreign)]);
    let store = Tsdb::open(&data, options()).unwrap();
    let mut batch = store.appender();
    let series = batch.series(&Labels::metric("up")).unwrap();
    let labels = Labels::from_pairs([("trace_id", "4bf92f35")]);
    batch.exemplar(series, Exemplar { labels, value: 1.0, at: at(0) }).unwrap();
    runtime().block_on(batch.commit()).unwrap();
    store.close().unwrap();

    let (printed, said) = loud(&["tsdb", "export", "--data", &data]);
    assert_eq!(printed, "up 1 1767225600\n# EOF\n");
    let expected = "hms-ops: left out, as the format cannot hold them: 1 staleness marker, \
                    1 native histogram, 1 exemplar, 2 series because of their names\n";
    assert_eq!(said, expected);
}

#[test]
fn an_export_ends_in_peace_when_nobody_reads_it() {
    let folder = Folder::new();
    let data = folder.path("data");
    fill(&data, &hostile());
    let mut export = Command::new(env!("CARGO_BIN_EXE_hms-ops"))
        .args(["tsdb", "export", "--data", data.to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(export.stdout.take());
    let done = export.wait_with_output().unwrap();
    assert!(done.status.success() && done.stderr.is_empty(), "{done:?}");
}

#[test]
fn a_wrong_line_is_named_and_nothing_of_it_is_stored() {
    let folder = Folder::new();
    let (data, good, bad) = (folder.name("data"), folder.name("good.om"), folder.name("bad.om"));
    fs::write(&good, "up 1 1\n# EOF\n").unwrap();
    fs::write(&bad, "# TYPE up gauge\nup 1 3\nup{job=\"x} 1 4\n# EOF\n").unwrap();

    let done = run(&["tsdb", "import", "--data", &data, &good, &bad]);
    assert_eq!(done.status.code(), Some(1));
    assert_eq!(String::from_utf8(done.stdout).unwrap(), format!("{good}: 1 sample\n"));
    let expected = format!(
        "hms-ops: {bad}:3:9: label value \"x}} 1 4\" has no closing quote; \
         nothing of the file is stored\n"
    );
    assert_eq!(String::from_utf8(done.stderr).unwrap(), expected);
    assert_eq!(all(Path::new(&data))[0].1.len(), 1);
}

#[test]
fn a_file_that_is_not_there_is_named_before_anything_is_stored() {
    let folder = Folder::new();
    let (data, good, none) = (folder.path("data"), folder.name("good.om"), folder.name("none.om"));
    fs::write(&good, "up 1 1\n# EOF\n").unwrap();
    let said = refusal(&["tsdb", "import", "--data", data.to_str().unwrap(), &good, &none]);
    assert!(said.starts_with(&format!("hms-ops: cannot read {none}: ")), "{said}");
    assert!(!data.exists());
}

#[test]
fn standard_input_is_imported_too() {
    let folder = Folder::new();
    let data = folder.path("data");
    let mut import = Command::new(env!("CARGO_BIN_EXE_hms-ops"))
        .args(["tsdb", "import", "--data", data.to_str().unwrap(), "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    import.stdin.take().unwrap().write_all(b"up 1.5 1767225600.050\n# EOF\n").unwrap();
    let done = import.wait_with_output().unwrap();
    assert!(done.status.success());
    assert_eq!(done.stdout, b"standard input: 1 sample\n");
    assert_eq!(all(&data), [one(Labels::metric("up"))]);
}

#[test]
fn stats_count_everything_once() {
    let folder = Folder::new();
    let (data, text) = (folder.name("data"), folder.name("all.om"));
    fill(Path::new(&data), &hostile());
    quiet(&["tsdb", "export", "--data", &data, "--output", &text]);
    // The same once more, in another block.
    quiet(&["tsdb", "import", "--data", &data, &text]);

    let printed = quiet(&["tsdb", "stats", "--data", &data, "--json", "--top", "1"]);
    let stats: serde_json::Value = serde_json::from_str(&printed).unwrap();
    for (figure, expected) in [("series", 5), ("samples", 60), ("metrics", 3), ("blocks", 2)] {
        assert_eq!(stats[figure], expected, "{figure}");
    }
    assert_eq!(stats["from"], START);
    assert_eq!(stats["to"], START + 11 * 1001 + 4);
    assert!(stats["bytes"].as_u64().unwrap() > 500);
    let top = serde_json::json!([{ "name": "up", "series": 3, "samples": 36 }]);
    assert_eq!(stats["top_names"], top);

    let printed = quiet(&["tsdb", "stats", "--data", &data]);
    for line in ["samples       60", "  series  samples  metric", "       3       36  up"] {
        assert!(printed.lines().any(|l| l == line), "{line} in\n{printed}");
    }
}

#[test]
fn a_snapshot_opens_and_is_the_same() {
    let folder = Folder::new();
    let (data, copy) = (folder.name("data"), folder.name("copy"));
    fill(Path::new(&data), &hostile());
    let printed = quiet(&["tsdb", "snapshot", "--data", &data, &copy]);
    assert!(printed.starts_with(&format!("{copy}: 1 block, ")), "{printed}");
    assert_eq!(all(Path::new(&copy)), hostile());
    assert_eq!(all(Path::new(&data)), hostile());

    let said = refusal(&["tsdb", "snapshot", "--data", &data, &copy]);
    assert_eq!(said, format!("hms-ops: {copy} exists already; a snapshot is a new folder"));
}

#[test]
fn one_wrong_byte_of_a_block_is_found_and_its_file_named() {
    let folder = Folder::new();
    let data = folder.name("data");
    fill(Path::new(&data), &hostile());
    let verify = ["tsdb", "verify", "--data", &data];
    let whole = quiet(&verify);
    assert!(whole.starts_with("nothing is damaged: 60 samples in 1 block, "), "{whole}");

    let mut blocks = fs::read_dir(folder.path("data/blocks")).unwrap().map(|f| f.unwrap().path());
    let block = blocks.find(|path| path.extension().is_some_and(|e| e == "block")).unwrap();
    // The first byte of the first chunk.
    flip(&block, 16);
    let done = run(&verify);
    assert_eq!(done.status.code(), Some(1));
    let printed = String::from_utf8(done.stdout).unwrap();
    let lines: Vec<_> = printed.lines().collect();
    assert_eq!(lines.len(), 2, "{printed}");
    assert!(lines[0].starts_with(block.to_str().unwrap()), "{printed}");
    assert!(lines[1].starts_with("1 thing is damaged; readable: "), "{printed}");

    let done = run(&["tsdb", "verify", "--json", "--data", &data]);
    assert_eq!(done.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!((&report["blocks"], &report["damaged"][0]), (&1.into(), &lines[0].into()));

    let done = run(&["tsdb", "export", "--data", &data]);
    assert_eq!(done.status.code(), Some(1), "an export that lacks something");
    let said = String::from_utf8(done.stderr).unwrap();
    assert!(said.contains("1 piece of the history"), "{said}");
}

fn flip(path: &Path, offset: u64) {
    let mut file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.seek(SeekFrom::Start(offset)).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Start(offset)).unwrap();
    file.write_all(&[byte[0] ^ 0x10]).unwrap();
}

#[test]
fn a_folder_that_an_engine_has_open_is_left_alone() {
    let folder = Folder::new();
    let (data, text, copy) = (folder.name("data"), folder.name("up.om"), folder.name("copy"));
    fs::write(&text, "up 1 1\n# EOF\n").unwrap();
    let _engine = Tsdb::open(&data, options()).unwrap();
    let expected =
        format!("hms-ops: {data} is in use by an engine: end that first, then try again");
    for what in [&["stats"][..], &["verify"], &["export"], &["import", &text], &["snapshot", &copy]]
    {
        let args = [&["tsdb", "--data", &data], what].concat();
        assert_eq!(refusal(&args), expected);
    }
}

#[test]
fn a_folder_without_history_is_told_from_an_empty_one() {
    let folder = Folder::new();
    let none = folder.name("none");
    for what in ["stats", "verify", "export"] {
        let said = refusal(&["tsdb", what, "--data", &none]);
        assert_eq!(said, format!("hms-ops: {none} has no history; `--data` says where it is"));
    }
    assert!(!folder.path("none").exists());

    Tsdb::open(&none, options()).unwrap().close().unwrap();
    assert_eq!(quiet(&["tsdb", "export", "--data", &none]), "# EOF\n");
}

#[test]
fn prometheus_accepts_an_export_with_every_sample() {
    let folder = Folder::new();
    let (data, text, blocks) = (folder.name("data"), folder.name("all.om"), folder.name("blocks"));
    fill(Path::new(&data), &hostile());
    quiet(&["tsdb", "export", "--data", &data, "--output", &text]);

    let Some(created) = promtool(&["tsdb", "create-blocks-from", "openmetrics", &text, &blocks])
    else {
        return;
    };
    assert!(created.contains("BLOCK ULID"), "{created}");
    // It insists on a log, even an empty one.
    fs::create_dir(folder.path("blocks/wal")).unwrap();
    let dumped = promtool(&["tsdb", "dump", &blocks]).unwrap();
    let samples: usize = hostile().iter().map(|(_, samples)| samples.len()).sum();
    assert_eq!(dumped.lines().count(), samples, "{dumped}");
    let value = format!(" 0.30000000000000004 {}\n", START + 2002 + 4);
    assert!(dumped.contains(&value), "{dumped}");
}

/// What `promtool` prints; `None`, said out loud, where it is absent.
fn promtool(args: &[&str]) -> Option<String> {
    let done = match Command::new("promtool").args(args).output() {
        Ok(done) => done,
        Err(error) => {
            let required = std::env::var("HMS_OPS_REQUIRE_PEERS").is_ok_and(|set| set == "1");
            assert!(!required, "promtool cannot be run and is required: {error}");
            println!("skipped: promtool cannot be run: {error}");
            return None;
        }
    };
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "promtool {args:?}: {said}");
    Some(String::from_utf8(done.stdout).unwrap())
}
