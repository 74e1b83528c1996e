//! The `ms-supervisor` command.

fn main() {}
