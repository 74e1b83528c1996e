use std::fs::OpenOptions;
use std::io::Write;

use tempfile::TempDir;

use super::*;
use crate::os::logfile::{live_path, rotate_pipe};
use crate::plan::LogsPlan;

fn append(dir: &TempDir, text: &[u8]) {
    OpenOptions::new().append(true).create(true).open(live_path(dir.path(), "a")).unwrap().write_all(text).unwrap();
}

/// `text` in three files, cut at odd places.
fn pieces(text: &[u8]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let third = text.len() / 3;
    for piece in [&text[..third], &text[third..2 * third]] {
        append(&dir, piece);
        rotate_pipe(dir.path(), "a", &LogsPlan { keep: 9, ..LogsPlan::default() }).unwrap();
    }
    append(&dir, &text[2 * third..]);
    dir
}

fn texts(lines: &[Line]) -> Vec<&str> {
    lines.iter().map(|line| line.text.as_str()).collect()
}

#[test]
fn a_missing_log_is_empty() {
    let dir = tempfile::tempdir().unwrap();
    let mut reader = LogReader::open(dir.path(), "a");
    assert_eq!(reader.range().unwrap(), 0..0);
    assert_eq!(reader.tail_lines(5).unwrap(), (Vec::new(), 0));
    assert_eq!(reader.since(Wall(0)).unwrap(), 0);
    let mut follow = reader.follow(0);
    assert_eq!(follow.poll().unwrap(), []);
    assert!(!follow.grown());
    append(&dir, b"first\n");
    assert!(follow.grown());
    assert_eq!(texts(&follow.poll().unwrap()), ["first"]);
}

#[test]
fn the_tail_crosses_seams() {
    let dir = pieces(b"one\ntwo\nthree\nfour\nfive\nsix\nunfinished");
    let mut reader = LogReader::open(dir.path(), "a");
    let all = ["one", "two", "three", "four", "five", "six", "unfinished"];
    for lines in 0..=7 {
        let (cut, next) = reader.tail_lines(lines).unwrap();
        assert_eq!(texts(&cut), all[7 - lines..], "{lines} lines");
        assert_eq!(next, 38);
    }
    assert_eq!(texts(&reader.tail_lines(99).unwrap().0), all);
    append(&dir, b"\n");
    assert_eq!(texts(&reader.tail_lines(1).unwrap().0), ["unfinished"]);
}

#[test]
fn the_tail_of_a_large_log_is_found_from_behind() {
    let text: Vec<u8> = (0..200_000).flat_map(|number| format!("line {number}\n").into_bytes()).collect();
    let dir = pieces(&text);
    let mut reader = LogReader::open(dir.path(), "a");
    let (cut, next) = reader.tail_lines(150_000).unwrap();
    assert_eq!((cut.len(), next), (150_000, text.len() as u64));
    assert_eq!((cut[0].text.as_str(), cut[149_999].text.as_str()), ("line 50000", "line 199999"));
}

#[test]
fn bytes_that_are_gone_are_skipped() {
    let dir = tempfile::tempdir().unwrap();
    for text in ["old line\nhalf a", " line\nnew line\n"] {
        append(&dir, text.as_bytes());
        rotate_pipe(dir.path(), "a", &LogsPlan { keep: 1, ..LogsPlan::default() }).unwrap();
    }
    append(&dir, b"newest\n");
    let mut reader = LogReader::open(dir.path(), "a");
    assert_eq!(reader.range().unwrap(), 15..37);
    assert_eq!(reader.read_at(3, 5).unwrap(), Chunk { offset: 15, bytes: b" line".to_vec() });
    assert_eq!(texts(&reader.follow(0).poll().unwrap()), [" line", "new line"]);
}

#[test]
fn since_finds_the_line_that_was_being_written() {
    let dir = tempfile::tempdir().unwrap();
    append(&dir, b"first\nsecond and");
    Index::observe(dir.path(), "a", Wall(1000), 16, 0).unwrap();
    append(&dir, b" more\nthird\n");
    Index::observe(dir.path(), "a", Wall(2000), 28, 0).unwrap();
    let mut reader = LogReader::open(dir.path(), "a");
    for (wall, offset) in [(0, 0), (1000, 6), (1999, 6), (2000, 28), (9999, 28)] {
        assert_eq!(reader.since(Wall(wall)).unwrap(), offset, "{wall}");
    }
}

#[test]
fn a_log_that_became_shorter_is_followed_from_its_end() {
    let dir = tempfile::tempdir().unwrap();
    append(&dir, b"a long first line\n");
    let mut follow = LogReader::open(dir.path(), "a").follow(0);
    assert_eq!(texts(&follow.poll().unwrap()), ["a long first line"]);
    File::create(live_path(dir.path(), "a")).unwrap();
    assert_eq!(follow.poll().unwrap(), []);
    append(&dir, b"again\n");
    assert_eq!(texts(&follow.poll().unwrap()), ["again"]);
}
