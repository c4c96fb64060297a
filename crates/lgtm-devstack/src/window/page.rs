//! A page of a long list, without sorting the rest of it.

/// The items that would be from place `skip` on, at most `limit` of them, in order, if all were sorted.
pub(super) fn page<T, K: Ord>(items: &mut [T], skip: u64, limit: u64, key: impl Fn(&T) -> K) -> &mut [T] {
    let (skip, limit) = (place(skip), place(limit));
    if skip >= items.len() {
        return &mut [];
    }
    if skip > 0 {
        items.select_nth_unstable_by_key(skip, &key);
    }
    let (_, mut page) = items.split_at_mut(skip);
    if limit < page.len() {
        page.select_nth_unstable_by_key(limit, &key);
        page = page.split_at_mut(limit).0;
    }
    page.sort_unstable_by_key(key);
    page
}

fn place(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_one_after_the_other_are_the_sorted_list() {
        let shuffled: Vec<u64> = (0..100).map(|number| number * 37 % 101).collect();
        let mut sorted = shuffled.clone();
        sorted.sort_unstable_by_key(|number| std::cmp::Reverse(*number));
        for limit in [1, 7, 50, 100, 1000] {
            let mut read = Vec::new();
            while read.len() < 100 {
                let mut items = shuffled.clone();
                read.extend_from_slice(page(&mut items, read.len() as u64, limit, |number| std::cmp::Reverse(*number)));
            }
            assert_eq!(read, sorted, "by {limit}");
        }
        assert!(page(&mut [1, 2], 2, 10, |number| *number).is_empty());
        assert!(page(&mut [1, 2], 0, 0, |number| *number).is_empty());
        assert!(page(&mut [1, 2], u64::MAX, u64::MAX, |number| *number).is_empty());
    }
}
