//! Rules: what is decided at each tick.

mod budget;

pub use budget::BudgetRule;
