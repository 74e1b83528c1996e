//! What a process may do, as the kernel tells it, compared with what it was to be allowed.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use caps::{CapSet, Capability};
use procfs::process::Process;

/// What a process is to be allowed, at most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// User and group, if they are given; not looked at if it may become others.
    pub user: Option<(u32, u32)>,
    /// Supplementary groups, if they are given.
    pub groups: Option<Vec<u32>>,
    /// The capabilities it may have in any set; `None`: all.
    pub capabilities: Option<u64>,
    /// Whether the bounding set has no others either.
    pub bounding: bool,
    /// It can gain no privileges.
    pub no_new_privileges: bool,
    /// Its system calls are filtered.
    pub filtered: bool,
    /// It has a mount namespace of its own.
    pub own_mounts: bool,
    /// It has a network of its own.
    pub own_network: bool,
}

/// Whether this process has a capability.
#[must_use]
pub fn has(capability: Capability) -> bool {
    caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false)
}

/// The capabilities a process has, a bit each; `None` if it is gone. Blocks, as long as /proc takes.
#[must_use]
pub fn of(pid: u32) -> Option<u64> {
    let process = Process::new(i32::try_from(pid).ok()?).ok()?;
    Some(process.status().ok()?.capeff)
}

/// The bit mask of capabilities by name; those that are unknown count for nothing.
#[must_use]
pub fn mask<'a>(names: impl IntoIterator<Item = &'a String>) -> u64 {
    names.into_iter().filter_map(|name| name.parse::<Capability>().ok()).fold(0, |mask, capability| mask | capability.bitmask())
}

/// The names of the capabilities in a bit mask.
#[must_use]
pub fn names(mask: u64) -> String {
    let mut names: Vec<_> = caps::all().into_iter().filter(|one| mask & one.bitmask() != 0).map(|one| one.to_string()).collect();
    names.sort();
    names.join(", ")
}

/// Compares process `pid` with what it may do. Blocks, as long as /proc takes.
///
/// # Errors
/// What it may do too much, as a sentence.
pub fn verify(pid: u32, allowed: &Allowed) -> Result<(), String> {
    let process = i32::try_from(pid).ok().and_then(|pid| Process::new(pid).ok());
    // One that has ended can do nothing.
    let Some(status) = process.as_ref().and_then(|process| process.status().ok()) else { return Ok(()) };
    if !allowed.no_new_privileges && changes_user(pid) {
        return Ok(());
    }
    let seen = Seen {
        uids: [status.ruid, status.euid, status.suid, status.fuid],
        gids: [status.rgid, status.egid, status.sgid, status.fgid],
        groups: status.groups.clone(),
        capabilities: status.capeff | status.capprm | status.capinh | status.capamb.unwrap_or(0),
        bounding: status.capbnd.unwrap_or(0),
        no_new_privileges: status.nonewprivs == Some(1),
        filtered: status.seccomp.is_some_and(|mode| mode == 2),
        own_mounts: is_other(pid, "mnt"),
        own_network: is_other(pid, "net"),
    };
    let excess = excess(&seen, allowed);
    if excess.is_empty() { Ok(()) } else { Err(excess.join("; ")) }
}

/// Whether a process executes what has made it another user, as it may.
fn changes_user(pid: u32) -> bool {
    std::fs::metadata(format!("/proc/{pid}/exe")).is_ok_and(|program| program.permissions().mode() & 0o6000 != 0)
}

/// Whether a process is in another namespace than this one, as far as that can be seen.
fn is_other(pid: u32, kind: &str) -> bool {
    let link = |of: &str| std::fs::read_link(format!("/proc/{of}/ns/{kind}")).ok();
    link(&pid.to_string()).is_none_or(|its| link("self").is_none_or(|own| own != its))
}

#[derive(Clone, Debug, Default)]
struct Seen {
    uids: [u32; 4],
    gids: [u32; 4],
    groups: Vec<u32>,
    capabilities: u64,
    bounding: u64,
    no_new_privileges: bool,
    filtered: bool,
    own_mounts: bool,
    own_network: bool,
}

