//! The codes of diagnostics. They are stable: scripts and people's notes refer to them.
//!
//! `MS00..` files and YAML, `MS01..` fields, `MS02..` the tree, `MS03..` dependencies,
//! `MS04..` tiers.

/// Makes the codes and their list.
macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal;)+) => {
        $($(#[doc = $doc])+ pub const $name: &str = $code;)+

        /// Every code with what it means, for the reference page.
        pub const ALL: &[(&str, &str)] = &[$(($code, concat!($($doc),+))),+];
    };
}

codes! {
    /// A file or directory cannot be read.
    UNREADABLE = "MS0001";
    /// A file is larger than 4 MiB.
    TOO_LARGE = "MS0002";
    /// A file is not UTF-8.
    NOT_UTF8 = "MS0003";
    /// A file is not YAML.
    SYNTAX = "MS0004";
    /// A YAML tag (`!name`) is used; declarations know none.
    TAG = "MS0005";
    /// A merge key (`<<`) is used; declarations know none.
    MERGE_KEY = "MS0006";
    /// An alias (`*name`) has no anchor, or stands inside its own anchor.
    ALIAS = "MS0007";
    /// A document is too deep, or too large once its aliases are followed.
    DOCUMENT_LIMIT = "MS0008";
    /// A directory holds no declarations.
    EMPTY = "MS0009";
    /// A file stands where no declarations are read.
    MISPLACED = "MS0010";
    /// Others than root may change a file or directory that root is to read.
    UNTRUSTED = "MS0011";

    /// A key is unknown.
    UNKNOWN_KEY = "MS0101";
    /// A key is given twice.
    DUPLICATE_KEY = "MS0102";
    /// A key that must be given is missing.
    MISSING_KEY = "MS0103";
    /// A value is of the wrong kind.
    WRONG_TYPE = "MS0104";
    /// A value is of the right kind, but cannot be understood.
    BAD_VALUE = "MS0105";
    /// A number, size or time is out of range.
    OUT_OF_RANGE = "MS0106";
    /// Two settings contradict each other.
    CONFLICT = "MS0107";
    /// A name cannot be used.
    BAD_NAME = "MS0108";
    /// A `%` is followed by something unknown, or by `i` in a unit without instances.
    BAD_SPECIFIER = "MS0109";
    /// A command uses the shell's language, but no shell runs it.
    SHELL_SYNTAX = "MS0110";

    /// A name is declared twice.
    DUPLICATE_NAME = "MS0201";
    /// A name is referred to, but not declared.
    UNKNOWN_NAME = "MS0202";
    /// A child is listed twice, or by two supervisors.
    LISTED_TWICE = "MS0203";
    /// Supervisors list each other in a circle.
    SUPERVISOR_CYCLE = "MS0204";
    /// No supervisor lists a unit or supervisor.
    UNREACHABLE = "MS0205";
    /// A supervisor has no children.
    NO_CHILDREN = "MS0206";
    /// A child cannot be one.
    BAD_CHILD = "MS0207";
    /// There are more units than one daemon takes.
    TOO_MANY_UNITS = "MS0208";

    /// A unit depends on itself.
    SELF_DEPENDENCY = "MS0301";
    /// Units wait for each other in a circle.
    DEADLOCK = "MS0302";
    /// A unit depends on an instance that does not exist.
    NO_SUCH_INSTANCE = "MS0303";
    /// There are more dependencies than one daemon takes.
    TOO_MANY_DEPENDENCIES = "MS0304";

    /// A setting is too unsafe for the tier.
    UNSAFE = "MS0401";
}

#[cfg(test)]
mod tests {
    #[test]
    fn codes_are_unique_and_sorted() {
        assert!(super::ALL.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }
}
