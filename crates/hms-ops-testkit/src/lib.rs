//! Conformance suites for every trait, for authors of backends; used from tests only.
