//! Device lists: which files belong to which unit, for `gres_p_get_devices`.

use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicPtr, Ordering};

use crate::Slurm;
use crate::memory::Fields;
use crate::raw::List;

/// Block or character device, Slurm's `gres_device_type_t`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceType {
    /// `b`
    Block,
    /// `c`
    Char,
}

/// One device file of one unit; several may share an index or a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device<'a> {
    /// The unit: its bit in a job's bitmap.
    pub index: i32,
    /// Block or character.
    pub device_type: DeviceType,
    /// Major number of the device.
    pub major: u32,
    /// Minor number of the device.
    pub minor: u32,
    /// The number at the end of the file's name, for `dev_num`; -1 without one.
    pub number: i32,
    /// The device file.
    pub path: &'a str,
    /// The unit's identity: a MIG UUID.
    pub unique_id: Option<&'a str>,
}

/// A list of `gres_device_t` that we own.
pub struct DeviceList {
    slurm: Slurm,
    list: NonNull<List>,
}

// SAFETY: the list is reached only through the one owner; Slurm's lists may be
// used from any thread.
unsafe impl Send for DeviceList {}

impl DeviceList {
    /// An empty list.
    #[must_use]
    pub fn new(slurm: Slurm) -> Self {
        let api = slurm.api();
        // SAFETY: the destructor frees what `push` appends.
        let list = unsafe { (api.list_create)(Some(api.destroy_gres_device)) };
        let list = NonNull::new(list)
            .unwrap_or_else(|| std::alloc::handle_alloc_error(std::alloc::Layout::new::<u64>()));
        Self { slurm, list }
    }

    /// Appends a device file.
    pub fn push(&mut self, device: &Device<'_>) {
        let layout = &self.slurm.layout().gres_device;
        let memory = self.slurm.xcalloc(1, layout.size);
        // SAFETY: zeroed memory of the structure's size, ours alone.
        let fields = unsafe { Fields::new(self.slurm, memory) };
        fields.set(layout.index, device.index);
        fields.set(layout.major, device.major);
        fields.set(layout.minor, device.minor);
        fields.set(
            layout.dev_type,
            match device.device_type {
                DeviceType::Block => 1_i32,
                DeviceType::Char => 2,
            },
        );
        fields.set(layout.dev_num, device.number);
        fields.set_text(layout.path, Some(device.path.as_bytes()));
        fields.set_text(layout.unique_id, device.unique_id.map(str::as_bytes));
        // SAFETY: the list takes the device over; its destructor fits.
        unsafe { (self.slurm.api().list_append)(self.list.as_ptr(), memory.as_ptr()) };
    }

    /// The number of device files.
    #[must_use]
    pub fn len(&self) -> usize {
        // SAFETY: a live list.
        usize::try_from(unsafe { (self.slurm.api().list_count)(self.list.as_ptr()) }).unwrap_or(0)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Drop for DeviceList {
    fn drop(&mut self) {
        // SAFETY: ours, destroyed once with its devices.
        unsafe { (self.slurm.api().list_destroy)(self.list.as_ptr()) };
    }
}

/// The plugin's current device list, for a `static`. Reading is one atomic
/// load, fit for the forked child in which Slurm asks for it.
pub struct DeviceSlot(AtomicPtr<List>);

impl DeviceSlot {
    /// No list yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicPtr::new(null_mut()))
    }

    /// The pointer that `gres_p_get_devices` returns; null without a list. The
    /// list stays the slot's.
    #[must_use]
    pub fn as_ptr(&self) -> *mut List {
        self.0.load(Ordering::Acquire)
    }

    /// Puts a new list in and destroys the old one.
    ///
    /// # Safety
    /// Nobody uses the old list: call this only from `gres_p_node_config_load`,
    /// `gres_p_recv_stepd` or `fini`, during which Slurm holds its GRES lock.
    pub unsafe fn replace(&self, slurm: Slurm, list: Option<DeviceList>) {
        let new = list.map_or(null_mut(), |list| {
            let pointer = list.list.as_ptr();
            std::mem::forget(list);
            pointer
        });
        if let Some(list) = NonNull::new(self.0.swap(new, Ordering::AcqRel)) {
            drop(DeviceList { slurm, list });
        }
    }
}

impl Default for DeviceSlot {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;
    use crate::testing;

    #[test]
    fn a_list_holds_what_was_pushed_and_a_slot_replaces_it() {
        static SLOT: DeviceSlot = DeviceSlot::new();
        let Some(slurm) = testing::slurm() else { return };
        let mut list = DeviceList::new(slurm);
        for (index, path) in ["/dev/nvidia0", "/dev/nvidia-caps/nvidia-cap30"].iter().enumerate() {
            list.push(&Device {
                index: index as i32,
                device_type: DeviceType::Char,
                major: 195,
                minor: 30,
                number: -1,
                path,
                unique_id: (index == 1).then_some("MIG-1"),
            });
        }
        assert_eq!(list.len(), 2);
        let api = slurm.api();
        // SAFETY: a live list; elements are devices with the layout of the release.
        let last = unsafe {
            let iterator = (api.list_iterator_create)(list.list.as_ptr());
            (api.list_next)(iterator);
            let last = Fields::new(slurm, NonNull::new((api.list_next)(iterator)).unwrap());
            (api.list_iterator_destroy)(iterator);
            last
        };
        let layout = &slurm.layout().gres_device;
        assert_eq!(last.get::<i32>(layout.index), 1);
        assert_eq!((last.get::<u32>(layout.major), last.get::<u32>(layout.minor)), (195, 30));
        assert_eq!((last.get::<i32>(layout.dev_type), last.get::<i32>(layout.dev_num)), (2, -1));
        assert_eq!(last.get::<i32>(layout.alloc), 0);
        let text = |offset| last.c_str(offset).map(CStr::to_bytes);
        assert_eq!(text(layout.path), Some(&b"/dev/nvidia-caps/nvidia-cap30"[..]));
        assert_eq!(text(layout.unique_id), Some(&b"MIG-1"[..]));

        assert!(SLOT.as_ptr().is_null());
        // SAFETY: nobody else knows the slot.
        unsafe {
            SLOT.replace(slurm, Some(list));
            let first = SLOT.as_ptr();
            assert_eq!((api.list_count)(first), 2);
            SLOT.replace(slurm, Some(DeviceList::new(slurm)));
            assert_eq!((api.list_count)(SLOT.as_ptr()), 0);
            SLOT.replace(slurm, None);
        }
        assert!(SLOT.as_ptr().is_null());
    }
}
