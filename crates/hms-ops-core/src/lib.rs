//! The vocabulary of HMS-OPS and the traits everyone implements, with one in-memory implementation of each.
