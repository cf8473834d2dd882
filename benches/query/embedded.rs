//! The measures of an engine in this process, each of which is a process's only work.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hms_ops_benches::server::data;
use hms_ops_benches::table::Figures;
use hms_ops_benches::tsink;
use hms_ops_benches::usage::Usage;
use hms_ops_benches::workload::{LARGE, VALUES, Workload};
use hms_ops_collect::remote::{self, RemoteWriter};
use hms_ops_core::clock::Stopwatch;
use hms_ops_core::metadata::MetadataStore;
use hms_ops_core::query::{QueryEngine, QueryOptions};
use hms_ops_core::time::TimeRange;
use hms_ops_promql::Engine;
use hms_ops_promql::http::Api;
use hms_ops_tsdb::{Durability, Options, Tsdb};
use tokio::net::TcpListener;

use crate::figures::{of, quantiles};
use crate::queries::{INSTANTS, RANGE, RANGES, asked_at};

/// What it is called in the table.
pub(crate) const NAME: &str = "Tsdb, its log synced each second, and the routers of its APIs";

/// Serves the store in `folder` until it is killed: remote write and queries.
pub(crate) async fn serve(folder: &Path, address: SocketAddr) -> Option<Figures> {
    let store = open(folder);
    let metadata = Arc::new(MetadataStore::default());
    let writer = RemoteWriter::new(store.clone(), metadata.clone(), remote::Limits::default());
    let engine = Arc::new(Engine::new(store.clone()));
    let routes = Api::new(engine, store.clone())
        .metadata(metadata)
        .router()
        .merge(remote::router(store, Arc::new(writer)));
    let listener = TcpListener::bind(address).await.expect("a free address");
    axum::serve(listener, routes).await.ok().map(|()| Figures::new())
}

/// Asks every query `repeats` times, and the short ones more often.
pub(crate) async fn ours(workload: Workload, folder: &Path, repeats: usize) -> Figures {
    let store = open(folder);
    workload.append(&*store, &folder.join(VALUES), LARGE).await;
    let engine = Engine::new(store);
    let (end, options) = (asked_at(workload.end()), QueryOptions::default());
    let range = TimeRange::new(end - RANGE, end);
    let mut figures = Figures::new();
    for query in RANGES {
        let before = Usage::own().cpu;
        for _ in 0..repeats {
            engine.range(query.text, range, query.step, &options).await.expect(query.name);
        }
        let each = (Usage::own().cpu - before) * 1e3 / repeats as f64;
        figures.insert(of("embedded", query.name), each);
    }
    for (name, text) in INSTANTS {
        let mut taken = Vec::new();
        for _ in 0..100 * repeats {
            let watch = Stopwatch::start();
            engine.instant(text, end, &options).await.expect(name);
            taken.push(watch.elapsed().as_secs_f64() * 1e6);
        }
        figures.extend(quantiles(name, taken));
    }
    figures
}

/// The same of tsink, as far as it goes; `repeats` is for the fast.
pub(crate) fn tsink(workload: Workload, folder: &Path, repeats: usize) -> Figures {
    let (storage, mut batch) = (tsink::open(folder), tsink::batch(workload));
    tsink::append(&*storage, workload, &folder.join(VALUES), &mut batch);
    let engine = tsink::engine(storage);
    let end = asked_at(workload.end());
    let mut figures = Figures::new();
    for query in RANGES {
        let before = Usage::own().cpu;
        let (mut done, watch) = (0, Stopwatch::start());
        while done < repeats && watch.elapsed() < PATIENCE {
            let [start, end] = [end - RANGE, end].map(|at| at.as_millis());
            let step = query.step.as_millis() as i64;
            engine.range_query(query.text, start, end, step).expect(query.name);
            done += 1;
        }
        let each = (Usage::own().cpu - before) * 1e3 / done as f64;
        figures.insert(of("embedded", query.name), each);
    }
    figures
}

/// How long a slow engine is asked the same.
const PATIENCE: Duration = Duration::from_secs(5);

fn open(folder: &Path) -> Arc<Tsdb> {
    let durability = Durability::Interval(Duration::from_secs(1));
    let options = Options { durability, ..Options::default() };
    Arc::new(Tsdb::open(data(folder), options).expect("a folder of ours"))
}
