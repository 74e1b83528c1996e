//! `isolation` of a unit: what it is kept from, by systemd's names.

use serde_json::json;

use crate::base::choice::Choice;
use crate::base::isolation::{CallGroup, FilterAction, FilterProfile, KeyringMode, ProtectHome, ProtectSystem};

use super::code;
use super::decode::{Cx, Decode, Field, mapping};
use super::diagnostic::{Diagnostic, Span, Spanned, did_you_mean, quote};
use super::node::{Kind, Node};
use super::restart::is_word;
use super::unit::Account;
use super::value::{Flag, Int, OneOf, OneOrMany, Text, choose, one_of, schema};

/// The most paths of one kind.
const PATHS_MAX: usize = 256;

mapping! {
    /// What the unit is kept from, besides what its user may not do. What this machine or the daemon's own privileges cannot give fails the
    /// start, unless `best_effort`. Paths are relative to the configuration directory; one that begins with `-` may be missing. Whoever
    /// declares any of it gets `no_new_privileges`, too, and a unit that is not root's no capability but those named.
    IsolationSpec: "a mapping, for example `{protect_system: strict, private_tmp: true, system_call_filter: default}`" {
        /// Whether it, and all it executes, can gain no privilege by setuid programs and file capabilities.
        no_new_privileges: Flag = true,
        /// Groups it is in besides those of its user, by name or number. Needs CAP_SETGID.
        supplementary_groups: OneOrMany<Account> = [],
        /// The capabilities it keeps, whoever it runs as: all others go from every set, the bounding set included. None if not given, and
        /// of root's units all. To keep one needs it, and CAP_SETPCAP.
        capabilities: OneOrMany<CapabilityName>,
        /// Whether `/tmp` and `/var/tmp` are its own: empty, in memory, at most a tenth of it each, gone with the unit's last process. Needs CAP_SYS_ADMIN,
        /// as everything with mounts does.
        private_tmp: Flag = false,
        /// What of the system it cannot write to.
        protect_system: Level<ProtectSystem> = false,
        /// What it sees of people's directories.
        protect_home: Level<ProtectHome> = false,
        /// What it can read, and not write.
        read_only_paths: OneOrMany<Text> = [],
        /// What it can write as before, inside of what it cannot.
        read_write_paths: OneOrMany<Text> = [],
        /// What it can neither read nor write.
        inaccessible_paths: OneOrMany<Text> = [],
        /// Whether it has a network of its own, in which there is only itself, on the loopback interface. Probes over the network look from the
        /// daemon's network and do not reach it; probes that are a `command` run in the unit's, and those of process, file, log and resources
        /// need none. Needs CAP_SYS_ADMIN.
        private_network: Flag = false,
        /// What of files and of TCP it may use by Landlock, which needs no privilege. Without it: all.
        landlock: LandlockSpec,
        /// Which system calls it may make, by seccomp, which needs no privilege: a profile, or a list of groups besides what every program
        /// needs. Calls that the filter does not know fail with ENOSYS.
        system_call_filter: FilterSpec,
        /// Whose keys of the kernel's it finds in its session.
        keyring_mode: OneOf<KeyringMode> = "inherit",
        /// Whether it starts even if some of it cannot be had; what is missing is told, once, and shown by `status`.
        best_effort: Flag = false,
    }
}

schema!(IsolationSpec, generator => Self::mapping_schema(generator).to_value());

impl Decode for IsolationSpec {
    const EXPECTED: &'static str = "a mapping, for example `{private_tmp: true}`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let spec = Self::from_mapping(node, cx)?;
        spec.check(node, cx);
        Some(spec)
    }
}

impl IsolationSpec {
    /// The texts in it that may hold specifiers.
    pub(super) fn texts(&self) -> Vec<(Span, String)> {
        self.paths().map(|path| (path.span, path.value.0.clone())).collect()
    }

