//! Monitoring and self-healing in one crate: metrics with budgets, alerts, runbooks, traffic
//! shifting and a live page.
//!
//! ```no_run
//! use hms_ops::prelude::*;
//!
//! #[hms_ops::main]
//! async fn main() -> Result<(), hms_ops::Error> {
//!     let _ops = Ops::builder().service("eligibility-svc").dashboard("127.0.0.1:9110").start().await?;
//!     let latency = Metric::new("eligibility.latency_ms").budget(300.0);
//!     loop { latency.record_duration(check_eligibility().await); }
//! }
//! # async fn check_eligibility() -> std::time::Duration { std::future::pending().await }
//! ```
//!
//! | a program that | begins with |
//! |---|---|
//! | watches itself, and others | [`Ops`] |
//! | is watched by an engine elsewhere | [`Agent`] |
//! | records | [`Metric`](core::metric::Metric), [`Counter`](core::metric::Counter), [`Gauge`](core::metric::Gauge), [`#[trace]`](macro@trace) |
//! | repairs | [`#[runbook]`](macro@runbook), and a [`Policy`](runbook::Policy) that lets it |
//! | shifts traffic | [`Router`](mesh::Router) |
//! | is told by a file what to do | [`Config`] |
//! | brings a part of its own | the traits in [`core`], and the suites in `hms-ops-testkit` |
//!
//! This crate composes the others and adds what needs all of them: the builder, the tick, the
//! config file, listeners and access.

mod agent;
mod entry;
mod error;
mod listen;

#[cfg(any(feature = "api-prometheus", feature = "dashboard"))]
mod admin;
#[cfg(all(feature = "alert", not(any(feature = "api-prometheus", feature = "dashboard"))))]
#[path = "admin/absent.rs"]
mod admin;
#[cfg(feature = "api-prometheus")]
mod api;
#[cfg(all(feature = "dashboard", not(feature = "api-prometheus")))]
#[path = "api/absent.rs"]
mod api;
#[cfg(feature = "alert")]
mod builder;
#[cfg(feature = "alert")]
mod config;
#[cfg(feature = "alert")]
mod control;
#[cfg(feature = "alert")]
mod evidence;
#[cfg(feature = "exporter-prometheus")]
pub mod exporter;
#[cfg(feature = "alert")]
mod feed;
#[cfg(all(feature = "alert", feature = "ledger-file"))]
mod journal;
#[cfg(all(feature = "alert", not(feature = "ledger-file")))]
#[path = "journal/absent.rs"]
mod journal;
#[cfg(not(feature = "runbook-sandbox"))]
mod no_sandbox;
#[cfg(feature = "alert")]
mod notifiers;
#[cfg(feature = "alert")]
mod ops;
#[cfg(feature = "dashboard")]
mod page;
#[cfg(all(feature = "api-prometheus", not(feature = "dashboard")))]
#[path = "page/absent.rs"]
mod page;
#[cfg(all(feature = "alert", feature = "prometheus-config"))]
mod prometheus;
#[cfg(all(feature = "alert", not(feature = "prometheus-config")))]
#[path = "prometheus/absent.rs"]
mod prometheus;
#[cfg(any(feature = "api-prometheus", feature = "dashboard"))]
mod ready;
#[cfg(feature = "alert")]
mod reload;
#[cfg(all(feature = "alert", feature = "store-prometheus"))]
mod remote;
#[cfg(all(feature = "alert", not(feature = "store-prometheus")))]
#[path = "remote/absent.rs"]
mod remote;
#[cfg(feature = "alert")]
pub mod replay;
#[cfg(feature = "rule-files")]
pub mod rule_files;
#[cfg(feature = "rule-files")]
pub mod rule_tests;
#[cfg(all(feature = "alert", feature = "runbook-sandbox"))]
mod runbooks;
#[cfg(all(feature = "alert", not(feature = "runbook-sandbox")))]
#[path = "runbooks/absent.rs"]
mod runbooks;
#[cfg(feature = "trace")]
mod spans;
#[cfg(not(feature = "trace"))]
#[path = "spans/absent.rs"]
mod spans;
#[cfg(all(feature = "alert", feature = "store-tsdb"))]
mod storage;
#[cfg(all(feature = "alert", not(feature = "store-tsdb")))]
#[path = "storage/absent.rs"]
mod storage;
#[cfg(feature = "alert")]
mod tick;
#[cfg(all(feature = "alert", feature = "mesh-in-process"))]
mod traffic;
#[cfg(all(feature = "alert", not(feature = "mesh-in-process")))]
#[path = "traffic/absent.rs"]
mod traffic;

