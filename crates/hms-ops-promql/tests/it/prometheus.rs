//! The same samples and the same queries given to a real Prometheus, which must say the same.
//!
//! It is 2.42, whose windows are closed at both ends where those of 3.x are open at the left. So no
//! sample and no instant of a subquery lies on the edge of a window here: samples are between whole
//! seconds, and queries 7 s after the multiples of 30 s that all lengths are.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use std::{env, fs, io, thread};

use hms_ops_core::labels::Labels;
use hms_ops_core::query::{Answer, Data, QueryEngine, QueryError, QueryOptions};
use hms_ops_core::sample::Sample;
use hms_ops_core::time::{TimeRange, Timestamp};
use hms_ops_promql::Engine;

use crate::conformance::{load, memory};

/// 2026-01-01T00:00:00Z.
const START: i64 = 1_767_225_600;
/// Scrapes of each series, 15 s apart.
const SCRAPES: i64 = 480;
const QUERIES: usize = 1000;
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_real_prometheus_answers_random_queries_alike() {
    if let Some(absent) = ["prometheus", "promtool"].into_iter().find(|peer| !is_there(peer)) {
        let required = env::var("HMS_OPS_REQUIRE_PEERS").is_ok_and(|required| required == "1");
        assert!(!required, "{absent} is absent and required");
        println!("skipped: {absent} is absent");
        return;
    }
    let mut random = Random(42);
    let series = series(&mut random);
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &series);
    let store = Arc::new(memory());
    load(&*store, &series).await.unwrap();
    let engine = Engine::new(store);

    let (mut empty, mut refused) = (0, 0);
    let mut differences = Vec::new();
    for number in 0..QUERIES {
        let query = Query::random(&mut random, number % 2 == 0);
        let (ours, theirs) = (query.ask(&engine).await, server.ask(&query));
        match (ours, theirs) {
            (Ok(ours), Ok(theirs)) => {
                empty += usize::from(theirs.is_empty());
                if let Some(difference) = difference(&ours, &theirs) {
                    differences.push(format!("{query:?}\n  {difference}"));
                }
            }
            (Err(_), Err(_)) => refused += 1,
            (ours, theirs) => {
                let (ours, theirs) = (ours.map(|_| "answers"), theirs.map(|_| "answers"));
                differences.push(format!("{query:?}\n  ours: {ours:?}, theirs: {theirs:?}"));
            }
        }
    }
    println!("{QUERIES} queries, {empty} empty, {refused} refused by both");
    let shown = &differences[..differences.len().min(20)];
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), shown.join("\n"));
    assert!(empty < QUERIES / 3 && refused < QUERIES / 10, "the queries say too little");
}

fn is_there(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

/// SplitMix64, so that a failure comes again.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// In 0..1.
    fn fraction(&mut self) -> f64 {
        self.below(1 << 40) as f64 / (1u64 << 40) as f64
    }
}

/// Counters that are reset, gauges around zero, and a classic histogram, all with gaps.
fn series(random: &mut Random) -> Vec<(Labels, Vec<Sample>)> {
    let mut all = Vec::new();
    for (job, instance) in [("a", "1"), ("a", "2"), ("b", "1"), ("b", "3"), ("c", "4")] {
        let labels = |name: &str| Labels::metric(name).with("job", job).with("instance", instance);
        for code in ["200", "404", "500"] {
            let mut total = 1e6;
            let times = times(random);
            let sample = |at| {
                total = if random.one_in(60) { 1e5 } else { total } + random.fraction() * 50.0;
                Sample { at, value: total.into() }
            };
            let samples = times.into_iter().map(sample).collect();
            all.push((labels("requests_total").with("code", code), samples));
        }
        for name in ["temperature", "level"] {
            let samples = times(random).into_iter();
            let sample = |at| Sample { at, value: (random.fraction() * 200.0 - 60.0).into() };
            all.push((labels(name), samples.map(sample).collect()));
        }
        let times = times(random);
        let mut counts = [5e5; 5];
        let mut buckets = vec![Vec::new(); counts.len()];
        for at in times {
            for _ in 0..random.below(20) {
                let seen = random.below(counts.len());
                counts[seen..].iter_mut().for_each(|count| *count += 1.0);
            }
            for (bucket, count) in buckets.iter_mut().zip(counts) {
                bucket.push(Sample { at, value: count.into() });
            }
        }
        for (le, samples) in ["0.1", "0.5", "1", "5", "+Inf"].into_iter().zip(buckets) {
            all.push((labels("seconds_bucket").with("le", le), samples));
        }
    }
    all
}

