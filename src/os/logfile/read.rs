//! Archives and live file as one stream, whatever is rotated meanwhile.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::archive::Packed;
use super::layout::{Layout, Segment, open};
use super::lines::{Cutter, LINE_MAX, Line};
use super::pattern::Pattern;
use super::{Files, Index, LogError, gaps};
use crate::base::time::Wall;
use crate::event::Gap;

/// The most [`LogReader::tail`] looks back, in bytes.
pub const TAIL_MAX: u64 = 64 << 20;

/// How much is read at once.
const BLOCK: usize = 256 * 1024;

/// How often a read is repeated because a rotation came in between.
const ATTEMPTS: usize = 10_000;

/// Bytes of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// The stream offset of the first one. Larger than asked for where bytes are gone; smaller only when the log has become shorter.
    pub offset: u64,
    /// The bytes; none at the end of the stream.
    pub bytes: Vec<u8>,
}

/// Reads one unit's log, in the same process as its writer or in another.
#[derive(Debug)]
pub struct LogReader {
    files: Files,
    layout: Option<Layout>,
    /// The compressed archive that was read last.
    packed: Option<(PathBuf, Packed)>,
}

impl LogReader {
    /// A reader of the log of `unit` in `dir`. A log that does not exist yet is empty.
    #[must_use]
    pub fn open(dir: &Path, unit: &str) -> Self {
        Self { files: Files::new(dir, unit), layout: None, packed: None }
    }

    /// The stream offsets that can be read now.
    ///
    /// # Errors
    /// When a system call fails.
    pub fn range(&mut self) -> Result<Range<u64>, LogError> {
        for _ in 0..ATTEMPTS {
            let layout = Layout::resolve(&self.files)?;
            let end = layout.end(&self.files)?;
            if layout.holds(&self.files)? {
                let oldest = layout.oldest();
                self.layout = Some(layout);
                return Ok(oldest..end);
            }
        }
        Err(LogError::Restless { path: self.files.live() })
    }

    /// Up to `max` bytes from stream offset `offset` on, or from the first byte behind it that is left.
    ///
    /// # Errors
    /// When a system call fails.
    pub fn read_at(&mut self, offset: u64, max: usize) -> Result<Chunk, LogError> {
        for _ in 0..ATTEMPTS {
            let layout = match self.layout.take() {
                Some(layout) => layout,
                None => Layout::resolve(&self.files)?,
            };
            let chunk = if let Some(segment) = layout.segments.iter().find(|segment| segment.end() > offset && segment.len > 0) {
                // Segments do not change; one that is gone by now asks for another look.
                self.read_segment(segment, offset, max)?
            } else {
                let chunk = self.read_live(&layout, offset, max)?;
                layout.holds(&self.files)?.then_some(chunk)
            };
            if let Some(chunk) = chunk {
                self.layout = Some(layout);
                return Ok(chunk);
            }
        }
        Err(LogError::Restless { path: self.files.live() })
    }

    /// The stream offset where the last `lines` lines start. Looks back [`TAIL_MAX`] bytes at most.
    ///
    /// # Errors
    /// When a system call fails.
    pub fn tail(&mut self, lines: usize) -> Result<u64, LogError> {
        let Range { start: oldest, end } = self.range()?;
        let floor = oldest.max(end.saturating_sub(TAIL_MAX));
        self.back(end, floor, lines)
    }

    /// The last `lines` lines, an unfinished one at the end included, and the stream offset behind them.
    ///
    /// Those who want to follow and never see a line in two parts take [`LogReader::tail`] and [`LogReader::follow`].
    ///
    /// # Errors
    /// When a system call fails.
    #[cfg(test)]
    pub(in crate::os) fn tail_lines(&mut self, lines: usize) -> Result<(Vec<Line>, u64), LogError> {
        let start = self.tail(lines)?;
        let end = self.range()?.end;
        let (mut cutter, mut cut, mut next) = (Cutter::default(), Vec::new(), start);
        for chunk in self.pieces(start..end)? {
            next = chunk.offset + chunk.bytes.len() as u64;
            cutter.push(chunk.offset, &chunk.bytes, &mut cut);
        }
        cut.extend(cutter.take());
        cut.drain(..cut.len().saturating_sub(lines));
        Ok((cut, next))
    }

