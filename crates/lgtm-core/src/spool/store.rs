//! The row of segments of one folder: appended at its end, read from its beginning, acknowledged record by record. Spool thread.
//!
//! Whether a record has arrived stands in the record: there is no second file that could disagree, and files may go at any
//! moment. Space comes back when every record of a file is acknowledged. How many bytes there are is added up from the files, not
//! counted along.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant, SystemTime};

use super::folder::Folder;
use super::options::SpoolOptions;
use super::record::Record;
use super::segment::{Opened, Segment, Tally};

/// Where a record begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    segment: u64,
    offset: u64,
    pub(crate) items: u32,
}

/// What a look at the beginning of the row gives.
#[derive(Debug)]
pub(crate) enum Next {
    /// The oldest record that was not handed out.
    Record(Position, Record),
    /// A record was too old: it is gone.
    Expired(u32),
    /// Records were damaged: they are gone.
    Damaged(u64),
    /// All were handed out.
    Empty,
}

/// Why a record was not taken.
#[derive(Debug)]
pub(crate) enum AppendError {
    /// All bytes that the spool may have are in use.
    Full,
    /// The disk does not take it.
    Disk(io::Error),
}

impl std::fmt::Display for AppendError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Full => formatter.write_str("it has as many bytes as it may have"),
            Self::Disk(error) => error.fmt(formatter),
        }
    }
}

/// The time of day, as it was when the store was opened, and the time that has passed since: whoever sets the clock makes no
/// record older.
#[derive(Debug)]
struct Clock {
    opened_at: u64,
    opened: Instant,
}

