//! Allocator for components: size-class free lists (segregated fit) for blocks of at most 1 KiB, on top of the system's
//! allocator. The host passes a question as some ten texts, each of which is an allocation of the guest; a decision
//! needs some more, and all are freed together. With the system's allocator, allocation is half of the instructions of
//! a policy. A block of a free list costs a handful of instructions to allocate or to free.
//!
//! The feature `allocator` switches this allocator on.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr::NonNull;

/// Granularity of sizes in bytes: sizes are rounded up to a multiple. Also the maximum alignment of blocks in lists.
const GRAIN: usize = 16;
/// Number of free lists. The blocks of the last list have 1 KiB.
const LISTS: usize = 64;
/// Size in bytes of a chunk, which the system's allocator provides and from which blocks are cut.
const CHUNK: usize = 4096;

/// The allocator. Chunks are never returned to the system: a free block is reused only for the same size class. The
/// memory is bounded by the life of the instance: the host replaces an instance after a thousand questions, or when
/// half of the memory limit is used.
pub struct Allocator(UnsafeCell<FreeLists>);

#[cfg(not(test))]
#[global_allocator]
static ALLOCATOR: Allocator = Allocator::new();

/// Allocation function of the canonical ABI, with which the host allocates arguments in the guest. This definition
/// replaces the weak definitions of the standard library and the C library, since the block is freed by the Rust
/// allocator.
///
/// # Safety
/// The component model's rule: `old` is null with `old_size` zero, or a block from this function with the same size and
/// alignment.
#[cfg(not(test))]
#[unsafe(no_mangle)]
unsafe extern "C" fn cabi_realloc(old: *mut u8, old_size: usize, align: usize, size: usize) -> *mut u8 {
    if size == 0 {
        return std::ptr::without_provenance_mut(align);
    }
    // SAFETY: Alignments are those of the contract's types, and no size exceeds the guest's address space.
    let (old_layout, new_layout) = unsafe {
        (
            Layout::from_size_align_unchecked(old_size, align),
            Layout::from_size_align_unchecked(size, align),
        )
    };
    let block = match old_size {
        // SAFETY: The size is not zero.
        0 => unsafe { ALLOCATOR.alloc(new_layout) },
        // SAFETY: The caller promises that the block has this layout.
        _ => unsafe { ALLOCATOR.realloc(old, old_layout, size) },
    };
    if block.is_null() {
        std::alloc::handle_alloc_error(new_layout);
    }
    block
}

/// A free block: a node of a free list.
struct FreeBlock {
    next: Option<NonNull<FreeBlock>>,
}

/// The free lists, and the rest of the current chunk.
struct FreeLists {
    /// Heads of the lists, by [`list_of`].
    heads: [Option<NonNull<FreeBlock>>; LISTS],
    /// Start of the uncut rest of the current chunk; null before the first chunk.
    rest: *mut u8,
    /// Size of the rest in bytes, a multiple of [`GRAIN`] from zero to [`CHUNK`].
    rest_size: usize,
}

// SAFETY: WebAssembly without the atomics feature has a single thread, and the allocator calls no code that could call
// the allocator again.
#[cfg(all(target_arch = "wasm32", not(target_feature = "atomics")))]
unsafe impl Sync for Allocator {}

impl Allocator {
    /// Makes an allocator without memory. The first allocation gets the first chunk.
    pub const fn new() -> Self {
        Self(UnsafeCell::new(FreeLists {
            heads: [None; LISTS],
            rest: std::ptr::null_mut(),
            rest_size: 0,
        }))
    }

    /// Returns the free lists.
    ///
    /// # Safety
    /// The reference must have ended before the next call.
    #[expect(clippy::mut_from_ref, reason = "there is one thread")]
    unsafe fn lists(&self) -> &mut FreeLists {
        // SAFETY: The type is `Sync` only with a single thread, and the caller holds no other reference.
        unsafe { &mut *self.0.get() }
    }
}

/// Returns the list for a layout; `None` for a layout of the system's allocator.
#[inline]
fn list_of(layout: Layout) -> Option<usize> {
    let list = layout.size().wrapping_sub(1) / GRAIN;
    (list < LISTS && layout.align() <= GRAIN).then_some(list)
}

