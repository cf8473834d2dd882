//! The scripts in which Prometheus tests PromQL, run by our engine; and the table of what passes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{env, fs};

use hms_ops_core::labels::Labels;
use hms_ops_core::query::{Answer, Data, QueryEngine, QueryError, QueryOptions};
use hms_ops_core::sample::{Sample, Value};
use hms_ops_core::store::{MemoryStore, Store, StoreError};
use hms_ops_core::time::{TimeRange, Timestamp};
use hms_ops_promql::ast::{At, Expr, Node, Type, VectorSelector};
use hms_ops_promql::{Engine, parse};
use hms_ops_tsdb::{Durability, Tsdb};

use crate::script::{self, Action, Command, Eval, Expected, ExpectedSeries, Notices, When};

/// The page that tells users.
const TABLE: &str = include_str!("../../docs/conformance.md");

/// How many failures of a file are shown.
const SHOWN: usize = 25;

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn the_scripts_of_prometheus_pass_as_often_as_the_table_says() {
    let Some(scripts) = scripts() else { return };
    let mut wrong = Vec::new();
    let mut table = table();
    let (mut cases, mut passed) = (0, 0);
    for (name, script) in &scripts {
        let verdicts = run(script, || Arc::new(memory())).await;
        let failed: Vec<_> = verdicts.iter().filter_map(|(l, v)| Some((l, v.as_ref()?))).collect();
        let row = (verdicts.len(), verdicts.len() - failed.len());
        println!("{name:<22} {:>4} cases, {:>4} pass", row.0, row.1);
        for (line, failure) in failed.iter().take(SHOWN) {
            println!("  {name}.test:{line} {failure}");
        }
        if failed.len() > SHOWN {
            println!("  and {} more", failed.len() - SHOWN);
        }
        match table.remove(name.as_str()) {
            Some(said) if said == row => {}
            said => wrong.push(format!("{name}: {row:?}, the table says {said:?}")),
        }
        (cases, passed) = (cases + row.0, passed + row.1);
    }
    println!("{:<22} {cases:>4} cases, {passed:>4} pass", "all");
    wrong.extend(table.keys().map(|name| format!("{name} is in the table only")));
    assert!(wrong.is_empty(), "docs/conformance.md is not true:\n{}", wrong.join("\n"));
}