impl Clock {
    fn new() -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { opened_at: milliseconds(now), opened: Instant::now() }
    }

    fn now(&self) -> u64 {
        self.opened_at.saturating_add(milliseconds(self.opened.elapsed()))
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// All segments of one folder.
#[derive(Debug)]
pub(super) struct Store {
    folder: Folder,
    max_bytes: u64,
    max_age: u64,
    segment_bytes: u64,
    clock: Clock,
    segments: VecDeque<Segment>,
    /// The highest number of files that are left alone.
    foreign: u64,
    /// What is read next: segment and offset.
    cursor: (u64, u64),
    /// What is to be told once.
    remarks: Vec<String>,
}

impl Store {
    /// Counts what earlier runs have left in a folder.
    pub(super) fn open(folder: Folder, options: &SpoolOptions) -> Self {
        let mut segments = VecDeque::new();
        let (mut foreign, mut remarks) = (0, Vec::new());
        for (number, path) in folder.segments.iter().cloned() {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            match Segment::open(&path, number) {
                Ok(Opened::Segment(segment)) if segment.waiting == Tally::default() => {
                    if let Err(error) = segment.remove() {
                        remarks.push(format!("{name} is done with and cannot be removed: {error}"));
                        foreign = foreign.max(number);
                    }
                }
                Ok(Opened::Segment(segment)) => segments.push_back(segment),
                Ok(Opened::OtherVersion(title)) => {
                    remarks.push(format!("{name} is of another version ({title}) and is left alone"));
                    foreign = foreign.max(number);
                }
                Err(error) => {
                    remarks.push(format!("{name} cannot be read and is left alone: {error}"));
                    foreign = foreign.max(number);
                }
            }
        }
        Self {
            folder,
            max_bytes: options.max_bytes,
            max_age: milliseconds(options.max_age),
            segment_bytes: options.segment_bytes(),
            clock: Clock::new(),
            cursor: (segments.front().map_or(0, |segment: &Segment| segment.number), 0),
            segments,
            foreign,
            remarks,
        }
    }

    /// What there is to be told.
    pub(super) fn take_remarks(&mut self) -> Vec<String> {
        std::mem::take(&mut self.remarks)
    }

    /// Records that are not acknowledged, and their items.
    pub(super) fn waiting(&self) -> Tally {
        self.segments.iter().fold(Tally::default(), |sum, segment| Tally {
            records: sum.records + segment.waiting.records,
            items: sum.items + segment.waiting.items,
        })
    }

    /// Bytes on disk.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(Segment::length).sum()
    }

    /// Where the next record will stand, or behind it.
    pub(super) fn end(&self) -> (u64, u64) {
        self.segments.back().map_or((0, 0), |last| (last.number, last.length()))
    }

    /// Appends records, durably: all of them or none. The first `taken` count as handed out: they are being sent.
    pub(super) fn append(&mut self, records: &[Record], taken: usize) -> Result<Vec<Position>, AppendError> {
        let before = self.end();
        let length: u64 = records.iter().map(Record::length).sum();
        if self.bytes().saturating_add(length) > self.max_bytes {
            return Err(AppendError::Full);
        }
        // Only an empty spool lets anything be sent around it.
        let taken = if self.cursor >= before { taken } else { 0 };
        let appended = self.append_all(records).map_err(AppendError::Disk);
        match &appended {
            Ok(positions) => {
                self.count(positions, taken);
                // Files that only wait are not held open. Not before all is written: what fails is taken back by open files.
                let full = self.segments.iter_mut().rev().skip(1).take_while(|segment| segment.number >= before.0);
                full.for_each(Segment::rest);
            }
            Err(_) => self.withdraw(before),
        }
        appended
    }

    fn append_all(&mut self, records: &[Record]) -> io::Result<Vec<Position>> {
        let mut positions = Vec::with_capacity(records.len());
        for record in records {
            let too_large = || io::Error::new(io::ErrorKind::InvalidInput, "a request of more than 4 GiB");
            let bytes = record.write(self.clock.now()).ok_or_else(too_large)?;
            let segment = self.active(bytes.len() as u64)?;
            let offset = segment.append(&bytes)?;
            positions.push(Position { segment: segment.number, offset, items: record.items });
        }
        if let Some(last) = self.segments.back_mut().filter(|_| !records.is_empty()) {
            // What a failed call leaves in doubt, a second one would call safe: nothing more goes into this file.
            last.sync().inspect_err(|_| last.sealed = true)?;
        }
        Ok(positions)
    }

    /// The segment that takes so many bytes more.
    fn active(&mut self, bytes: u64) -> io::Result<&mut Segment> {
        let fits = |segment: &Segment| !segment.sealed && segment.length() + bytes <= self.segment_bytes;
        if !self.segments.back().is_some_and(fits) {
            if let Some(last) = self.segments.back_mut() {
                if !last.sealed {
                    last.sync()?;
                }
                last.sealed = true;
            }
            let last = self.segments.back().map_or(0, |last| last.number).max(self.foreign);
            let number = last.checked_add(1).ok_or_else(|| io::Error::other("the last file number is in use"))?;
            let segment = Segment::create(&self.folder.path, number)?;
            // Where folders cannot be synchronised, there is nothing that this could do better.
            let _ = std::fs::File::open(&self.folder.path).and_then(|folder| folder.sync_all());
            if self.segments.is_empty() {
                self.cursor = (number, 0);
            }
            self.segments.push_back(segment);
        }
        self.segments.back_mut().ok_or_else(|| io::Error::other("no segment"))
    }

    fn count(&mut self, positions: &[Position], taken: usize) {
        for (place, position) in positions.iter().enumerate() {
            let Some(segment) = self.segment(position.segment) else { continue };
            segment.waiting.add(position.items);
            if place < taken {
                segment.taken.add(position.items);
            }
        }
        // What is being sent is not read.
        if let Some(last) = positions.get(..taken).and_then(<[_]>::last) {
            let behind = positions.get(taken).map(|next| (next.segment, next.offset));
            self.cursor = behind.unwrap_or_else(|| (last.segment, self.end().1));
        }
    }

    /// Takes back what was appended since the end was here.
    fn withdraw(&mut self, (number, length): (u64, u64)) {
        while let Some(last) = self.segments.pop_back_if(|last| last.number > number) {
            if let Err(error) = last.remove() {
                self.remarks.push(format!("a file that was not finished cannot be removed: {error}"));
            }
        }
        if let Some(last) = self.segments.back_mut().filter(|last| last.number == number && last.length() > length) {
            last.truncate(length);
        }
    }

    fn segment(&mut self, number: u64) -> Option<&mut Segment> {
        let place = self.segments.binary_search_by_key(&number, |segment| segment.number).ok()?;
        self.segments.get_mut(place)
    }

    /// The oldest record that was not handed out and stands before `end`.
    pub(super) fn next(&mut self, end: (u64, u64)) -> Next {
        loop {
            let (now, max_age, cursor) = (self.clock.now(), self.max_age, self.cursor);
            if cursor >= end {
                return Next::Empty;
            }
            let Some(segment) = self.segment(cursor.0) else { return Next::Empty };
            match segment.find(cursor.1) {
                Ok(Some((offset, fixed))) => {
                    self.cursor = (cursor.0, offset + fixed.length());
                    if fixed.acknowledged {
                        continue;
                    }
                    let Some(segment) = self.segment(cursor.0) else { return Next::Empty };
                    segment.taken.add(fixed.items);
                    let position = Position { segment: cursor.0, offset, items: fixed.items };
                    if now.saturating_sub(fixed.written) > max_age {
                        self.acknowledge(position);
                        return Next::Expired(fixed.items);
                    }
                    match segment.record(offset, &fixed) {
                        Ok(Some(record)) => return Next::Record(position, record),
                        Ok(None) => {}
                        Err(error) => self.remarks.push(format!("a record cannot be read: {error}")),
                    }
                    self.acknowledge(position);
                    return Next::Damaged(fixed.items.into());
                }
                Ok(None) => {}
                Err(error) => self.remarks.push(format!("a file cannot be read: {error}")),
            }
            // The segment is read to its end: what waits there and was not handed out cannot be found any more.
            let Some(segment) = self.segment(cursor.0) else { return Next::Empty };
            let damaged = segment.waiting.items.saturating_sub(segment.taken.items);
            segment.waiting = segment.taken;
            self.cursor.1 = segment.length();
            let following = self.segments.iter().map(|segment| segment.number).find(|number| *number > cursor.0);
            if let Some(following) = following {
                if let Some(segment) = self.segment(cursor.0) {
                    segment.rest();
                }
                self.cursor = (following, 0);
                self.reclaim();
            }
            if damaged > 0 {
                return Next::Damaged(damaged);
            }
            if following.is_none() {
                return Next::Empty;
            }
        }
    }

    /// This record has arrived, or is given up.
    pub(super) fn acknowledge(&mut self, position: Position) {
        let Some(segment) = self.segment(position.segment) else { return };
        if let Err(error) = segment.acknowledge(position.offset) {
            self.remarks.push(format!("what has arrived cannot be marked, and is sent again after a restart: {error}"));
        }
        if let Some(segment) = self.segment(position.segment) {
            segment.waiting.remove(position.items);
            segment.taken.remove(position.items);
        }
        self.reclaim();
    }

    /// Removes the files of which every record is acknowledged and nothing will be read or written.
    fn reclaim(&mut self) {
        let cursor = self.cursor.0;
        while let Some(first) = self
            .segments
            .pop_front_if(|first| first.waiting == Tally::default() && first.sealed && first.number < cursor)
        {
            let number = first.number;
            if let Err(error) = first.remove() {
                self.remarks.push(format!("a file that is done with cannot be removed: {error}"));
                self.foreign = self.foreign.max(number);
            }
        }
    }

    /// The end: a file without a record that waits is not left behind.
    pub(super) fn close(&mut self) {
        for segment in self.segments.drain(..) {
            if segment.waiting == Tally::default() {
                let _ = segment.remove();
            }
        }
    }
}
