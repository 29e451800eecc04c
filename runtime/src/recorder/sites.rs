//! Call sites as small numbers, which an event has room for.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::panic::Location;
use std::ptr;

use crate::seam::sync::real::{Mutex, lock};

type Site = &'static Location<'static>;

/// All that have been told; a number is a place in here. A program has some thousands at most.
static ALL: Mutex<Vec<Site>> = Mutex::new(Vec::new());

/// The call site of this number.
pub(crate) fn site(number: u64) -> Option<Site> {
    lock(&ALL).get(usize::try_from(number).ok()?).copied()
}

const KEPT: usize = 64;

/// The numbers of those that one worker has met lately, by their addresses.
pub(crate) struct Sites([Cell<Option<(Site, u32)>>; KEPT]);

impl Sites {
    pub(crate) fn new() -> Self {
        Sites([const { Cell::new(None) }; KEPT])
    }

    /// The number of a call site.
    #[inline]
    pub(crate) fn number(&self, site: Site) -> u32 {
        // Locations lie one behind the other, 24 bytes each.
        let place = ptr::from_ref(site).addr() / size_of::<Location<'_>>() % KEPT;
        match self.0[place].get() {
            Some((known, number)) if ptr::eq(known, site) => number,
            _ => {
                let number = number_for_sure(site);
                self.0[place].set(Some((site, number)));
                number
            }
        }
    }
}

#[cold]
fn number_for_sure(site: Site) -> u32 {
    let mut all = lock(&ALL);
    let known = all.iter().position(|known| ptr::eq(*known, site));
    let place = known.unwrap_or_else(|| {
        all.push(site);
        all.len() - 1
    });
    place as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_site_has_one_number_wherever_it_is_asked_for() {
        let (here, there) = (Location::caller(), Location::caller());
        let (one, other) = (Sites::new(), Sites::new());
        let number = one.number(here);
        assert_eq!((one.number(here), other.number(here)), (number, number));
        assert_ne!(one.number(there), number);
        assert_eq!(site(number.into()), Some(here));
        assert_eq!(site(u64::MAX), None);
    }
}
