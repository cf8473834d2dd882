//! Benchmarks of HMS-OPS against its peers; run them with `cargo bench -p hms-ops-benches`.
