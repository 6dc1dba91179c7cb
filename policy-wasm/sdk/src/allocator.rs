//! The guest's memory. A question is some ten texts that the host has the guest make room for, one by one, and a decision
//! some more, all of them given back at once: with the system's allocator that is half of what a policy executes. So what is
//! small lies in lists by size, where taking and giving back are a handful of instructions each, and the system has the rest.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr::NonNull;

/// Bytes. Sizes are rounded up to it, and nothing small is aligned more strictly.
const GRAIN: usize = 16;
/// Lists. The last is for blocks of 1 KiB.
const LISTS: usize = 64;
/// Bytes that are taken from the system at once and cut up as they are needed.
const CHUNK: usize = 4096;

/// Takes from the system and never gives anything small back: what is free stays for blocks of its size. That ends with the
/// instance, which answers a thousand questions at most, and none once it has half of the memory that it may have.
pub struct Allocator(UnsafeCell<Lists>);

#[cfg(not(test))]
#[global_allocator]
static ALLOCATOR: Allocator = Allocator::new();

/// Where the host asks for room. The standard library and the C library have one of their own each, which yield to this: the C
/// library's would not take from where Rust gives back.
///
/// # Safety
/// As the component model has it: what is old was given by this function, with the size and the alignment that are said again.
#[cfg(not(test))]
#[unsafe(no_mangle)]
unsafe extern "C" fn cabi_realloc(old: *mut u8, old_size: usize, align: usize, size: usize) -> *mut u8 {
    if size == 0 {
        return std::ptr::without_provenance_mut(align);
    }
    // SAFETY: Alignments are those of the contract's types, and no size is beyond what a guest can address.
    let (was, wanted) = unsafe {
        (
            Layout::from_size_align_unchecked(old_size, align),
            Layout::from_size_align_unchecked(size, align),
        )
    };
    let room = match old_size {
        // SAFETY: The size is not zero.
        0 => unsafe { ALLOCATOR.alloc(wanted) },
        // SAFETY: As the caller promises.
        _ => unsafe { ALLOCATOR.realloc(old, was, size) },
    };
    if room.is_null() {
        std::alloc::handle_alloc_error(wanted);
    }
    room
}

/// A block that nobody has.
struct Free {
    next: Option<NonNull<Free>>,
}

struct Lists {
    /// By [`list_of`].
    first: [Option<NonNull<Free>>; LISTS],
    /// What is left of the last chunk: whole grains, fewer than [`CHUNK`] has, or all.
    rest: *mut u8,
    left: usize,
}

// SAFETY: WebAssembly without the atomics feature has one thread, and nothing here calls anything that would come back.
#[cfg(all(target_arch = "wasm32", not(target_feature = "atomics")))]
unsafe impl Sync for Allocator {}

impl Allocator {
    /// Without memory yet.
    pub const fn new() -> Self {
        Self(UnsafeCell::new(Lists {
            first: [None; LISTS],
            rest: std::ptr::null_mut(),
            left: 0,
        }))
    }

    /// # Safety
    /// The reference must have ended before the next call.
    #[expect(clippy::mut_from_ref, reason = "there is one thread")]
    unsafe fn lists(&self) -> &mut Lists {
        // SAFETY: Not Sync but where there is one thread; and the caller holds no other.
        unsafe { &mut *self.0.get() }
    }
}

/// The list for a layout; none if it is the system's.
#[inline]
fn list_of(layout: Layout) -> Option<usize> {
    let list = layout.size().wrapping_sub(1) / GRAIN;
    (list < LISTS && layout.align() <= GRAIN).then_some(list)
}

/// Bytes of a block of a list.
const fn size_of(list: usize) -> usize {
    (list + 1) * GRAIN
}

impl Lists {
    #[inline]
    fn take(&mut self, list: usize) -> *mut u8 {
        match self.first[list] {
            Some(block) => {
                // SAFETY: It is in the list, so it was written by `give` and nobody has it.
                self.first[list] = unsafe { block.as_ref().next };
                block.as_ptr().cast()
            }
            None => self.cut(list),
        }
    }

    /// # Safety
    /// The block must be of this list, and its owner must have done with it.
    #[inline]
    unsafe fn give(&mut self, block: *mut u8, list: usize) {
        let next = self.first[list];
        self.first[list] = NonNull::new(block.cast::<Free>()).inspect(|block| {
            // SAFETY: A block has room for this, is aligned to a grain, and is nobody's any more.
            unsafe { block.write(Free { next }) }
        });
    }

    /// A new block. Null if there is no memory.
    #[cold]
    #[inline(never)]
    fn cut(&mut self, list: usize) -> *mut u8 {
        let size = size_of(list);
        if self.left < size && !self.refill() {
            return std::ptr::null_mut();
        }
        let block = self.rest;
        // SAFETY: So much is left of the chunk.
        self.rest = unsafe { block.add(size) };
        self.left -= size;
        block
    }

    /// A new chunk, unless there is no memory. What was left of the old one is a block like others.
    fn refill(&mut self) -> bool {
        let Ok(layout) = Layout::from_size_align(CHUNK, GRAIN) else {
            return false;
        };
        // SAFETY: It is not of no size.
        let chunk = unsafe { System.alloc(layout) };
        if chunk.is_null() {
            return false;
        }
        if let Some(list) = (self.left / GRAIN).checked_sub(1) {
            // SAFETY: It has the size of this list's blocks, and nobody has it.
            unsafe { self.give(self.rest, list) };
        }
        (self.rest, self.left) = (chunk, CHUNK);
        true
    }
}

