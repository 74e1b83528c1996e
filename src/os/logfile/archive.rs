//! Compressed archives: zstd in the seekable format, so that any place of them can be read without reading what is before it.
//!
//! The bytes lie in independent frames of [`FRAME`] bytes each; a skippable frame at the end tells how long each is. Every zstd tool
//! reads such a file as a whole, those that know the format (facebook/zstd, `contrib/seekable_format`) at any place.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// How many bytes are compressed together: what is decompressed to read one, and a reader's block.
pub(super) const FRAME: usize = 256 * 1024;

/// The most bytes a frame of a file we did not write may hold: what a reader spends on it at most.
const FRAME_MAX: u32 = 16 << 20;

/// The compression level: zstd's own default.
const LEVEL: i32 = 3;

/// The skippable frame that holds the table, and the number at the very end of it.
const TABLE_MAGIC: u32 = 0x184D_2A5E;
const FOOTER_MAGIC: u32 = 0x8F92_EAB1;

/// Number of frames (u32), descriptor (u8), magic (u32).
const FOOTER: usize = 9;

/// Bytes of a frame in the file and in the stream, each u32.
const ENTRY: usize = 8;

/// The bit of the descriptor that says that entries hold checksums, too.
const HAS_CHECKSUMS: u8 = 1 << 7;

