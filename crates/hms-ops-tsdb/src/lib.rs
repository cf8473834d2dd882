//! The embedded store for samples and spans: head, WAL and blocks. Empty in this release.