pub use agent::{Agent, AgentBuilder};
pub use error::Error;
pub use hms_ops_core as core;
pub use hms_ops_macros::{main, runbook, trace};

#[cfg(feature = "alert")]
pub use async_trait::async_trait;
#[cfg(feature = "alert")]
pub use builder::OpsBuilder;
#[cfg(feature = "alert")]
pub use config::{Config, ConfigError};
#[cfg(feature = "alert")]
pub use hms_ops_alert as alert;
#[cfg(feature = "alert")]
pub use hms_ops_collect as collect;
#[cfg(feature = "dashboard")]
pub use hms_ops_dashboard as dashboard;
#[cfg(feature = "ledger-file")]
pub use hms_ops_ledger as ledger;
#[cfg(feature = "mesh-in-process")]
pub use hms_ops_mesh as mesh;
#[cfg(feature = "alert")]
pub use hms_ops_promql as promql;
#[cfg(feature = "runbook-sandbox")]
pub use hms_ops_runbook::{self as runbook, enter, test_entry};
#[cfg(feature = "trace")]
pub use hms_ops_trace as trace;
#[cfg(feature = "store-tsdb")]
pub use hms_ops_tsdb as tsdb;
#[cfg(feature = "alert")]
pub use ops::Ops;

/// What most programs use.
pub mod prelude {
    pub use crate::Agent;
    pub use crate::core::metric::{Budget, Counter, Gauge, Metric};

    #[cfg(feature = "runbook-sandbox")]
    pub use crate::core::runbook::{RunbookContext, RunbookError, RunbookResult};
    #[cfg(feature = "alert")]
    pub use crate::{Config, Ops};
    #[cfg(feature = "alert")]
    pub use hms_ops_alert::Slo;
    #[cfg(feature = "runbook-sandbox")]
    pub use hms_ops_macros::runbook;
    #[cfg(feature = "trace")]
    pub use hms_ops_macros::trace;
    #[cfg(feature = "mesh-in-process")]
    pub use hms_ops_mesh::Router;
    #[cfg(feature = "runbook-sandbox")]
    pub use hms_ops_runbook::Policy;
}

#[cfg(not(feature = "runbook-sandbox"))]
pub use no_sandbox::enter;

/// What the macros expand to; not for use by hand.
#[doc(hidden)]
pub mod __private {
    pub use crate::entry::{block_on, block_on_current_thread};
    pub use hms_ops_core as core;

    #[cfg(feature = "alert")]
    pub use hms_ops_core::inventory;
    #[cfg(feature = "trace")]
    pub use hms_ops_trace::__private::trace;
}

/// The README, whose snippets are compiled here; every TOML block in it is a config.
///
/// ```
/// let folder = std::env::temp_dir().join(format!("hms-ops-readme-{}", std::process::id()));
/// std::fs::create_dir_all(&folder)?;
/// std::fs::write(folder.join("on-call.secret"), format!("whsec_{}", "A".repeat(32)))?;
/// std::fs::write(folder.join("admin.token"), "A".repeat(32))?;
/// let readme = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md"));
/// let blocks: Vec<_> = readme.split("\n```toml\n").skip(1).collect();
/// assert!(!blocks.is_empty());
/// for block in blocks {
///     let text = block.split("```").next().unwrap();
///     hms_ops::Config::parse(folder.join("ops.toml").to_str().unwrap(), text)?;
/// }
/// std::fs::remove_dir_all(folder)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
