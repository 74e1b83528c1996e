//! `tcp` and `grpc` of a probe: connections.

use crate::spec::code;
use crate::spec::decode::{Cx, mapping};
use crate::spec::diagnostic::{Diagnostic, Spanned};
use crate::spec::value::Text;

use super::tls::TlsSpec;
use super::{Check, address_fault, bare_or_mapping, regex_fault};

mapping! {
    /// A connection, and what is said on it; a bare text is its `address`.
    TcpSpec: "`host:port`, the path of a Unix socket, or a mapping, for example `{address: \"127.0.0.1:25\", expect: \"^220 \"}`" {
        /// `host:port`, or the path of a Unix socket.
        address: Text = required,
        /// What is sent, once the connection stands.
        send: Text,
        /// A regular expression that what comes back has to match. The first 64KiB are looked at.
        expect: Text,
        /// TLS is spoken on it.
        tls: TlsSpec = false,
    }
}

bare_or_mapping!(TcpSpec, address: Text, "`host:port`, the path of a Unix socket, or a mapping");

impl TcpSpec {
    fn check(&self, cx: &mut Cx<'_>) {
        if let Some(send) = self.send.as_ref().filter(|_| self.expect.is_none()) {
            let fault = Diagnostic::new(code::CONFLICT, send.span, "nobody looks what comes back for what is sent");
            cx.report(fault.help("say it in `expect`, or remove `send`"));
        }
    }

    pub(super) fn checked(&self) -> Vec<(&Spanned<Text>, Check)> {
        let address = self.address.iter().map(|address| (address, address_fault as Check));
        address.chain(self.expect.iter().map(|expect| (expect, regex_fault as Check))).collect()
    }

    pub(super) fn texts(&self) -> Vec<&Spanned<Text>> {
        let tls = self.tls.iter().flat_map(|tls| tls.value.texts());
        [&self.address, &self.send, &self.expect].into_iter().flatten().chain(tls).collect()
    }
}

mapping! {
    /// A server of gRPC that is asked whether it serves (`grpc.health.v1.Health/Check`); a bare text is its `address`.
    GrpcSpec: "`host:port`, the path of a Unix socket, or a mapping, for example `{address: \"127.0.0.1:50051\", service: orders}`" {
        /// `host:port`, or the path of a Unix socket.
        address: Text = required,
        /// The service that is asked about; all of the server if not given.
        service: Text = "",
        /// TLS is spoken.
        tls: TlsSpec = false,
    }
}

bare_or_mapping!(GrpcSpec, address: Text, "`host:port`, the path of a Unix socket, or a mapping");

impl GrpcSpec {
    /// Nothing is wrong with the whole that is not with a part.
    fn check(&self, _cx: &mut Cx<'_>) {}

    pub(super) fn checked(&self) -> Vec<(&Spanned<Text>, Check)> {
        self.address.iter().map(|address| (address, address_fault as Check)).collect()
    }

    pub(super) fn texts(&self) -> Vec<&Spanned<Text>> {
        let tls = self.tls.iter().flat_map(|tls| tls.value.texts());
        [&self.address, &self.service].into_iter().flatten().chain(tls).collect()
    }
}
