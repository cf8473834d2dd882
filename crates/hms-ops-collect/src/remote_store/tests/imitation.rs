//! A backend in this process: as much of Prometheus as the store asks for, over a [`MemoryStore`].

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64};

use hms_ops_core::labels::Labels;
use hms_ops_core::matcher::{Matcher, Selector};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::wire::{compress, inflate, put_series, read_write_request};
use super::*;
use crate::protobuf::{Reader, Writer};

pub(super) struct Imitation {
    address: SocketAddr,
    state: Arc<State>,
    server: task::JoinHandle<()>,
}

struct State {
    store: Mutex<Arc<MemoryStore>>,
    /// What a write is answered.
    status: AtomicU16,
    /// The value of `zone` that is refused, as if it were out of bounds.
    bad: Mutex<Option<String>>,
    newest: Mutex<HashMap<Labels, Timestamp>>,
    late: AtomicBool,
    born: AtomicU64,
    looks: AtomicU64,
    connections: AtomicU64,
    /// Whether `/metrics` says nothing.
    mute: AtomicBool,
    /// What a query is answered, beside 42.
    query_status: AtomicU16,
    /// What it says to a write that it does not take.
    said: Mutex<String>,
}

fn empty() -> Arc<MemoryStore> {
    let store = MemoryStore::with_limits(10_000, 10_000);
    Arc::new(store.out_of_order_window(Duration::from_secs(100 * 365 * 86_400)))
}

