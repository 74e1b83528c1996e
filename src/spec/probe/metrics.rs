//! `metrics` of a probe: the numbers an application shows by itself.

use crate::spec::code;
use crate::spec::decode::{Cx, Decode, mapping};
use crate::spec::diagnostic::{Diagnostic, Span, Spanned, quote};
use crate::spec::node::{Kind, Node};
use crate::spec::value::{Environment, Flag, Number, Text, schema};

use super::Check;
use super::http::{check_request, url_fault};
use super::tls::TlsSpec;

/// The most series of one probe.
const SERIES_MAX: usize = 32;

mapping! {
    /// A page of metrics in Prometheus' text format or as OpenMetrics, and what has to stand on it. A page of more than 1MiB is not looked at.
    MetricsSpec: "a mapping, for example `{url: \"http://127.0.0.1:9000/metrics\", series: [{name: queue_depth, max: 1000}]}`" {
        /// Where the page is: an `http:` or `https:` URL. Redirects are not followed.
        url: Text = required,
        /// A Unix socket to ask at, instead of the host in the URL.
        socket: Text,
        /// Headers of the request.
        headers: Environment = {},
        /// What is judged, from 1 to 32; each becomes a value of the probe's metric.
        series: SeriesListSpec = required,
        /// How an `https:` URL is asked.
        tls: TlsSpec,
    }
}

schema!(MetricsSpec, generator => Self::mapping_schema(generator).to_value());

impl Decode for MetricsSpec {
    const EXPECTED: &'static str =
        "a mapping, for example `{url: \"http://127.0.0.1:9000/metrics\", series: [{name: queue_depth, max: 1000}]}`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let spec = Self::from_mapping(node, cx)?;
        check_request(&spec.url, &spec.headers, &spec.tls, cx);
        Some(spec)
    }
}

impl MetricsSpec {
    fn all(&self) -> impl Iterator<Item = &SeriesSpec> {
        self.series.iter().flat_map(|series| &series.value.0).map(|series| &series.value)
    }

    pub(super) fn checked(&self) -> Vec<(&Spanned<Text>, Check)> {
        let url = self.url.iter().map(|url| (url, url_fault as Check));
        url.chain(self.all().flat_map(|series| &series.name).map(|name| (name, name_fault as Check))).collect()
    }

    pub(super) fn texts(&self) -> Vec<(Span, String)> {
        let texts = [&self.url, &self.socket].into_iter().flatten().chain(self.tls.iter().flat_map(|tls| tls.value.texts()));
        let texts = texts.chain(self.all().flat_map(|series| &series.name)).map(|text| (text.span, text.0.clone()));
        let labels = self.all().flat_map(|series| &series.labels).flat_map(|labels| &labels.value.0);
        texts.chain(labels.map(|(_, value)| (value.span, value.value.clone()))).collect()
    }
}

/// Finds fault with the name of a metric.
fn name_fault(name: &str) -> Option<String> {
    let odd = |c: char| c.is_whitespace() || c.is_control() || "{}\",=".contains(c);
    match name.find(odd) {
        _ if name.is_empty() => Some("a metric has a name, for example `queue_depth`".into()),
        Some(at) if name[at..].starts_with('{') => Some(format!("{} is a name with labels; write these in `labels`", quote(name))),
        Some(_) => Some(format!("{} cannot name a metric", quote(name))),
        None => None,
    }
}

/// What is judged of a page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SeriesListSpec(pub Vec<Spanned<SeriesSpec>>);

schema!(SeriesListSpec, generator => serde_json::json!({
    "type": "array", "items": generator.subschema_for::<SeriesSpec>(), "minItems": 1, "maxItems": SERIES_MAX,
}));

impl Decode for SeriesListSpec {
    const EXPECTED: &'static str = "a list of series, for example `[{name: queue_depth, labels: {queue: mail}, max: 1000}]`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let Kind::Sequence(items) = &node.kind else { return cx.expected(node, Self::EXPECTED) };
        if items.is_empty() || items.len() > SERIES_MAX {
            return cx.bad_value(code::OUT_OF_RANGE, node, format!("{} series; there may be from 1 to {SERIES_MAX}", items.len()));
        }
        let spanned = |item: &std::rc::Rc<Node>| SeriesSpec::decode(item, cx).map(|value| Spanned { value, span: item.span });
        Some(Self(items.iter().filter_map(spanned).collect()))
    }
}

mapping! {
    /// Series of one metric, which have to be there, and what their sum has to be. What is not a number, or infinite, is unknown.
    SeriesSpec: "a mapping, for example `{name: queue_depth, labels: {queue: mail}, max: 1000}`" {
        /// The name as it stands on the page, for example `requests_total`.
        name: Text = required,
        /// Labels the series have to have, with these values; they may have others. If several match, their sum is meant.
        labels: Environment = {},
        /// The least that is well.
        min: Number,
        /// The most that is well.
        max: Number,
        /// By how much they have grown in a second since the look before is meant, instead of what they are. The first look knows nothing of
        /// that, nor does one before which a series was set back: it changes nothing.
        rate: Flag = false,
    }
}

schema!(SeriesSpec, generator => Self::mapping_schema(generator).to_value());

impl Decode for SeriesSpec {
    const EXPECTED: &'static str = "a mapping, for example `{name: queue_depth, labels: {queue: mail}, max: 1000}`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let spec = Self::from_mapping(node, cx)?;
        if let (Some(min), Some(max)) = (&spec.min, &spec.max)
            && min.0 > max.0
        {
            let fault = Diagnostic::new(code::CONFLICT, max.span, "`max` is less than `min`: no number is well");
            cx.report(fault.related(min.span, "`min` is given here"));
        }
        Some(spec)
    }
}
