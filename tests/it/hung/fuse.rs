//! As much of the kernel's FUSE protocol (7.31) as serves a few small files: `linux/fuse.h`.

use std::fs::File;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

use super::Served;

/// The longest request: a write of 128 KiB and its header.
const REQUEST_MAX: usize = 256 * 1024;
/// What the kernel writes before each request, and we before each answer.
const IN_HEADER: usize = 40;
const OUT_HEADER: usize = 16;
/// The inode of the root.
const ROOT: u64 = 1;

/// What the mount and its server both know.
#[derive(Default)]
pub(super) struct State {
    hangs: AtomicBool,
    held: AtomicUsize,
}

impl State {
    pub(super) fn hang(&self) {
        self.hangs.store(true, Ordering::SeqCst);
    }

    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::SeqCst)
    }
}

/// What stands at an inode: `ROOT` is the first of the list.
struct Node {
    parent: u64,
    name: String,
    /// None for a directory.
    content: Option<Vec<u8>>,
    mode: u32,
}

/// Answers the kernel until it is told to hang, and reads on until the connection ends.
pub(super) struct Server {
    device: File,
    state: Arc<State>,
    user: u32,
    nodes: Vec<Node>,
}

impl Server {
    pub(super) fn new(device: File, state: Arc<State>, user: u32, files: &[Served<'_>]) -> Self {
        let root = Node { parent: 0, name: String::new(), content: None, mode: 0o755 };
        let mut new = Self { device, state, user, nodes: vec![root] };
        for (path, content, mode) in files {
            let (directories, name) = path.rsplit_once('/').unwrap_or(("", path));
            let mut parent = ROOT;
            for name in directories.split('/').filter(|name| !name.is_empty()) {
                parent = new.child(parent, name).unwrap_or_else(|| new.add(parent, name, None, 0o755));
            }
            new.add(parent, name, Some(content.as_bytes().to_vec()), *mode);
        }
        new
    }

    fn add(&mut self, parent: u64, name: &str, content: Option<Vec<u8>>, mode: u32) -> u64 {
        self.nodes.push(Node { parent, name: name.to_owned(), content, mode });
        self.nodes.len() as u64
    }

    fn child(&self, parent: u64, name: &str) -> Option<u64> {
        let found = self.nodes.iter().position(|node| node.parent == parent && node.name == name)?;
        Some(found as u64 + 1)
    }

    /// Serves until the mount is gone. Says so once the kernel has been answered.
    pub(super) fn serve(mut self, begun: &mpsc::Sender<()>) {
        let mut buffer = vec![0; REQUEST_MAX];
        // ENODEV: the mount is gone. Requests that were interrupted before we read them are ENOENT.
        loop {
            let length = match self.device.read(&mut buffer) {
                Ok(length) => length,
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINTR | libc::EAGAIN)) => continue,
                Err(_) => return,
            };
            let request = Request(&buffer[..length]);
            if self.state.hangs.load(Ordering::SeqCst) && !request.wants_no_answer() {
                // It has been read: who asked can no longer be interrupted.
                self.state.held.fetch_add(1, Ordering::SeqCst);
                continue;
            }
            let answer = self.answer(&request);
            if let Some(answer) = answer {
                self.send(request.unique(), answer);
            }
            if request.opcode() == 26 {
                let _nobody_waits = begun.send(());
            }
        }
    }

    fn send(&mut self, unique: u64, answer: Result<Vec<u8>, i32>) {
        let (error, body) = answer.map_or_else(|errno| (-errno, Vec::new()), |body| (0, body));
        let mut message = Vec::with_capacity(OUT_HEADER + body.len());
        message.extend(u32::try_from(OUT_HEADER + body.len()).unwrap().to_ne_bytes());
        message.extend(error.to_ne_bytes());
        message.extend(unique.to_ne_bytes());
        message.extend(body);
        // Who asked may be gone meanwhile.
        let _gone = self.device.write_all(&message);
    }

    /// What is answered, if anything; an errno where we cannot.
    fn answer(&self, request: &Request<'_>) -> Option<Result<Vec<u8>, i32>> {
        let node = request.node();
        let known = usize::try_from(node).ok().and_then(|at| self.nodes.get(at.wrapping_sub(1)));
        Some(match request.opcode() {
            _ if request.wants_no_answer() => return None,
            // INIT: version, read ahead, flags, background, longest write, granularity of times.
            26 => {
                let words: [u32; 4] = [7, 31, 0, 0];
                let rest = [0_u16, 0].map(u16::to_ne_bytes).concat();
                let more: [u32; 2] = [128 * 1024, 1];
                let mut body = words.map(u32::to_ne_bytes).concat();
                body.extend(rest);
                body.extend(more.map(u32::to_ne_bytes).concat());
                body.resize(64, 0);
                Ok(body)
            }
            // LOOKUP
            1 => self.child(node, request.name()).map(|found| self.entry(found)).ok_or(libc::ENOENT),
            // GETATTR: valid for no time at all.
            3 => Ok([vec![0; 16], self.attributes(node)].concat()),
            // OPEN and OPENDIR: a handle, flags.
            14 | 27 => Ok(vec![0; 16]),
            // READ
            15 => known.and_then(|node| node.content.as_deref()).map(|content| request.part(content)).ok_or(libc::EISDIR),
            // READDIR
            28 => Ok(request.part(&self.listing(node))),
            // STATFS: ten thousand blocks, half of them free.
            17 => {
                let blocks = [10_000_u64, 5_000, 5_000, 1_000, 500].map(u64::to_ne_bytes).concat();
                let sizes = [4096_u32, 255, 4096].map(u32::to_ne_bytes).concat();
                Ok([blocks, sizes, vec![0; 28]].concat())
            }
            // SETATTR, RELEASE, FLUSH, RELEASEDIR, ACCESS
            4 => Ok([vec![0; 16], self.attributes(node)].concat()),
            18 | 25 | 29 | 34 => Ok(Vec::new()),
            _ => Err(libc::ENOSYS),
        })
    }

    /// An answer to LOOKUP: inode, generation, no validity, attributes.
    fn entry(&self, node: u64) -> Vec<u8> {
        [node.to_ne_bytes().to_vec(), vec![0; 32], self.attributes(node)].concat()
    }

    fn attributes(&self, number: u64) -> Vec<u8> {
        let Some(node) = usize::try_from(number).ok().and_then(|at| self.nodes.get(at - 1)) else { return vec![0; 88] };
        let size = node.content.as_ref().map_or(0, Vec::len) as u64;
        let mode = node.mode | if node.content.is_some() { libc::S_IFREG } else { libc::S_IFDIR };
        let first = [number, size, size.div_ceil(512), 0, 0, 0].map(u64::to_ne_bytes).concat();
        let last = [0, 0, 0, mode, 1, self.user, self.user, 0, 4096, 0].map(u32::to_ne_bytes).concat();
        [first, last].concat()
    }

    /// A directory as READDIR wants it: inode, offset of the next, length of the name, type, the name, padded to eight bytes.
    fn listing(&self, directory: u64) -> Vec<u8> {
        let mut listing = Vec::new();
        for (at, node) in self.nodes.iter().enumerate().filter(|(_, node)| node.parent == directory) {
            let length = (24 + node.name.len()).next_multiple_of(8);
            let kind: u32 = if node.content.is_some() { 8 } else { 4 };
            let end = listing.len() + length;
            listing.extend((at as u64 + 1).to_ne_bytes());
            listing.extend((end as u64).to_ne_bytes());
            listing.extend(u32::try_from(node.name.len()).unwrap().to_ne_bytes());
            listing.extend(kind.to_ne_bytes());
            listing.extend(node.name.bytes());
            listing.resize(end, 0);
        }
        listing
    }
}