    /// The stream offset of the first line that was not over at `wall`, as exactly as the index knows; the oldest byte where it does not.
    ///
    /// # Errors
    /// When a system call fails.
    pub fn since(&mut self, wall: Wall) -> Result<u64, LogError> {
        let Range { start: oldest, end } = self.range()?;
        match Index::lookup(&self.files.dir, &self.files.unit, wall)? {
            Some(offset) if offset > oldest => {
                let offset = offset.min(end);
                let floor = oldest.max(offset.saturating_sub(LINE_MAX as u64));
                // A newline just before `offset` ends another line: look back for the newline, not for a line.
                self.line_start(offset, floor)
            }
            _ => Ok(oldest),
        }
    }

    /// Where the line begins that was the last to be complete for sure when `wall` was over; the end of the log where that is not known.
    ///
    /// # Errors
    /// When a system call fails.
    pub fn until(&mut self, wall: Wall) -> Result<u64, LogError> {
        let end = self.range()?.end;
        Ok(Index::lookup_end(&self.files.dir, &self.files.unit, wall)?.map_or(end, |offset| offset.min(end)))
    }

    /// Where reading `from` an offset at the very beginning of the log is to start, so that what was dropped before it is told of.
    #[must_use]
    pub fn with_gap(&self, from: u64) -> u64 {
        let before = gaps::load(&self.files).into_iter().filter(|gap| gap.start < from && gap.end >= from);
        before.map(|gap| gap.start).min().unwrap_or(from)
    }

    /// Goes through the lines from stream offset `offset` on, and through those to come.
    #[must_use]
    pub fn follow(self, offset: u64) -> Follow {
        Follow { reader: self, offset, cutter: Cutter::default(), seen: None }
    }

    /// `None`: it is not there any more.
    fn read_segment(&mut self, segment: &Segment, offset: u64, max: usize) -> Result<Option<Chunk>, LogError> {
        let fail = |source| LogError::io("read", &segment.path, source);
        let offset = offset.max(segment.start);
        let place = offset - segment.start;
        let known = self.packed.take_if(|(path, _)| *path == segment.path);
        let file = match &known {
            Some(_) => None,
            None => match open(&segment.path, false)? {
                None => return Ok(None),
                file => file,
            },
        };
        let bytes = if segment.packed {
            let packed = match (known, file) {
                (Some((_, packed)), _) => packed,
                (None, Some(file)) => {
                    let packed = Packed::open(file).map_err(fail)?;
                    if packed.len() != segment.len {
                        return Err(fail(io::Error::new(io::ErrorKind::InvalidData, "it holds more or less than its name says")));
                    }
                    packed
                }
                (None, None) => return Ok(None),
            };
            let mut bytes = packed.read(place).map_err(fail)?;
            bytes.truncate(max);
            self.packed = Some((segment.path.clone(), packed));
            bytes
        } else {
            let rest = usize::try_from(segment.end() - offset).unwrap_or(usize::MAX);
            let Some(file) = file else { return Ok(None) };
            read_some(&file, place, max.min(rest)).map_err(fail)?
        };
        // Shorter than it was: somebody tampers with it; look again.
        Ok((!bytes.is_empty()).then_some(Chunk { offset, bytes }))
    }

    fn read_live(&self, layout: &Layout, offset: u64, max: usize) -> Result<Chunk, LogError> {
        let first = layout.base + layout.skip;
        let Some(live) = &layout.live else { return Ok(Chunk { offset: first, bytes: Vec::new() }) };
        let fail = |source| LogError::io("read", &self.files.live(), source);
        let offset = offset.max(first).min(layout.end(&self.files)?);
        let bytes = read_some(live, offset - layout.base, max).map_err(fail)?;
        Ok(Chunk { offset, bytes })
    }

    /// Where the last `lines` lines before `end` start, not before `floor`.
    fn back(&mut self, end: u64, floor: u64, lines: usize) -> Result<u64, LogError> {
        if lines == 0 {
            return Ok(end);
        }
        let mut found = 0;
        let mut high = end;
        while high > floor {
            let low = high.saturating_sub(BLOCK as u64).max(floor);
            for chunk in self.pieces(low..high)?.iter().rev() {
                for at in memrchr_iter(&chunk.bytes) {
                    let behind = chunk.offset + at as u64 + 1;
                    // The newline at the very end belongs to the last line.
                    found += usize::from(behind < end);
                    if found == lines {
                        return Ok(behind);
                    }
                }
            }
            high = low;
        }
        Ok(floor)
    }

    /// Where the line that holds `offset` starts, not before `floor`.
    fn line_start(&mut self, offset: u64, floor: u64) -> Result<u64, LogError> {
        for chunk in self.pieces(floor..offset)?.iter().rev() {
            if let Some(at) = memrchr_iter(&chunk.bytes).next() {
                return Ok(chunk.offset + at as u64 + 1);
            }
        }
        Ok(floor)
    }

