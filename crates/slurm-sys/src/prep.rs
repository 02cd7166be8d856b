//! What prolog and epilog get to know: `gres_p_prep_build_env` makes it in
//! slurmctld from the job's record, `gres_p_prep_set_env` reads it on the node.
//! (22.05 says epilog for both.)

use std::marker::PhantomData;
use std::ptr::NonNull;

use crate::bitmap::{self, BitstrRef};
use crate::layout::{GresJobStateLayout, GresPrepLayout};
use crate::memory::Fields;
use crate::raw::{Bitstr, GresJobState, GresPrep};
use crate::{Release, Slurm};

/// Nodes of a job beyond this number are not believed.
const MAX_NODES: u32 = 1 << 20;

/// The `index`th element of an array of bitmaps behind a field.
fn bitmap_at<'a>(fields: Fields, array: usize, index: usize) -> Option<BitstrRef<'a>> {
    let array = NonNull::new(fields.get::<*mut *mut Bitstr>(array))?;
    // SAFETY: the array has one element per node; callers check the index
    // against node_cnt and bound 'a by a borrow. Elements are null or live bitmaps.
    unsafe { BitstrRef::from_raw(fields.slurm, array.add(index).read()) }
}

/// slurmctld's record of a job's units (`gres_job_state_t`), for reading.
pub struct JobState<'a> {
    fields: Fields,
    layout: GresJobStateLayout,
    _borrow: PhantomData<&'a GresJobState>,
}

impl JobState<'_> {
    /// `None` for null, and for a structure that is not the known one.
    ///
    /// # Safety
    /// `state` is null or what Slurm passed to the build_env function, valid for `'a`.
    #[must_use]
    pub unsafe fn from_raw(slurm: Slurm, state: *mut GresJobState) -> Option<Self> {
        let mut layout = slurm.layout().gres_job_state;
        let grown = GresJobStateLayout::V26_05_5;
        let both = [layout.size, grown.size];
        let sizes = if slurm.release() == Release::V26_05 { &both[..] } else { &both[..1] };
        let name = GresJobStateLayout::C_NAME;
        // SAFETY: Slurm allocates these records one by one; we only read.
        let (fields, size) = unsafe { Fields::checked(slurm, NonNull::new(state)?, name, sizes) }?;
        if size != layout.size {
            layout = grown;
        }
        Some(Self { fields, layout, _borrow: PhantomData })
    }

    /// The number of nodes of the job.
    #[must_use]
    pub fn node_count(&self) -> usize {
        nodes(self.fields.get(self.layout.node_cnt))
    }

    /// The units on the job's `node`th node; `None` if Slurm only counts them.
    #[must_use]
    pub fn bits(&self, node: usize) -> Option<BitstrRef<'_>> {
        let array = self.layout.gres_bit_alloc;
        (node < self.node_count()).then(|| bitmap_at(self.fields, array, node))?
    }

    /// The number of units on the job's `node`th node.
    #[must_use]
    pub fn count(&self, node: usize) -> u64 {
        count_at(self.fields, self.layout.gres_cnt_node_alloc, node, self.node_count())
    }

    /// The information for prolog and epilog, to be returned to Slurm, which
    /// frees it; null for a job without units.
    #[must_use]
    pub fn to_prep(&self) -> *mut GresPrep {
        let slurm = self.fields.slurm;
        let layout = &slurm.layout().gres_prep;
        let count = self.node_count();
        if count == 0 || (0..count).all(|node| self.bits(node).is_none()) {
            return std::ptr::null_mut();
        }
        let prep = slurm.xcalloc(1, layout.size);
        let bits = slurm.xcalloc(count, size_of::<*mut Bitstr>()).cast::<*mut Bitstr>();
        let counts = slurm.xcalloc(count, size_of::<u64>()).cast::<u64>();
        for node in 0..count {
            let copy = self.bits(node).map_or(std::ptr::null_mut(), |b| b.to_owned().into_raw());
            // SAFETY: both arrays were made with `count` elements above.
            unsafe {
                bits.add(node).write(copy);
                counts.add(node).write(self.count(node));
            }
        }
        // SAFETY: zeroed memory of the structure's size, ours until it is returned.
        let fields = unsafe { Fields::new(slurm, prep) };
        fields.set(layout.node_cnt, u32::try_from(count).unwrap_or(0));
        fields.set(layout.gres_bit_alloc, bits.as_ptr());
        fields.set(layout.gres_cnt_node_alloc, counts.as_ptr());
        fields.base()
    }
}

/// What came to the node (`gres_prep_t`), for reading.
pub struct PrepInfo<'a> {
    fields: Fields,
    _borrow: PhantomData<&'a GresPrep>,
}

impl PrepInfo<'_> {
    /// `None` for null, and for a structure that is not the known one.
    ///
    /// # Safety
    /// `prep` is null or what Slurm passed to the set_env function, valid for `'a`.
    #[must_use]
    pub unsafe fn from_raw(slurm: Slurm, prep: *mut GresPrep) -> Option<Self> {
        let sizes = [slurm.layout().gres_prep.size];
        let name = GresPrepLayout::C_NAME;
        // SAFETY: Slurm allocates these records one by one; we only read.
        let (fields, _) = unsafe { Fields::checked(slurm, NonNull::new(prep)?, name, &sizes) }?;
        Some(Self { fields, _borrow: PhantomData })
    }

    /// The number of nodes of the job.
    #[must_use]
    pub fn node_count(&self) -> usize {
        nodes(self.fields.get(self.fields.slurm.layout().gres_prep.node_cnt))
    }

    /// The units on the job's `node`th node.
    #[must_use]
    pub fn bits(&self, node: usize) -> Option<BitstrRef<'_>> {
        let layout = &self.fields.slurm.layout().gres_prep;
        (node < self.node_count()).then(|| bitmap_at(self.fields, layout.gres_bit_alloc, node))?
    }

    /// The number of units on the job's `node`th node.
    #[must_use]
    pub fn count(&self, node: usize) -> u64 {
        let layout = &self.fields.slurm.layout().gres_prep;
        count_at(self.fields, layout.gres_cnt_node_alloc, node, self.node_count())
    }
}

