//! All stacks of one worker: finds the size class, counts what is out.
//!
//! What a class does is in [`class`](super::class). There is one for each size in whole pages that
//! was ever asked for; hardly a program uses more than two or three.

use std::io;

use super::{Stack, StackConfig, class::Class, guard::Guarding, layout::Layout};
use crate::sys::memory;

/// The stacks of one worker.
///
/// Dropping it unmaps every slab whose stacks have all come back; one with a stack still out is
/// leaked, because somebody may run on it.
#[derive(Debug)]
pub(crate) struct Stacks {
    config: StackConfig,
    page_bytes: usize,
    /// Sorted by layout; few.
    classes: Vec<Class>,
    guarding: Guarding,
    outstanding: usize,
}

impl Stacks {
    /// No stack yet; nothing is mapped before the first is asked for.
    pub(crate) fn new(config: StackConfig) -> Self {
        Self {
            config,
            page_bytes: memory::page_bytes(),
            classes: Vec::new(),
            guarding: Guarding::at_start(),
            outstanding: 0,
        }
    }

    /// A stack of at least `stack_bytes` usable bytes (less up to 1 KiB for colour and header).
    ///
    /// Its contents are unspecified unless the configuration zeroes stacks.
    ///
    /// # Errors
    /// `InvalidInput` for an absurd size; `ENOMEM` and its like, naming the limit that was hit.
    pub(crate) fn acquire(&mut self, stack_bytes: usize) -> io::Result<Stack> {
        let layout = self.config.layout(stack_bytes, self.page_bytes)?;
        let index = self.class_index(layout);
        let stack = self.classes[index].acquire(&self.config, &mut self.guarding)?;
        self.outstanding += 1;
        Ok(stack)
    }

    /// Sees to it that `total` stacks of this size can be out at a time, so that the next acquires do not
    /// fail; returns how many can.
    ///
    /// Costs address space only, or, where guards are mappings, a guard for each.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    pub(crate) fn reserve(&mut self, stack_bytes: usize, total: usize) -> io::Result<usize> {
        let layout = self.config.layout(stack_bytes, self.page_bytes)?;
        let index = self.class_index(layout);
        self.classes[index].reserve(total, &mut self.guarding)
    }

    /// Sees to it that one more stack of this size can be [had](Self::acquire_promised) later, beside all that are out and
    /// promised.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    pub(crate) fn promise(&mut self, stack_bytes: usize) -> io::Result<()> {
        let layout = self.config.layout(stack_bytes, self.page_bytes)?;
        let index = self.class_index(layout);
        self.classes[index].promise(&mut self.guarding)
    }

    /// As [`acquire`](Self::acquire), for one that was promised, here or by another worker.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire); none for one that was promised here.
    pub(crate) fn acquire_promised(&mut self, stack_bytes: usize) -> io::Result<Stack> {
        let layout = self.config.layout(stack_bytes, self.page_bytes)?;
        let index = self.class_index(layout);
        self.classes[index].redeem();
        self.acquire(stack_bytes)
    }

    /// Takes a stack back; its pages go back to the system sooner or later.
    pub(crate) fn release(&mut self, stack: Stack) {
        debug_assert!(self.outstanding > 0, "a stack of somebody else's came back");
        stack.clear_label();
        let index = self.class_index(stack.record.layout());
        self.classes[index].release(stack, &self.config);
        self.outstanding = self.outstanding.saturating_sub(1);
    }

    /// Gives all pages of returned stacks back: for a worker that has nothing to do.
    pub(crate) fn trim(&mut self) {
        for class in &mut self.classes {
            class.give_pages_back(&self.config);
        }
    }

    /// Where the class of this layout is; made when it is the first of its kind.
    fn class_index(&mut self, layout: Layout) -> usize {
        let found = self.classes.binary_search_by_key(&layout, Class::layout);
        found.unwrap_or_else(|index| {
            self.classes.insert(index, Class::new(layout));
            index
        })
    }
}

