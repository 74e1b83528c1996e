//! Files of environment variables, and the search for a program in PATH.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

/// Why an environment file cannot be read as one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot read the environment: line {line}, column {column}: {what}")]
pub struct EnvFileError {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub what: &'static str,
}

/// Why a program cannot be found.
#[derive(Debug, thiserror::Error)]
pub struct ProgramError {
    /// The name that was looked for.
    pub name: String,
    /// Every place that was tried, and what was wrong with it.
    pub tried: Vec<(PathBuf, &'static str)>,
}

impl fmt::Display for ProgramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot find the program `{}`", self.name)?;
        if self.tried.is_empty() {
            return f.write_str(": PATH is empty");
        }
        for (number, (path, why)) in self.tried.iter().enumerate() {
            write!(f, "{} {} {why}", if number == 0 { ":" } else { "," }, path.display())?;
        }
        Ok(())
    }
}

/// Reads an environment file by systemd's rules (`EnvironmentFile=`): `NAME=value` lines, comments with `#` or `;`, values in single
/// or double quotes (which may span lines), a backslash at the end of a line continues it. `export NAME=value` is read too.
///
/// # Errors
/// Where systemd would skip what it does not understand, this says where it is.
pub fn parse(text: &str) -> Result<Vec<(String, String)>, EnvFileError> {
    let mut parser = Parser { chars: text.chars().collect(), at: 0 };
    let mut variables = Vec::new();
    while parser.next_assignment() {
        let name = parser.name()?;
        let value = parser.value()?;
        variables.push((name, value));
    }
    Ok(variables)
}

/// Finds the program `name`: with a slash relative to `cwd`, without one in the directories of `path_var`.
///
/// # Errors
/// When no executable regular file is there; the error lists what was tried.
pub fn find_program(name: &str, path_var: &str, cwd: &Path) -> Result<PathBuf, ProgramError> {
    let candidates: Vec<PathBuf> = if name.contains('/') {
        vec![cwd.join(name)]
    } else if name.is_empty() {
        Vec::new()
    } else {
        // An empty entry means the current directory, as for execvp(3).
        path_var.split(':').filter(|_| !path_var.is_empty()).map(|directory| cwd.join(directory).join(name)).collect()
    };
    let mut tried = Vec::new();
    for candidate in candidates {
        match fault(&candidate) {
            None => return Ok(candidate),
            Some(why) => tried.push((candidate, why)),
        }
    }
    Err(ProgramError { name: name.to_owned(), tried })
}

fn fault(program: &Path) -> Option<&'static str> {
    match std::fs::metadata(program) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Some("cannot be reached (permission denied)"),
        Err(_) => Some("does not exist"),
        Ok(metadata) if metadata.is_dir() => Some("is a directory"),
        Ok(metadata) if !metadata.is_file() => Some("is not a regular file"),
        Ok(_) => rustix::fs::access(program, Access::EXEC_OK).err().map(|_| "is not executable"),
    }
}

struct Parser {
    chars: Vec<char>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn bump(&mut self) -> Option<char> {
        let next = self.peek();
        self.at += usize::from(next.is_some());
        next
    }

    fn skip_while(&mut self, skip: impl Fn(char) -> bool) {
        while self.peek().is_some_and(&skip) {
            self.at += 1;
        }
    }

    fn fault<T>(&self, at: usize, what: &'static str) -> Result<T, EnvFileError> {
        let before = self.chars.get(..at).unwrap_or_default();
        let line = before.iter().filter(|c| **c == '\n').count() + 1;
        let column = before.iter().rev().take_while(|c| **c != '\n').count() + 1;
        Err(EnvFileError { line, column, what })
    }

    /// Skips blank lines and comments; false at the end.
    fn next_assignment(&mut self) -> bool {
        loop {
            self.skip_while(char::is_whitespace);
            match self.peek() {
                None => return false,
                Some('#' | ';') => self.skip_while(|c| c != '\n'),
                Some(_) => return true,
            }
        }
    }