/// Copies the first `len` bytes of `from` to `to`, compressed, calling `pause` after each frame. Takes a bounded amount of memory.
pub(super) fn compress(from: &File, to: &File, len: u64, mut pause: impl FnMut()) -> io::Result<()> {
    let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
    compressor.include_checksum(true)?;
    let (mut plain, mut packed) = (vec![0; FRAME], Vec::with_capacity(zstd::zstd_safe::compress_bound(FRAME)));
    let (mut table, mut at, mut end) = (Vec::new(), 0, 0);
    while at < len {
        let size = usize::try_from(len - at).unwrap_or(FRAME).min(FRAME);
        from.read_exact_at(&mut plain[..size], at)?;
        compressor.compress_to_buffer(&plain[..size], &mut packed)?;
        to.write_all_at(&packed, end)?;
        for length in [packed.len(), size] {
            table.extend(u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
        }
        end += packed.len() as u64;
        at += size as u64;
        pause();
    }
    let too_long = |_| io::Error::new(io::ErrorKind::FileTooLarge, "it is too long to be compressed");
    let frames = u32::try_from(table.len() / ENTRY).map_err(too_long)?;
    let body = u32::try_from(table.len() + FOOTER).map_err(too_long)?;
    let mut tail = [TABLE_MAGIC.to_le_bytes(), body.to_le_bytes()].concat();
    tail.append(&mut table);
    tail.extend(frames.to_le_bytes());
    tail.push(0);
    tail.extend(FOOTER_MAGIC.to_le_bytes());
    to.write_all_at(&tail, end)
}

/// A compressed archive that is read.
#[derive(Debug)]
pub(super) struct Packed {
    file: File,
    frames: Vec<Frame>,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    /// Where it ends in the file and in the archive's bytes.
    file_end: u64,
    end: u64,
}

impl Packed {
    pub(super) fn open(file: File) -> io::Result<Self> {
        let size = file.metadata()?.len();
        let footer_at = size.checked_sub(FOOTER as u64).ok_or_else(|| bad("it has no end"))?;
        let mut footer = [0; FOOTER];
        file.read_exact_at(&mut footer, footer_at)?;
        let [count @ .., _, _, _, _, _] = footer;
        let count = u64::from(u32::from_le_bytes(count));
        if !footer.ends_with(&FOOTER_MAGIC.to_le_bytes()) {
            return Err(bad("it has no seek table"));
        }
        let entry = if footer[4] & HAS_CHECKSUMS == 0 { ENTRY } else { ENTRY + 4 };
        // What claims to be longer than the file is no table: the memory it takes is bounded by the file.
        let table_at = footer_at.checked_sub(count * entry as u64).ok_or_else(|| bad("its seek table is torn"))?;
        let mut table = vec![0; usize::try_from(footer_at - table_at).map_err(|_| bad("its seek table is too long"))?];
        file.read_exact_at(&mut table, table_at)?;
        let (mut frames, mut file_end, mut end) = (Vec::with_capacity(table.len() / entry), 0, 0);
        for record in table.chunks_exact(entry) {
            let (stored, length) = (number(record, 0), number(record, 4));
            if length > FRAME_MAX || stored > 2 * FRAME_MAX {
                return Err(bad("a frame of it is too long"));
            }
            file_end += u64::from(stored);
            end += u64::from(length);
            frames.push(Frame { file_end, end });
        }
        if file_end > table_at {
            return Err(bad("its seek table is wrong"));
        }
        Ok(Self { file, frames })
    }

    /// How many bytes the archive holds.
    pub(super) fn len(&self) -> u64 {
        self.frames.last().map_or(0, |frame| frame.end)
    }

    /// The bytes from `at` to the end of the frame that holds it; none behind the end.
    pub(super) fn read(&self, at: u64) -> io::Result<Vec<u8>> {
        let number = self.frames.partition_point(|frame| frame.end <= at);
        let Some(frame) = self.frames.get(number) else { return Ok(Vec::new()) };
        let before = number.checked_sub(1).map_or(Frame { file_end: 0, end: 0 }, |before| self.frames[before]);
        let length = |from: u64, to: u64| usize::try_from(to - from).map_err(|_| bad("a frame of it is too long"));
        let mut packed = vec![0; length(before.file_end, frame.file_end)?];
        self.file.read_exact_at(&mut packed, before.file_end)?;
        let size = length(before.end, frame.end)?;
        let mut bytes = zstd::bulk::decompress(&packed, size)?;
        if bytes.len() != size {
            return Err(bad("a frame of it has another length than its seek table says"));
        }
        bytes.drain(..length(before.end, at)?);
        Ok(bytes)
    }
}

fn number(record: &[u8], at: usize) -> u32 {
    record.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn bad(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(bytes: &[u8]) -> File {
        let (from, to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        from.write_all_at(bytes, 0).unwrap();
        compress(&from, &to, bytes.len() as u64, || {}).unwrap();
        to
    }

    fn text() -> Vec<u8> {
        (0..60_000).flat_map(|number| format!("line {number}\n").into_bytes()).collect()
    }

    #[test]
    fn every_place_can_be_read() {
        let text = text();
        let archive = Packed::open(packed(&text)).unwrap();
        assert_eq!(archive.len(), text.len() as u64);
        assert!(archive.frames.len() > 2, "{} frames", archive.frames.len());
        assert!(archive.file.metadata().unwrap().len() < text.len() as u64 / 3);
        for at in [0, 1, FRAME - 1, FRAME, FRAME + 1, text.len() - 1] {
            let bytes = archive.read(at as u64).unwrap();
            assert!(!bytes.is_empty() && text[at..].starts_with(&bytes), "{at}");
        }
        assert_eq!(archive.read(text.len() as u64).unwrap(), b"");
        assert_eq!(Packed::open(packed(b"")).unwrap().read(0).unwrap(), b"");
    }

    #[test]
    fn common_tools_can_read_it() {
        let text = text();
        let mut whole = Vec::new();
        zstd::stream::copy_decode(packed(&text), &mut whole).unwrap();
        assert!(whole == text);
    }

    #[test]
    fn damage_is_an_error_and_no_more() {
        let whole = packed(&text());
        let size = whole.metadata().unwrap().len();
        for cut in [0, 5, size / 2, size - 1] {
            let torn = tempfile::tempfile().unwrap();
            let mut bytes = vec![0; usize::try_from(cut).unwrap()];
            whole.read_exact_at(&mut bytes, 0).unwrap();
            torn.write_all_at(&bytes, 0).unwrap();
            assert!(Packed::open(torn).is_err(), "{cut}");
        }
        for at in [10, size / 3] {
            let mut byte = [0];
            whole.read_exact_at(&mut byte, at).unwrap();
            whole.write_all_at(&[!byte[0]], at).unwrap();
        }
        let archive = Packed::open(whole).unwrap();
        assert!(archive.read(0).is_err(), "its checksum is wrong");
    }

    proptest::proptest! {
        #[test]
        fn nonsense_never_panics(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200), frames in 0_u32..10, flags in 0_u8..) {
            let file = tempfile::tempfile().unwrap();
            let tail = [&bytes[..], &frames.to_le_bytes(), &[flags], &FOOTER_MAGIC.to_le_bytes()].concat();
            file.write_all_at(&tail, 0).unwrap();
            if let Ok(archive) = Packed::open(file) {
                let _ = archive.read(3);
            }
        }
    }
}
