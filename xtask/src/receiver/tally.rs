//! What has become of the items of one backend. Numbers are dense, so each is one bit.

use std::collections::{HashMap, HashSet};

use super::{Items, Meaning};

/// How many problems are remembered in words.
const PROBLEMS: usize = 8;
/// A number beyond this is nobody's.
const MOST: u64 = 1 << 32;

/// A set of numbers.
#[derive(Debug, Default, Clone)]
struct Bits {
    words: Vec<u64>,
    count: u64,
}

impl Bits {
    /// Whether it was new.
    fn insert(&mut self, number: u64) -> bool {
        let (word, bit) = ((number / 64) as usize, 1 << (number % 64));
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let is_new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.count += u64::from(is_new);
        is_new
    }
}

/// The counts of one backend.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tally {
    pub(crate) requests: u64,
    /// Items that were stored, each time that they were.
    pub(crate) stored: u64,
    /// Items of answers that say that they are stored.
    pub(crate) delivered: u64,
    /// Items of answers that refuse them for good.
    pub(crate) refused: u64,
    /// Items of answers after which a client may give up or try again.
    pub(crate) unclear: u64,
    /// Items of answers that broke off: a client may believe them or not.
    pub(crate) doubtful: u64,
    /// Items that were stored, and whose answer the client may not have: each can come once more.
    pub(crate) unheard: u64,
    /// Requests that could not be read, series out of order: faults of the client.
    pub(crate) problems: Vec<String>,
    seen: Bits,
    events: Bits,
    /// Series and times.
    points: HashSet<(u64, i64)>,
    newest: HashMap<u64, i64>,
    others: u64,
}

impl Tally {
    /// Different items that were stored; of those without a number, all.
    pub(crate) fn unique(&self) -> u64 {
        self.seen.count + self.points.len() as u64 + self.others
    }

    /// Different events of spans that were stored.
    pub(crate) fn unique_events(&self) -> u64 {
        self.events.count
    }

    /// Items without a number that were stored: not of the load.
    pub(crate) fn others(&self) -> u64 {
        self.others
    }

    /// Items that were stored before.
    pub(crate) fn copies(&self) -> u64 {
        self.stored - self.unique()
    }

    pub(super) fn unreadable(&mut self, problem: &str) {
        self.requests += 1;
        self.problem(problem.to_owned());
    }

    fn problem(&mut self, problem: String) {
        if self.problems.len() < PROBLEMS {
            self.problems.push(problem);
        }
    }

    /// The first items of a request are stored.
    pub(super) fn store(&mut self, items: &Items, stored: usize) {
        self.requests += 1;
        self.stored += stored as u64;
        for number in items.numbers.iter().take(stored) {
            if *number >= MOST {
                self.problem(format!("an item has the number {number}"));
            } else {
                self.seen.insert(*number);
            }
        }
        if stored == items.len() {
            for number in items.events.iter().filter(|number| **number < MOST) {
                self.events.insert(*number);
            }
        }
        for (series, time) in items.points.iter().take(stored) {
            if !self.points.insert((*series, *time)) {
                continue;
            }
            let newest = self.newest.entry(*series).or_insert(*time);
            if *newest > *time {
                let newest = *newest;
                self.problem(format!("a sample of {time} comes after one of {newest} of its series"));
            } else {
                *newest = *time;
            }
        }
        self.others += stored.saturating_sub(items.numbers.len() + items.points.len()) as u64;
    }

    /// An answer is on its way.
    pub(super) fn answered(&mut self, items: &Items, stored: usize, meaning: Meaning) {
        match meaning {
            Meaning::Taken => {
                self.delivered += stored as u64;
                self.refused += (items.len() - stored) as u64;
            }
            Meaning::Refused => self.refused += items.len() as u64,
            Meaning::Doubtful => {
                self.doubtful += stored as u64;
                self.unheard(stored);
            }
            Meaning::Unclear => self.unclear += items.len() as u64,
            Meaning::Again => self.unheard(stored),
        }
    }

    pub(super) fn unheard(&mut self, stored: usize) {
        self.unheard += stored as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_counted_once_and_their_copies_apart() {
        let mut tally = Tally::default();
        let items = |numbers: &[u64]| Items { numbers: numbers.to_vec(), ..Items::default() };
        tally.store(&items(&[0, 64, 1000]), 3);
        tally.store(&items(&[64, 65]), 1);
        assert_eq!((tally.unique(), tally.stored, tally.copies()), (3, 4, 1));
        tally.store(&items(&[u64::MAX]), 1);
        assert_eq!(tally.problems.len(), 1);
    }

    #[test]
    fn a_sample_that_goes_back_in_time_is_a_fault_and_one_that_comes_again_is_a_copy() {
        let mut tally = Tally::default();
        let items = |time| Items { points: vec![(7, time)], ..Items::default() };
        for time in [10, 20, 10, 20] {
            tally.store(&items(time), 1);
        }
        assert_eq!((tally.unique(), tally.copies(), tally.problems.len()), (2, 2, 0));
        tally.store(&items(15), 1);
        assert_eq!(tally.problems.len(), 1);
    }

    #[test]
    fn a_partial_answer_delivers_some_and_refuses_the_rest() {
        let mut tally = Tally::default();
        let items = Items { numbers: vec![1, 2, 3], ..Items::default() };
        tally.store(&items, 2);
        tally.answered(&items, 2, Meaning::Taken);
        assert_eq!((tally.delivered, tally.refused, tally.unheard), (2, 1, 0));
    }
}