    fn paths(&self) -> impl Iterator<Item = &Spanned<Text>> {
        let landlock = self.landlock.iter().flat_map(|landlock| [&landlock.value.read, &landlock.value.write, &landlock.value.execute]);
        let mounts = [&self.read_only_paths, &self.read_write_paths, &self.inaccessible_paths];
        mounts.into_iter().chain(landlock).flatten().flat_map(|paths| &paths.value.0)
    }

    fn check(&self, node: &Node, cx: &mut Cx<'_>) {
        if let Some(flag) = self.no_new_privileges.as_ref().filter(|flag| !flag.0) {
            for key in ["landlock", "system_call_filter"].into_iter().filter_map(|key| node.key(key)) {
                let message = "without `no_new_privileges` a program that is setuid would run restricted, which the kernel refuses";
                let fault = Diagnostic::new(code::CONFLICT, flag.span, message).related(key.span, "this needs it");
                cx.report(fault.help("remove `no_new_privileges: false`"));
            }
        }
        for path in self.paths().filter(|path| matches!(path.0.as_str(), "" | "-")) {
            cx.report(Diagnostic::new(code::BAD_VALUE, path.span, "`isolation`: the path is empty"));
        }
        for paths in [&self.read_only_paths, &self.read_write_paths, &self.inaccessible_paths].into_iter().flatten() {
            check_count(paths, cx);
        }
        self.check_hidden(cx);
    }

    /// What is inside of something that is hidden is not there any more.
    fn check_hidden(&self, cx: &mut Cx<'_>) {
        let closed = self.inaccessible_paths.iter().flat_map(|paths| &paths.value.0).map(|path| (plain(&path.value.0), path.span));
        let temporary = self.private_tmp.as_ref().filter(|flag| flag.0).map(|flag| flag.span);
        let homes = self.protect_home.as_ref().filter(|level| level.0 == Some(ProtectHome::Inaccessible)).map(|level| level.span);
        let temporary = temporary.into_iter().flat_map(|span| ["/tmp", "/var/tmp"].map(|path| (path, span)));
        let homes = homes.into_iter().flat_map(|span| ["/home", "/root", "/run/user"].map(|path| (path, span)));
        let hidden: Vec<_> = closed.chain(temporary).chain(homes).collect();
        let open = [&self.read_only_paths, &self.read_write_paths].into_iter().flatten().flat_map(|paths| &paths.value.0);
        for path in open {
            let inside = |(above, _): &&(&str, Span)| plain(&path.value.0).strip_prefix(above).is_some_and(|rest| rest.starts_with('/'));
            if let Some((above, span)) = hidden.iter().find(inside) {
                let message = format!("`isolation`: {} is inside of what the unit does not see", quote(&path.value.0));
                let fault = Diagnostic::new(code::CONFLICT, path.span, message).related(*span, format!("{above} is hidden here"));
                cx.report(fault.help("remove one of them, or hide what is beside it instead"));
            }
        }
    }
}

/// A path without the mark that it may be missing.
fn plain(path: &str) -> &str {
    path.strip_prefix('-').unwrap_or(path)
}

fn check_count(paths: &Spanned<OneOrMany<Text>>, cx: &mut Cx<'_>) {
    if paths.0.len() > PATHS_MAX {
        let message = format!("there are more than {PATHS_MAX} paths");
        cx.report(Diagnostic::new(code::OUT_OF_RANGE, paths.span, message).help("name the directories they are in"));
    }
}

mapping! {
    /// What a unit may use; all else of the same kind is refused. The program itself and the libraries it loads count, too: without
    /// `execute: [/usr]` or the like nothing can be executed. What was open before, as its log, stays usable.
    LandlockSpec: "a mapping, for example `{read: [/etc], write: [/var/lib/x], execute: [/usr]}`" {
        /// Directories and files it can read, with all that is below.
        read: OneOrMany<Text> = [],
        /// Directories and files it can read and change, with all that is below.
        write: OneOrMany<Text> = [],
        /// Directories and files it can read and execute, with all that is below.
        execute: OneOrMany<Text> = [],
        /// TCP ports it can listen at; all of them if not given. Needs Linux 6.7.
        bind_tcp: OneOrMany<Int<0, 65535>>,
        /// TCP ports it can connect to; all of them if not given. Needs Linux 6.7.
        connect_tcp: OneOrMany<Int<0, 65535>>,
    }
}