/// What a process may do too much.
fn excess(seen: &Seen, allowed: &Allowed) -> Vec<String> {
    let mut excess = Vec::new();
    let keeps = |capability: Capability| allowed.capabilities.is_none_or(|kept| kept & capability.bitmask() != 0);
    // Its program is under way already: what it may change it may have changed.
    let user = allowed.user.filter(|(uid, _)| *uid != 0 || allowed.capabilities.is_some());
    if let Some((uid, _)) = user.filter(|_| !keeps(Capability::CAP_SETUID) || allowed.capabilities.is_none())
        && seen.uids.iter().any(|seen| *seen != uid)
    {
        excess.push(format!("it runs as user {:?}, not {uid}", seen.uids));
    }
    if let Some((_, gid)) = user.filter(|_| !keeps(Capability::CAP_SETGID) || allowed.capabilities.is_none()) {
        if seen.gids.iter().any(|seen| *seen != gid) {
            excess.push(format!("it runs as group {:?}, not {gid}", seen.gids));
        }
        let more: Vec<_> =
            seen.groups.iter().filter(|group| allowed.groups.as_ref().is_some_and(|groups| !groups.contains(group))).collect();
        if !more.is_empty() {
            excess.push(format!("it is in the groups {more:?}"));
        }
    }
    let beyond = |seen: u64| allowed.capabilities.map_or(0, |kept| seen & !kept);
    for (set, capabilities, counts) in [("", seen.capabilities, true), (" in its bounding set", seen.bounding, allowed.bounding)] {
        if counts && beyond(capabilities) != 0 {
            let mut text = format!("it has {}", names(beyond(capabilities)));
            let _infallible = write!(text, "{set}");
            excess.push(text);
        }
    }
    let lacking = [
        (allowed.no_new_privileges && !seen.no_new_privileges, "it can gain privileges"),
        (allowed.filtered && !seen.filtered, "its system calls are not filtered"),
        (allowed.own_mounts && !seen.own_mounts, "it sees the files of the whole machine"),
        (allowed.own_network && !seen.own_network, "it is in the daemon's network"),
    ];
    excess.extend(lacking.into_iter().filter(|(lacks, _)| *lacks).map(|(_, text)| text.to_owned()));
    excess
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_too_much_is_named() {
        let net_raw = Capability::CAP_NET_RAW.bitmask();
        let allowed = Allowed {
            user: Some((7, 8)),
            groups: Some(vec![8, 9]),
            capabilities: Some(net_raw),
            bounding: true,
            no_new_privileges: true,
            filtered: true,
            own_mounts: true,
            own_network: true,
        };
        let good = Seen {
            uids: [7; 4],
            gids: [8; 4],
            groups: vec![9],
            capabilities: net_raw,
            bounding: net_raw,
            no_new_privileges: true,
            filtered: true,
            own_mounts: true,
            own_network: true,
        };
        let check = |seen: &Seen, allowed: &Allowed, expect: &str| assert_eq!(excess(seen, allowed).join("; "), expect);
        check(&good, &allowed, "");
        check(&Seen::default(), &Allowed::default(), "");
        check(&Seen { uids: [7, 0, 7, 7], ..good.clone() }, &allowed, "it runs as user [7, 0, 7, 7], not 7");
        check(
            &Seen { gids: [0; 4], groups: vec![9, 4], ..good.clone() },
            &allowed,
            "it runs as group [0, 0, 0, 0], not 8; it is in the groups [4]",
        );
        check(
            &Seen { capabilities: 3, bounding: 4, ..good.clone() },
            &allowed,
            "it has CAP_CHOWN, CAP_DAC_OVERRIDE; it has CAP_DAC_READ_SEARCH in its bounding set",
        );
        check(&Seen { bounding: 4, ..good.clone() }, &Allowed { bounding: false, ..allowed.clone() }, "");
        let open = Seen { no_new_privileges: false, filtered: false, own_mounts: false, own_network: false, ..good.clone() };
        let all = "it can gain privileges; its system calls are not filtered; it sees the files of the whole machine; it is in the daemon's network";
        check(&open, &allowed, all);
        // Who keeps the right to become another user may have become one.
        let setuid = Allowed { capabilities: Some(Capability::CAP_SETUID.bitmask()), ..allowed };
        check(&Seen { uids: [0; 4], capabilities: 0, bounding: 0, ..good }, &setuid, "");
    }

    #[test]
    fn this_process_is_what_it_is() {
        let own = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        verify(std::process::id(), &Allowed { user: Some(own), ..Allowed::default() }).unwrap();
        let found = verify(std::process::id(), &Allowed { own_network: true, ..Allowed::default() });
        assert_eq!(found, Err("it is in the daemon's network".into()));
        assert_eq!(mask(["CAP_CHOWN".to_owned(), "NOTHING".to_owned()].iter()), 1);
    }
}
