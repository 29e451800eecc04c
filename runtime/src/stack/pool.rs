//! A bounded pool of warm things: the one used last is taken first.
//!
//! ```text
//! coldest                          hottest
//! | a | b | c | d | e | f | g | h |  <- push, pop
//! |<- surplus ->|
//! ```
//!
//! What has just been used lies in the caches, so reuse takes from the hot end. What nobody has
//! needed for a while is at the cold end; how much that is needs no clock and no timestamps: it is
//! the least length that the pool has had since the last look (its *low-water mark*).
#![forbid(unsafe_code)]

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Pool<T> {
    items: Vec<T>,
    len_max: usize,
    /// Least length since [`surplus`](Pool::surplus) was last asked.
    low_water: usize,
}

impl<T> Pool<T> {
    /// A pool that holds up to `len_max` items; it allocates as it fills.
    pub(crate) fn new(len_max: usize) -> Self {
        Self {
            items: Vec::new(),
            len_max,
            low_water: 0,
        }
    }

    /// Keeps `item`, or hands it back when the pool is full.
    #[inline]
    pub(crate) fn push(&mut self, item: T) -> Option<T> {
        if self.items.len() >= self.len_max {
            return Some(item);
        }
        self.items.push(item);
        None
    }

    /// Takes the item that was pushed last.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<T> {
        let item = self.items.pop();
        self.low_water = self.low_water.min(self.items.len());
        item
    }

    /// How many items are kept.
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// How many items nobody has needed since the last call; starts the next period.
    ///
    /// Items pushed during the period do not count: they have been of use in it.
    pub(crate) fn surplus(&mut self) -> usize {
        std::mem::replace(&mut self.low_water, self.items.len())
    }

    /// Takes up to `count` items from the cold end, the coldest first.
    pub(crate) fn take_coldest(&mut self, count: usize) -> impl Iterator<Item = T> + '_ {
        let count = count.min(self.items.len());
        self.low_water = self.low_water.min(self.items.len() - count);
        self.items.drain(..count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_pushed_is_popped_first() {
        let mut pool = Pool::new(8);
        assert!((0..3).all(|item| pool.push(item).is_none()));
        assert_eq!(
            std::iter::from_fn(|| pool.pop()).collect::<Vec<_>>(),
            [2, 1, 0]
        );
    }

    #[test]
    fn full_pool_hands_the_item_back() {
        let mut pool = Pool::new(1);
        assert_eq!(pool.push('a'), None);
        assert_eq!(pool.push('b'), Some('b'));
        assert_eq!(pool.len(), 1);
        assert_eq!(Pool::new(0).push('c'), Some('c'));
    }

    #[test]
    fn surplus_is_what_lay_idle_for_the_whole_period() {
        let mut pool = Pool::new(100);
        assert!((0..10).all(|item| pool.push(item).is_none()));
        assert_eq!(pool.surplus(), 0, "all of them were used in this period");
        for _ in 0..5 {
            let item = pool.pop().unwrap();
            assert_eq!(pool.push(item), None);
        }
        let (a, b) = (pool.pop().unwrap(), pool.pop().unwrap());
        assert_eq!((pool.push(b), pool.push(a)), (None, None));
        assert_eq!(pool.surplus(), 8, "two at a time were in use");
        assert_eq!(pool.surplus(), 10, "none was in use");
    }

    #[test]
    fn trimming_the_surplus_takes_the_coldest_and_keeps_the_rest() {
        let mut pool = Pool::new(100);
        assert!((0..6).all(|item| pool.push(item).is_none()));
        pool.surplus();
        let hot = pool.pop().unwrap();
        assert_eq!(pool.push(hot), None);
        let surplus = pool.surplus();
        assert_eq!(
            pool.take_coldest(surplus).collect::<Vec<_>>(),
            [0, 1, 2, 3, 4]
        );
        assert_eq!(pool.surplus(), 1);
        assert_eq!(pool.take_coldest(9).collect::<Vec<_>>(), [5]);
        assert_eq!(pool.len(), 0);
    }

    /// The low-water mark against its definition, over a pseudo-random history.
    #[test]
    fn surplus_agrees_with_a_history_kept_in_full() {
        let mut pool = Pool::new(20);
        let mut lengths = vec![0];
        let mut random = 1_u64;
        for step in 0..10_000 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            match random >> 62 {
                0 | 1 => drop(pool.push(step)),
                2 => drop(pool.pop()),
                _ if random >> 56 & 7 == 0 => {
                    assert_eq!(Some(pool.surplus()), lengths.iter().copied().min());
                    lengths.clear();
                }
                _ => drop(pool.pop()),
            }
            lengths.push(pool.len());
        }
    }
}
