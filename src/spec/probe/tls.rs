//! `tls` of a probe: how the server shows who it is.

use serde_json::json;

use crate::spec::code;
use crate::spec::decode::{Cx, Decode, mapping};
use crate::spec::diagnostic::{Diagnostic, Spanned};
use crate::spec::node::Node;
use crate::spec::restart::is_word;
use crate::spec::value::{Flag, Text, Time, schema};

mapping! {
    /// How a server is spoken to by TLS; `true` is all defaults.
    TlsSpec: "`true`, `false` or a mapping, for example `{ca_file: /etc/ssl/ours.pem}`" {
        /// Whether TLS is spoken at all.
        enabled: Flag = true,
        /// The certificates (PEM) one of which has to vouch for the server's, instead of those the system trusts.
        ca_file: Text,
        /// The name the certificate has to be for; the host that is asked if not given.
        server_name: Text,
        /// Whether the certificate has to be trusted and for that name. How long it is valid is looked at in any case.
        verify: Flag = true,
        /// A certificate that ends sooner is degraded; one that has ended has failed.
        valid_for: Time = "14d",
    }
}

schema!(TlsSpec, generator => json!({"anyOf": [{"type": "boolean"}, Self::mapping_schema(generator)]}));

impl Decode for TlsSpec {
    const EXPECTED: &'static str = "`true`, `false` or a mapping, for example `{ca_file: /etc/ssl/ours.pem}`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        if is_word(node) {
            let value = Flag::decode(node, cx)?;
            return Some(Self { enabled: Some(Spanned { value, span: node.span }), ..Self::default() });
        }
        let spec = Self::from_mapping(node, cx)?;
        let is_trusting = spec.verify.as_ref().is_some_and(|verify| !verify.0);
        if let Some(ca) = spec.ca_file.as_ref().filter(|_| is_trusting) {
            let fault = Diagnostic::new(code::CONFLICT, ca.span, "`ca_file` is not looked at with `verify: false`");
            cx.report(fault.help("remove one of them"));
        }
        Some(spec)
    }
}

impl TlsSpec {
    /// Whether TLS is spoken.
    pub(crate) fn is_wanted(&self) -> bool {
        self.enabled.as_ref().is_none_or(|enabled| enabled.0)
    }

    pub(super) fn texts(&self) -> impl Iterator<Item = &Spanned<Text>> {
        self.ca_file.iter().chain(&self.server_name)
    }
}