impl Imitation {
    pub(super) async fn start() -> Self {
        let state = Arc::new(State {
            store: Mutex::new(empty()),
            status: AtomicU16::new(204),
            bad: Mutex::default(),
            newest: Mutex::default(),
            late: AtomicBool::new(false),
            born: AtomicU64::new(1),
            looks: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            mute: AtomicBool::new(false),
            query_status: AtomicU16::new(200),
            said: Mutex::new("no".to_owned()),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener, state.clone()));
        Self { address, state, server }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn answer(&self, status: u16) {
        self.state.status.store(status, SeqCst);
    }

    /// Says nothing, to a write nor to a read, until it is to answer.
    pub(super) fn hang(&self) {
        self.answer(0);
    }

    pub(super) fn refuse(&self, zone: &str) {
        *self.state.bad.lock().unwrap() = Some(zone.to_owned());
    }

    pub(super) async fn collect(&self) -> Vec<(Labels, Vec<Sample>)> {
        let store = self.state.store.lock().unwrap().clone();
        store.collect(&[], TimeRange::ALL).await.unwrap()
    }

    pub(super) fn in_order(&self) -> bool {
        !self.state.late.load(SeqCst)
    }

    /// Says nothing more at `/metrics`.
    pub(super) fn mute(&self) {
        self.state.mute.store(true, SeqCst);
    }

    pub(super) fn answer_queries(&self, status: u16) {
        self.state.query_status.store(status, SeqCst);
    }

    pub(super) fn connections(&self) -> u64 {
        self.state.connections.load(SeqCst)
    }

    /// Says so much with each refusal.
    pub(super) fn say(&self, text: String) {
        *self.state.said.lock().unwrap() = text;
    }

    pub(super) fn looks(&self) -> u64 {
        self.state.looks.load(SeqCst)
    }

    /// From one moment to the next it is another process, which has nothing.
    pub(super) fn replace(&self) {
        *self.state.store.lock().unwrap() = empty();
        self.state.born.fetch_add(1, SeqCst);
    }

    pub(super) async fn die(&mut self) {
        self.server.abort();
        let _ = (&mut self.server).await;
    }

    pub(super) async fn rise_empty(&mut self) {
        *self.state.store.lock().unwrap() = empty();
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.server = tokio::spawn(serve(listener, self.state.clone()));
    }
}

impl Drop for Imitation {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Dropped, it takes its connections with it.
async fn serve(listener: TcpListener, state: Arc<State>) {
    let mut connections = task::JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        state.connections.fetch_add(1, SeqCst);
        let state = state.clone();
        connections.spawn(async move {
            let mut stream = BufReader::new(stream);
            while exchange(&mut stream, &state).await.is_some() {}
        });
    }
}

async fn exchange(stream: &mut BufReader<TcpStream>, state: &State) -> Option<()> {
    let mut first = String::new();
    stream.read_line(&mut first).await.ok()?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(text) = line.strip_prefix("content-length:") {
            length = text.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let target = first.split(' ').nth(1)?;
    let (status, body) = state.handle(target, &body).await;
    let pause = if status == 429 { "retry-after: 1\r\n" } else { "" };
    let head = format!("HTTP/1.1 {status} x\r\n{pause}content-length: {}\r\n\r\n", body.len());
    stream.get_mut().write_all(&[head.as_bytes(), &body].concat()).await.ok()
}

impl State {
    async fn handle(&self, target: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let form = format!("{query}&{}", String::from_utf8_lossy(body));
        let store = self.store.lock().unwrap().clone();
        if self.status.load(SeqCst) == 0 {
            std::future::pending::<()>().await;
        }
        let data = match path {
            "/api/v1/write" => return self.write(&store, body).await,
            "/api/v1/read" => return (200, read(&store, body).await),
            "/api/v1/query" | "/api/v1/query_range" => {
                let status = self.query_status.load(SeqCst);
                let data = json!({ "resultType": "scalar", "result": [1, "42"] });
                let answer = json!({ "data": data, "error": "why", "warnings": ["beware"] });
                return (status, answer.to_string().into());
            }
            "/metrics" => {
                self.looks.fetch_add(1, SeqCst);
                if self.mute.load(SeqCst) {
                    std::future::pending::<()>().await;
                }
                let born = self.born.load(SeqCst);
                return (200, format!("process_start_time_seconds {born}e9\n").into());
            }
            "/api/v1/series" => json!(
                store
                    .series(&matchers(&form), range(&form))
                    .await
                    .unwrap()
                    .iter()
                    .map(object)
                    .collect::<Vec<_>>()
            ),
            "/api/v1/labels" => {
                json!(store.label_names(&matchers(&form), range(&form)).await.unwrap())
            }
            "/api/v1/query_exemplars" => {
                let found = store.exemplars(&matchers(&form), range(&form)).await.unwrap();
                json!(
                    found
                        .iter()
                        .map(|(labels, exemplars)| {
                            let exemplars: Vec<_> = exemplars
                                .iter()
                                .map(|e| {
                                    json!({
                                        "labels": object(&e.labels),
                                        "value": e.value.to_string(),
                                        "timestamp": e.at.as_millis() as f64 / 1000.0,
                                    })
                                })
                                .collect();
                            json!({ "seriesLabels": object(labels), "exemplars": exemplars })
                        })
                        .collect::<Vec<_>>()
                )
            }
            path => {
                let name = path.strip_prefix("/api/v1/label/").unwrap();
                let name = name.strip_suffix("/values").unwrap();
                json!(store.label_values(name, &matchers(&form), range(&form)).await.unwrap())
            }
        };
        (200, json!({ "status": "success", "data": data }).to_string().into())
    }

    /// As Prometheus 2.x: all of a request or nothing.
    async fn write(&self, store: &MemoryStore, body: &[u8]) -> (u16, Vec<u8>) {
        let status = self.status.load(SeqCst);
        if status != 204 {
            return (status, self.said.lock().unwrap().clone().into());
        }
        let all = read_write_request(&inflate(body, 64 << 20).unwrap()).unwrap();
        let bad = self.bad.lock().unwrap().clone();
        if all.iter().any(|one| bad.is_some() && one.labels.get("zone") == bad.as_deref()) {
            return (400, b"out of bounds".to_vec());
        }
        let commit = {
            let mut batch = store.appender();
            for one in all {
                let series = batch.series(&one.labels).unwrap();
                for Sample { at, value } in one.samples {
                    let newest = self.newest.lock().unwrap().insert(one.labels.clone(), at);
                    if newest.is_some_and(|newest| newest > at) {
                        self.late.store(true, SeqCst);
                    }
                    let _ = batch.append(series, at, value);
                }
                for exemplar in one.exemplars {
                    let _ = batch.exemplar(series, exemplar);
                }
            }
            batch.commit()
        };
        commit.await.unwrap();
        (204, Vec::new())
    }
}

async fn read(store: &MemoryStore, body: &[u8]) -> Vec<u8> {
    let body = inflate(body, 1 << 20).unwrap();
    let (1, query) = Reader::new(&body).next().unwrap().unwrap() else { panic!() };
    let (mut range, mut matchers) = (TimeRange::new(at(0), at(0)), Vec::new());
    let mut fields = Reader::new(query.bytes("queries").unwrap());
    while let Some((number, field)) = fields.next().unwrap() {
        let time = || Timestamp::from_millis(field.int("time").unwrap());
        match number {
            1 => range.start = time(),
            2 => range.end = time(),
            3 => matchers.push(matcher(field.bytes("matchers").unwrap())),
            _ => {}
        }
    }
    let (mut result, mut response) = (Vec::new(), Vec::new());
    for (labels, samples) in store.collect(&matchers, range).await.unwrap() {
        put_series(&mut result, &labels, &samples, &[]);
    }
    Writer::new(&mut response).bytes(1, &result);
    compress(&response)
}

fn matcher(message: &[u8]) -> Matcher {
    let (mut kind, mut texts) = (0, Vec::new());
    let mut fields = Reader::new(message);
    while let Some((number, field)) = fields.next().unwrap() {
        match number {
            1 => kind = field.uint("type").unwrap(),
            _ => texts.push(field.text("a text").unwrap()),
        }
    }
    let [name, value] = texts[..] else { panic!("{texts:?}") };
    match kind {
        0 => Matcher::equal(name, value),
        1 => Matcher::not_equal(name, value),
        2 => Matcher::regex(name, value).unwrap(),
        _ => Matcher::not_regex(name, value).unwrap(),
    }
}

fn parameter(form: &str, wanted: &str) -> Option<String> {
    let pairs = form.split('&').filter_map(|pair| pair.split_once('='));
    let value = pairs.into_iter().find(|(name, _)| decoded(name) == wanted)?.1;
    Some(decoded(value))
}

fn matchers(form: &str) -> Vec<Matcher> {
    let text = parameter(form, "match[]").or_else(|| parameter(form, "query"));
    text.map_or(Vec::new(), |text| text.parse::<Selector>().unwrap().matchers().to_vec())
}

fn range(form: &str) -> TimeRange {
    let time = |name| {
        let seconds: f64 = parameter(form, name).unwrap().parse().unwrap();
        Timestamp::from_millis((seconds * 1000.0).round() as i64)
    };
    TimeRange::new(time("start"), time("end"))
}

fn decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).unwrap()
}

fn object(labels: &Labels) -> serde_json::Value {
    labels.iter().map(|(name, value)| (name.to_owned(), json!(value))).collect()
}
