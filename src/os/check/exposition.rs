//! Pages of metrics: Prometheus' text format (0.0.4) and OpenMetrics (1.0), of which a sample is one line in both:
//! `name{label="value",…} number [timestamp] [# exemplar]`.
//!
//! Other lines begin with `#`, or are empty. Names that are no words stand in quotes between the braces (Prometheus 3).

use std::borrow::Cow;

/// The number of one series.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample<'a> {
    /// The metric.
    pub(super) name: Cow<'a, str>,
    /// Its labels, in the order in which they are written.
    pub(super) labels: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// The number; may be NaN or infinite.
    pub(super) value: f64,
    /// The series as it is written: what stands before the number.
    pub(super) series: &'a str,
}

/// The samples of a page by line, in their order; none for a line that is not what it should be.
pub(super) fn samples(page: &str) -> impl Iterator<Item = Option<Sample<'_>>> {
    page.lines().map(|line| line.trim_matches(BLANKS)).filter(|line| !line.is_empty() && !line.starts_with('#')).map(sample)
}

const BLANKS: [char; 3] = [' ', '\t', '\r'];

fn sample(line: &str) -> Option<Sample<'_>> {
    let mut rest = Rest(line);
    let word = rest.until(|c| c == '{' || BLANKS.contains(&c));
    let (mut name, mut labels) = (Some(word).filter(|word| !word.is_empty()).map(Cow::Borrowed), Vec::new());
    rest.skip();
    if rest.eat('{') {
        loop {
            rest.skip();
            if rest.eat('}') {
                break;
            }
            let key = if rest.0.starts_with('"') {
                rest.quoted()?
            } else {
                Cow::Borrowed(rest.until(|c| "=,}\"".contains(c) || BLANKS.contains(&c)))
            };
            rest.skip();
            if rest.eat('=') {
                rest.skip();
                labels.push((key, rest.quoted()?));
            } else if name.is_none() && !key.is_empty() {
                name = Some(key);
            } else {
                return None;
            }
            rest.skip();
            if !rest.eat(',') && !rest.0.starts_with('}') {
                return None;
            }
        }
    }
    let series = line[..line.len() - rest.0.len()].trim_end_matches(BLANKS);
    rest.skip();
    let value = rest.until(|c| BLANKS.contains(&c)).parse().ok()?;
    Some(Sample { name: name?, labels, value, series })
}

/// What is left of a line.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn skip(&mut self) {
        self.0 = self.0.trim_start_matches(BLANKS);
    }

    fn eat(&mut self, wanted: char) -> bool {
        self.0.strip_prefix(wanted).map(|rest| self.0 = rest).is_some()
    }

    /// What stands before the first such character, or before the end.
    fn until(&mut self, is_end: impl Fn(char) -> bool) -> &'a str {
        let (taken, rest) = self.0.split_at(self.0.find(is_end).unwrap_or(self.0.len()));
        self.0 = rest;
        taken
    }

    /// What stands in quotes, in which `\\`, `\"` and `\n` stand for others.
    fn quoted(&mut self) -> Option<Cow<'a, str>> {
        let text = self.0.strip_prefix('"')?;
        let mut is_escaped = false;
        let end = text.find(|c| {
            let is_end = c == '"' && !is_escaped;
            is_escaped = c == '\\' && !is_escaped;
            is_end
        })?;
        let (inner, rest) = text.split_at(end);
        self.0 = rest.strip_prefix('"')?;
        Some(if inner.contains('\\') { Cow::Owned(unescaped(inner)) } else { Cow::Borrowed(inner) })
    }
}

