//! What is to run: resolved, immutable, comparable.
//!
//! `resolve` turns declarations (`spec`) into a [`Plan`]; `diff` says what changes between two plans.

mod model;

pub use model::*;