schema!(LandlockSpec, generator => Self::mapping_schema(generator).to_value());

impl Decode for LandlockSpec {
    const EXPECTED: &'static str = "a mapping, for example `{read: [/etc], execute: [/usr]}`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let spec = Self::from_mapping(node, cx)?;
        for paths in [&spec.read, &spec.write, &spec.execute].into_iter().flatten() {
            check_count(paths, cx);
        }
        Some(spec)
    }
}

mapping! {
    /// Which system calls a unit may make; a bare word is its `profile`, a list is its `allow`, with the profile `none`.
    FilterSpec: "a profile, a list of groups or a mapping, for example `{profile: strict, allow: [chown]}`" {
        /// What it may make to begin with.
        profile: OneOf<FilterProfile> = "default",
        /// What it may make besides.
        allow: OneOrMany<OneOf<CallGroup>> = [],
        /// What it may not make after all.
        deny: OneOrMany<OneOf<CallGroup>> = [],
        /// What becomes of all others.
        action: OneOf<FilterAction> = "errno",
    }
}

schema!(FilterSpec, generator => json!({"anyOf": [
    one_of::<FilterProfile>(), {"type": "array", "items": one_of::<CallGroup>()}, Self::mapping_schema(generator),
]}));

impl Decode for FilterSpec {
    const EXPECTED: &'static str = "a profile, a list of groups or a mapping";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        if is_word(node) {
            let value = OneOf(choose(node, cx)?);
            return Some(Self { profile: Some(Spanned { value, span: node.span }), ..Self::default() });
        }
        if matches!(node.kind, Kind::Sequence(_)) {
            let allow = Some(Spanned { value: OneOrMany::decode(node, cx)?, span: node.span });
            let profile = Some(Spanned { value: OneOf(FilterProfile::None), span: node.span });
            return Some(Self { profile, allow, ..Self::default() });
        }
        Self::from_mapping(node, cx)
    }
}

/// `false`, `true` for the ordinary level, or a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level<T>(pub Option<T>);

schema!(impl [T: Choice] Level<T>, _generator => json!({"anyOf": [{"type": "boolean"}, one_of::<T>()]}));

impl<T: Choice + Default> Decode for Level<T> {
    const EXPECTED: &'static str = "`true`, `false` or a word";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        match node.text() {
            Some("true") => Some(Self(Some(T::default()))),
            Some("false") => Some(Self(None)),
            _ => choose(node, cx).map(|level| Self(Some(level))),
        }
    }
}

/// A capability by name, in capitals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapabilityName(pub String);

schema!(CapabilityName, _generator => json!({"type": "string", "pattern": "^([Cc][Aa][Pp]_)?[A-Za-z_]+$", "examples": ["CAP_NET_BIND_SERVICE"]}));

impl Decode for CapabilityName {
    const EXPECTED: &'static str = "a capability, for example `CAP_NET_BIND_SERVICE`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.text(node, Self::EXPECTED)?;
        let name = caps::to_canonical(text);
        let mut known: Vec<String> = caps::all().iter().map(ToString::to_string).collect();
        known.sort();
        if known.contains(&name) {
            return Some(Self(name));
        }
        let message = format!("{}: there is no capability {}", cx.subject(), quote(text));
        let help = did_you_mean(&name, known.iter().map(String::as_str));
        cx.report(Diagnostic::new(code::BAD_VALUE, node.span, message).maybe_help(help));
        None
    }
}

/// What `paths` name, the path and whether it may be missing.
pub(crate) fn listed(paths: &Field<OneOrMany<Text>>) -> impl Iterator<Item = (&str, bool)> {
    paths.iter().flat_map(|paths| &paths.value.0).map(|path| match path.0.strip_prefix('-') {
        Some(path) => (path, true),
        None => (path.0.as_str(), false),
    })
}