fn unescaped(text: &str) -> String {
    let (mut plain, mut characters) = (String::with_capacity(text.len()), text.chars());
    while let Some(next) = characters.next() {
        match next {
            '\\' => match characters.next() {
                Some('n') => plain.push('\n'),
                Some(quoted @ ('\\' | '"')) => plain.push(quoted),
                // What means nothing stands for itself.
                Some(other) => plain.extend(['\\', other]),
                None => plain.push('\\'),
            },
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Name, labels and number.
    type Plain = (String, Vec<(String, String)>, String);

    fn read(page: &str) -> Vec<Option<Plain>> {
        let owned = |(key, value): (Cow<'_, str>, Cow<'_, str>)| (key.into_owned(), value.into_owned());
        let plain =
            |sample: Sample<'_>| (sample.name.into_owned(), sample.labels.into_iter().map(owned).collect(), sample.value.to_string());
        samples(page).map(|sample| sample.map(plain)).collect()
    }

    #[test]
    fn both_formats_are_read() {
        let page = "# HELP http_requests_total The total # of {requests}.\n# TYPE http_requests_total counter\n\
                    http_requests_total{method=\"post\",code=\"200\"} 1027 1395066363000\nhttp_requests_total 3\n\n\
                    msdos_file{path=\"C:\\\\DIR\\\\F.TXT\",error=\"Cannot:\\n\\\"F\\\"\\q\"} 1.458255915e9\n\
                    metric_without_timestamp_and_labels 12.47\n something_weird { problem = \"} # , \" , } +Inf -3982045 \r\n\
                    a{le=\"0.5\"} 8 # {trace_id=\"K=}\"} 0.67 1520879607.789\nb -Inf 1\nc\tNaN\n\
                    {\"my.metric\", \"my label\"=\"ä\"} 1e-3\nd{} 0\n# EOF\n";
        let none = Vec::new;
        let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let expected = [
            ("http_requests_total", vec![label("method", "post"), label("code", "200")], "1027"),
            ("http_requests_total", none(), "3"),
            ("msdos_file", vec![label("path", "C:\\DIR\\F.TXT"), label("error", "Cannot:\n\"F\"\\q")], "1458255915"),
            ("metric_without_timestamp_and_labels", none(), "12.47"),
            ("something_weird", vec![label("problem", "} # , ")], "inf"),
            ("a", vec![label("le", "0.5")], "8"),
            ("b", none(), "-inf"),
            ("c", none(), "NaN"),
            ("my.metric", vec![label("my label", "ä")], "0.001"),
            ("d", none(), "0"),
        ];
        assert_eq!(read(page), expected.map(|(name, labels, value)| Some((name.to_owned(), labels, value.to_owned()))));
        let series: Vec<_> = samples(page).flatten().map(|sample| sample.series).collect();
        assert_eq!(
            (series[0], series[4]),
            ("http_requests_total{method=\"post\",code=\"200\"}", "something_weird { problem = \"} # , \" , }")
        );
    }

    #[test]
    fn what_is_no_sample_is_none() {
        for line in [
            "<html>",
            "a",
            "a b",
            "a{",
            "a{b} 1",
            "a{b=} 1",
            "a{b=\"} 1",
            "a{b=\"\\\"} 1",
            "a{b=\"c\" d=\"e\"} 1",
            "{} 1",
            "1",
            "{\"a\" 1",
            "a{,} 1",
        ] {
            assert_eq!(read(line), [None], "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_page_is_read_without_panic(page in "(([a-z_]|[{}=,\"\\\\ #\t\n\r0-9.+]|\\PC){0,40}\n?){0,8}") {
            for sample in samples(&page).flatten() {
                prop_assert!(page.contains(sample.series));
            }
        }

        #[test]
        fn what_is_written_is_read_again(name in "[a-z_:][a-z0-9_:]{0,8}", labels in prop::collection::vec(("[a-z_]{1,5}", "\\PC{0,8}|[\\\\\"\n]{0,4}"), 0..4), value in any::<f64>()) {
            let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let written: Vec<_> = labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escaped(value))).collect();
            let line = format!("{name}{{{}}} {value:e} 17", written.join(","));
            prop_assert_eq!(read(&line), [Some((name, labels, value.to_string()))]);
        }
    }
}