#[tokio::test]
async fn what_those_scripts_do_not_ask_is_as_in_prometheus_too() {
    let mut wrong = Vec::new();
    for (name, script) in read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts")) {
        let verdicts = run(&script, || Arc::new(memory())).await;
        let failed = verdicts.into_iter().filter_map(|(line, failure)| Some((line, failure?)));
        wrong.extend(failed.map(|(line, failure)| format!("{name}.test:{line} {failure}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

pub(crate) fn memory() -> MemoryStore {
    MemoryStore::with_limits(10_000, 20_000).out_of_order_window(Duration::from_secs(1 << 32))
}

#[tokio::test]
async fn a_case_fails_when_anything_it_says_is_not_so() {
    for (case, failure) in [
        ("at 1m up\n up{a=\"1\"} 2\n up{a=\"2\"} NaN", None),
        ("at 1m up\n up{a=\"1\"} 2.000001\n up{a=\"2\"} NaN", None),
        (
            "at 1m up\n up{a=\"1\"} 2.00001\n up{a=\"2\"} NaN",
            Some("expected [Some(Float(2.00001))]"),
        ),
        ("at 1m up\n up{a=\"1\"} 2", Some("up{a=\"2\"} is not expected")),
        ("at 1m up{a=\"1\"}\n up{a=\"1\"} 2\n up{a=\"3\"} 1", Some("up{a=\"3\"} is missing")),
        ("at 1m up{a=\"1\"}\n up{a=\"1\"} {{}}", Some("expected [Some(Histogram")),
        ("at 1m up{a=\"1\"}\n 2", Some("expected Scalar(2.0)")),
        ("at 1m 2\n 2", None),
        ("at 1m 2\n {} 2", Some("expected Series")),
        ("at 1m sort_desc(up)\n expect ordered\n {a=\"2\"} NaN", Some("is not expected")),
        ("at 1m sort(up{a=\"1\"})\n expect ordered\n up{a=\"1\"} 2", None),
        (
            "at 1m sort(up)\n expect ordered\n up{a=\"2\"} NaN\n up{a=\"1\"} 2",
            Some("is expected at"),
        ),
        ("at 1m \"a\"\n expect string \"a\"", None),
        ("at 1m \"a\"\n expect string \"b\"", Some("expected Text")),
        ("at 1m up{a=\"1\"}[1m]\n expect range vector from 1m to 1m step 1m\n up{a=\"1\"} 2", None),
        (
            "at 1m up{a=\"1\"}[1m]\n expect range vector from 30s to 1m step 30s\n up{a=\"1\"} 2",
            Some("expected"),
        ),
        ("at 1m up +\n expect fail", None),
        ("at 1m up{a=\"none\"}\n expect fail", Some("it does not fail")),
        ("at 1m up +\n expect fail msg: no", Some("expected Is(\"no\"), failed by")),
        ("at 1m up +", Some("it fails: ")),
        ("at 1m quantile(2, up{a=\"1\"})\n expect warn\n {} Inf", None),
        (
            "at 1m quantile(2, up{a=\"1\"})\n expect no_warn\n {} Inf",
            Some("warnings: expected None"),
        ),
        (
            "at 1m quantile(2, up{a=\"1\"})\n expect warn msg: no\n {} Inf",
            Some("warnings: expected Some"),
        ),
        ("at 1m up{a=\"none\"}\n expect info", Some("infos: expected Some")),
    ] {
        let script =
            format!("load 1m\n up{{a=\"1\"}} 1 2\n up{{a=\"2\"}} NaN NaN\n\neval instant {case}");
        let verdicts = run(&script::parse(&script).unwrap(), || Arc::new(memory())).await;
        let [(5, verdict)] = &verdicts[..] else { panic!("{verdicts:?}") };
        match (verdict, failure) {
            (None, None) => {}
            (Some(found), Some(failure)) if found.contains(failure) => {}
            _ => panic!("{case}: expected {failure:?}, got {verdict:?}"),
        }
    }
}

/// Where only numbers are loaded, which is what the store on disk takes so far.
#[tokio::test]
async fn the_store_on_disk_answers_as_the_one_in_memory() {
    let Some(scripts) = scripts() else { return };
    let mut compared = 0;
    for (name, script) in &scripts {
        for block in script.split(|command| matches!(command.action, Action::Clear)) {
            let floats = block.iter().all(|command| match &command.action {
                Action::Load(series) => {
                    series.iter().all(|(_, all)| all.iter().all(|s| s.value.as_float().is_some()))
                }
                _ => true,
            });
            if !floats {
                continue;
            }
            let folder = tempfile::tempdir().unwrap();
            let options = hms_ops_tsdb::Options {
                durability: Durability::OperatingSystem,
                background: false,
                ..hms_ops_tsdb::Options::default()
            };
            let on_disk = Arc::new(Tsdb::open(folder.path(), options).unwrap());
            let on_disk = run(block, || on_disk.clone()).await;
            compared += on_disk.len();
            assert_eq!(on_disk, run(block, || Arc::new(memory())).await, "{name}");
        }
    }
    println!("{compared} cases");
}

/// Of each file how many cases it has, and how many pass.
fn table() -> BTreeMap<&'static str, (usize, usize)> {
    let row = |line: &'static str| {
        let cells: Vec<_> = line.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        let [_, name, cases, passed, ..] = cells[..] else { return None };
        Some((name, (cases.parse().ok()?, passed.parse().ok()?)))
    };
    TABLE.lines().filter_map(row).collect()
}

/// All scripts by their names; `None`, said out loud, where they are absent.
fn scripts() -> Option<BTreeMap<String, Vec<Command>>> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance");
    let folder =
        env::var_os("HMS_OPS_CONFORMANCE").map_or_else(beside, PathBuf::from).join("promql");
    if !folder.is_dir() {
        let required = env::var("HMS_OPS_REQUIRE_PEERS").is_ok_and(|required| required == "1");
        assert!(!required, "{} is absent and required", folder.display());
        println!("skipped: {} is absent", folder.display());
        return None;
    }
    Some(read(&folder))
}

/// All scripts of a folder by their names.
fn read(folder: &Path) -> BTreeMap<String, Vec<Command>> {
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let script = script::parse(&fs::read_to_string(&path).unwrap());
        let script = script.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (name, script)
    };
    fs::read_dir(folder).unwrap().map(read).collect()
}

