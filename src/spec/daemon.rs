//! `daemon.yaml`: the daemon's own settings.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde_json::json;

use crate::base::choice::{Choice as _, OnLauncherDeath, OnRootFailure};
use crate::base::tier::{Tier, Unsafe};

use super::code;
use super::decode::{Cx, Decode, mapping};
use super::degradation::DegradationSpec;
use super::diagnostic::{Diagnostic, did_you_mean, quote};
use super::node::Node;
use super::value::{Int, OneOf, OneOrMany, PositiveTime, Size, Text, schema};

mapping! {
    /// The daemon's own settings.
    DaemonSpec: "a mapping, for example `listen: 127.0.0.1:8001`" {
        /// How serious the installation is: a set of defaults for restarts, probes and logs, which `ms-supervisor tier` prints; `tier_3` also
        /// refuses unsafe settings. `$MS_TIER` stands above it. The defaults of this program hold if not given.
        tier: TierName,
        /// What `tier_3` would refuse, and is meant.
        allow: OneOrMany<OneOf<Unsafe>> = [],
        /// Where metrics and health are served, read-only: `address:port`, a port on 127.0.0.1, or `none`.
        listen: Listen = "127.0.0.1:8001",
        /// How many units may be starting at once.
        start_limit: Int<1, 10000> = 64,
        /// How many restarts there may be of all units together; those beyond wait for their turn, first come, first served. No bound if not
        /// given.
        restart_budget: RestartBudgetSpec,
        /// What happens when the root supervisor gives up.
        on_root_failure: OneOf<OnRootFailure> = "keep",
        /// What happens to the units that run on when the whole daemon was killed and is started again.
        on_launcher_death: OneOf<OnLauncherDeath> = "adopt",
        /// What is done without, step by step, while the machine or the daemon itself is under pressure; nothing if not given.
        degradation: DegradationSpec,
        /// Where the scripts of remediations are, relative to the configuration directory. No others are run. Neither they nor the directory may
        /// be written by others than the daemon's user and root.
        scripts: Text = "scripts",
        /// The logs of all units together.
        logs: AllLogsSpec = {"max_total": "4GiB"},
    }
}

mapping! {
    /// How many restarts there may be of all units together.
    RestartBudgetSpec: "a mapping, for example `{restarts: 100, period: 10s}`" {
        /// So many may come at once, and as many in each further period.
        restarts: Int<1, 1_000_000> = required,
        /// The period.
        period: PositiveTime = "10s",
    }
}

schema!(RestartBudgetSpec, generator => Self::mapping_schema(generator).to_value());

impl Decode for RestartBudgetSpec {
    const EXPECTED: &'static str = "a mapping, for example `{restarts: 100, period: 10s}`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        Self::from_mapping(node, cx)
    }
}

mapping! {
    /// The logs of all units together.
    AllLogsSpec: "a mapping, for example `{max_total: 4GiB}`" {
        /// How many bytes all log files together may take. Beyond, the oldest rotated files of any unit are removed, and a gap record
        /// says so. Files that are being written are not touched: their number times `max_size` is the least that is needed.
        max_total: Size<1_048_576> = "4GiB",
    }
}

schema!(AllLogsSpec, generator => Self::mapping_schema(generator).to_value());

impl Decode for AllLogsSpec {
    const EXPECTED: &'static str = "a mapping";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        Self::from_mapping(node, cx)
    }
}

schema!(DaemonSpec, generator => Self::mapping_schema(generator).to_value());

impl Decode for DaemonSpec {
    const EXPECTED: &'static str = "a mapping";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        Self::from_mapping(node, cx)
    }
}

/// An address with a port; `None` is `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen(pub Option<SocketAddr>);

impl Default for Listen {
    fn default() -> Self {
        Self(Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8001)))
    }
}

schema!(Listen, _generator => json!({"anyOf": [
    {"type": "string", "pattern": "^.+:[0-9]+$", "examples": ["127.0.0.1:8001", "[::1]:8001"]},
    {"type": "integer", "minimum": 0, "maximum": 65535},
    {"const": "none", "description": "Nowhere."},
]}));

impl Decode for Listen {
    const EXPECTED: &'static str = "an address with a port, a port or `none`, for example `127.0.0.1:8001`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.text(node, Self::EXPECTED)?;
        if text == "none" {
            return Some(Self(None));
        }
        let on_loopback = text.parse().ok().map(|port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
        match on_loopback.or_else(|| text.parse().ok()) {
            Some(address) => Some(Self(Some(address))),
            None => cx.expected(node, Self::EXPECTED),
        }
    }
}

/// A tier by its name or by what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TierName(pub Tier);

schema!(TierName, _generator => {
    let words = Tier::ALL.iter().flat_map(|(tier, word, meaning)| [(*word, *meaning), (tier.purpose(), *meaning)]);
    json!({"oneOf": words.map(|(word, meaning)| json!({"const": word, "description": meaning.trim_start()})).collect::<Vec<_>>()})
});

impl Decode for TierName {
    const EXPECTED: &'static str = "one of `tier_1`, `tier_2`, `tier_3`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.text(node, Self::EXPECTED)?;
        if let Some(tier) = Tier::named(text) {
            return Some(Self(tier));
        }
        let message = format!("{} must be {}; found {}", cx.subject(), Self::EXPECTED, quote(text));
        let help = did_you_mean(text, Tier::names());
        let help = help.unwrap_or_else(|| "they are also called experimental, validation and operational".into());
        cx.report(Diagnostic::new(code::BAD_VALUE, node.span, message).help(help));
        None
    }
}
