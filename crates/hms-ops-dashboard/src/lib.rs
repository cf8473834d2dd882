//! The live page of a service, and its JSON and SSE routes.
//!
//! With the feature `http`, [`Dashboard`] reads a store, a ledger, spans and traffic, and gives an
//! axum router that can be nested under any prefix. What it shows is also there by itself:
//! [`series`] computes p50, p95, rate and errors of a service, [`timeline`] says in words what the
//! entries of the ledger mean.
//!
//! | part | is |
//! |---|---|
//! | `feed` | the fold of the ledger, by service, and the task that follows it |
//! | `room` | what all viewers of one service share: one computation, one broadcast |
//! | `api` | the routes that answer with JSON and events |
//! | `page` | the built page, or one that says how to build it |

pub mod series;
pub mod timeline;

#[cfg(feature = "http")]
mod api;
#[cfg(feature = "http")]
mod dashboard;
#[cfg(feature = "http")]
mod feed;
#[cfg(feature = "http")]
mod page;
#[cfg(feature = "http")]
mod room;
#[cfg(feature = "http")]
mod tasks;

#[cfg(feature = "http")]
pub use dashboard::{Dashboard, DashboardBuilder};
