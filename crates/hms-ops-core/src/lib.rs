//! The vocabulary of HMS-OPS and the traits everyone implements, with one in-memory implementation of each.
//!
//! Nothing in here has a runtime, opens a socket or a file, or reads a clock other than through
//! [`clock::SystemClock`]. An agent takes it without default features and gets time, labels,
//! metrics and spans; the feature `engine` (default) adds what stores, evaluates and acts.
//!
//! | area | trait | in-memory implementation |
//! |---|---|---|
//! | time | [`clock::Clock`] | [`clock::ManualClock`] |
//! | spans | [`span::SpanSink`], [`span_store::SpanStore`] | [`span_store::MemorySpanStore`] |
//! | samples | [`store::Store`] | [`store::MemoryStore`] |
//! | queries | [`query::QueryEngine`] | [`query::SelectorEngine`] |
//! | alerts | [`alert::AlertRule`] | the budget rule of `hms-ops-alert` |
//! | ledger | [`ledger::Ledger`] | [`ledger::MemoryLedger`] |
//! | runbooks | [`runbook::Runbook`], [`runbook::HostCalls`], [`runbook::Capability`] | `#[runbook]` functions, and the executor of `hms-ops-runbook` |
//! | traffic | [`mesh::MeshController`], [`mesh::TrafficControl`], [`mesh::TrafficEvidence`] | the router of `hms-ops-mesh` |
//! | notifications | [`notify::Notifier`] | the log notifier of `hms-ops-alert` |
//! | people | [`control::Control`] | the facade |

pub mod clock;
pub mod exposition;
mod forward;
pub mod labels;
pub mod metric;
pub mod name;
pub mod random;
pub mod registry;
pub mod sample;
pub mod span;
pub mod striped;
pub mod time;

#[cfg(feature = "engine")]
pub mod alert;
#[cfg(feature = "engine")]
pub mod control;
#[cfg(feature = "engine")]
pub mod fence;
#[cfg(feature = "engine")]
pub mod ledger;
#[cfg(feature = "engine")]
pub mod matcher;
#[cfg(feature = "engine")]
pub mod mesh;
#[cfg(feature = "engine")]
pub mod metadata;
#[cfg(feature = "engine")]
pub mod notify;
#[cfg(feature = "engine")]
pub mod query;
#[cfg(feature = "engine")]
pub mod runbook;
#[cfg(feature = "engine")]
pub mod signal;
#[cfg(feature = "engine")]
pub mod span_store;
#[cfg(feature = "engine")]
pub mod store;
#[cfg(feature = "yaml")]
pub mod yaml;

/// What `#[runbook]` expands to; not for use by hand.
#[doc(hidden)]
#[cfg(feature = "engine")]
pub use inventory;
