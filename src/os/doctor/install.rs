//! What is installed: programs, files, slices, and whether a page is served.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::line;

/// How long a page may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// How much of a page is read, in bytes.
const PAGE_MAX: u64 = 4 << 20;

/// How much of a file is read, in bytes.
const TEXT_MAX: u64 = 1 << 20;

/// A program in PATH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// By this name.
    pub name: String,
    /// Where.
    pub path: PathBuf,
    /// The owner of what the path leads to.
    pub uid: u32,
    /// Its mode, without the kind.
    pub mode: u32,
}

/// The programs of this product in PATH.
#[must_use]
pub fn programs() -> Vec<Program> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let find = |name: &str| {
        let places = std::env::split_paths(&path).map(|directory| directory.join(name));
        let (path, metadata) = places
            .filter_map(|path| std::fs::metadata(&path).ok().map(|metadata| (path, metadata)))
            .find(|(_, metadata)| metadata.is_file())?;
        Some(Program { name: name.into(), path, uid: metadata.uid(), mode: metadata.mode() & 0o7777 })
    };
    ["ms-supervisor", "msctl"].into_iter().filter_map(find).collect()
}

/// What a file holds.
///
/// # Errors
/// A sentence that says why it cannot be read.
pub fn text(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(TEXT_MAX).read_to_string(&mut text));
    read.map(|_| text).map_err(|error| error.to_string())
}

/// A page that is served by HTTP, head and body.
///
/// # Errors
/// A sentence that says why there is none.
pub fn page(address: SocketAddr, path: &str) -> Result<String, String> {
    let fetch = || {
        let mut stream = TcpStream::connect_timeout(&reachable(address), PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
        let mut page = Vec::new();
        stream.take(PAGE_MAX).read_to_end(&mut page)?;
        std::io::Result::Ok(String::from_utf8_lossy(&page).into_owned())
    };
    fetch().map_err(|error| error.to_string())
}

/// Who listens everywhere is reached here.
fn reachable(address: SocketAddr) -> SocketAddr {
    if !address.ip().is_unspecified() {
        return address;
    }
    let here = if address.is_ipv4() { std::net::Ipv4Addr::LOCALHOST.into() } else { std::net::Ipv6Addr::LOCALHOST.into() };
    SocketAddr::new(here, address.port())
}

/// What a slice is to have, and has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SliceFacts {
    /// Its cgroup, while something runs in it.
    pub cgroup: Option<PathBuf>,
    /// MemoryMax=, in bytes.
    pub memory_declared: Option<u64>,
    /// What the kernel holds it to.
    pub memory_applied: Option<u64>,
    /// CPUQuota=, in percent of a processor.
    pub cpu_declared: Option<u64>,
    /// What the kernel holds it to.
    pub cpu_applied: Option<u64>,
}

impl SliceFacts {
    /// Of a slice with these properties.
    #[must_use]
    pub fn of(properties: &BTreeMap<String, String>) -> Self {
        let get = |name: &str| properties.get(name).map_or("", String::as_str);
        let cgroup = Path::new("/sys/fs/cgroup").join(get("ControlGroup").trim_start_matches('/'));
        let cgroup = Some(cgroup).filter(|at| !get("ControlGroup").is_empty() && at.join("cgroup.procs").exists());
        let read = |name: &str| cgroup.as_ref().and_then(|at| line(at.join(name)));
        Self {
            memory_declared: get("MemoryMax").parse().ok(),
            memory_applied: read("memory.max").and_then(|text| text.parse().ok()),
            cpu_declared: seconds_per_second(get("CPUQuotaPerSecUSec")),
            cpu_applied: read("cpu.max").and_then(|text| percent(&text)),
            cgroup,
        }
    }
}

/// How systemd writes CPUQuotaPerSecUSec: `8s`, `1.5s`, `500ms`, `1min 20s`; as percent of a processor.
fn seconds_per_second(text: &str) -> Option<u64> {
    let time = crate::base::time::parse_duration(&text.replace("min", "m")).ok()?;
    u64::try_from(time.as_millis() / 10).ok()
}

/// `800000 100000`, as percent of a processor.
fn percent(text: &str) -> Option<u64> {
    let (quota, period) = text.split_once(' ')?;
    let (quota, period): (u64, u64) = (quota.parse().ok()?, period.parse().ok()?);
    (quota * 100).checked_div(period)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Makes an empty file.
    pub(crate) fn touch(path: &Path) {
        std::fs::write(path, "").unwrap();
    }

    #[test]
    fn quotas_are_read() {
        assert_eq!(
            [seconds_per_second("8s"), seconds_per_second("500ms"), seconds_per_second("1min 20s"), seconds_per_second("infinity")],
            [Some(800), Some(50), Some(8000), None]
        );
        assert_eq!([percent("800000 100000"), percent("max 100000")], [Some(800), None]);
    }

    #[test]
    fn a_page_is_fetched() {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let serve = std::thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            let mut asked = [0; 1024];
            let length = stream.read(&mut asked).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nms_build_info 1\n").unwrap();
            String::from_utf8_lossy(&asked[..length]).into_owned()
        });
        assert!(page(address, "/metrics").unwrap().ends_with("ms_build_info 1\n"));
        assert!(serve.join().unwrap().starts_with("GET /metrics HTTP/1.1\r\n"));
        assert!(page(address, "/metrics").is_err(), "nobody listens any more");
    }
}