/// When a series is scraped: every 15 s, never at a whole second, at times not at all.
fn times(random: &mut Random) -> Vec<Timestamp> {
    let mut times = Vec::new();
    let mut gap = 0;
    for i in 0..SCRAPES {
        gap = if random.one_in(100) { random.below(40) } else { gap.saturating_sub(1) };
        if gap == 0 {
            let millis = 1 + random.below(998) as i64;
            times.push(Timestamp::from_millis((START + 15 * i) * 1000 + millis));
        }
    }
    times
}

#[derive(Debug)]
struct Query {
    text: String,
    start: i64,
    /// Steps, and the seconds of each; an instant has none.
    steps: i64,
    step: i64,
}

impl Query {
    fn random(random: &mut Random, at_an_instant: bool) -> Self {
        let text = vector(random, 3);
        let start = instant(random);
        let steps = if at_an_instant { 0 } else { 1 + random.below(30) as i64 };
        Self { text, start, steps, step: 30 * (1 + random.below(6) as i64) }
    }

    fn end(&self) -> i64 {
        self.start + self.steps * self.step
    }

    async fn ask(&self, engine: &Engine) -> Result<Found, QueryError> {
        let at = |seconds| Timestamp::from_millis(seconds * 1000);
        let options = QueryOptions::default();
        let Answer { data, .. } = match self.steps {
            0 => engine.instant(&self.text, at(self.start), &options).await?,
            _ => {
                let range = TimeRange::new(at(self.start), at(self.end()));
                let step = Duration::from_secs(self.step as u64);
                engine.range(&self.text, range, step, &options).await?
            }
        };
        let point = |s: &Sample| Some((s.at.as_millis(), s.value.as_float()?));
        Ok(match data {
            Data::Scalar(at, value) => {
                Found::from([(Labels::empty(), vec![(at.as_millis(), value)])])
            }
            Data::Text(..) => Found::new(),
            Data::Vector(all) => {
                all.iter().map(|(l, s)| (l.clone(), point(s).into_iter().collect())).collect()
            }
            Data::Matrix(all) => {
                all.iter().map(|(l, s)| (l.clone(), s.iter().filter_map(point).collect())).collect()
            }
        })
    }
}

/// An instant of queries and of `@`.
fn instant(random: &mut Random) -> i64 {
    START + 7 + 30 * random.below(SCRAPES as usize / 2 + 10) as i64
}

/// A length of time.
fn length(random: &mut Random) -> &'static str {
    random.of(&["30s", "1m", "90s", "2m", "5m", "10m", "30m"])
}