/// Returns the size in bytes of a list's blocks.
const fn block_size(list: usize) -> usize {
    (list + 1) * GRAIN
}

impl FreeLists {
    /// Removes and returns a block of a list, or cuts a new block. Null if there is no memory.
    #[inline]
    fn pop(&mut self, list: usize) -> *mut u8 {
        match self.heads[list] {
            Some(block) => {
                // SAFETY: The block is in the list: `push` wrote the node, and the block has no owner.
                self.heads[list] = unsafe { block.as_ref().next };
                block.as_ptr().cast()
            }
            None => self.cut(list),
        }
    }

    /// Adds a block to a list.
    ///
    /// # Safety
    /// The block must have the size of this list's blocks, and its owner must not use the block again.
    #[inline]
    unsafe fn push(&mut self, block: *mut u8, list: usize) {
        let next = self.heads[list];
        self.heads[list] = NonNull::new(block.cast::<FreeBlock>()).inspect(|block| {
            // SAFETY: A block is at least as large as a node, is aligned to a grain, and has no owner.
            unsafe { block.write(FreeBlock { next }) }
        });
    }

    /// Cuts a new block from the chunk. Null if there is no memory.
    #[cold]
    #[inline(never)]
    fn cut(&mut self, list: usize) -> *mut u8 {
        let size = block_size(list);
        if self.rest_size < size && !self.refill() {
            return std::ptr::null_mut();
        }
        let block = self.rest;
        // SAFETY: The rest has at least this size.
        self.rest = unsafe { block.add(size) };
        self.rest_size -= size;
        block
    }

    /// Gets a new chunk; false if there is no memory. The rest of the old chunk becomes a free block.
    fn refill(&mut self) -> bool {
        let Ok(layout) = Layout::from_size_align(CHUNK, GRAIN) else {
            return false;
        };
        // SAFETY: The size is not zero.
        let chunk = unsafe { System.alloc(layout) };
        if chunk.is_null() {
            return false;
        }
        if let Some(list) = (self.rest_size / GRAIN).checked_sub(1) {
            // SAFETY: The rest has the size of this list's blocks, and has no owner.
            unsafe { self.push(self.rest, list) };
        }
        (self.rest, self.rest_size) = (chunk, CHUNK);
        true
    }
}

