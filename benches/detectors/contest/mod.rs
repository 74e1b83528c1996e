//! The contest of the detectors, for the bench and, shorter, for the tests.

pub(crate) mod claims;
pub(crate) mod measure;
pub(crate) mod observer;
pub(crate) mod rivals;
pub(crate) mod traces;
