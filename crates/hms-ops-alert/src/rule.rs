//! Rules: what is decided at each tick.

mod budget;
mod slo;

pub use budget::BudgetRule;
pub use slo::{Burn, BurnWindow, SEVERITY, SloRule, SloStatus};
