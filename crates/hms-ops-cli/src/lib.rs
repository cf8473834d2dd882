//! The hms-ops binary as a library.