    fn name(&mut self) -> Result<String, EnvFileError> {
        let mut start = self.at;
        self.skip_while(|c| c != '=' && c != '\n');
        if self.peek() != Some('=') {
            return self.fault(start, "this is not an assignment; write NAME=value");
        }
        let mut name: String = self.chars[start..self.at].iter().collect();
        if let Some(rest) = name.strip_prefix("export").filter(|rest| rest.starts_with([' ', '\t'])) {
            let rest = rest.trim_start();
            start = self.at - rest.chars().count();
            name = rest.to_owned();
        }
        self.at += 1;
        let name = name.trim_end();
        if name.is_empty() {
            return self.fault(start, "the name before `=` is missing");
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if let Some(bad) = name.chars().position(|c| !allowed(c)) {
            return self.fault(start + bad, "a name holds only letters, digits and `_`");
        }
        if name.starts_with(|c: char| c.is_ascii_digit()) {
            return self.fault(start, "a name does not start with a digit");
        }
        Ok(name.to_owned())
    }

    /// The rest of the assignment. Quotes count at the start of the value and after a closing quote only; elsewhere they are text.
    fn value(&mut self) -> Result<String, EnvFileError> {
        let mut value = String::new();
        loop {
            self.skip_while(|c| c.is_whitespace() && c != '\n');
            match self.peek() {
                None | Some('\n') => return Ok(value),
                Some('\'') => self.single(&mut value)?,
                Some('"') => self.double(&mut value)?,
                Some(_) => {
                    self.bare(&mut value);
                    return if value.contains('\0') { self.fault(self.at, "a value cannot hold a NUL") } else { Ok(value) };
                }
            }
        }
    }

    fn bare(&mut self, value: &mut String) {
        // White space at the end does not count, unless a backslash stands before it.
        let mut length = value.len();
        while let Some(c) = self.peek().filter(|c| *c != '\n') {
            self.at += 1;
            match c {
                '\\' => {
                    value.extend(self.bump().filter(|c| *c != '\n'));
                    length = value.len();
                }
                c => {
                    value.push(c);
                    length = if c.is_whitespace() { length } else { value.len() };
                }
            }
        }
        value.truncate(length);
    }

    fn single(&mut self, value: &mut String) -> Result<(), EnvFileError> {
        let start = self.at;
        self.at += 1;
        loop {
            match self.bump() {
                None => return self.fault(start, "this quote is not closed"),
                Some('\'') => return Ok(()),
                Some(c) => value.push(c),
            }
        }
    }

    fn double(&mut self, value: &mut String) -> Result<(), EnvFileError> {
        let start = self.at;
        self.at += 1;
        loop {
            match self.bump() {
                None => return self.fault(start, "this quote is not closed"),
                Some('"') => return Ok(()),
                Some('\\') => match self.bump() {
                    None => return self.fault(start, "this quote is not closed"),
                    Some('\n') => {}
                    Some(c @ ('"' | '\\' | '`' | '$')) => value.push(c),
                    Some(c) => value.extend(['\\', c]),
                },
                Some(c) => value.push(c),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn values_read_as_systemd_reads_them() {
        for (text, value) in [
            ("A=b", "b"),
            ("A=", ""),
            ("  A=b c  ", "b c"),
            ("A =b", "b"),
            ("A= b", "b"),
            ("export A=b", "b"),
            ("export\tA=b", "b"),
            ("A=b # no comment", "b # no comment"),
            ("A='b  c' ", "b  c"),
            ("A=\"b 'c'\"", "b 'c'"),
            ("A='b\\n\"c'", "b\\n\"c"),
            ("A=\"b\\\"c\\\\d\\$e\\nf\"", "b\"c\\d$e\\nf"),
            ("A='b''c'\"d\"e", "bcde"),
            ("A=it's", "it's"),
            ("A=b\\\nc", "bc"),
            ("A=\"b\\\nc\"", "bc"),
            ("A='two\nlines'", "two\nlines"),
            ("A=b\\ ", "b "),
            ("A=b\\xc", "bxc"),
            ("A=ä=€", "ä=€"),
            ("A=b\r\n", "b"),
        ] {
            assert_eq!(parse(text), Ok(vec![("A".to_owned(), value.to_owned())]), "{text:?}");
        }
    }

    #[test]
    fn a_file_has_comments_and_many_lines() {
        let text = "# comment\n; another\n\nA=1\n   # third\nB_2='x'\nA=again\n";
        let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(parse(text), Ok(vec![own("A", "1"), own("B_2", "x"), own("A", "again")]));
        assert_eq!(parse(""), Ok(Vec::new()));
    }

    #[test]
    fn faults_have_a_place() {
        for (text, line, column) in [
            ("A=1\nnonsense\n", 2, 1),
            ("A-B=1", 1, 2),
            ("=1", 1, 1),
            ("  9A=1", 1, 3),
            ("A=1\nB='x", 2, 3),
            ("A=\"x\\", 1, 3),
            ("export A b=1", 1, 9),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!((error.line, error.column), (line, column), "{text:?}: {error}");
        }
    }

    #[test]
    fn programs_are_searched() {
        let dir = tempfile::tempdir().unwrap();
        for (name, mode) in [("a/tool", 0o644), ("b/tool", 0o755), ("b/other", 0o755)] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let path_var = format!("{0}/a:{0}/b", dir.path().display());
        assert_eq!(find_program("tool", &path_var, Path::new("/")).unwrap(), dir.path().join("b/tool"));
        assert_eq!(find_program("./tool", "", &dir.path().join("b")).unwrap(), dir.path().join("b/./tool"));
        assert_eq!(find_program("other", "b", dir.path()).unwrap(), dir.path().join("b/other"));
        let text = find_program("tool", &format!("{0}/a:{0}", dir.path().display()), Path::new("/")).unwrap_err().to_string();
        let expected =
            format!("cannot find the program `tool`: {0}/a/tool is not executable, {0}/tool does not exist", dir.path().display());
        assert_eq!(text, expected);
        assert_eq!(find_program("a", "", dir.path()).unwrap_err().to_string(), "cannot find the program `a`: PATH is empty");
        assert!(find_program("/", "", dir.path()).unwrap_err().to_string().ends_with("is a directory"));
    }
}