// Its functions are called, not copied to each place that needs them: that is a tenth more of fuel and an eighth less of code.
//
// SAFETY: Blocks are cut from chunks without overlap, have at least the size asked for, are aligned to a grain, and are in a list
// or with their owner. By its layout, which an owner says again, a block is known to be of its list or the system's.
unsafe impl GlobalAlloc for Allocator {
    #[inline(never)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match list_of(layout) {
            // SAFETY: It ends here.
            Some(list) => unsafe { self.lists() }.take(list),
            // SAFETY: As the caller promises.
            None => unsafe { System.alloc(layout) },
        }
    }

    #[inline(never)]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match list_of(layout) {
            // SAFETY: It ends here; the rest as the caller promises.
            Some(list) => unsafe { self.lists().give(block, list) },
            // SAFETY: As the caller promises.
            None => unsafe { System.dealloc(block, layout) },
        }
    }

    #[inline(never)]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: As the caller promises.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (list_of(layout), list_of(wanted)) {
            // SAFETY: As the caller promises.
            (None, None) => unsafe { System.realloc(block, layout, size) },
            (list, same) if list == same => block,
            _ => {
                // SAFETY: As the caller promises.
                let moved = unsafe { self.alloc(wanted) };
                if !moved.is_null() {
                    // SAFETY: Both have so many bytes, and the one is new.
                    unsafe { block.copy_to_nonoverlapping(moved, layout.size().min(size)) };
                    // SAFETY: As the caller promises.
                    unsafe { self.dealloc(block, layout) };
                }
                moved
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Something of an allocator's, filled with what hardly anything else has.
    struct Held {
        block: *mut u8,
        layout: Layout,
        filling: u8,
    }

    impl Held {
        fn fill(&self) {
            assert!(!self.block.is_null(), "{:?}", self.layout);
            // SAFETY: The block has so many bytes.
            unsafe { self.block.write_bytes(self.filling, self.layout.size()) };
        }

        fn assert_intact(&self, length: usize) {
            // SAFETY: The block has so many bytes, all of them written.
            let bytes = unsafe { std::slice::from_raw_parts(self.block, length) };
            assert!(bytes.iter().all(|byte| *byte == self.filling), "{:?}", self.layout);
            assert_eq!(self.block.align_offset(self.layout.align()), 0, "{:?}", self.layout);
        }
    }

    /// The same numbers each time.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, bound: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (self.0 >> 33) as usize % bound
        }
    }

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).expect("a layout")
    }

    #[test]
    fn whoever_has_a_block_has_it_alone() {
        let allocator = Allocator::new();
        let mut numbers = Numbers(1);
        let mut held: Vec<Held> = Vec::new();
        for turn in 0..100_000 {
            match numbers.below(3) {
                0 if !held.is_empty() => {
                    let gone = held.swap_remove(numbers.below(held.len()));
                    gone.assert_intact(gone.layout.size());
                    // SAFETY: It was allocated with this layout.
                    unsafe { allocator.dealloc(gone.block, gone.layout) };
                }
                1 if !held.is_empty() => {
                    let at = numbers.below(held.len());
                    let size = 1 + numbers.below(2000);
                    let Held { block, layout: old, .. } = held[at];
                    // SAFETY: It was allocated with this layout.
                    held[at].block = unsafe { allocator.realloc(block, old, size) };
                    held[at].layout = layout(size, old.align());
                    held[at].assert_intact(size.min(old.size()));
                    held[at].fill();
                }
                _ => {
                    // Most are small, as a policy's are; some are the system's by size or by alignment.
                    let most = [40, 200, 2000][numbers.below(3)];
                    let size = 1 + numbers.below(most);
                    let layout = layout(size, 1 << numbers.below(7));
                    // SAFETY: The size is not zero.
                    let block = unsafe { allocator.alloc(layout) };
                    let filling = (turn % 251) as u8;
                    held.push(Held { block, layout, filling });
                    held[held.len() - 1].fill();
                }
            }
        }
        for last in held {
            last.assert_intact(last.layout.size());
            // SAFETY: It was allocated with this layout.
            unsafe { allocator.dealloc(last.block, last.layout) };
        }
    }

    #[test]
    fn what_was_given_back_is_taken_again() {
        let allocator = Allocator::new();
        for size in [1, 16, 17, 1024] {
            let layout = layout(size, 8);
            // SAFETY: The size is not zero, and each is given back as it was taken.
            unsafe {
                let first = allocator.alloc(layout);
                allocator.dealloc(first, layout);
                assert_eq!(allocator.alloc(layout), first, "{size}");
            }
        }
    }

    #[test]
    fn a_block_that_has_room_stays_where_it_is() {
        let allocator = Allocator::new();
        // SAFETY: The size is not zero.
        let block = unsafe { allocator.alloc(layout(17, 1)) };
        // SAFETY: It was allocated with this layout.
        let grown = unsafe { allocator.realloc(block, layout(17, 1), 32) };
        assert_eq!(grown, block);
        // SAFETY: It has this layout now.
        let moved = unsafe { allocator.realloc(grown, layout(32, 1), 33) };
        assert_ne!(moved, block);
    }

    #[test]
    fn the_end_of_a_chunk_is_not_lost() {
        let allocator = Allocator::new();
        let take = |size| {
            // SAFETY: The size is not zero.
            unsafe { allocator.alloc(layout(size, 1)) as usize }
        };
        // Of 4,096 bytes 48 are left, which the next 64 do not fit in.
        let first = take(1024);
        for size in [1024, 1024, 976] {
            take(size);
        }
        let next = take(64);
        assert!(!(first..first + CHUNK).contains(&next));
        assert_eq!(take(48), first + CHUNK - 48);
    }
}
