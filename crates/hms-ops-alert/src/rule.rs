//! Rules: what is decided at each tick.

mod budget;
#[cfg(feature = "rule-files")]
pub mod prometheus;
mod slo;

pub use budget::BudgetRule;
pub use slo::{Burn, BurnWindow, SEVERITY, SloRule, SloStatus, SloView};
