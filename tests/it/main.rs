//! The integration tests, one binary. A module tests one thing from outside.
#![expect(clippy::disallowed_methods, reason = "tests stand outside: they make files, run programs and look at the clock")]

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod daemon;
#[cfg(test)]
mod detectors;
#[cfg(test)]
mod examples;
#[cfg(test)]
mod hung;
#[cfg(test)]
mod launcher;
#[cfg(test)]
mod library;
#[cfg(test)]
mod licences;
#[cfg(test)]
mod otp;
#[cfg(test)]
mod servers;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod store;
#[cfg(test)]
mod tidy;
#[cfg(test)]
mod tour;