// The functions are not inlined at each use, which costs a tenth more fuel and saves an eighth of the code.
//
// SAFETY: Blocks are cut from chunks without overlap, have at least the requested size, are aligned to a grain, and are
// either in a list or with an owner. The layout, which the owner passes again, identifies the list of a block, or the
// system's allocator.
unsafe impl GlobalAlloc for Allocator {
    #[inline(never)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match list_of(layout) {
            // SAFETY: The reference ends with this expression.
            Some(list) => unsafe { self.lists() }.pop(list),
            // SAFETY: The caller's promise.
            None => unsafe { System.alloc(layout) },
        }
    }

    #[inline(never)]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match list_of(layout) {
            // SAFETY: The reference ends with this expression; the caller promises that the block has this layout.
            Some(list) => unsafe { self.lists().push(block, list) },
            // SAFETY: The caller's promise.
            None => unsafe { System.dealloc(block, layout) },
        }
    }

    #[inline(never)]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: The caller promises a valid size.
        let new_layout = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (list_of(layout), list_of(new_layout)) {
            // SAFETY: The caller's promise.
            (None, None) => unsafe { System.realloc(block, layout, size) },
            (list, new_list) if list == new_list => block,
            _ => {
                // SAFETY: The caller promises a size that is not zero.
                let moved = unsafe { self.alloc(new_layout) };
                if !moved.is_null() {
                    // SAFETY: Both blocks have at least this length, and the new block does not overlap the old block.
                    unsafe { block.copy_to_nonoverlapping(moved, layout.size().min(size)) };
                    // SAFETY: The caller promises that the block has this layout.
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

    /// An allocated block with a filling that detects overlaps.
    struct FilledBlock {
        block: *mut u8,
        layout: Layout,
        filling: u8,
    }

    impl FilledBlock {
        fn fill(&self) {
            assert!(!self.block.is_null(), "{:?}", self.layout);
            // SAFETY: The block has this length.
            unsafe { self.block.write_bytes(self.filling, self.layout.size()) };
        }

        fn assert_intact(&self, length: usize) {
            // SAFETY: The block has at least this length, and all bytes are written.
            let bytes = unsafe { std::slice::from_raw_parts(self.block, length) };
            assert!(bytes.iter().all(|byte| *byte == self.filling), "{:?}", self.layout);
            assert_eq!(self.block.align_offset(self.layout.align()), 0, "{:?}", self.layout);
        }
    }

    /// Reproducible pseudo-random random (a linear congruential generator).
    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (self.0 >> 33) as usize % bound
        }
    }

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).expect("a layout")
    }

    #[test]
    fn blocks_never_overlap() {
        let allocator = Allocator::new();
        let mut random = Random(1);
        let mut blocks: Vec<FilledBlock> = Vec::new();
        for round in 0..100_000 {
            match random.below(3) {
                0 if !blocks.is_empty() => {
                    let freed = blocks.swap_remove(random.below(blocks.len()));
                    freed.assert_intact(freed.layout.size());
                    // SAFETY: The block was allocated with this layout.
                    unsafe { allocator.dealloc(freed.block, freed.layout) };
                }
                1 if !blocks.is_empty() => {
                    let at = random.below(blocks.len());
                    let size = 1 + random.below(2000);
                    let FilledBlock { block, layout: old, .. } = blocks[at];
                    // SAFETY: The block was allocated with this layout.
                    blocks[at].block = unsafe { allocator.realloc(block, old, size) };
                    blocks[at].layout = layout(size, old.align());
                    blocks[at].assert_intact(size.min(old.size()));
                    blocks[at].fill();
                }
                _ => {
                    // Most blocks are small, as in policies; some belong to the system by size or alignment.
                    let bound = [40, 200, 2000][random.below(3)];
                    let size = 1 + random.below(bound);
                    let layout = layout(size, 1 << random.below(7));
                    // SAFETY: The size is not zero.
                    let block = unsafe { allocator.alloc(layout) };
                    let filling = (round % 251) as u8;
                    blocks.push(FilledBlock { block, layout, filling });
                    blocks[blocks.len() - 1].fill();
                }
            }
        }
        for last in blocks {
            last.assert_intact(last.layout.size());
            // SAFETY: The block was allocated with this layout.
            unsafe { allocator.dealloc(last.block, last.layout) };
        }
    }

    #[test]
    fn reuses_a_freed_block() {
        let allocator = Allocator::new();
        for size in [1, 16, 17, 1024] {
            let layout = layout(size, 8);
            // SAFETY: The size is not zero, and the block is freed with its layout.
            unsafe {
                let first = allocator.alloc(layout);
                allocator.dealloc(first, layout);
                assert_eq!(allocator.alloc(layout), first, "{size}");
            }
        }
    }

    #[test]
    fn realloc_within_a_size_class_keeps_the_block() {
        let allocator = Allocator::new();
        // SAFETY: The size is not zero.
        let block = unsafe { allocator.alloc(layout(17, 1)) };
        // SAFETY: The block was allocated with this layout.
        let grown = unsafe { allocator.realloc(block, layout(17, 1), 32) };
        assert_eq!(grown, block);
        // SAFETY: The block has this layout now.
        let moved = unsafe { allocator.realloc(grown, layout(32, 1), 33) };
        assert_ne!(moved, block);
    }

    #[test]
    fn rest_of_a_chunk_becomes_a_free_block() {
        let allocator = Allocator::new();
        let allocate = |size| {
            // SAFETY: The size is not zero.
            unsafe { allocator.alloc(layout(size, 1)) as usize }
        };
        // The chunk of 4,096 bytes has a rest of 48 bytes, too few for a block of 64.
        let first = allocate(1024);
        for size in [1024, 1024, 976] {
            allocate(size);
        }
        let next = allocate(64);
        assert!(!(first..first + CHUNK).contains(&next));
        assert_eq!(allocate(48), first + CHUNK - 48);
    }
}
