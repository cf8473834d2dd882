//! Monitoring and self-healing in one crate.
