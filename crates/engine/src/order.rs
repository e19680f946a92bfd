//! Finished segments come in any order and leave in that of their numbers.

use std::collections::BTreeMap;

/// Restores the order of numbered items. An item that never comes holds back those behind it, which [`Order::waiting`] shows.
#[derive(Debug)]
pub struct Order<T> {
    next: u32,
    held: BTreeMap<u32, T>,
}

impl<T> Default for Order<T> {
    fn default() -> Self {
        Self { next: 0, held: BTreeMap::new() }
    }
}

impl<T> Order<T> {
    /// Takes an item; returns all that are now in turn. A number that came before is refused and given back.
    pub fn push(&mut self, number: u32, item: T) -> Result<Vec<T>, T> {
        if number < self.next || self.held.contains_key(&number) {
            return Err(item);
        }
        self.held.insert(number, item);
        let mut ready = Vec::new();
        while let Some(item) = self.held.remove(&self.next) {
            ready.push(item);
            self.next += 1;
        }
        Ok(ready)
    }

    /// The number that everything waits for.
    pub fn next(&self) -> u32 {
        self.next
    }

    /// Items held back.
    pub fn waiting(&self) -> usize {
        self.held.len()
    }
}

#[cfg(test)]
mod tests {
    use super::Order;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn everything_leaves_once_and_in_order(order in Just((0_u32..50).collect::<Vec<_>>()).prop_shuffle()) {
            let mut out = Vec::new();
            let mut restore = Order::default();
            for n in order {
                out.extend(restore.push(n, n).unwrap());
                prop_assert_eq!(restore.push(n, n), Err(n));
            }
            prop_assert_eq!(out, (0..50).collect::<Vec<_>>());
            prop_assert_eq!(restore.waiting(), 0);
        }
    }
}