/// A request as the kernel wrote it.
struct Request<'a>(&'a [u8]);

impl Request<'_> {
    fn u32(&self, at: usize) -> u32 {
        u32::from_ne_bytes(self.0[at..at + 4].try_into().unwrap())
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_ne_bytes(self.0[at..at + 8].try_into().unwrap())
    }

    fn opcode(&self) -> u32 {
        self.u32(4)
    }

    fn unique(&self) -> u64 {
        self.u64(8)
    }

    fn node(&self) -> u64 {
        self.u64(16)
    }

    /// FORGET, INTERRUPT, BATCH_FORGET; nobody waits for RELEASE, RELEASEDIR and DESTROY either, but they are answered.
    fn wants_no_answer(&self) -> bool {
        matches!(self.opcode(), 2 | 36 | 42)
    }

    /// The name that is looked up, which ends with a zero.
    fn name(&self) -> &str {
        let bytes = &self.0[IN_HEADER..];
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        std::str::from_utf8(&bytes[..end]).unwrap_or("")
    }

    /// The part of `content` that READ or READDIR asks for: after the handle, an offset and a length.
    fn part(&self, content: &[u8]) -> Vec<u8> {
        let from = usize::try_from(self.u64(IN_HEADER + 8)).unwrap().min(content.len());
        let length = self.u32(IN_HEADER + 16) as usize;
        content[from..content.len().min(from + length)].to_vec()
    }
}
