//! The built-in profiles of the tiers: ordinary documents, as they might stand in `conf.d/`, but beneath everything else.

use std::rc::Rc;

use crate::base::tier::Tier;

use super::diagnostic::{Diagnostics, SourceFile};
use super::node::{self, Node};

/// What a profile's path begins with, where places are named.
const PATH: &str = "tier ";

/// What the profile of a tier says.
#[must_use]
pub const fn text(tier: Tier) -> &'static str {
    match tier {
        Tier::Tier1 => include_str!("tiers/tier_1.yaml"),
        Tier::Tier2 => include_str!("tiers/tier_2.yaml"),
        Tier::Tier3 => include_str!("tiers/tier_3.yaml"),
    }
}

/// Whether this is the path of a profile, which is built in and not read.
#[must_use]
pub fn is_profile(path: &str) -> bool {
    path.strip_prefix(PATH).is_some_and(|name| Tier::named(name).is_some())
}

/// The documents of a profile; it becomes one of the files of `out`.
pub(super) fn documents(tier: Tier, out: &mut Diagnostics) -> Vec<Rc<Node>> {
    let file = out.add_source(SourceFile { path: format!("{PATH}{tier}"), text: text(tier).into() });
    node::read(file, text(tier), out).nodes
}
