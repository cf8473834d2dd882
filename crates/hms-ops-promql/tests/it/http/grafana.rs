//! What Grafana asks, from the test of a data source to a panel.

use std::sync::Arc;

use hms_ops_core::metadata::{MetadataStore, MetricType};
use hms_ops_promql::Engine;
use serde_json::json;

use crate::http::world::{NOW, api, get, post, store, world};

#[tokio::test]
async fn grafana_tests_its_data_source_and_sets_a_query_well() {
    let routes = world().await;
    let form = "query=1%2B1&time=1700000000.5";
    let sum = post(&routes, "/api/v1/query", form).await;
    assert_eq!(
        sum.text(),
        r#"{"status":"success","data":{"resultType":"scalar","result":[1700000000.5,"2"]}}"#
    );
    let pretty = post(&routes, "/api/v1/format_query", "query=sum(rate(up%5B5m%5D))by(job)").await;
    assert_eq!(pretty.data(), json!("sum by (job) (rate(up[5m]))"));
    let broken = get(&routes, "/api/v1/format_query?query=sum(").await;
    assert_eq!(
        broken.text(),
        r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": 1:5: parse error: unclosed left parenthesis"}"#
    );
}

#[tokio::test]
async fn grafana_knows_what_metrics_are() {
    let metadata = Arc::new(MetadataStore::new());
    metadata.set("up", MetricType::Gauge, "Whether \"it\" answers.", "");
    metadata.set("latency_seconds", MetricType::Histogram, "How long.", "seconds");
    let store = store().await;
    let routes = api(Arc::new(Engine::new(store.clone())), store).metadata(metadata).router();
    let ask = async |fields: &str| get(&routes, &format!("/api/v1/metadata?{fields}")).await.data();
    let up = json!([{"type": "gauge", "help": "Whether \"it\" answers.", "unit": ""}]);
    let latency = json!([{"type": "histogram", "help": "How long.", "unit": "seconds"}]);
    assert_eq!(ask("").await, json!({"up": up, "latency_seconds": latency}));
    assert_eq!(ask("limit=1").await, json!({"latency_seconds": latency}));
    assert_eq!(ask("metric=up").await, json!({"up": up}));
    assert_eq!(ask("metric=down").await, json!({}));
}

#[tokio::test]
async fn grafana_finds_metrics_labels_and_values() {
    let routes = world().await;
    let (start, end) = (NOW / 1000 - 3600, NOW / 1000);
    let names =
        get(&routes, &format!("/api/v1/label/__name__/values?start={start}&end={end}")).await;
    assert_eq!(names.data(), json!(["http_requests_total", "up"]));

    let form = format!("start={start}&end={end}&match%5B%5D=%7B__name__%3D%22up%22%7D");
    let labels = post(&routes, "/api/v1/labels", &form).await;
    assert_eq!(labels.data(), json!(["__name__", "instance", "job"]));

    let values = format!("/api/v1/label/instance/values?start={start}&end={end}&match%5B%5D=up");
    assert_eq!(get(&routes, &values).await.data(), json!(["a:80", "b:80"]));

    let series = post(&routes, "/api/v1/series", &form).await.data();
    assert_eq!(series.as_array().unwrap().len(), 2);
    assert_eq!(series[0], json!({"__name__": "up", "instance": "a:80", "job": "web"}));

    let twice = "match[]=up&match[]={instance='a:80'}";
    let both = get(&routes, &format!("/api/v1/series?{twice}")).await.data();
    assert_eq!(both.as_array().unwrap().len(), 3, "each series once");
    let never = get(&routes, "/api/v1/series?match[]=up&end=1").await;
    assert_eq!(never.data(), json!([]));
    assert_eq!(get(&routes, "/api/v1/metadata").await.data(), json!({}));
}

#[tokio::test]
async fn grafana_draws_a_panel_with_its_exemplars() {
    let routes = world().await;
    let (start, end) = (NOW / 1000 - 60, NOW / 1000);
    let form = format!(
        "query=http_requests_total%7Binstance%3D%22a%3A80%22%7D&start={start}&end={end}&step=30"
    );
    let data = post(&routes, "/api/v1/query_range", &form).await.data();
    assert_eq!(
        data,
        json!({"resultType": "matrix", "result": [{
            "metric": {"__name__": "http_requests_total", "instance": "a:80", "job": "web"},
            "values": [[start, "168"], [start + 30, "174"], [end, "180"]],
        }]})
    );
    let data = post(&routes, "/api/v1/query", "query=up&time=1700000000.000").await.data();
    assert_eq!(data["resultType"], "vector");
    assert_eq!(data["result"][1]["value"], json!([1_700_000_000, "1"]));

    let rate = "sum(rate(http_requests_total%7Binstance!%3D%22b%3A80%22%7D%5B5m%5D))";
    let form = format!("query={rate}+%2B+count(up)&start={start}&end={end}");
    let exemplars = post(&routes, "/api/v1/query_exemplars", &form).await.data();
    assert_eq!(
        exemplars,
        json!([{
            "seriesLabels": {"__name__": "http_requests_total", "instance": "a:80", "job": "web"},
            "exemplars": [{
                "labels": {"trace_id": "4bf92f3577b34da6"},
                "value": "0.25",
                "timestamp": 1_699_999_999.9,
            }],
        }])
    );
    let none = get(&routes, "/api/v1/query_exemplars?query=1").await;
    assert_eq!((none.status.as_u16(), none.text()), (204, ""));
}