fn vector(random: &mut Random, depth: usize) -> String {
    if depth == 0 || random.one_in(6) {
        return selector(random) + &shifted(random);
    }
    let depth = depth - 1;
    match random.below(8) {
        0 => {
            let function = random.of(&[
                "abs",
                "ceil",
                "floor",
                "exp",
                "ln",
                "sqrt",
                "sgn",
                "-",
                "round",
                "sort",
                "sort_desc",
                "absent",
                "deg",
                "atan",
                "sinh",
                "vector(scalar",
            ]);
            let close = if function.contains('(') { ")" } else { "" };
            format!("{function}({}){close}", vector(random, depth))
        }
        1 => {
            let function = random.of(&[
                "delta",
                "irate",
                "idelta",
                "deriv",
                "changes",
                "resets",
                "avg_over_time",
                "min_over_time",
                "max_over_time",
                "sum_over_time",
                "count_over_time",
                "stddev_over_time",
                "stdvar_over_time",
                "last_over_time",
                "present_over_time",
                "absent_over_time",
            ]);
            format!("{function}({})", range(random, depth))
        }
        2 => match random.below(8) {
            0 => format!("quantile_over_time({:.2}, {})", random.fraction(), range(random, depth)),
            // Not pinned: 2.42 moves the window on all the same.
            1 => {
                let (selector, length) = (selector(random), length(random));
                format!("predict_linear({selector}[{length}], {})", random.below(3600))
            }
            // Of counters far from zero: 2.42 takes a window that begins near zero otherwise.
            2 => {
                let name = random.of(&["requests_total", "seconds_bucket"]);
                let function = random.of(&["rate", "increase", "irate"]);
                let (length, shift) = (length(random), shifted(random));
                format!("{function}({name}[{length}]{shift})")
            }
            // Not pinned: 2.42 forgets the offset then.
            3 => {
                let function =
                    random.of(&["timestamp", "minute(timestamp", "day_of_week(timestamp"]);
                let close = if function.contains('(') { ")" } else { "" };
                format!("{function}({} offset {}){close}", selector(random), length(random))
            }
            // Of small numbers: the rest of a large one is only in its last digits.
            4 => format!("{} % {:.1}", selector(random), random.fraction() * 90.0 - 40.0),
            5 => format!("clamp({}, -3, {})", vector(random, depth), random.below(100)),
            6 => format!(
                "label_replace({}, \"job\", \"x$1\", \"instance\", \"([12])\")",
                vector(random, depth)
            ),
            _ => format!(
                "label_join({}, \"joined\", \"-\", \"job\", \"code\")",
                vector(random, depth)
            ),
        },
        3 | 4 => aggregate(random, depth),
        5 => {
            let bucket = format!("rate(seconds_bucket[{}])", random.of(&["2m", "5m", "10m"]));
            let by = random.of(&["le", "le, job", "job, le, instance"]);
            format!("histogram_quantile({:.3}, sum by ({by}) ({bucket}))", random.fraction())
        }
        6 => {
            let op = random.of(&["+", "-", "*", "/", "^", ">", "<=", "!= bool", ">= bool"]);
            let scalar = scalar(random);
            let operand = vector(random, depth);
            if random.one_in(2) {
                format!("({operand}) {op} {scalar}")
            } else {
                format!("{scalar} {op} ({operand})")
            }
        }
        _ => binary(random, depth),
    }
}

fn scalar(random: &mut Random) -> String {
    match random.below(5) {
        0 => "time()".to_owned(),
        1 => format!("scalar({})", selector(random)),
        2 => "(1 + 2 * 3)".to_owned(),
        _ => format!("{:.3}", random.fraction() * 100.0 - 20.0),
    }
}

fn selector(random: &mut Random) -> String {
    let name = random.of(&["requests_total", "temperature", "level", "seconds_bucket"]);
    let matchers = random.of(&[
        "",
        "{job=\"a\"}",
        "{job=~\"a|b\"}",
        "{instance!=\"1\"}",
        "{job!~\"[bc]\", instance=~\".+\"}",
        "{code=~\"|[45]..\"}",
        "{job=\"none\"}",
    ]);
    format!("{name}{matchers}")
}

/// What may follow a selector or a subquery.
fn shifted(random: &mut Random) -> String {
    let mut text = String::new();
    if random.one_in(6) {
        let sign = random.of(&["", "", "-"]);
        write!(text, " offset {sign}{}", length(random)).unwrap();
    }
    if random.one_in(8) {
        match random.below(3) {
            0 => text.push_str(" @ start()"),
            1 => text.push_str(" @ end()"),
            _ => write!(text, " @ {}", instant(random)).unwrap(),
        }
    }
    text
}