fn nodes(count: u32) -> usize {
    if count > MAX_NODES { 0 } else { count as usize }
}

fn count_at(fields: Fields, array: usize, node: usize, count: usize) -> u64 {
    match NonNull::new(fields.get::<*mut u64>(array)) {
        // SAFETY: the array has one element per node.
        Some(array) if node < count => unsafe { array.add(node).read() },
        _ => 0,
    }
}

/// Frees what [`JobState::to_prep`] made, where Slurm does not: in tests and on
/// error paths.
///
/// # Safety
/// `prep` comes from `to_prep`, is not null and is not used any more.
pub unsafe fn free_prep(slurm: Slurm, prep: *mut GresPrep) {
    let layout = &slurm.layout().gres_prep;
    let Some(pointer) = NonNull::new(prep) else { return };
    // SAFETY: promised by the caller.
    let fields = unsafe { Fields::new(slurm, pointer) };
    let count: u32 = fields.get(layout.node_cnt);
    let mut bits = fields.get::<*mut *mut Bitstr>(layout.gres_bit_alloc);
    let mut counts = fields.get::<*mut u64>(layout.gres_cnt_node_alloc);
    let mut prep = prep;
    // SAFETY: the structure, its two arrays and its bitmaps are all of Slurm's
    // allocator and ours alone.
    unsafe {
        for node in 0..count as usize {
            bitmap::free(slurm, bits.add(node).read());
        }
        slurm.xfree(&raw mut bits);
        slurm.xfree(&raw mut counts);
        slurm.xfree(&raw mut prep);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Bitmap;
    use crate::testing;

    #[test]
    fn the_units_of_each_node_reach_prolog_and_epilog() {
        let Some(slurm) = testing::slurm() else { return };
        let layout = &slurm.layout().gres_job_state;
        let mut memory = slurm.xcalloc(1, layout.size).as_ptr();
        // SAFETY: zeroed memory of the structure's size.
        let fields = unsafe { Fields::new(slurm, NonNull::new(memory).unwrap()) };
        let mut bitmap = Bitmap::new(slurm, 14);
        bitmap.set(2);
        bitmap.set(9);
        let mut bits = [bitmap.as_ptr(), std::ptr::null_mut()];
        let mut counts = [2_u64, 0];
        fields.set(layout.node_cnt, 2_u32);
        fields.set(layout.gres_bit_alloc, bits.as_mut_ptr());
        fields.set(layout.gres_cnt_node_alloc, counts.as_mut_ptr());
        // SAFETY: the structure above lives to the end of the test.
        let state = unsafe { JobState::from_raw(slurm, fields.base()) }.unwrap();
        assert_eq!(state.node_count(), 2);
        let raw = state.to_prep();
        // SAFETY: just made, freed below.
        let prep = unsafe { PrepInfo::from_raw(slurm, raw) }.unwrap();
        assert_eq!(prep.node_count(), 2);
        assert_eq!(prep.bits(0).unwrap().iter().collect::<Vec<_>>(), [2, 9]);
        assert_eq!((prep.count(0), prep.count(1), prep.count(2)), (2, 0, 0));
        assert!(prep.bits(1).is_none() && prep.bits(2).is_none());
        // SAFETY: from to_prep and from above, used no more.
        unsafe {
            free_prep(slurm, raw);
            slurm.xfree(&raw mut memory);
        }
    }

    #[test]
    fn a_job_without_units_has_nothing_to_say() {
        let Some(slurm) = testing::slurm() else { return };
        let layout = &slurm.layout().gres_job_state;
        let mut memory = slurm.xcalloc(1, layout.size).as_ptr();
        // SAFETY: as above.
        let fields = unsafe { Fields::new(slurm, NonNull::new(memory).unwrap()) };
        // SAFETY: as above.
        let state = unsafe { JobState::from_raw(slurm, fields.base()) }.unwrap();
        assert!(state.to_prep().is_null());
        fields.set(layout.node_cnt, u32::MAX);
        assert_eq!(state.node_count(), 0, "nonsense is not believed");
        // SAFETY: from above, used no more.
        unsafe { slurm.xfree(&raw mut memory) };
    }

    #[test]
    fn a_structure_of_another_size_is_left_alone_and_reported() {
        let Some(slurm) = testing::slurm() else { return };
        let mut memory = slurm.xcalloc(1, 208).as_ptr();
        let (state, lines) = testing::captured(|| {
            // SAFETY: an allocation of Slurm's; its size is not a known one.
            unsafe { JobState::from_raw(slurm, memory.cast()) }.is_some()
        });
        assert!(!state);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].contains("gres_job_state_t") && lines[0].contains("208"), "{lines:?}");
        // SAFETY: from above, used no more.
        unsafe { slurm.xfree(&raw mut memory) };
    }
}