/// Line by line what is wrong with each case.
type Verdicts = Vec<(usize, Option<String>)>;

async fn run(script: &[Command], open: impl Fn() -> Arc<dyn Store>) -> Verdicts {
    let mut store = open();
    let mut unloaded = None;
    let mut verdicts = Vec::new();
    for Command { line, action } in script {
        match action {
            Action::Clear => (store, unloaded) = (open(), None),
            Action::Load(series) => {
                if let Err(error) = load(&*store, series).await {
                    unloaded = Some(format!("line {line} cannot be loaded: {error}"));
                }
            }
            Action::Eval(eval) => {
                let verdict = match &unloaded {
                    Some(reason) => Err(reason.clone()),
                    None => check(&Engine::new(store.clone()), eval).await,
                };
                let failure = verdict.err().map(|e| format!("{}\n    {e:.900}", eval.query));
                verdicts.push((*line, failure));
            }
        }
    }
    verdicts
}

pub(crate) async fn load(
    store: &dyn Store,
    series: &[(Labels, Vec<Sample>)],
) -> Result<(), StoreError> {
    let commit = {
        let mut batch = store.appender();
        for (labels, samples) in series {
            let series = batch.series(labels)?;
            for sample in samples {
                batch.append(series, sample.at, sample.value.clone())?;
            }
        }
        batch.commit()
    };
    commit.await
}

async fn check(engine: &Engine, eval: &Eval) -> Result<(), String> {
    let options = QueryOptions::default();
    match eval.when {
        When::Range(range, step) => {
            let answer = engine.range(&eval.query, range, step, &options).await;
            judge(eval, answer)?;
        }
        When::Instant(at) => {
            let asked = [(eval.query.clone(), at)].into_iter().chain(pinned(&eval.query, at));
            for (query, at) in asked {
                let answer = engine.instant(&query, at, &options).await;
                let of = |error| format!("{error}\n    of {query} at {at:?}");
                let Some(answer) = judge(eval, answer).map_err(of)? else { continue };
                if has_range_form(eval, &query) {
                    in_range(engine, eval, &query, at, &answer).await.map_err(of)?;
                }
            }
        }
    }
    Ok(())
}

/// Whether a range query says the same at the same instant.
fn has_range_form(eval: &Eval, query: &str) -> bool {
    let of_the_query = ["start()", "end()", "range()", "step()"];
    let returns = parse(query).map(|expr| expr.returns());
    let of_instants = matches!(returns, Ok(Type::RangeVector | Type::String));
    !of_instants && !eval.ordered && !of_the_query.iter().any(|word| query.contains(word))
}

async fn in_range(
    engine: &Engine,
    eval: &Eval,
    query: &str,
    at: Timestamp,
    instant: &Data,
) -> Result<(), String> {
    let range = TimeRange::new(at - MINUTE, at + MINUTE);
    let answer = engine.range(query, range, MINUTE, &QueryOptions::default()).await;
    let Data::Matrix(all) =
        answer.map_err(|error| format!("as a range: {}", message(&error)))?.data
    else {
        return Err("a range query answers no matrix".to_owned());
    };
    let there = all.into_iter().filter_map(|(labels, samples)| {
        Some((labels, samples.into_iter().find(|sample| sample.at == at)?))
    });
    let mut there: Vec<_> = there.collect();
    let data = match instant {
        Data::Scalar(..) => match there.pop().and_then(|(_, sample)| sample.value.as_float()) {
            Some(value) => Data::Scalar(at, value),
            None => return Err("as a range: there is no number".to_owned()),
        },
        _ => Data::Vector(there),
    };
    compare(eval, &data).map_err(|error| format!("as a range: {error}"))
}

