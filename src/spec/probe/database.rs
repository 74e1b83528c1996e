//! `postgresql`, `mysql`, `redis` and `nats` of a probe: servers that want to know who asks.

use crate::spec::code;
use crate::spec::decode::{Cx, mapping};
use crate::spec::diagnostic::{Diagnostic, Spanned};
use crate::spec::value::Text;

use super::{Check, address_fault, bare_or_mapping, regex_fault};

mapping! {
    /// A server that has to let us in and to answer; a bare text is its `address`. PostgreSQL and MySQL (or MariaDB) answer a `query`, Redis and
    /// NATS a PING.
    DatabaseSpec: "`host:port`, the path of a Unix socket, or a mapping, for example `{address: \"127.0.0.1:5432\", user: app}`" {
        /// `host:port`, or the path of a Unix socket.
        address: Text = required,
        /// Who asks; `postgres` or `root` if not given, nobody with Redis and NATS.
        user: Text,
        /// The file whose first line is the password. It is read each time, and only if nobody else could read or exchange it, as with secrets.
        password_file: Text,
        /// The database; what the server takes if not given.
        database: Text,
        /// What is asked. A number in the first field of the answer becomes the metric's value `result`.
        query: Text = "SELECT 1",
        /// A regular expression that the first field of the answer has to match.
        expect: Text,
    }
}

bare_or_mapping!(DatabaseSpec, address: Text, "`host:port`, the path of a Unix socket, or a mapping");

impl DatabaseSpec {
    /// Nothing is wrong with the whole that is not with a part.
    fn check(&self, _cx: &mut Cx<'_>) {}

    /// Redis and NATS take no query.
    pub(super) fn check_pinged(&self, kind: &str, cx: &mut Cx<'_>) {
        let unknown = [&self.query, &self.expect].into_iter().flatten();
        let databases = self.database.iter().filter(|_| kind == "nats");
        for field in unknown.chain(databases) {
            let message = format!("`{kind}` is asked by a PING: there is nothing to choose");
            cx.report(Diagnostic::new(code::CONFLICT, field.span, message).help("remove the key"));
        }
    }

    pub(super) fn checked(&self) -> Vec<(&Spanned<Text>, Check)> {
        let address = self.address.iter().map(|address| (address, address_fault as Check));
        address.chain(self.expect.iter().map(|expect| (expect, regex_fault as Check))).collect()
    }

    pub(super) fn texts(&self) -> Vec<&Spanned<Text>> {
        [&self.address, &self.user, &self.password_file, &self.database, &self.query, &self.expect].into_iter().flatten().collect()
    }
}
