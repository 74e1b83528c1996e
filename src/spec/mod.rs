//! Declarations as they are written: YAML files, read with all their faults.
//!
//! [`load()`] reads a configuration directory and [`parse()`] the same from strings; neither fails. What can be read is in
//! [`Declared`], what is wrong with it in [`Diagnostics`], every fault of every file at once. Defaults are not filled in and names
//! are not resolved here: `plan` does that.
//!
//! What several files say of one thing is put together before it is decoded (`layers`, `amend`): the tier's defaults, the declaration,
//! drop-ins.
//!
//! Each mapping is defined once, by the macro `mapping!`: its fields, their keys, what the decoder takes, and the JSON Schema that
//! editors use. No clock, process or environment is read, and files only by [`load()`].

pub mod adjust;
pub mod aggregation;
mod amend;
pub mod breaker;
pub mod code;
pub mod command;
pub mod daemon;
mod decode;
pub mod degradation;
mod diagnostic;
pub mod isolation;
mod layers;
pub mod limits;
mod load;
pub mod logs;
mod node;
mod origin;
mod parse;
pub mod probe;
pub mod profile;
pub mod readiness;
pub mod remediation;
mod render;
pub mod response;
pub mod restart;
pub mod scheduling;
pub mod schema;
pub mod secrets;
pub mod supervisor;
pub(crate) mod template;
pub mod unit;
pub mod value;
pub mod watch;
pub mod watchdog;

pub use decode::Field;
pub(crate) use diagnostic::did_you_mean;
pub use diagnostic::{Diagnostic, Diagnostics, KEPT_MAX, SourceFile, Span, Spanned};
pub use load::{FILE_MAX, Judge, load, load_trusted, unreadable};
pub use origin::{Origin, Setting, Source, Trace, Traced, profile_of, trace};
pub use parse::{Declared, OVERRIDES, TIER_VARIABLE, forced_tier, parse};
pub use render::SHOWN_MAX;
