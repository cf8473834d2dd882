//! Decides when a budget is broken and who hears of it: rules, the state machine, the engine, notifiers.
