//! What is done about a failure, by what it was.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::model::SuccessExit;
use crate::base::choice::FailureClass;

/// What a failure has to be for a response to apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureCause {
    /// Of a class.
    Class(FailureClass),
    /// An end by itself with this code or signal, whether or not that is a success.
    Exit(SuccessExit),
}

impl fmt::Display for FailureCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Class(class) => write!(f, "{class}"),
            Self::Exit(SuccessExit::Code(code)) => write!(f, "exit {code}"),
            Self::Exit(SuccessExit::Signal(signal)) => write!(f, "signal {signal}"),
        }
    }
}

impl Serialize for FailureCause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What is done instead of what `backoff` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// It is started again as if nothing were declared.
    Restart,
    /// It is started again after this time.
    After(Duration),
    /// It stays down as if an operator had stopped it.
    Stop,
}
