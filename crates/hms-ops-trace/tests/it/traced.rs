use std::fmt::{self, Display};
use std::future::ready;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use hms_ops_core::span::{AttributeValue, SpanKind, SpanStatus};
use hms_ops_macros::trace;
use hms_ops_trace::current;
use tokio::task::yield_now;

use crate::{attribute, named, parent, record, record_async};

fn failed(reason: &'static str) -> SpanStatus {
    SpanStatus::Error(reason.into())
}

fn text(text: &'static str) -> AttributeValue {
    AttributeValue::Text(text.into())
}

#[derive(Debug, PartialEq)]
struct PayError;

impl Display for PayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the account is closed")
    }
}

impl From<std::num::ParseIntError> for PayError {
    fn from(_: std::num::ParseIntError) -> Self {
        Self
    }
}

#[trace(crate = hms_ops_trace)]
async fn pay(amount: &str) -> Result<u32, PayError> {
    yield_now().await;
    let amount = parse(amount)?;
    if amount == 0 {
        return Err(PayError);
    }
    Ok(amount)
}

#[trace(crate = hms_ops_trace)]
fn parse(amount: &str) -> Result<u32, PayError> {
    let amount = amount.parse::<u32>()?;
    Ok(amount)
}

#[test]
fn a_traced_function_is_named_by_itself_and_nests() {
    let spans = record_async(async || {
        assert_eq!(pay("12").await, Ok(12));
    });
    assert_eq!(spans.len(), 3);
    assert_eq!(parent(&spans, "pay"), Some("test"));
    assert_eq!(parent(&spans, "parse"), Some("pay"));
    assert_eq!(named(&spans, "pay").status, SpanStatus::Unset);
    let file = attribute(named(&spans, "pay"), "code.file.path").unwrap();
    assert!(matches!(file, AttributeValue::Text(path) if path.ends_with("traced.rs")), "{file:?}");
}

#[test]
fn an_error_is_an_error_of_the_span() {
    let spans = record_async(async || {
        assert_eq!(pay("0").await, Err(PayError));
    });
    assert_eq!(named(&spans, "pay").status, failed("the account is closed"));
    assert_eq!(named(&spans, "parse").status, SpanStatus::Unset);

    let spans = record(|| assert!(parse("x").is_err()));
    assert_eq!(named(&spans, "parse").status, failed("the account is closed"));
}

#[trace(crate = hms_ops_trace, skip_err)]
async fn expected() -> Result<(), PayError> {
    Err(PayError)
}

#[trace(crate = hms_ops_trace, skip_err)]
fn expected_sync() -> Result<(), PayError> {
    Err(PayError)
}

#[test]
fn an_error_may_be_expected() {
    let spans = record_async(async || {
        let _ = (expected().await, expected_sync());
    });
    assert_eq!(named(&spans, "expected").status, SpanStatus::Unset);
    assert_eq!(named(&spans, "expected_sync").status, SpanStatus::Unset);
}

#[trace(crate = hms_ops_trace)]
fn panics() -> u8 {
    panic!("as planned")
}

#[trace(crate = hms_ops_trace)]
fn panics_within_a_result() -> Result<(), PayError> {
    panic!("as planned")
}

#[test]
fn a_panic_is_an_error_of_the_span() {
    let spans = record(|| {
        catch_unwind(AssertUnwindSafe(panics)).unwrap_err();
        catch_unwind(AssertUnwindSafe(panics_within_a_result)).unwrap_err();
    });
    assert_eq!(named(&spans, "panics").status, failed("panicked"));
    assert_eq!(named(&spans, "panics_within_a_result").status, failed("panicked"));
}

#[trace(crate = hms_ops_trace)]
async fn waits() {
    std::future::pending().await
}

#[test]
fn a_call_that_is_dropped_is_cancelled_if_it_had_begun() {
    let spans = record(|| {
        let mut call = Box::pin(waits());
        assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        drop(call);
    });
    assert_eq!(attribute(named(&spans, "waits"), "cancelled"), Some(&AttributeValue::Bool(true)));

    let spans = record(|| drop(waits()));
    assert_eq!(spans.len(), 1);
}

struct Claim(u32);

impl Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "claim-{}", self.0)
    }
}

#[trace(
    crate = hms_ops_trace,
    name = "settle parts",
    kind = "client",
    fields(%claim, parts = parts.len(), sum = parts.iter().sum::<u64>(), http.route = "/settle", "a b" = true)
)]
async fn settle(claim: Claim, parts: Vec<u64>) -> Claim {
    drop(parts);
    claim
}

