//! How each backend is at which time: a schedule that comes again with its seed, in which every combination of the three backends'
//! states has its turn if there is time for it.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde::Serialize;

/// How a backend is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Up,
    /// It answers after two seconds.
    Slow,
    /// It answers with errors, breaks connections, takes a part, or takes it and does not say so.
    Wrong,
    /// It refuses connections.
    Down,
}

impl State {
    const ALL: [Self; 4] = [Self::Up, Self::Slow, Self::Wrong, Self::Down];

    pub(super) const fn letter(self) -> char {
        match self {
            Self::Up => 'u',
            Self::Slow => 's',
            Self::Wrong => 'w',
            Self::Down => 'd',
        }
    }
}

/// How long all backends are as they are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    /// Of Loki, Tempo and Mimir.
    pub(super) states: [State; 3],
    pub(super) length: Duration,
}

/// The shortest slot.
const SHORTEST: Duration = Duration::from_secs(2);
/// The longest: with longer ones the combinations come again.
const LONGEST: Duration = Duration::from_secs(12);

/// The slots, together as long as the run. All backends are up in the end.
pub(super) fn schedule(length: Duration, seed: u64) -> Vec<Slot> {
    let mut random = StdRng::seed_from_u64(seed);
    // The last part is for what has piled up.
    let all = length.mul_f64(0.94);
    let mean = (all / 64).clamp(SHORTEST, LONGEST);
    let mut combinations = combinations(&mut random);
    let count = (all.as_secs_f64() / mean.as_secs_f64()).round().max(4.0) as usize;
    let mut slots = Vec::new();
    while slots.len() < count {
        let Some(states) = combinations.next() else {
            combinations = self::combinations(&mut random);
            continue;
        };
        slots.push(Slot { states, length: mean.mul_f64(random.random_range(0.5..1.5)) });
    }
    let drawn: Duration = slots.iter().map(|slot| slot.length).sum();
    let factor = all.as_secs_f64() / drawn.as_secs_f64();
    for slot in &mut slots {
        slot.length = slot.length.mul_f64(factor);
    }
    slots.push(Slot { states: [State::Up; 3], length: length.saturating_sub(all) });
    slots
}

/// All combinations, in rounds of four in each of which every backend is in each state once: also a short run has them all.
fn combinations(random: &mut StdRng) -> std::vec::IntoIter<[State; 3]> {
    let mut offsets: Vec<(usize, usize)> = (0..4).flat_map(|one| (0..4).map(move |other| (one, other))).collect();
    offsets.shuffle(random);
    let mut all = Vec::with_capacity(64);
    for (one, other) in offsets {
        let mut round: Vec<[State; 3]> = (0..4)
            .map(|first| [first, (first + one) % 4, (first + other) % 4].map(|state| State::ALL[state]))
            .collect();
        round.shuffle(random);
        all.extend(round);
    }
    all.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ten_minutes_have_every_combination_and_a_seed_gives_them_in_one_order() {
        let slots = schedule(Duration::from_secs(600), 7);
        let seen: HashSet<_> = slots.iter().map(|slot| slot.states).collect();
        assert_eq!(seen.len(), 64);
        let total: Duration = slots.iter().map(|slot| slot.length).sum();
        assert!(total.abs_diff(Duration::from_secs(600)) < Duration::from_millis(10), "{total:?}");
        let states = |seed| schedule(Duration::from_secs(600), seed).iter().map(|slot| slot.states).collect::<Vec<_>>();
        assert_eq!(states(7), states(7));
        assert_ne!(states(7), states(8));
    }

    #[test]
    fn each_backend_is_in_each_state_in_a_short_run_too_and_up_in_the_end() {
        for seed in 0..50 {
            let slots = schedule(Duration::from_secs(20), seed);
            for backend in 0..3 {
                let seen: HashSet<_> = slots.iter().map(|slot| slot.states[backend]).collect();
                assert_eq!(seen.len(), 4, "seed {seed}");
            }
            assert_eq!(slots.last().unwrap().states, [State::Up; 3]);
        }
    }
}
