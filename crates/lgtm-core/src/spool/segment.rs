//! One file of the spool: a line that says what it is, then records, one after the other. Spool thread.
//!
//! Nothing in it is ever moved. A record that does not read is stepped over: the next one is found by its mark, so that damage
//! costs the record that has it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use super::record::{ACKNOWLEDGED, FIXED, Fixed, MARK, Record, STATE};

/// What a file begins with. The version stands there twice: one flipped bit makes no other version of it.
const TITLE: &[u8; 16] = b"lgtm-spool 1 1\n\n";
const FAMILY: &[u8] = b"lgtm-spool ";
/// How a file is called.
const EXTENSION: &str = "segment";
/// Bytes read at a time in search of a mark.
const WINDOW: usize = 64 * 1024;

/// What a file turned out to be.
pub(super) enum Opened {
    /// A segment, perhaps damaged.
    Segment(Segment),
    /// A segment of another version of this format: its title.
    OtherVersion(String),
}

/// Records that wait, and their items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) records: u64,
    pub(super) items: u64,
}

impl Tally {
    pub(super) fn add(&mut self, items: u32) {
        self.records += 1;
        self.items += u64::from(items);
    }

    pub(super) fn remove(&mut self, items: u32) {
        self.records = self.records.saturating_sub(1);
        self.items = self.items.saturating_sub(u64::from(items));
    }
}

/// One file.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) number: u64,
    path: PathBuf,
    /// Open while it is written or read.
    file: Option<File>,
    /// Bytes that count.
    length: u64,
    /// Records that are not acknowledged.
    pub(super) waiting: Tally,
    /// Of these, those that were handed out.
    pub(super) taken: Tally,
    /// Nothing more is appended.
    pub(super) sealed: bool,
}

/// The number in a segment's name.
pub(super) fn number_of(path: &Path) -> Option<u64> {
    if path.extension()? != EXTENSION {
        return None;
    }
    let stem = path.file_stem()?.to_str()?;
    (stem.len() == 20 && stem.bytes().all(|byte| byte.is_ascii_digit())).then(|| stem.parse().ok()).flatten()
}

pub(super) fn path_in(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:020}.{EXTENSION}"))
}

