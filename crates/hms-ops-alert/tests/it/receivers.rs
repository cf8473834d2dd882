//! Receivers of every kind.

mod alertmanager;
mod delivery;
mod suites;
mod tls;
