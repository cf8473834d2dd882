//! The durable ledger: a file log, and PostgreSQL. Empty in this release.