#[trace(crate = hms_ops_trace, fields(kind, twice = %Claim(2 * claim.0)))]
fn settle_sync(claim: &mut Claim, kind: &str) {
    claim.0 = u32::try_from(kind.len()).unwrap();
}

#[test]
fn fields_are_attributes_with_the_values_from_the_start() {
    let spans = record_async(async || {
        settle(Claim(7), vec![1, 2]).await;
        settle_sync(&mut Claim(8), "life");
    });
    let settled = named(&spans, "settle parts");
    assert_eq!(settled.kind, SpanKind::Client);
    assert_eq!(attribute(settled, "claim"), Some(&text("claim-7")));
    assert_eq!(attribute(settled, "parts"), Some(&AttributeValue::Int(2)));
    assert_eq!(attribute(settled, "sum"), Some(&AttributeValue::Int(3)));
    assert_eq!(attribute(settled, "http.route"), Some(&text("/settle")));
    assert_eq!(attribute(settled, "a b"), Some(&AttributeValue::Bool(true)));

    let settled = named(&spans, "settle_sync");
    assert_eq!(attribute(settled, "kind"), Some(&text("life")));
    assert_eq!(attribute(settled, "twice"), Some(&text("claim-16")));
}

#[test]
fn a_long_text_is_cut() {
    #[trace(crate = hms_ops_trace, fields(%long))]
    fn fails(long: String) -> Result<(), String> {
        Err(long)
    }

    let spans = record(|| assert!(fails("x".repeat(1000)).is_err()));
    let span = named(&spans, "fails");
    assert_eq!(attribute(span, "long"), Some(&AttributeValue::Text("x".repeat(256).into())));
    assert_eq!(span.status, SpanStatus::Error("x".repeat(256).into()));
}

struct Account {
    owner: String,
    claims: Vec<u32>,
}

impl Account {
    #[trace(crate = hms_ops_trace)]
    fn owner_mut(&mut self) -> &mut String {
        &mut self.owner
    }

    #[trace(crate = hms_ops_trace)]
    fn claim_mut(&mut self, at: usize) -> Result<&mut u32, PayError> {
        let claim = self.claims.get_mut(at).ok_or(PayError)?;
        Ok(claim)
    }

    #[trace(crate = hms_ops_trace)]
    async fn name<'a>(&'a self, other: &'a Self) -> Result<&'a str, PayError> {
        yield_now().await;
        Ok(if self.owner.is_empty() { &other.owner } else { &self.owner })
    }

    #[trace(crate = hms_ops_trace)]
    async fn close(mut self) -> Vec<u32> {
        self.claims.clear();
        self.claims
    }

    #[trace(crate = hms_ops_trace)]
    fn claims(&self) -> impl Iterator<Item = u32> + '_ {
        self.claims.iter().copied()
    }
}

#[test]
fn methods_borrow_and_move_as_they_did() {
    let spans = record_async(async || {
        let mut account = Account { owner: "a".to_owned(), claims: vec![1] };
        account.owner_mut().push('b');
        *account.claim_mut(0).unwrap() += 1;
        assert!(account.claim_mut(9).is_err());
        let other = Account { owner: "c".to_owned(), claims: vec![] };
        assert_eq!(account.name(&other).await, Ok("ab"));
        assert_eq!(account.claims().collect::<Vec<_>>(), [2]);
        assert!(account.close().await.is_empty());
    });
    assert_eq!(spans.len(), 7);
}

#[trace(crate = hms_ops_trace)]
async fn all<T, E>(items: impl IntoIterator<Item = Result<T, E>>) -> Result<impl Sized, E>
where
    T: Clone + 'static,
{
    let mut all: Vec<T> = Vec::new();
    for item in items {
        all.push(item?);
        yield_now().await;
    }
    Ok(all)
}

#[trace(crate = hms_ops_trace)]
fn first<T: Copy, const N: usize, E>((items, _): (&[T; N], u8), mut at: usize) -> Result<T, E>
where
    E: From<PayError>,
{
    at += 1;
    items.get(at).copied().ok_or(PayError.into())
}

#[trace(crate = hms_ops_trace)]
unsafe extern "C" fn foreign(n: u8) -> u8 {
    n + 1
}

#[trace(crate = hms_ops_trace)]
async fn never(stop: bool) -> ! {
    loop {
        assert!(!stop, "as planned");
        yield_now().await;
    }
}