/// The query with all its selectors pinned to `at`, and when else it has to say the same.
fn pinned(query: &str, at: Timestamp) -> Vec<(String, Timestamp)> {
    let of_the_query = ["start()", "end()"].iter().any(|word| query.contains(word));
    let Ok(mut expr) = parse(query) else { return Vec::new() };
    // Bytes that are no UTF-8 cannot be printed again.
    if of_the_query || query.contains("\\x") || !pin(&mut expr, at) {
        return Vec::new();
    }
    let pinned = expr.to_string();
    let at = at.as_millis();
    let times = if at == 0 { vec![-1000, 0, 1000] } else { vec![-10 * at, 0, at / 5, at, 10 * at] };
    times.into_iter().map(|time| (pinned.clone(), Timestamp::from_millis(time))).collect()
}

/// Pins what is below; `false` when a function looks at the time all the same.
fn pin(expr: &mut Expr, at: Timestamp) -> bool {
    let pin_selector = |selector: &mut VectorSelector| {
        selector.at.get_or_insert(At::Time(at));
        true
    };
    match &mut expr.node {
        Node::Number(_) | Node::String(_) => true,
        Node::Vector(selector) => pin_selector(selector),
        Node::Matrix(matrix) => pin_selector(&mut matrix.selector),
        Node::Subquery(subquery) => {
            subquery.at.get_or_insert(At::Time(at));
            true
        }
        Node::Paren(inner) => pin(inner, at),
        Node::Unary(unary) => pin(&mut unary.operand, at),
        Node::Binary(binary) => pin(&mut binary.left, at) & pin(&mut binary.right, at),
        Node::Aggregate(aggregate) => {
            let param = aggregate.param.as_mut().is_none_or(|param| pin(param, at));
            pin(&mut aggregate.expr, at) & param
        }
        Node::Call(call) => {
            let looks = LOOK_AT_THE_TIME.contains(&call.function.signature().name);
            call.args.iter_mut().all(|arg| pin(arg, at)) && !looks
        }
    }
}

const LOOK_AT_THE_TIME: [&str; 12] = [
    "days_in_month",
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "hour",
    "info",
    "minute",
    "month",
    "year",
    "predict_linear",
    "time",
    "timestamp",
];

/// The data, unless the query was to fail and has.
fn judge(eval: &Eval, answer: Result<Answer, QueryError>) -> Result<Option<Data>, String> {
    let answer = match (&eval.fails, answer) {
        (None, Ok(answer)) => answer,
        (None, Err(error)) => return Err(format!("it fails: {}", message(&error))),
        (Some(_), Ok(answer)) => return Err(format!("it does not fail: {:?}", answer.data)),
        (Some(expected), Err(error)) if expected.accepts(&message(&error)) => return Ok(None),
        (Some(expected), Err(error)) => {
            return Err(format!("expected {expected:?}, failed by {:?}", message(&error)));
        }
    };
    noticed("warnings", &eval.warnings, &answer.warnings)?;
    noticed("infos", &eval.infos, &answer.infos)?;
    compare(eval, &answer.data)?;
    Ok(Some(answer.data))
}

/// As Prometheus says it, without the query.
fn message(error: &QueryError) -> String {
    match error {
        QueryError::Malformed { reason, .. } => reason.clone(),
        other => other.to_string(),
    }
}

fn noticed(kind: &str, expected: &Notices, said: &[String]) -> Result<(), String> {
    let good = match expected {
        Notices::Any => true,
        Notices::None => said.is_empty(),
        Notices::Some(texts) => {
            !said.is_empty()
                && texts.iter().all(|text| said.iter().any(|said| text.accepts(said)))
                && said.iter().all(|said| texts.iter().any(|text| text.accepts(said)))
        }
    };
    if good { Ok(()) } else { Err(format!("{kind}: expected {expected:?}, got {said:?}")) }
}

