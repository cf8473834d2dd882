//! The attribute macros: `#[trace]`, `#[runbook]` and `#[hms_ops::main]`.
//!
//! Users reach them through `hms-ops`, and what they expand to names that crate: `::hms_ops`. Where
//! it goes by another name, each macro takes `crate = path`.

mod function;
mod main_fn;
mod options;
mod runbook;
mod trace;

use proc_macro::TokenStream;
use proc_macro2::TokenStream as TokenStream2;

/// Records a span for every call of a function.
///
/// The span is a child of the one that is current, or the first of a new trace. An `async`
/// function's span begins at its first poll and is current whenever the function runs, never while
/// it waits.
///
/// ```ignore
/// #[trace]
/// async fn pay_claim(id: ClaimId) -> Result<Receipt, PayError> { /* … */ }
///
/// #[trace(name = "settle", kind = "client", fields(claim = %id, parts = parts.len()))]
/// fn settle_parts(id: ClaimId, parts: &[Part]) -> Result<(), SettleError> { /* … */ }
/// ```
///
/// | option | does |
/// |---|---|
/// | `name = "…"` | names the span; otherwise the function's name does |
/// | `kind = "…"` | `internal` (default), `server`, `client`, `producer` or `consumer` |
/// | `fields(key = expr, key = %expr, arg, %arg)` | adds attributes: numbers, truth values and texts as they are, anything else that has `Display` behind a `%`. Evaluated at the start, and only while spans are recorded |
/// | `skip_err` | an `Err` is not a failure of the span |
/// | `crate = path` | where `hms_ops` is |
///
/// # How a span ends
///
/// With an error when the function panics or returns `Err`; its reason is the error's `Display`, or
/// `Debug` where it has no `Display`, cut to 256 bytes. An `async` function that is dropped before
/// it completes has the attribute `cancelled`.
///
/// An `Err` is seen whatever the return type of an `async` function is called; that of any other
/// function must have a name that ends in `Result`.
///
/// # Where it goes
///
/// On functions and methods, `async` or not, generic or not, not `const`. Beneath `#[async_trait]`,
/// and on any function that ends in `Box::pin(async …)`, it is the future that is recorded.
#[proc_macro_attribute]
pub fn trace(options: TokenStream, item: TokenStream) -> TokenStream {
    expand(trace::expand, options, item)
}

/// Registers an `async` function as a runbook: what is to be done about an alert.
///
/// ```ignore
/// #[runbook(on_alert = "eligibility.latency_ms", timeout = "30s", compensate = rollback)]
/// async fn rollover(ctx: &mut RunbookContext) -> RunbookResult {
///     ctx.mesh().shift("eligibility-svc", "cluster-b").await?;
///     ctx.note("traffic shifted to cluster-b").await
/// }
///
/// async fn rollback(ctx: &mut RunbookContext) -> RunbookResult { /* … */ }
/// ```
///
/// | option | does |
/// |---|---|
/// | `on_alert = "…"` | the alert that it answers; at least one, several allowed |
/// | `name = "…"` | what policies call it; otherwise the function's name |
/// | `timeout = "…"` | when it is killed: `"500ms"`, `"30s"`, `"5m"`; otherwise 60 s |
/// | `compensate = path` | a function of the same shape that takes back what it did; not called in this release |
/// | `crate = path` | where `hms_ops` is |
///
/// The function stays an ordinary function, which tests may call. Its runs take place in another
/// process, so it has no argument but its context, and what it needs to know comes from
/// `ctx.params()`.
///
/// It is registered when the binary is linked, which needs no `unsafe` in the user's crate: it
/// works beneath `#![forbid(unsafe_code)]`.
#[proc_macro_attribute]
pub fn runbook(options: TokenStream, item: TokenStream) -> TokenStream {
    expand(runbook::expand, options, item)
}

/// Runs an `async fn main` on a Tokio runtime, after `hms_ops::enter()`.
///
/// A sandboxed runbook runs in a child process that is this very binary: `enter` is where the child
/// turns off, and it must be before the runtime starts its threads.
///
/// ```ignore
/// #[hms_ops::main]
/// async fn main() -> Result<(), hms_ops::Error> { /* … */ }
/// ```
///
/// The runtime has many threads; `#[hms_ops::main(flavor = "current_thread")]` has one.
/// `crate = path` says where `hms_ops` is.
#[proc_macro_attribute]
pub fn main(options: TokenStream, item: TokenStream) -> TokenStream {
    expand(main_fn::expand, options, item)
}

/// Runs `macro_fn`; on an error the item stays as it is, so that the error is the only one.
fn expand(
    macro_fn: fn(TokenStream2, TokenStream2) -> syn::Result<TokenStream2>,
    options: TokenStream,
    item: TokenStream,
) -> TokenStream {
    let item = TokenStream2::from(item);
    match macro_fn(options.into(), item.clone()) {
        Ok(expanded) => expanded.into(),
        Err(e) => [e.to_compile_error(), item].into_iter().collect::<TokenStream2>().into(),
    }
}
