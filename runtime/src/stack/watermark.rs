//! The high-water mark: how far down a stack has ever been touched.
//!
//! ```text
//!  bottom                                   top
//!  | . | . | . | . | . | x | . | x | x | x |      x: page in memory
//!                      ^ lowest one: all from here to the top counts
//! ```
//!
//! The kernel keeps this record already: a page is in memory because somebody touched it. Asking
//! costs nothing while the stack is in use, unlike painting a stack beforehand, which would also
//! touch every page. The price is precision (a page) and that a page swapped out is not seen.
//!
//! Source: mincore(2).
#![forbid(unsafe_code)]

use crate::sys::memory::{self, Span};

/// Pages asked for by one call.
const PAGES: usize = 1024;

/// Bytes from the lowest page in memory to the end of `usable`; 0 if none is, or none can be told.
pub(super) fn high_water_bytes(usable: Span, page_bytes: usize) -> usize {
    let end = usable.start + usable.bytes;
    let mut pages = [0; PAGES];
    for start in (usable.start..end).step_by(PAGES * page_bytes) {
        let pages = &mut pages[..PAGES.min((end - start) / page_bytes)];
        if memory::resident(start, page_bytes, pages).is_err() {
            return 0;
        }
        if let Some(index) = lowest_resident(pages) {
            return end - (start + index * page_bytes);
        }
    }
    0
}

/// The marks of many stacks, asked for in the order of their addresses: one call for all that lie within
/// [`PAGES`] pages.
pub(crate) struct Watermarks {
    start: usize,
    pages: [u8; PAGES],
    /// How many of them have been asked for.
    known: usize,
}

impl Watermarks {
    pub(crate) fn new() -> Self {
        Watermarks {
            start: 0,
            pages: [0; PAGES],
            known: 0,
        }
    }

    /// As [`high_water_bytes`].
    pub(super) fn of(&mut self, usable: Span, page_bytes: usize) -> usize {
        if self.known(usable, page_bytes).is_none() {
            self.start = usable.start;
            // Behind the last stack there may be nothing.
            let asked = memory::resident(usable.start, page_bytes, &mut self.pages);
            self.known = if asked.is_ok() { PAGES } else { 0 };
        }
        match self.known(usable, page_bytes) {
            Some(pages) => {
                lowest_resident(pages).map_or(0, |index| usable.bytes - index * page_bytes)
            }
            None => high_water_bytes(usable, page_bytes),
        }
    }

    fn known(&self, usable: Span, page_bytes: usize) -> Option<&[u8]> {
        let first = usable.start.checked_sub(self.start)? / page_bytes;
        self.pages[..self.known].get(first..first + usable.bytes / page_bytes)
    }
}

/// The first page that is in memory. Bit 0 says so; the others are reserved.
fn lowest_resident(pages: &[u8]) -> Option<usize> {
    pages.iter().position(|bits| bits & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lowest_page_touched_decides() {
        let (page, count) = (memory::page_bytes(), PAGES + 10);
        let start = memory::reserve(count * page).unwrap().get();
        let usable = Span {
            start,
            bytes: count * page,
        };
        memory::forbid_huge_pages(usable);
        let touch = |index| {
            let page = Span {
                start: start + index * page,
                bytes: page,
            };
            memory::populate(&[page]).unwrap();
            high_water_bytes(usable, page.bytes) / page.bytes
        };
        assert_eq!(high_water_bytes(usable, page), 0);
        assert_eq!(touch(count - 1), 1);
        assert_eq!(touch(PAGES), 10);
        assert_eq!(
            touch(count - 2),
            10,
            "a page above the mark changes nothing"
        );
        assert_eq!(touch(3), count - 3);
        assert_eq!(touch(0), count);
    }

    #[test]
    fn many_marks_are_what_each_is_asked_alone() {
        // Windows of many stacks, a stack larger than a window, and the end of what is mapped.
        let page = memory::page_bytes();
        for (stacks, pages) in [(3 * PAGES / 17, 17), (2, PAGES + 3)] {
            let start = memory::reserve(stacks * pages * page).unwrap().get();
            let all = Span {
                start,
                bytes: stacks * pages * page,
            };
            memory::forbid_huge_pages(all);
            let usable = |n: usize| Span {
                start: start + (n * pages + 1) * page,
                bytes: (pages - 1) * page,
            };
            let mut marks = Watermarks::new();
            for n in 0..stacks {
                let (Span { start, bytes }, touched) = (usable(n), n % 5);
                let part = Span {
                    start: start + bytes - touched * page,
                    bytes: touched * page,
                };
                memory::populate(&[part]).unwrap();
            }
            for n in (0..stacks).chain([0]) {
                assert_eq!(marks.of(usable(n), page), n % 5 * page, "{n} of {stacks}");
            }
        }
    }
}
