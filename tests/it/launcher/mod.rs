//! The launcher, as a real process. The tests are its brain: the process it starts as such only hands its socket over to the test.

mod bench;
mod hold;
mod hostile;
mod spawn;
mod spill;
mod survivors;
mod tree;
