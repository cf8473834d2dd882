//! The JSON of answers, byte by byte.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use hms_ops_core::labels::Labels;
use hms_ops_core::query::{Answer, Data};
use hms_ops_core::sample::{CounterReset, Histogram, Sample, Value};
use hms_ops_core::time::Timestamp;

use crate::http::world::{NOW, Says, api, get, post, send, store, world};

fn sample(millis: i64, value: f64) -> Sample {
    Sample { at: Timestamp::from_millis(millis), value: Value::Float(value) }
}

async fn answered(answer: Answer, fields: &str) -> String {
    let engine = Says::new(move || Ok(answer.clone()));
    let got = get(&api(engine, store().await).router(), &format!("/api/v1/query?{fields}")).await;
    assert_eq!(got.headers["content-type"], "application/json");
    got.text().to_owned()
}

#[tokio::test]
async fn each_kind_of_data_has_its_shape() {
    let at = Timestamp::from_millis(1_700_000_000_500);
    assert_eq!(
        answered(Data::Scalar(at, 1e21).into(), "").await,
        r#"{"status":"success","data":{"resultType":"scalar","result":[1700000000.5,"1000000000000000000000"]}}"#
    );
    assert_eq!(
        answered(Data::Text(at, "a\"b".into()).into(), "").await,
        r#"{"status":"success","data":{"resultType":"string","result":[1700000000.5,"a\"b"]}}"#
    );
    let up = Labels::metric("up").with("job", "a\nb");
    let vector = Data::Vector(vec![
        (Labels::empty(), sample(1000, f64::NAN)),
        (up.clone(), sample(1001, f64::INFINITY)),
    ]);
    assert_eq!(
        answered(vector.into(), "").await,
        "{\"status\":\"success\",\"data\":{\"resultType\":\"vector\",\"result\":[\
         {\"metric\":{},\"value\":[1,\"NaN\"]},\
         {\"metric\":{\"__name__\":\"up\",\"job\":\"a\\nb\"},\"value\":[1.001,\"+Inf\"]}]}}"
    );
    let matrix = Data::Matrix(vec![
        (Labels::empty(), vec![sample(0, -0.0), sample(15_000, 1e-7)]),
        (up, vec![sample(0, 2.5)]),
    ]);
    assert_eq!(
        answered(matrix.into(), "").await,
        "{\"status\":\"success\",\"data\":{\"resultType\":\"matrix\",\"result\":[\
         {\"metric\":{},\"values\":[[0,\"-0\"],[15,\"1e-07\"]]},\
         {\"metric\":{\"__name__\":\"up\",\"job\":\"a\\nb\"},\"values\":[[0,\"2.5\"]]}]}}"
    );
    for (empty, kind) in [(Data::Vector(vec![]), "vector"), (Data::Matrix(vec![]), "matrix")] {
        assert_eq!(
            answered(empty.into(), "").await,
            format!(r#"{{"status":"success","data":{{"resultType":"{kind}","result":[]}}}}"#)
        );
    }
}

#[tokio::test]
async fn a_native_histogram_has_its_buckets_in_numbers() {
    let histogram = Value::Histogram(Arc::new(Histogram {
        schema: 0,
        zero_threshold: 0.001,
        zero_count: 2.0,
        count: 12.0,
        sum: 18.5,
        positive: vec![(1, 4.0), (2, 5.0)],
        negative: vec![(0, 1.0)],
        custom_edges: vec![],
        reset: CounterReset::Unknown,
    }));
    let at = Timestamp::from_millis(1500);
    let json = "[1.500,{\"count\":\"12\",\"sum\":\"18.5\",\"buckets\":[\
                [1,\"-1\",\"-0.5\",\"1\"],[3,\"-0.001\",\"0.001\",\"2\"],\
                [0,\"1\",\"2\",\"4\"],[0,\"2\",\"4\",\"5\"]]}]";
    let vector = Data::Vector(vec![(Labels::empty(), Sample { at, value: histogram.clone() })]);
    let said = answered(vector.into(), "").await;
    assert!(said.ends_with(&format!("[{{\"metric\":{{}},\"histogram\":{json}}}]}}}}")), "{said}");
    // A series that was a number before: numbers first, in one list, then histograms.
    let mixed = vec![sample(0, 7.0), Sample { at, value: histogram }, sample(2000, 8.0)];
    let said = answered(Data::Matrix(vec![(Labels::empty(), mixed)]).into(), "").await;
    let numbers = r#"{"metric":{},"values":[[0,"7"],[2,"8"]],"#;
    assert!(said.ends_with(&format!("{numbers}\"histograms\":[{json}]}}]}}}}")), "{said}");
}

#[tokio::test]
async fn warnings_and_infos_stand_beside_the_data() {
    let warned = Answer {
        data: Data::Vector(vec![]),
        warnings: vec!["w1".into(), "w\"2".into()],
        infos: vec!["i".into()],
    };
    assert_eq!(
        answered(warned, "").await,
        r#"{"status":"success","data":{"resultType":"vector","result":[]},"warnings":["w1","w\"2"],"infos":["i"]}"#
    );
}

#[tokio::test]
async fn an_answer_beyond_the_limit_is_cut_and_says_so() {
    let series = |n: i64| (Labels::metric(&format!("m{n}")), sample(0, 1.0));
    let answer: Answer = Data::Vector((0..3).map(series).collect()).into();
    let cut = answered(answer.clone(), "limit=2").await;
    assert!(cut.ends_with(r#""warnings":["results truncated due to limit"]}"#), "{cut}");
    assert_eq!(cut.matches("metric").count(), 2);
    for fields in ["limit=3", "limit=0", ""] {
        assert!(!answered(answer.clone(), fields).await.contains("warnings"), "{fields}");
    }
    let routes = world().await;
    for path in ["series?match[]=up", "labels?", "label/job/values?match[]={instance!=''}"] {
        let all = get(&routes, &format!("/api/v1/{path}")).await.data();
        let one = get(&routes, &format!("/api/v1/{path}&limit=1")).await.json();
        let cut = all.as_array().unwrap().len() > 1;
        assert_eq!(one["data"][0], all[0]);
        assert_eq!(one["data"].as_array().unwrap().len(), 1);
        assert_eq!(one.get("warnings").is_some(), cut, "{path}");
    }
}

#[tokio::test]
async fn a_long_answer_is_sent_in_pieces_and_arrives_whole_compressed_or_not() {
    let series = |n: i64| {
        let samples = (0..5000).map(|i| sample(NOW + i * 15_000, (i * n) as f64 / 8.0)).collect();
        (Labels::metric("m").with("n", &n.to_string()), samples)
    };
    let data = Data::Matrix((0..20).map(series).collect());
    let engine = Says::new(move || Ok(data.clone().into()));
    let routes = api(engine, store().await).router();
    let range = "/api/v1/query_range?query=m&start=0&end=10&step=1";
    let plain = get(&routes, range).await;
    let result = plain.data()["result"].take();
    assert_eq!(result.as_array().unwrap().len(), 20);
    let values = result[19]["values"].as_array().unwrap();
    assert_eq!(values.len(), 5000);
    assert_eq!(values[4999].to_string(), r#"[1700074985,"11872.625"]"#);

    let request = Request::get(range).header("accept-encoding", "gzip, br");
    let zipped = send(&routes, request.body(Body::empty()).unwrap()).await;
    assert_eq!(zipped.headers["content-encoding"], "gzip");
    assert!(zipped.body.len() < plain.body.len() / 2);
    assert_eq!(zipped.inflated(), plain.text());
}

#[tokio::test]
async fn a_short_answer_is_not_worth_compressing() {
    let routes = world().await;
    let ask = async |path: &str| {
        let request = Request::get(path).header("accept-encoding", "gzip");
        send(&routes, request.body(Body::empty()).unwrap()).await
    };
    assert!(!ask("/api/v1/labels").await.headers.contains_key("content-encoding"));
    let longer = ask("/api/v1/query_range?query=up&start=1699999400&end=1700000000&step=15").await;
    assert_eq!(longer.headers["content-encoding"], "gzip");
    assert!(longer.inflated().ends_with("]]}]}}"));
}

#[tokio::test]
async fn what_the_form_says_reaches_the_engine_and_counts_before_the_url() {
    let engine = Says::new(|| Ok(Data::Vector(vec![]).into()));
    let routes = api(engine.clone(), store().await).router();
    let asked = || engine.asked.lock().unwrap().take().unwrap();

    get(&routes, "/api/v1/query?query=a").await.data();
    let (query, range, _, options) = asked();
    assert_eq!((query.as_str(), range.end.as_millis()), ("a", NOW));
    assert_eq!(options, Default::default());

    let form =
        "query=b&start=10&end=2023-11-14T22:13:20.5Z&step=1w&timeout=1m30s&lookback_delta=1.5";
    post(&routes, "/api/v1/query_range?query=c&start=1", form).await.data();
    let (query, range, step, options) = asked();
    assert_eq!((query.as_str(), range.start.as_millis()), ("b", 10_000));
    assert_eq!((range.end.as_millis(), step.as_secs()), (1_700_000_000_500, 7 * 86_400));
    assert_eq!(options.timeout.unwrap().as_secs(), 90);
    assert_eq!(options.lookback.unwrap().as_millis(), 1500);
}

#[tokio::test]
async fn a_federating_server_gets_the_newest_samples_as_text() {
    let routes = world().await;
    let got = get(&routes, "/federate?match[]=up&match[]={job='web',instance='b:80'}").await;
    assert_eq!(got.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(
        got.text(),
        format!(
            "# TYPE http_requests_total untyped\n\
             http_requests_total{{instance=\"b:80\",job=\"web\"}} 270 {NOW}\n\
             # TYPE up untyped\n\
             up{{instance=\"a:80\",job=\"web\"}} 1 {NOW}\n\
             up{{instance=\"b:80\",job=\"web\"}} 1 {NOW}\n"
        )
    );
    let store = Arc::new(hms_ops_core::store::MemoryStore::new());
    let at = Timestamp::from_millis(NOW);
    use hms_ops_core::store::StoreExt;
    store.append_one(&Labels::metric("load"), at, 0.5).await.unwrap();
    store.append_one(&Labels::metric("gone"), at, Value::STALE).await.unwrap();
    let engine = Says::new(|| Ok(Data::Vector(vec![]).into()));
    let routes = api(engine, store).router();
    let got = get(&routes, "/federate?match[]=load&match[]=gone").await;
    assert_eq!(got.text(), format!("# TYPE load untyped\nload{{instance=\"\"}} 0.5 {NOW}\n"));
    assert_eq!(get(&routes, "/federate?match[]={").await.status, 400);
}
