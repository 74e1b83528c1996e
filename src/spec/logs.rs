//! `logs` of a unit: where its output goes.

use serde_json::json;

use crate::base::choice::LogMode;

use super::decode::{Cx, Decode, mapping};
use super::diagnostic::Spanned;
use super::node::Node;
use super::restart::is_word;
use super::value::{Int, OneOf, Size, choose, one_of, schema};

mapping! {
    /// Where a unit's output goes; a bare word is its `mode`.
    LogsSpec: "`direct`, `pipe`, `none` or a mapping, for example `{max_size: 10MiB, keep: 5}`" {
        /// How the output gets to the log file.
        mode: OneOf<LogMode> = "direct",
        /// The live file is rotated beyond this size, at least 64KiB.
        max_size: Size<65_536> = "10MiB",
        /// How many rotated files are kept.
        keep: Int<1, 1000> = 5,
    }
}

schema!(LogsSpec, generator => json!({"anyOf": [one_of::<LogMode>(), Self::mapping_schema(generator)]}));

impl Decode for LogsSpec {
    const EXPECTED: &'static str = "`direct`, `pipe`, `none` or a mapping";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        if is_word(node) {
            let mode = choose(node, cx)?;
            return Some(Self { mode: Some(Spanned { value: OneOf(mode), span: node.span }), ..Self::default() });
        }
        Self::from_mapping(node, cx)
    }
}