impl Segment {
    /// Makes a new file.
    pub(super) fn create(folder: &Path, number: u64) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let path = path_in(folder, number);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&path)?;
        if let Err(error) = file.write_all(TITLE) {
            let _ = std::fs::remove_file(&path);
            return Err(error);
        }
        let length = TITLE.len() as u64;
        let (waiting, taken) = Default::default();
        Ok(Self { number, path, file: Some(file), length, waiting, taken, sealed: false })
    }

    /// Opens a file of an earlier run and counts what waits in it. Nothing is appended to it any more.
    pub(super) fn open(path: &Path, number: u64) -> io::Result<Opened> {
        let mut file = open(path)?;
        let length = file.metadata()?.len();
        let mut title = [0; TITLE.len()];
        let read = length.min(TITLE.len() as u64) as usize;
        file.read_exact(title.get_mut(..read).unwrap_or_default())?;
        if title.starts_with(FAMILY) && title != *TITLE && is_title(&title) {
            return Ok(Opened::OtherVersion(String::from_utf8_lossy(&title).trim_end().to_owned()));
        }
        let (waiting, taken) = Default::default();
        let mut segment =
            Self { number, path: path.to_owned(), file: Some(file), length, waiting, taken, sealed: true };
        let mut at = 0;
        while let Some((offset, fixed)) = segment.find(at)? {
            if !fixed.acknowledged {
                segment.waiting.add(fixed.items);
            }
            at = offset + fixed.length();
        }
        segment.file = None;
        Ok(Opened::Segment(segment))
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    fn file(&mut self) -> io::Result<&mut File> {
        let file = match self.file.take() {
            Some(file) => file,
            None => open(&self.path)?,
        };
        Ok(self.file.insert(file))
    }

    /// Nobody reads it for now.
    pub(super) fn rest(&mut self) {
        self.file = None;
    }

    /// Appends bytes; where they begin. After an error the file is as it was, or sealed.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<u64> {
        let offset = self.length;
        let file = self.file()?;
        let written = file.seek(SeekFrom::Start(offset)).and_then(|_| file.write_all(bytes));
        if let Err(error) = written {
            self.truncate(offset);
            return Err(error);
        }
        self.length += bytes.len() as u64;
        Ok(offset)
    }

    /// Takes back what stands from here on. What cannot be taken back is no record, or one that is sent twice.
    pub(super) fn truncate(&mut self, length: u64) {
        if self.file().and_then(|file| file.set_len(length)).is_err() {
            self.sealed = true;
        } else {
            self.length = length;
        }
    }

    /// Makes all of it durable.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.file()?.sync_data()
    }

    /// The first record at this place or behind it that has not been damaged so that it cannot be found.
    pub(super) fn find(&mut self, from: u64) -> io::Result<Option<(u64, Fixed)>> {
        let mut from = from.max(TITLE.len() as u64);
        // Where records follow each other as they should, the first look is enough.
        while let Some(at) = self.candidate(from)? {
            let mut fixed = [0; FIXED];
            self.read(at, &mut fixed)?;
            match Fixed::read(&fixed).filter(|fixed| at + fixed.length() <= self.length) {
                Some(fixed) => return Ok(Some((at, fixed))),
                None => from = at + 1,
            }
        }
        Ok(None)
    }

    /// The next place where a mark stands and a record could be.
    fn candidate(&mut self, mut from: u64) -> io::Result<Option<u64>> {
        let mut window = [0; MARK.len()];
        if from + FIXED as u64 <= self.length {
            self.read(from, &mut window)?;
            if window == MARK {
                return Ok(Some(from));
            }
        }
        let mut window = vec![0; WINDOW];
        while from + FIXED as u64 <= self.length {
            let size = (self.length - from).min(WINDOW as u64) as usize;
            let part = window.get_mut(..size).unwrap_or_default();
            self.read(from, part)?;
            if let Some(found) = memchr::memmem::find(part, &MARK) {
                return Ok(Some(from + found as u64));
            }
            // A mark may lie across two windows.
            from += (size - MARK.len() + 1) as u64;
        }
        Ok(None)
    }

    /// The request of the record that begins here, unless it is damaged.
    pub(super) fn record(&mut self, offset: u64, fixed: &Fixed) -> io::Result<Option<Record>> {
        let mut payload = vec![0; fixed.payload() as usize];
        self.read(offset + FIXED as u64, &mut payload)?;
        Ok(fixed.record(payload))
    }

    /// Says on disk that this record has arrived.
    pub(super) fn acknowledge(&mut self, offset: u64) -> io::Result<()> {
        let file = self.file()?;
        file.seek(SeekFrom::Start(offset + STATE))?;
        file.write_all(&[ACKNOWLEDGED])
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let file = self.file()?;
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(into)
    }

    pub(super) fn remove(self) -> io::Result<()> {
        drop(self.file);
        std::fs::remove_file(&self.path)
    }
}

fn open(path: &Path) -> io::Result<File> {
    // A folder that has become read-only is still read.
    OpenOptions::new().read(true).write(true).open(path).or_else(|_| File::open(path))
}

/// Whether it is the title of some version: the number, twice, then ends of lines.
fn is_title(title: &[u8]) -> bool {
    let text = std::str::from_utf8(title.get(FAMILY.len()..).unwrap_or_default()).unwrap_or_default();
    let version = |text: &str| text.parse::<u32>().ok();
    match text.trim_end_matches('\n').split_once(' ') {
        Some((one, other)) => version(one).is_some() && version(one) == version(other),
        None => false,
    }
}
