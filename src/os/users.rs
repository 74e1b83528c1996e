//! Users and groups by name or number.

use std::ffi::CString;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::unistd::{Gid, Group, Uid, User, getgrouplist};

use super::foreign::doing;

/// Whom a process can run as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The user's name; none for a number without an entry in the user database.
    pub name: Option<String>,
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary group ids, the primary one included.
    pub groups: Vec<u32>,
    /// Home directory.
    pub home: Option<PathBuf>,
    /// Login shell.
    pub shell: Option<PathBuf>,
}

impl Account {
    /// Whether a process with these effective ids runs as this account already, and is not root: then nothing has to be changed, and its
    /// groups may not be.
    #[must_use]
    pub const fn is_held_without_root(&self, uid: u32, gid: u32) -> bool {
        uid != 0 && self.uid == uid && self.gid == gid
    }
}

/// Why an account could not be found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// The user is not there.
    #[error("cannot find user `{0}`: no such user on this machine")]
    NoUser(String),
    /// The group is not there.
    #[error("cannot find group `{0}`: no such group on this machine")]
    NoGroup(String),
    /// A number that is not in the user database has no group of its own.
    #[error("cannot tell the group of user {0}: the number is not in the user database; set `group` as well")]
    NoPrimaryGroup(u32),
    /// The database could not be read.
    #[error("cannot look up {what}: {source}")]
    Lookup {
        /// Who was looked up.
        what: String,
        /// Why it failed.
        source: Errno,
    },
}

/// Looks up whom to run as: `user` and `group` by name or number. Without `user` the account is the caller's own, without `group` the
/// group is the user's.
///
/// # Errors
/// When there is no such user or group.
pub fn lookup(user: Option<&str>, group: Option<&str>) -> Result<Account, UserError> {
    doing(format_args!("asking the user database for {}", user.or(group).unwrap_or("the daemon's user")));
    let group = group.map(find_group).transpose()?;
    let number = user.and_then(|user| user.parse::<u32>().ok());
    let entry = match (user, number) {
        (None, _) => by_uid(Uid::effective())?,
        (Some(_), Some(number)) => by_uid(Uid::from_raw(number))?,
        (Some(name), None) => {
            let entry = User::from_name(name).map_err(|source| UserError::Lookup { what: format!("user `{name}`"), source })?;
            Some(entry.ok_or_else(|| UserError::NoUser(name.to_owned()))?)
        }
    };
    let Some(entry) = entry else {
        let uid = number.unwrap_or_else(|| Uid::effective().as_raw());
        let own = user.is_none().then(|| Gid::effective().as_raw());
        let gid = group.or(own).ok_or(UserError::NoPrimaryGroup(uid))?;
        return Ok(Account { name: None, uid, gid, groups: vec![gid], home: None, shell: None });
    };
    let gid = group.unwrap_or_else(|| entry.gid.as_raw());
    let lookup = |source| UserError::Lookup { what: format!("the groups of user `{}`", entry.name), source };
    let name = CString::new(entry.name.as_str()).map_err(|_| lookup(Errno::EINVAL))?;
    let groups = getgrouplist(&name, Gid::from_raw(gid)).map_err(lookup)?;
    Ok(Account {
        uid: entry.uid.as_raw(),
        gid,
        groups: groups.into_iter().map(Gid::as_raw).collect(),
        home: Some(entry.dir),
        shell: Some(entry.shell),
        name: Some(entry.name),
    })
}

/// The id of a user by name or number.
///
/// # Errors
/// There is no such user.
pub fn uid_of(user: &str) -> Result<u32, UserError> {
    if let Ok(number) = user.parse() {
        return Ok(number);
    }
    doing(format_args!("asking the user database for {user}"));
    let entry = User::from_name(user).map_err(|source| UserError::Lookup { what: format!("user `{user}`"), source })?;
    entry.map(|entry| entry.uid.as_raw()).ok_or_else(|| UserError::NoUser(user.to_owned()))
}

/// The id of a group by name or number.
///
/// # Errors
/// There is no such group.
pub fn gid_of(group: &str) -> Result<u32, UserError> {
    find_group(group)
}

fn by_uid(uid: Uid) -> Result<Option<User>, UserError> {
    User::from_uid(uid).map_err(|source| UserError::Lookup { what: format!("user {uid}"), source })
}

fn find_group(group: &str) -> Result<u32, UserError> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    doing(format_args!("asking the user database for the group {group}"));
    let entry = Group::from_name(group).map_err(|source| UserError::Lookup { what: format!("group `{group}`"), source })?;
    entry.map(|entry| entry.gid.as_raw()).ok_or_else(|| UserError::NoGroup(group.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_found_by_name_and_number() {
        let root = lookup(Some("root"), None).unwrap();
        assert_eq!((root.uid, root.gid, root.name.as_deref()), (0, 0, Some("root")));
        assert_eq!((uid_of("root"), uid_of("1234")), (Ok(0), Ok(1234)));
        assert!(root.groups.contains(&0) && root.home.is_some() && root.shell.is_some());
        assert_eq!(lookup(Some("0"), Some("0")).unwrap(), root);
        assert_eq!(lookup(Some("root"), Some("12345")).unwrap().gid, 12345);
    }

    #[test]
    fn the_caller_needs_no_name() {
        let own = lookup(None, None).unwrap();
        assert_eq!(own.uid, Uid::effective().as_raw());
    }

    #[test]
    fn an_own_account_is_held_by_those_who_are_not_root() {
        let account = |uid, gid| Account { name: None, uid, gid, groups: vec![gid], home: None, shell: None };
        assert!(account(7, 8).is_held_without_root(7, 8));
        assert!(!account(7, 8).is_held_without_root(7, 9) && !account(7, 8).is_held_without_root(9, 8));
        assert!(!account(0, 0).is_held_without_root(0, 0));
    }

    #[test]
    fn unknown_ones_are_told_clearly() {
        let text = |user, group| lookup(user, group).unwrap_err().to_string();
        assert_eq!(text(Some("nobody-here"), None), "cannot find user `nobody-here`: no such user on this machine");
        assert_eq!(text(None, Some("nothing-here")), "cannot find group `nothing-here`: no such group on this machine");
        assert!(text(Some("3999999999"), None).ends_with("set `group` as well"));
        let bare = lookup(Some("3999999999"), Some("5")).unwrap();
        assert_eq!((bare.uid, bare.gid, bare.groups, bare.home), (3_999_999_999, 5, vec![5], None));
    }
}
