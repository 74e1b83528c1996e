//! Tiers: how serious an installation is, and what the serious one refuses.

use crate::base::choice::{Choice as _, choices};

choices! {
    /// How serious an installation is. A tier is a set of defaults.
    Tier {
        /// Experimental (`experimental`): restarts are eager, probes lenient, logs small.
        Tier1 = "tier_1",
        /// Validation (`validation`): as in operation, with smaller logs.
        Tier2 = "tier_2",
        /// Operational (`operational`): restarts are slow to be given up and slow to come again and again, logs are long, and unsafe settings are refused.
        Tier3 = "tier_3",
    }
}

impl Tier {
    /// What it is for: an alias of its name.
    #[must_use]
    pub const fn purpose(self) -> &'static str {
        match self {
            Self::Tier1 => "experimental",
            Self::Tier2 => "validation",
            Self::Tier3 => "operational",
        }
    }

    /// The tier of this name or purpose.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::from_word(word).or_else(|| Self::ALL.iter().map(|&(tier, ..)| tier).find(|tier| tier.purpose() == word))
    }

    /// Every word that names one.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Self::ALL.iter().flat_map(|&(tier, word, _)| [word, tier.purpose()])
    }
}

choices! {
    /// What `tier_3` refuses unless `allow` names it.
    Unsafe {
        /// `listen` serves others than this machine: metrics and health are told to whoever asks.
        PublicListen = "public_listen",
        /// A supervisor tolerates more than one restart a second: a crash loop is never given up, and nobody hears of it.
        FrequentRestarts = "frequent_restarts",
        /// A unit is started again without any delay, however often it fails.
        NoBackoff = "no_backoff",
        /// A unit is killed when it is to stop: it cannot finish what it is doing.
        BrutalKill = "brutal_kill",
        /// A unit may take for ever to stop: then the machine does not go down in order.
        EndlessStop = "endless_stop",
        /// A unit's output is thrown away: after a failure there is nothing to look at.
        NoLogs = "no_logs",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiers_have_two_names_each() {
        for (word, tier) in [("tier_1", Tier::Tier1), ("validation", Tier::Tier2), ("operational", Tier::Tier3)] {
            assert_eq!(Tier::named(word), Some(tier));
        }
        assert_eq!(Tier::named("tier_4"), None);
        assert_eq!(Tier::names().count(), 6);
    }
}