impl Drop for Stacks {
    fn drop(&mut self) {
        for class in self.classes.drain(..) {
            class.unmap_idle_slabs();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::slab::Slab;

    impl Stacks {
        fn mapped_slots(&self) -> usize {
            self.slabs().map(Slab::slots).sum()
        }

        fn mapped_bytes(&self) -> usize {
            self.slabs().map(Slab::bytes).sum()
        }

        fn slabs(&self) -> impl Iterator<Item = &Slab> {
            self.classes.iter().flat_map(Class::slabs)
        }
    }

    use corosensei::stack::Stack as _;

    fn touch(stack: &Stack, below_base: usize) -> *mut u64 {
        let word = stack.base().get() - below_base;
        let word = std::ptr::with_exposed_provenance_mut::<u64>(word);
        // SAFETY: the test owns the stack and stays inside of it.
        unsafe { word.write_volatile(0xdead_beef) };
        word
    }

    #[test]
    fn last_released_is_acquired_first() {
        let mut stacks = Stacks::new(StackConfig::default());
        let out: Vec<_> = (0..5).map(|_| stacks.acquire(0).unwrap()).collect();
        assert_eq!(stacks.outstanding, 5);
        let bases: Vec<_> = out.iter().map(Stack::address).collect();
        out.into_iter().for_each(|stack| stacks.release(stack));
        assert_eq!(stacks.outstanding, 0);
        for expected in bases.into_iter().rev() {
            assert_eq!(stacks.acquire(0).unwrap().address(), expected);
        }
    }

    #[test]
    fn each_size_has_its_class_and_goes_back_to_it() {
        let mut stacks = Stacks::new(StackConfig::default());
        let small = stacks.acquire(1).unwrap();
        let large = stacks.acquire(100_000).unwrap();
        assert_eq!(
            (small.usable_bytes(), large.usable_bytes()),
            (32 << 10, 100 << 10)
        );
        let (small_at, large_at) = (small.address(), large.address());
        stacks.release(small);
        stacks.release(large);
        let large = stacks.acquire(99_000).unwrap();
        let small = stacks.acquire(0).unwrap();
        assert_eq!((small.address(), large.address()), (small_at, large_at));
        stacks.release(large);
        stacks.release(small);
    }

    #[test]
    fn st11_absurd_size_is_an_error_and_the_next_request_works() {
        let mut stacks = Stacks::new(StackConfig::default());
        assert!(stacks.acquire(usize::MAX).is_err());
        let stack = stacks.acquire(64 << 10).unwrap();
        assert_eq!(stacks.outstanding, 1);
        stacks.release(stack);
    }

    #[test]
    fn st12_pages_of_returned_stacks_are_given_back_by_the_batch() {
        let mut stacks = Stacks::new(StackConfig::default());
        let out: Vec<_> = (0..crate::stack::class::WARM_MAX)
            .map(|_| stacks.acquire(64 << 10).unwrap())
            .collect();
        for stack in &out {
            touch(stack, 40_000);
            assert!(stack.high_water_bytes() >= 40_000);
        }
        out.into_iter().for_each(|stack| stacks.release(stack));
        let again = stacks.acquire(64 << 10).unwrap();
        assert_eq!(again.high_water_bytes(), 0);
        touch(&again, 8);
        stacks.release(again);
        stacks.trim();
        let again = stacks.acquire(64 << 10).unwrap();
        assert_eq!(
            again.high_water_bytes(),
            0,
            "trim does not wait for a full batch"
        );
        stacks.release(again);
    }

    #[test]
    fn st12_zeroing_leaves_nothing_of_the_previous_owner() {
        let config = StackConfig {
            zero_on_release: true,
            ..StackConfig::default()
        };
        let mut stacks = Stacks::new(config);
        let stack = stacks.acquire(0).unwrap();
        let words = [8, 5_000, 20_000].map(|below| touch(&stack, below));
        let address = stack.address();
        stacks.release(stack);
        let stack = stacks.acquire(0).unwrap();
        assert_eq!(stack.address(), address);
        for word in words {
            // SAFETY: the test owns the stack.
            assert_eq!(unsafe { word.read_volatile() }, 0);
        }
        stacks.release(stack);
    }

    #[test]
    fn st16_protected_idle_stack_is_usable_when_acquired_again() {
        let config = StackConfig {
            protect_idle: true,
            ..StackConfig::default()
        };
        let mut stacks = Stacks::new(config);
        for _ in 0..3 {
            let (a, b) = (stacks.acquire(0).unwrap(), stacks.acquire(0).unwrap());
            touch(&a, 8);
            touch(&b, 30_000);
            stacks.release(a);
            stacks.release(b);
        }
    }

    #[test]
    fn drop_unmaps_what_came_back_and_leaks_what_is_out() {
        let mapped = |address| {
            let page = memory::page_bytes();
            memory::resident(address & !(page - 1), page, &mut [0]).is_ok()
        };
        let mut stacks = Stacks::new(StackConfig {
            guard_bytes: 3 << 12,
            ..StackConfig::default()
        });
        let kept = stacks.acquire(32 << 10).unwrap();
        let returned = stacks.acquire(1 << 30).unwrap();
        let address = returned.address();
        let word = touch(&kept, 8);
        stacks.release(returned);
        assert!(mapped(address));
        drop(stacks);
        // SAFETY: a stack that is out stays mapped.
        assert_eq!(unsafe { word.read_volatile() }, 0xdead_beef);
        assert_eq!(kept.usable_bytes(), 32 << 10);
        assert!(crate::stack::registry::slot_around(kept.address()).is_some());
    }

    #[test]
    fn slabs_grow_and_are_few() {
        let mut stacks = Stacks::new(StackConfig::default());
        let out: Vec<_> = (0..5_000).map(|_| stacks.acquire(0).unwrap()).collect();
        assert!(stacks.mapped_slots() >= 5_000 && stacks.mapped_slots() < 10_000);
        assert!(stacks.slabs().count() <= 10);
        assert!(stacks.mapped_bytes() >= 5_000 * (36 << 10));
        let mut bases: Vec<_> = out.iter().map(Stack::address).collect();
        bases.sort_unstable();
        bases.dedup();
        assert_eq!(bases.len(), 5_000, "no slot is handed out twice");
        out.into_iter().for_each(|stack| stacks.release(stack));
    }
}
