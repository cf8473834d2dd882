//! Runs and audit entries as Parquet in an object store. Empty in this release.
