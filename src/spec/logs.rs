//! `logs` of a unit: where its output goes.

use serde_json::json;

use crate::base::choice::{LogCompress, LogMode, LogOverflow, LogStderr};
use crate::base::quantity::{format_size, parse_size};

use super::code;
use super::decode::{Cx, Decode, mapping};
use super::diagnostic::{Diagnostic, Span, Spanned};
use super::node::Node;
use super::restart::is_word;
use super::value::{Flag, Int, OneOf, PositiveTime, Size, choose, one_of, schema};

/// `max_size` when it is not declared.
const MAX_SIZE: u64 = 10 << 20;

mapping! {
    /// Where a unit's output goes; a bare word is its `mode`.
    LogsSpec: "`direct`, `pipe`, `journald`, `none` or a mapping, for example `{max_size: 10MiB, keep: 5}`" {
        /// How the output gets to the log file.
        mode: OneOf<LogMode> = "direct",
        /// Where stderr goes. A log of its own is written directly, whatever the mode: nothing is lost whoever dies, and its bounds are
        /// those of a direct log.
        stderr: OneOf<LogStderr> = "joined",
        /// Whether another program follows the log file: `tail -F`, rsyslog's imfile, a shipping agent. The file is then rotated by
        /// renaming it, which they follow, and so goes through a pipe. In mode `direct` a rotation shortens the file under its
        /// writer: who follows it would see lines twice or not at all.
        shipped: Flag = false,
        /// The live file is rotated beyond this size, at least 64KiB.
        max_size: Size<65_536> = "10MiB",
        /// The live file is rotated when its oldest line is older than this. In mode `direct` less than a block (4KiB) stays.
        max_age: PositiveTime,
        /// How many rotated files are kept.
        keep: Int<1, 1000> = 5,
        /// Rotated files are removed when their newest line is older than this.
        keep_for: PositiveTime,
        /// How many bytes all log files of the unit may take, compressed ones as they are; `max_size` times `keep` plus 2 if not
        /// given. In mode `direct` the files are looked at every second, and up to ten times a second while they grow fast: what is
        /// written between two looks may be more.
        max_total: Size<65_536>,
        /// What happens when the log has reached `max_total` or cannot be written.
        overflow: OneOf<LogOverflow> = "drop_oldest",
        /// How rotated files are compressed.
        compress: OneOf<LogCompress> = "zstd",
        /// How much output a second is taken, for example `1MiB/s`; ten seconds' worth may come at once. What is more is dropped and
        /// counted, and a line in the log says how much; with `overflow: block` or `pause` the unit waits instead. Needs mode `pipe`.
        rate_limit: Rate,
        /// Whether the arrival of each line is written down, to a millisecond; `logs --timestamps` shows it. Without it `logs` knows a
        /// time only to a second or so. The stamps lie beside the log, whose bytes stay those the unit wrote; they take 16 bytes a
        /// line at most, and an eighth of `max_total`, beyond which older lines share one. Needs mode `pipe`.
        timestamps: Flag = false,
    }
}

schema!(LogsSpec, generator => json!({"anyOf": [one_of::<LogMode>(), Self::mapping_schema(generator)]}));

impl Decode for LogsSpec {
    const EXPECTED: &'static str = "`direct`, `pipe`, `journald`, `none` or a mapping";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        if is_word(node) {
            let mode = choose(node, cx)?;
            return Some(Self { mode: Some(Spanned { value: OneOf(mode), span: node.span }), ..Self::default() });
        }
        let spec = Self::from_mapping(node, cx)?;
        spec.check(cx);
        Some(spec)
    }
}

