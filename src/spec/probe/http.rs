//! `http` of a probe: a request, and what its answer has to be.

use serde_json::json;

use crate::spec::code;
use crate::spec::decode::{Cx, Decode, Field, mapping};
use crate::spec::diagnostic::{Diagnostic, Spanned, quote};
use crate::spec::node::Node;
use crate::spec::value::{Environment, OneOrMany, Text, schema};

use super::tls::TlsSpec;
use super::{Check, bare_or_mapping, regex_fault};

mapping! {
    /// A request, and what its answer has to be; a bare text is its `url`. Redirects are not followed.
    HttpSpec: "a URL or a mapping, for example `{url: \"http://127.0.0.1:8080/health\", expect_status: 200}`" {
        /// What is asked for: an `http:` or `https:` URL.
        url: Text = required,
        /// A Unix socket to ask at, instead of the host in the URL.
        socket: Text,
        /// The method.
        method: Text = "GET",
        /// Headers of the request.
        headers: Environment = {},
        /// The status codes that are well, for example `[200, 300-399]`.
        expect_status: OneOrMany<StatusSpec> = ["200-399"],
        /// A regular expression the body has to match. The first 256KiB are looked at.
        expect_body: Text,
        /// Regular expressions that headers of the answer have to match, by name.
        expect_headers: Environment = {},
        /// How an `https:` URL is asked.
        tls: TlsSpec,
    }
}

bare_or_mapping!(HttpSpec, url: Text, "a URL or a mapping, for example `{url: \"http://127.0.0.1:8080/health\"}`");

impl HttpSpec {
    /// What cannot be checked value by value.
    fn check(&self, cx: &mut Cx<'_>) {
        check_request(&self.url, &self.headers, &self.tls, cx);
        if let Some(method) = self.method.as_ref().filter(|method| !is_token(&method.0)) {
            let message = format!("{} is no method; write for example `GET`", quote(&method.0));
            cx.report(Diagnostic::new(code::BAD_VALUE, method.span, message));
        }
        check_names(&self.expect_headers, cx);
        for (_, value) in self.expect_headers.iter().flat_map(|headers| &headers.0) {
            if let Some(why) = regex_fault(&value.value) {
                cx.report(Diagnostic::new(code::BAD_VALUE, value.span, why));
            }
        }
    }

    pub(super) fn checked(&self) -> Vec<(&Spanned<Text>, Check)> {
        let url = self.url.iter().map(|url| (url, url_fault as Check));
        url.chain(self.expect_body.iter().map(|body| (body, regex_fault as Check))).collect()
    }

    pub(super) fn texts(&self) -> Vec<&Spanned<Text>> {
        let tls = self.tls.iter().flat_map(|tls| tls.value.texts());
        [&self.url, &self.socket, &self.method, &self.expect_body].into_iter().flatten().chain(tls).collect()
    }
}

/// What cannot be checked value by value in a request.
pub(super) fn check_request(url: &Field<Text>, headers: &Field<Environment>, tls: &Field<TlsSpec>, cx: &mut Cx<'_>) {
    let is_plain = url.as_ref().is_some_and(|url| url.0.starts_with("http:"));
    if let Some(tls) = tls.as_ref().filter(|tls| is_plain && tls.value.is_wanted()) {
        let fault = Diagnostic::new(code::CONFLICT, tls.span, "`tls` says how an `https:` URL is asked, but this is an `http:` URL");
        cx.report(fault.help("write `https:` in `url`, or remove `tls`"));
    }
    check_names(headers, cx);
}

fn check_names(headers: &Field<Environment>, cx: &mut Cx<'_>) {
    for (name, value) in headers.iter().flat_map(|headers| &headers.0).filter(|(name, _)| !is_token(name)) {
        cx.report(Diagnostic::new(code::BAD_VALUE, value.span, format!("{} cannot name a header", quote(name))));
    }
}

/// Whether it is a word of HTTP.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// Finds fault with a URL that is to be asked.
pub(super) fn url_fault(target: &str) -> Option<String> {
    match target.strip_prefix("https:") {
        // What can be wrong with a host and a port is the same.
        Some(rest) => crate::spec::readiness::http_fault(&format!("http:{rest}")).map(|why| why.replace("`http:", "`https:")),
        None => crate::spec::readiness::http_fault(target)
            .map(|why| why.replace("is not an `http:` URL; only these", "is neither an `http:` nor an `https:` URL; only these")),
    }
}

/// A status code, or a range of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusSpec(pub u16, pub u16);

schema!(StatusSpec, _generator => json!({
    "type": ["string", "integer"], "pattern": "^[1-5][0-9][0-9](-[1-5][0-9][0-9])?$", "minimum": 100, "maximum": 599, "examples": ["200-399"],
}));

impl Decode for StatusSpec {
    const EXPECTED: &'static str = "a status code or a range of them, for example `200-399`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.text(node, Self::EXPECTED)?;
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (first.trim().parse(), last.trim().parse()) {
            (Ok(first), Ok(last)) if 100 <= first && first <= last && last <= 599 => Some(Self(first, last)),
            (Ok::<u16, _>(_), Ok::<u16, _>(_)) => {
                cx.bad_value(code::OUT_OF_RANGE, node, format!("{} is no range of status codes, which go from 100 to 599", quote(text)))
            }
            _ => cx.expected(node, Self::EXPECTED),
        }
    }
}
