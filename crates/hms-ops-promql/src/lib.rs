//! PromQL: parser, evaluator over any Store, and the query HTTP routes.
//!
//! The language is that of Prometheus 3.14, its experimental parts included.
#![doc = include_str!("../docs/conformance.md")]

pub mod ast;
pub mod duration;
mod engine;
mod eval;
pub mod format;
pub mod function;
mod functions;
pub mod histogram;
#[cfg(feature = "http")]
pub mod http;
mod lexer;
pub mod notation;
mod notice;
mod parser;
mod plan;
mod resets;
mod text;

pub use engine::{Engine, EngineOptions};
pub use parser::{MAX_DEPTH, MAX_HEIGHT, MAX_QUERY, ParseError, parse, position};
