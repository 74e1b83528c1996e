//! Which unit of systemd a cgroup belongs to: systemd names its cgroups after its units.

/// Whose unit a process is looked up among: those of the machine's systemd, or of that of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The machine's.
    System,
    /// That of the user with this id.
    User(u32),
}

impl Place {
    /// Whose systemd runs the process of user `uid` in `cgroup`: its own one if the cgroup is below that, else the machine's.
    #[must_use]
    pub fn of(cgroup: &str, uid: u32) -> Self {
        let own = Self::User(uid);
        if own.unit(cgroup).is_some() { own } else { Self::System }
    }

    /// The unit that `cgroup` belongs to, if there is one.
    #[must_use]
    pub fn unit(self, cgroup: &str) -> Option<String> {
        let mut parts = cgroup.split('/').filter(|part| !part.is_empty()).map(unescaped);
        if let Self::User(uid) = self {
            let manager = format!("user@{uid}.service");
            parts.find(|part| *part == manager)?;
        }
        parts.find(|part| !part.ends_with(".slice")).filter(|part| is_unit(part)).map(str::to_owned)
    }
}

/// systemd puts `_` before what would look like one of the kernel's own files.
fn unescaped(part: &str) -> &str {
    part.strip_prefix('_').unwrap_or(part)
}

/// Cgroups hold processes of these kinds of units only.
fn is_unit(name: &str) -> bool {
    [".service", ".scope", ".socket", ".mount", ".swap"].iter().any(|kind| name.ends_with(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_names_its_unit() {
        let check = |place: Place, cgroup: &str, unit: Option<&str>| assert_eq!(place.unit(cgroup).as_deref(), unit, "{cgroup}");
        check(Place::System, "/system.slice/ms-supervisor.service/ms-supervisor", Some("ms-supervisor.service"));
        check(Place::System, "/system.slice/system-postgresql.slice/postgresql@16-main.service", Some("postgresql@16-main.service"));
        check(Place::System, "/init.scope", Some("init.scope"));
        check(Place::System, "/system.slice/_cgroup.service", Some("cgroup.service"));
        let nested = "/user.slice/user-7.slice/user@7.service/app.slice/web.service/a:1";
        check(Place::System, nested, Some("user@7.service"));
        check(Place::User(7), nested, Some("web.service"));
        check(Place::User(8), nested, None);
        check(Place::System, "/", None);
        check(Place::System, "/docker/0123", None);
        assert_eq!(
            [Place::of(nested, 7), Place::of(nested, 0), Place::of("/init.scope", 7)],
            [Place::User(7), Place::System, Place::System]
        );
    }
}