fn range(random: &mut Random, depth: usize) -> String {
    let shift = shifted(random);
    if depth > 0 && random.one_in(4) {
        let (length, step) = (length(random), random.of(&["30s", "1m", "90s"]));
        // The windows of one in another would have instants on their edges.
        let inner = loop {
            let inner = vector(random, depth - 1);
            if !inner.contains(':') {
                break inner;
            }
        };
        return format!("({inner})[{length}:{step}]{shift}");
    }
    format!("{}[{}]{shift}", selector(random), length(random))
}

/// Finite values of which no two are the same.
fn apart(random: &mut Random) -> String {
    let name = random.of(&["requests_total", "temperature", "level"]);
    match random.below(3) {
        0 => name.to_owned(),
        1 => format!("delta({name}[{}])", random.of(&["2m", "5m"])),
        _ => format!("abs({name}{})", random.of(&["", "{job=~\"a|c\"}"])),
    }
}

fn aggregate(random: &mut Random, depth: usize) -> String {
    let grouping = random.of(&[
        "",
        " by (job)",
        " by (job, instance)",
        " by (absent)",
        " without (instance)",
        " without (job, code)",
    ]);
    let op = random.of(&[
        "sum",
        "avg",
        "min",
        "max",
        "count",
        "group",
        "stddev",
        "stdvar",
        "topk",
        "bottomk",
        "quantile",
        "count_values",
    ]);
    match op {
        // Without ties, of which any may be taken.
        "topk" | "bottomk" => format!("{op}{grouping} ({}, {})", random.below(4), apart(random)),
        // Without NaN, whose deviation from itself is zero in 2.42.
        "stddev" | "stdvar" => format!("{op}{grouping} ({})", apart(random)),
        "quantile" => {
            format!("{op}{grouping} ({:.2}, {})", random.fraction(), vector(random, depth))
        }
        "count_values" => {
            let counted = random.of(&["changes(level[5m])", "round(temperature, 50)"]);
            format!("{op}{grouping} (\"value\", {counted})")
        }
        _ => format!("{op}{grouping} ({})", vector(random, depth)),
    }
}

fn binary(random: &mut Random, depth: usize) -> String {
    let (left, right) = (vector(random, depth), vector(random, depth));
    if random.one_in(3) {
        let op = random.of(&["and", "or", "unless"]);
        let matching = random.of(&["", " on (job)", " ignoring (code, le)", " on (job, instance)"]);
        return format!("({left}) {op}{matching} ({right})");
    }
    let op = random.of(&["+", "-", "*", "/", ">", "< bool", "=="]);
    let by = random.of(&["job", "job, instance"]);
    match random.below(3) {
        0 => format!("sum by ({by}) ({left}) {op} sum by ({by}) ({right})"),
        1 => format!("({left}) {op} on ({by}) group_left sum by ({by}) ({right})"),
        _ => format!("sum by ({by}) ({left}) {op} on ({by}) group_right ({right})"),
    }
}

/// Points of time and value by series.
type Found = BTreeMap<Labels, Vec<(i64, f64)>>;

/// The first of the differences, if there are any.
fn difference(ours: &Found, theirs: &Found) -> Option<String> {
    let (a, b): (Vec<_>, Vec<_>) = (ours.keys().collect(), theirs.keys().collect());
    if a != b {
        return Some(format!("ours: {a:?}, theirs: {b:?}"));
    }
    ours.iter().zip(theirs.values()).find_map(|((labels, a), b)| {
        let same = |(a, b): &(&(i64, f64), &(i64, f64))| a.0 == b.0 && near(a.1, b.1);
        match a.iter().zip(b).find(|pair| !same(pair)) {
            Some((a, b)) => Some(format!("{labels} ours: {a:?}, theirs: {b:?}")),
            None if a.len() == b.len() => None,
            None => Some(format!("{labels} ours: {} points, theirs: {}", a.len(), b.len())),
        }
    })
}