#[test]
fn generic_functions_are_traced_whatever_their_error_is() {
    struct Bare;

    impl From<PayError> for Bare {
        fn from(_: PayError) -> Self {
            Self
        }
    }

    let spans = record_async(async || {
        assert!(all([Ok::<u8, Bare>(1), Err(Bare)]).await.is_err());
        assert!(first::<_, 2, Bare>((&[1, 2], 0), 0).is_ok_and(|second| second == 2));
        assert!(first::<u8, 0, PayError>((&[], 0), 0).is_err());
        let _ = foreign as unsafe extern "C" fn(u8) -> u8;
    });
    assert_eq!(named(&spans, "all").status, failed("error"));
    let firsts: Vec<_> = spans.iter().filter(|span| span.name == "first").collect();
    assert_eq!(firsts[0].status, SpanStatus::Unset);
    assert_eq!(firsts[1].status, failed("error"), "what E is, is not known in the function");
}

#[test]
fn a_function_that_never_returns_may_panic() {
    let spans = record(|| {
        let mut call = Box::pin(never(true));
        let poll = AssertUnwindSafe(|| call.as_mut().poll(&mut Context::from_waker(Waker::noop())));
        catch_unwind(poll).map(|polled| polled.is_ready()).unwrap_err();
    });
    assert_eq!(named(&spans, "never").status, failed("panicked"));
}

#[async_trait]
trait Charge {
    async fn charge(&self, amount: &str) -> Result<u32, PayError>;
}

struct Card {
    limit: u32,
}

#[async_trait]
impl Charge for Card {
    #[trace(crate = hms_ops_trace, fields(limit = self.limit))]
    async fn charge(&self, amount: &str) -> Result<u32, PayError> {
        yield_now().await;
        let amount = pay(amount).await?;
        if amount > self.limit { Err(PayError) } else { Ok(amount) }
    }
}

#[trace(crate = hms_ops_trace)]
fn boxed(fail: bool) -> Pin<Box<dyn Future<Output = Result<u8, PayError>> + Send>> {
    let answer = if fail { "x" } else { "1" };
    Box::pin(async move {
        yield_now().await;
        Ok(answer.parse()?)
    })
}

#[test]
fn a_boxed_future_is_recorded_while_it_runs() {
    let spans = record_async(async || {
        let card: Box<dyn Charge> = Box::new(Card { limit: 10 });
        assert_eq!(card.charge("11").await, Err(PayError));
        assert!(boxed(true).await.is_err());
    });
    assert_eq!(named(&spans, "charge").status, failed("the account is closed"));
    assert_eq!(attribute(named(&spans, "charge"), "limit"), Some(&AttributeValue::Int(10)));
    assert_eq!(parent(&spans, "pay"), Some("charge"));
    assert_eq!(named(&spans, "boxed").status, failed("the account is closed"));
}

#[test]
fn traced_futures_may_be_spawned() {
    fn sends<T: Send + 'static>(_: T) {}
    sends(settle(Claim(1), vec![]));
    sends(boxed(false));
    sends(pay("1"));
}

#[test]
fn the_body_sees_no_names_but_its_own() {
    let (span, future, guard, output) = (1, 2, 3, 4);

    #[trace(crate = hms_ops_trace, fields(span, guard = output))]
    fn sums(span: u8, future: u8, guard: u8, output: u8) -> Result<u8, PayError> {
        Ok(span + future + guard + output)
    }

    #[trace(crate = hms_ops_trace, fields(span, ended = output))]
    async fn sums_async(span: u8, future: u8, guard: u8, output: u8) -> Result<u8, PayError> {
        Ok(span + future + guard + output)
    }

    record(|| {
        assert_eq!(sums(span, future, guard, output), Ok(10));
        let polled = pin!(sums_async(span, future, guard, output))
            .poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(polled, Poll::Ready(Ok(10)));
    });
}

#[test]
fn recursion_nests() {
    #[trace(crate = hms_ops_trace)]
    async fn down(depth: u8) -> u8 {
        match depth {
            0 => ready(0).await,
            _ => 1 + Box::pin(down(depth - 1)).await,
        }
    }

    let spans = record_async(async || {
        assert_eq!(down(3).await, 3);
        assert_eq!(current().map(|_| ()), Some(()));
    });
    assert_eq!(spans.len(), 5);
    assert!(spans.windows(2).all(|pair| pair[1].parent_id == Some(pair[0].span_id)));
}
