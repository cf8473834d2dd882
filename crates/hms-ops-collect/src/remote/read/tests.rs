//! What remote read answers, and what it refuses.

use hms_ops_core::labels::Labels;
use hms_ops_core::store::{MemoryStore, StoreExt};

use super::*;

async fn store() -> Arc<dyn Store> {
    let store = MemoryStore::new();
    for (name, job) in [("up", "a"), ("up", "b"), ("down", "a")] {
        for at in [1000, 2000, 3000] {
            let labels = Labels::metric(name).with("job", job);
            store.append_one(&labels, Timestamp::from_millis(at), at as f64).await.unwrap();
        }
    }
    Arc::new(store)
}

fn message(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut message = Vec::new();
    write(&mut Writer::new(&mut message));
    message
}

fn query(request: &mut Writer<'_>, start: i64, end: i64, matchers: &[(u64, &str, &str)]) {
    request.message(1, |query| {
        query.int(1, start);
        query.int(2, end);
        for (kind, name, value) in matchers {
            query.message(3, |matcher| {
                matcher.uint(1, *kind);
                matcher.bytes(2, name);
                matcher.bytes(3, value);
            });
        }
        query.message(4, |hints| hints.bytes(2, "rate"));
    });
}

async fn ask(message: &[u8], limits: Limits) -> Result<Vec<String>, ReadError> {
    let answer = read(&store().await, &limits, &snappy::deflate(message).unwrap()).await?;
    let mut buffer = Vec::new();
    let mut results = Reader::new(snappy::inflate(&answer, 1 << 20, &mut buffer).unwrap());
    let mut read = Vec::new();
    while let Some((1, result)) = results.next().unwrap() {
        let mut all = Reader::new(result.bytes("result").unwrap());
        let mut series = Vec::new();
        while let Some((1, one)) = all.next().unwrap() {
            let (mut pairs, mut times) = (Vec::new(), Vec::new());
            let mut fields = Reader::new(one.bytes("timeseries").unwrap());
            while let Some((number, field)) = fields.next().unwrap() {
                let mut parts = Reader::new(field.bytes("part").unwrap());
                let (_, first) = parts.next().unwrap().unwrap();
                let (_, second) = parts.next().unwrap().unwrap();
                match number {
                    1 => pairs.push((first.text("name").unwrap(), second.text("value").unwrap())),
                    2 => {
                        assert_eq!(first.double("v").unwrap(), second.int("t").unwrap() as f64);
                        times.push(second.int("t").unwrap());
                    }
                    number => panic!("{number}"),
                }
            }
            series.push(format!("{} {times:?}", Labels::from_pairs(pairs)));
        }
        read.push(series.join(" "));
    }
    Ok(read)
}

#[tokio::test]
async fn each_query_has_its_result_in_the_order_of_the_queries() {
    let request = message(|request| {
        query(request, 1000, 2000, &[(0, "__name__", "up")]);
        query(request, 5000, 6000, &[(0, "__name__", "up")]);
        query(request, 2500, 9000, &[(1, "__name__", "down"), (2, "job", "a|c")]);
        query(request, 3000, 3000, &[(3, "job", "a"), (3, "other", ".+")]);
        request.uints(2, [1, 0]);
    });
    assert_eq!(
        ask(&request, Limits::default()).await.unwrap(),
        [
            r#"up{job="a"} [1000, 2000] up{job="b"} [1000, 2000]"#,
            "",
            r#"up{job="a"} [3000]"#,
            r#"up{job="b"} [3000]"#
        ]
    );
}

#[tokio::test]
async fn a_read_that_cannot_be_answered_says_why() {
    let all = |request: &mut Writer<'_>| query(request, 0, 9000, &[(2, "__name__", ".+")]);
    let few = Limits { read_samples: 8, ..Limits::default() };
    let short = Limits { message_bytes: 100, ..Limits::default() };
    for (request, limits, reason) in [
        (message(all), few, "more than 8 samples: ask for fewer series or less time"),
        (message(all), short, "more than 100 bytes: ask for fewer series or less time"),
        (
            message(|request| request.uints(2, [1])),
            Limits::default(),
            "none of the accepted response types is SAMPLES, which is the one there is",
        ),
        (
            message(|request| query(request, 0, 1, &[(4, "a", "b")])),
            Limits::default(),
            "the matcher of label \"a\" has type 4, which is none",
        ),
        (
            message(|request| query(request, 0, 1, &[(2, "a", "(")])),
            Limits::default(),
            "label \"a\": \"(\" is not a regular expression",
        ),
        (
            message(|request| (0..65).for_each(|_| all(request))),
            Limits::default(),
            "more than 64 queries: ask for fewer series or less time",
        ),
        (
            message(|request| {
                (0..43).for_each(|_| query(request, 0, 1, &[(2, "a", ".+b"); 3]));
            }),
            Limits::default(),
            "more than 128 matchers: ask for fewer series or less time",
        ),
        (
            vec![0x0a, 1],
            Limits::default(),
            "the message is damaged: the message breaks off within a field",
        ),
    ] {
        assert_eq!(ask(&request, limits).await.unwrap_err().to_string(), reason);
    }
}
