//! Decides when a budget is broken and who hears of it: rules, the state machine, the engine, notifiers.
//!
//! [`Engine::tick`] is a function of state, input and time: it reads no clock and does no I/O, so
//! the same code runs live, in replay and in simulation. What it returns, the caller writes to the
//! ledger first and carries out then.

pub mod engine;
pub mod notify;
pub mod outbox;
pub mod rule;
#[cfg(feature = "rule-files")]
pub mod rule_file;
pub mod slo;
pub mod state;
#[cfg(feature = "rule-files")]
pub mod template;

pub use engine::{Engine, Tick};
pub use outbox::{Outbox, Receiver};
pub use rule::{BudgetRule, SloRule};
pub use slo::Slo;