    /// What is left of `range`, in order.
    fn pieces(&mut self, range: Range<u64>) -> Result<Vec<Chunk>, LogError> {
        let mut pieces = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let max = usize::try_from(range.end - at).unwrap_or(BLOCK).min(BLOCK);
            let mut chunk = self.read_at(at, max)?;
            if chunk.bytes.is_empty() || chunk.offset >= range.end {
                break;
            }
            let room = usize::try_from(range.end - chunk.offset).unwrap_or(usize::MAX);
            chunk.bytes.truncate(room);
            at = chunk.offset + chunk.bytes.len() as u64;
            pieces.push(chunk);
        }
        Ok(pieces)
    }
}

/// A place in a log that moves on as the log grows.
#[derive(Debug)]
pub struct Follow {
    reader: LogReader,
    offset: u64,
    cutter: Cutter,
    seen: Option<Seen>,
}

/// What the live file looked like when its end was reached: inode and size.
type Seen = Option<(u64, u64)>;

impl Follow {
    /// Whether there may be something new: one system call, for those who poll.
    #[must_use]
    pub fn grown(&self) -> bool {
        self.seen.is_none_or(|seen| seen != self.look())
    }

    /// The next lines that are complete; none when there is nothing new, or only a part of a line. Call again until
    /// [`Follow::grown`] says no: one call takes a bounded number of bytes.
    ///
    /// # Errors
    /// When a system call fails; the place is kept.
    pub fn poll(&mut self) -> Result<Vec<Line>, LogError> {
        let mut lines = Vec::new();
        let from = self.offset;
        if let Some(chunk) = self.advance()? {
            self.cross(from, chunk.offset, &mut lines);
            self.cutter.push(chunk.offset, &chunk.bytes, &mut lines);
        }
        Ok(lines)
    }

    /// As [`Follow::poll`], but only lines that match, and those that tell of a gap.
    ///
    /// # Errors
    /// When a system call fails; the place is kept.
    pub fn poll_matching(&mut self, pattern: &Pattern) -> Result<Vec<Line>, LogError> {
        let mut lines = Vec::new();
        let from = self.offset;
        if let Some(chunk) = self.advance()? {
            self.cross(from, chunk.offset, &mut lines);
            lines.retain(|line| line.gap.is_some() || pattern.is_match(line.text.as_bytes()));
            self.cutter.sift(chunk.offset, &chunk.bytes, pattern, &mut lines);
        }
        Ok(lines)
    }

    /// Tells of what was dropped between `from` and `to`; what went because it was old enough is not worth a word.
    fn cross(&mut self, from: u64, to: u64, lines: &mut Vec<Line>) {
        if from >= to {
            return;
        }
        lines.extend(self.cutter.take());
        for gap in gaps::load(&self.reader.files) {
            let gap = Gap { start: gap.start.max(from), end: gap.end.min(to), ..gap };
            if gap.start < gap.end {
                lines.push(Line::of_gap(gap));
            }
        }
    }

    /// The next bytes, for those who want no lines; none when there is nothing new. Not to be mixed with [`Follow::poll`].
    ///
    /// # Errors
    /// When a system call fails; the place is kept.
    #[cfg(test)]
    pub(in crate::os) fn poll_bytes(&mut self) -> Result<Chunk, LogError> {
        Ok(self.advance()?.unwrap_or(Chunk { offset: self.offset, bytes: Vec::new() }))
    }

    /// The unfinished line at the end, for those who do not wait for its newline.
    pub fn rest(&mut self) -> Option<Line> {
        self.cutter.take()
    }

    /// The stream offset of the next byte.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    fn advance(&mut self) -> Result<Option<Chunk>, LogError> {
        if !self.grown() {
            return Ok(None);
        }
        // Before the read: what comes after it must look different.
        let looked = self.look();
        let chunk = self.reader.read_at(self.offset, BLOCK)?;
        self.offset = chunk.offset + chunk.bytes.len() as u64;
        self.seen = chunk.bytes.is_empty().then_some(looked);
        Ok((!chunk.bytes.is_empty()).then_some(chunk))
    }

    fn look(&self) -> Seen {
        std::fs::metadata(self.reader.files.live()).ok().map(|metadata| (metadata.ino(), metadata.len()))
    }
}

fn read_some(file: &File, at: u64, max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; max.min(BLOCK)];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

fn memrchr_iter(bytes: &[u8]) -> impl Iterator<Item = usize> {
    bytes.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at)
}

#[cfg(test)]
mod tests;
