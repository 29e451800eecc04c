//! The advisor: how much stack the coroutines of each place in the program have touched, and how much they should get.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fmt;
use std::panic::Location;

use super::dump::views;
use super::sighting::Detail;

/// What [`stacks`] has found, a line for each place where coroutines are spawned; [`Display`](fmt::Display) writes a table.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stacks {
    /// Those that touch most come first.
    pub sites: Vec<StackSite>,
}

/// The coroutines that one place has spawned, and that are alive.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct StackSite {
    /// The place.
    pub spawned_at: &'static Location<'static>,
    /// How many there are.
    pub coroutines: usize,
    /// The most that one of them has touched, in bytes, in whole pages.
    pub touched_max: usize,
    /// How much stack they have, in bytes; the least if that differs.
    pub usable: usize,
}

impl StackSite {
    /// The size that leaves as much again as has been touched, in bytes: a power of two, 32 KiB at least.
    pub fn suggested(&self) -> usize {
        const LEAST: usize = 32 << 10;
        self.touched_max
            .saturating_mul(2)
            .max(LEAST)
            .checked_next_power_of_two()
            .unwrap_or(self.usable)
    }
}

/// How much stack the coroutines that are alive have touched, by the place where they were spawned: of the runtimes
/// that [`dump`](super::dump) would tell of.
///
/// Whole pages are counted, and what an earlier coroutine has touched on the same stack counts too: the figure is never
/// too small for what has happened so far, and says nothing of what has not.
///
/// Cost: a mincore(2) for each 4 MiB of stacks.
///
/// ```
/// use runtime::{coroutine, observe};
///
/// runtime::run(|| {
///     for _ in 0..3 {
///         coroutine::spawn(|| coroutine::park());
///     }
///     runtime::yield_now();
///     let stacks = observe::stacks();
///     assert_eq!(stacks.sites.iter().map(|site| site.coroutines).sum::<usize>(), 4);
///     println!("{stacks}");
/// });
/// ```
///
/// prints
///
/// ```text
///  coroutines   touched    of   suggested  spawned at
///           1    12 KiB    64      32 KiB  src/main.rs:4:5
///           3     4 KiB    64      32 KiB  src/main.rs:6:9
/// ```
pub fn stacks() -> Stacks {
    let mut sites: BTreeMap<(&str, u32, u32), StackSite> = BTreeMap::new();
    for seen in views(Detail::Stacks)
        .iter()
        .flat_map(|view| &view.sightings)
    {
        let Some((touched, usable)) = seen.stack else {
            continue;
        };
        let at = seen.spawned_at;
        let site = sites
            .entry((at.file(), at.line(), at.column()))
            .or_insert(StackSite {
                spawned_at: at,
                coroutines: 0,
                touched_max: 0,
                usable,
            });
        site.coroutines += 1;
        site.touched_max = site.touched_max.max(touched);
        site.usable = site.usable.min(usable);
    }
    let mut sites: Vec<StackSite> = sites.into_values().collect();
    sites.sort_by_key(|site| std::cmp::Reverse(site.touched_max));
    Stacks { sites }
}

impl fmt::Display for Stacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, " coroutines   touched    of   suggested  spawned at")?;
        for site in &self.sites {
            writeln!(
                f,
                "{:>11} {:>5} KiB {:>5} {:>7} KiB  {}",
                site.coroutines,
                site.touched_max >> 10,
                site.usable >> 10,
                site.suggested() >> 10,
                site.spawned_at
            )?;
        }
        Ok(())
    }
}