fn compare(eval: &Eval, data: &Data) -> Result<(), String> {
    let differ = || Err(format!("expected {:?}, got {data:?}", eval.data));
    let (expected, range) = match (&eval.data, data) {
        (Expected::Scalar(expected), Data::Scalar(_, got)) if near(*expected, *got) => {
            return Ok(());
        }
        (Expected::Text(expected), Data::Text(_, got)) if expected == got => return Ok(()),
        (Expected::Series { all, range }, Data::Vector(_) | Data::Matrix(_)) => (all, range),
        _ => return differ(),
    };
    let at = |i: usize| match (*range, eval.when) {
        (Some((range, step)), _) | (None, When::Range(range, step)) => {
            range.start + step * i as u32
        }
        (None, When::Instant(at)) => at,
    };
    let got: Vec<(&Labels, &[Sample])> = match data {
        Data::Vector(all) => all.iter().map(|(l, s)| (l, std::slice::from_ref(s))).collect(),
        Data::Matrix(all) => all.iter().map(|(labels, samples)| (labels, &samples[..])).collect(),
        _ => return differ(),
    };
    let is_vector = matches!(data, Data::Vector(_));
    if !is_vector && !got.is_sorted_by_key(|(labels, _)| *labels) {
        return Err(format!("the matrix is not sorted: {data:?}"));
    }
    for (place, (labels, samples)) in got.iter().enumerate() {
        // Of series that are said twice the last counts.
        let Some(known) = expected.iter().rposition(|series| series.labels == **labels) else {
            return Err(format!("{labels} is not expected: {samples:?}"));
        };
        if eval.ordered && place != known {
            return Err(format!("{labels} is expected at {known}, not at {place}"));
        }
        let ExpectedSeries { values, compares_resets, .. } = &expected[known];
        let values = values.iter().enumerate().filter_map(|(i, v)| Some((at(i), v.as_ref()?)));
        let values: Vec<_> = values.collect();
        let mut pairs = samples.iter().zip(&values);
        let same = |(sample, (at, value)): (&Sample, &(Timestamp, &Value))| {
            (is_vector || sample.at == *at) && is_same(value, &sample.value, *compares_resets)
        };
        if samples.len() != values.len() || !pairs.all(same) {
            return Err(format!(
                "{labels}: expected {:?}, got {samples:?}",
                expected[known].values
            ));
        }
    }
    match expected.iter().find(|series| got.iter().all(|(labels, _)| **labels != series.labels)) {
        Some(missing) => Err(format!("{} is missing: {:?}", missing.labels, missing.values)),
        None => Ok(()),
    }
}

fn is_same(expected: &Value, got: &Value, compares_resets: bool) -> bool {
    let (a, b) = match (expected, got) {
        (Value::Float(a), Value::Float(b)) => return near(*a, *b),
        (Value::Histogram(a), Value::Histogram(b)) => (a, b),
        _ => return false,
    };
    let filled = |buckets: &[(i32, f64)]| -> Vec<(i32, f64)> {
        buckets.iter().copied().filter(|&(_, n)| n != 0.0).collect()
    };
    let alike = |a: &[(i32, f64)], b: &[(i32, f64)]| {
        let (a, b) = (filled(a), filled(b));
        a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| a.0 == b.0 && near(a.1, b.1))
    };
    a.schema == b.schema
        && near(a.count, b.count)
        && near(a.sum, b.sum)
        && near(a.zero_count, b.zero_count)
        && a.zero_threshold == b.zero_threshold
        && a.custom_edges == b.custom_edges
        && alike(&a.positive, &b.positive)
        && alike(&a.negative, &b.negative)
        && (!compares_resets || a.reset == b.reset)
}

/// Whether they are the same to one part in a million; NaN is the same as NaN.
fn near(a: f64, b: f64) -> bool {
    if a == b || a.is_nan() && b.is_nan() {
        return true;
    }
    let sum = a.abs() + b.abs();
    let far = (a - b).abs();
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return far < 1e-6 * f64::MIN_POSITIVE;
    }
    far / sum.min(f64::MAX) < 1e-6
}