/// The same to one part in a thousand million; what is that near to zero is zero, since 2.42 sums
/// without compensation.
fn near(a: f64, b: f64) -> bool {
    a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0)
}

/// A Prometheus of our own; killed when it is dropped.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start(folder: &Path, series: &[(Labels, Vec<Sample>)]) -> Self {
        let (text, data) = (folder.join("samples"), folder.join("data"));
        fs::write(&text, open_metrics(series)).unwrap();
        let made = Command::new("promtool")
            .args(["tsdb", "create-blocks-from", "openmetrics"])
            .args([&text, &data])
            .output()
            .unwrap();
        assert!(made.status.success(), "promtool: {}", String::from_utf8_lossy(&made.stderr));

        fs::write(folder.join("prometheus.yml"), "scrape_configs: []\n").unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut process = Command::new("prometheus")
            .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", data.display()))
            .arg("--storage.tsdb.retention.time=100y")
            .arg(format!("--web.listen-address={address}"))
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(process.stderr.take().unwrap());
        let server = Self { process, address };
        let (tell, told) = mpsc::channel();
        // Reads on when the server is ready, or its log would fill the pipe and stop it.
        thread::spawn(move || {
            let mut said = String::new();
            for line in log.lines().map_while(Result::ok) {
                if line.contains("ready to receive web requests") {
                    tell.send(Ok(())).unwrap_or_default();
                }
                said = said + &line + "\n";
            }
            tell.send(Err(said)).unwrap_or_default();
        });
        told.recv_timeout(PATIENCE).expect("prometheus begins in a minute").expect("it begins");
        server
    }

    fn ask(&self, query: &Query) -> Result<Found, String> {
        let text = encoded(&query.text);
        let (start, end, step) = (query.start, query.end(), query.step);
        let path = match query.steps {
            0 => format!("/api/v1/query?query={text}&time={start}"),
            _ => format!("/api/v1/query_range?query={text}&start={start}&end={end}&step={step}"),
        };
        let answer: serde_json::Value = serde_json::from_slice(&self.get(&path).unwrap()).unwrap();
        if answer["status"] != "success" {
            return Err(answer["error"].to_string());
        }
        let result = answer["data"]["result"].as_array().unwrap();
        Ok(match answer["data"]["resultType"].as_str().unwrap() {
            "scalar" => Found::from([(Labels::empty(), vec![point(&answer["data"]["result"])])]),
            "vector" => result.iter().map(|s| (labels(s), vec![point(&s["value"])])).collect(),
            _ => result
                .iter()
                .map(|s| (labels(s), s["values"].as_array().unwrap().iter().map(point).collect()))
                .collect(),
        })
    }

    /// The body of an answer. By HTTP/1.0 it ends with the connection.
    fn get(&self, path: &str) -> io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let body = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
        Ok(answer.split_off(body))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        self.process.kill().unwrap_or_default();
        drop(self.process.wait());
    }
}

fn open_metrics(series: &[(Labels, Vec<Sample>)]) -> String {
    let mut text = String::new();
    for (labels, samples) in series {
        for Sample { at, value } in samples {
            let (at, value) = (at.as_millis(), value.as_float().unwrap());
            writeln!(text, "{labels} {value} {}.{:03}", at / 1000, at % 1000).unwrap();
        }
    }
    text + "# EOF\n"
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |text, b| match b {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => text + &char::from(b).to_string(),
        _ => text + &format!("%{b:02X}"),
    })
}

fn labels(series: &serde_json::Value) -> Labels {
    let all = series["metric"].as_object().unwrap();
    Labels::from_pairs(all.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap())))
}

/// `[1767225607, "1.5"]`
fn point(pair: &serde_json::Value) -> (i64, f64) {
    let seconds = pair[0].as_f64().unwrap();
    ((seconds * 1000.0).round() as i64, pair[1].as_str().unwrap().parse().unwrap())
}