impl LogsSpec {
    fn check(&self, cx: &mut Cx<'_>) {
        let max_size = self.max_size.as_ref().map_or(MAX_SIZE, |size| size.0);
        if let Some(total) = self.max_total.as_ref().filter(|total| total.0 < max_size) {
            let message = format!("`max_total` has no room for the live file, which grows to {}", format_size(max_size));
            let fault = Diagnostic::new(code::CONFLICT, total.span, message);
            cx.report(match &self.max_size {
                Some(size) => fault.related(size.span, "its size"),
                None => fault.help("give a smaller `max_size`, too: it is 10MiB unless it is given"),
            });
        }
        if let Some(stderr) = self.stderr.as_ref().filter(|stderr| stderr.0 == LogStderr::Separate) {
            self.check_separate(stderr.span, cx);
        }
        // What only a pipe can do.
        let shipped = self.shipped.as_ref().filter(|flag| flag.0);
        let assumed = if shipped.is_some() { LogMode::Pipe } else { LogMode::default() };
        if self.mode.as_ref().map_or(assumed, |mode| mode.0) != LogMode::Direct {
            return;
        }
        if let Some(shipped) = shipped {
            self.needs_pipe(shipped.span, "a direct log is shortened under its writer: who follows it would lose or repeat lines", cx);
        }
        if let Some(rate) = &self.rate_limit {
            self.needs_pipe(rate.span, "nothing stands between a unit and its direct log: there is no rate to limit", cx);
        }
        if let Some(timestamps) = self.timestamps.as_ref().filter(|flag| flag.0) {
            self.needs_pipe(timestamps.span, "nobody sees when a line of a direct log arrives: its time is known to a second or so", cx);
        }
        if let Some(overflow) = self.overflow.as_ref().filter(|overflow| overflow.0 == LogOverflow::Block) {
            self.needs_pipe(overflow.span, "a unit that writes its log directly cannot be made to wait; `pause` stops it", cx);
        }
    }

    /// What cannot be had of a log that is written directly.
    fn check_separate(&self, span: Span, cx: &mut Cx<'_>) {
        let conflict = |why: &str, other: Span, what: &str| {
            Diagnostic::new(code::CONFLICT, span, why).related(other, what).help("write `stderr: joined`, or leave out the other")
        };
        if let Some(mode) = self.mode.as_ref().filter(|mode| matches!(mode.0, LogMode::Journald | LogMode::None)) {
            cx.report(conflict("a log of its own is a file, and this mode has none", mode.span, "the mode is given here"));
        }
        if let Some(shipped) = self.shipped.as_ref().filter(|flag| flag.0) {
            let why = "a separate stderr is written directly, and shortened under its writer: who follows it would lose or repeat lines";
            cx.report(conflict(why, shipped.span, "it is followed"));
        }
        if let Some(rate) = &self.rate_limit {
            cx.report(conflict("a separate stderr is written directly: there is no rate to limit", rate.span, "the limit"));
        }
        if let Some(overflow) = self.overflow.as_ref().filter(|overflow| overflow.0 == LogOverflow::Block) {
            let why = "a unit that writes its stderr directly cannot be made to wait; `pause` stops it";
            cx.report(conflict(why, overflow.span, "what happens when it is full"));
        }
    }

    fn needs_pipe(&self, span: Span, why: &str, cx: &mut Cx<'_>) {
        let fault = Diagnostic::new(code::CONFLICT, span, why).help("write `mode: pipe`");
        cx.report(match &self.mode {
            Some(mode) => fault.related(mode.span, "the mode is given here"),
            None => fault,
        });
    }
}

/// Bytes a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(pub u64);

/// The least that is worth a limit, in bytes a second.
const RATE_MIN: u64 = 1024;

schema!(Rate, _generator => json!({"type": "string", "pattern": r"^[0-9.]+\s*([kKMGT]i?)?B?/s$", "examples": ["1MiB/s"]}));

impl Decode for Rate {
    const EXPECTED: &'static str = "a rate, for example `1MiB/s`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.text(node, Self::EXPECTED)?;
        let Some(size) = text.trim().strip_suffix("/s") else { return cx.expected(node, Self::EXPECTED) };
        match parse_size(size) {
            Ok(rate) if rate >= RATE_MIN => Some(Self(rate)),
            Ok(_) => cx.bad_value(code::OUT_OF_RANGE, node, format!("`{text}` is less than 1KiB/s")),
            Err(why) => cx.bad_value(code::BAD_VALUE, node, why),
        }
    }
}
