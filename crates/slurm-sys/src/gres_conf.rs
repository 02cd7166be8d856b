//! GRES records: what `gres_p_node_config_load` may read and edit.

use std::borrow::Cow;
use std::ffi::CStr;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use crate::Slurm;
use crate::bitmap::{self, Bitmap, BitstrRef};
use crate::consts::{GRES_CONF_HAS_FILE, GRES_CONF_HAS_TYPE};
use crate::layout::GresConfLayout;
use crate::memory::{Fields, c_string, text};
use crate::raw::{Bitstr, GresSlurmdConf, List, ListIterator};

/// One record (`gres_slurmd_conf_t`), seen through a list or an
/// [`OwnedGresRecord`].
pub struct GresRecord {
    fields: Fields,
}

impl GresRecord {
    fn layout(&self) -> &'static GresConfLayout {
        &self.fields.slurm.layout().gres_conf
    }

    fn text(&self, offset: usize) -> Option<Cow<'_, str>> {
        text(self.fields.c_str(offset))
    }

    fn set_text(&mut self, offset: usize, text: Option<&str>) {
        self.fields.set_text(offset, text.map(str::as_bytes));
    }

    /// The GRES, `flexmig`.
    #[must_use]
    pub fn name(&self) -> Option<Cow<'_, str>> {
        self.text(self.layout().name)
    }

    /// The type, `1g.10gb`; `None` for an untyped GRES.
    #[must_use]
    pub fn type_name(&self) -> Option<Cow<'_, str>> {
        self.text(self.layout().type_name)
    }

    /// Sets the type, and the flag that says there is one.
    pub fn set_type_name(&mut self, type_name: Option<&str>) {
        self.set_text(self.layout().type_name, type_name);
        self.set_flag(GRES_CONF_HAS_TYPE, type_name.is_some());
    }

    /// How many units the record stands for.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.fields.get(self.layout().count)
    }

    /// Sets how many units the record stands for.
    pub fn set_count(&mut self, count: u64) {
        self.fields.set(self.layout().count, count);
    }

    /// The `GRES_CONF_` flags.
    #[must_use]
    pub fn flags(&self) -> u32 {
        self.fields.get(self.layout().config_flags)
    }

    /// Sets or clears one of the `GRES_CONF_` flags.
    pub fn set_flag(&mut self, flag: u32, on: bool) {
        let flags = self.flags();
        self.fields.set(self.layout().config_flags, if on { flags | flag } else { flags & !flag });
    }

    /// `File=`: one path, or a host list expression or comma list of paths.
    #[must_use]
    pub fn file(&self) -> Option<Cow<'_, str>> {
        self.text(self.layout().file)
    }

    /// Sets `File=`, and the flag that says there is one.
    pub fn set_file(&mut self, file: Option<&str>) {
        self.set_text(self.layout().file, file);
        self.set_flag(GRES_CONF_HAS_FILE, file.is_some());
    }

    /// `Links=`.
    #[must_use]
    pub fn links(&self) -> Option<Cow<'_, str>> {
        self.text(self.layout().links)
    }

    /// Sets `Links=`.
    pub fn set_links(&mut self, links: Option<&str>) {
        self.set_text(self.layout().links, links);
    }

    /// The unit's identity beyond its path: a MIG UUID.
    #[must_use]
    pub fn unique_id(&self) -> Option<Cow<'_, str>> {
        self.text(self.layout().unique_id)
    }

    /// Sets the unit's identity.
    pub fn set_unique_id(&mut self, unique_id: Option<&str>) {
        self.set_text(self.layout().unique_id, unique_id);
    }

    /// `Cores=`, in Slurm's abstract numbers.
    #[must_use]
    pub fn cpus(&self) -> Option<Cow<'_, str>> {
        self.text(self.layout().cpus)
    }

    /// The bitmap of `Cores=`.
    #[must_use]
    pub fn cpus_bitmap(&self) -> Option<BitstrRef<'_>> {
        let bits = self.fields.get::<*mut Bitstr>(self.layout().cpus_bitmap);
        // SAFETY: the field is null or a live bitmap of the record, which only
        // `&mut self` replaces.
        unsafe { BitstrRef::from_raw(self.fields.slurm, bits) }
    }

    /// Sets `Cores=` as text and as bitmap, which Slurm wants to agree. Core
    /// numbers at or above [`cpu_count`](Self::cpu_count) are left out.
    pub fn set_cpus(&mut self, cpus: Option<(&str, &[usize])>) {
        let bits = cpus.map_or(std::ptr::null_mut(), |(_, cores)| {
            let mut bitmap = Bitmap::new(self.fields.slurm, self.cpu_count() as usize);
            cores.iter().for_each(|&core| bitmap.set(core));
            bitmap.into_raw()
        });
        let old = self.fields.get::<*mut Bitstr>(self.layout().cpus_bitmap);
        self.fields.set(self.layout().cpus_bitmap, bits);
        // SAFETY: the record owned the old bitmap, and no longer points to it.
        unsafe { bitmap::free(self.fields.slurm, old) };
        self.set_text(self.layout().cpus, cpus.map(|(text, _)| text));
    }

    /// The number of cores (or CPUs) of the node, the size of the bitmap.
    #[must_use]
    pub fn cpu_count(&self) -> u32 {
        self.fields.get(self.layout().cpu_cnt)
    }
}

/// A record that is in no list: taken out of one, or new.
pub struct OwnedGresRecord(GresRecord);

impl OwnedGresRecord {
    /// A record of one GRES with nothing else set.
    #[must_use]
    pub fn new(slurm: Slurm, name: &str, cpu_count: u32) -> Self {
        let layout = &slurm.layout().gres_conf;
        let memory = slurm.xcalloc(1, layout.size);
        // SAFETY: zeroed memory of the structure's size, ours alone; all zero is
        // a valid record (null strings, no flags).
        let fields = unsafe { Fields::new(slurm, memory) };
        let mut record = Self(GresRecord { fields });
        record.set_text(layout.name, Some(name));
        fields.set(layout.cpu_cnt, cpu_count);
        fields.set(layout.plugin_id, slurm.gres_id(&c_string(name.as_bytes())));
        record
    }

    /// A new record with the same GRES, type, flags, cores and links, but without
    /// file, unique id and count.
    #[must_use]
    pub fn like(record: &GresRecord) -> Self {
        let name = record.name().unwrap_or_default();
        let mut new = Self::new(record.fields.slurm, &name, record.cpu_count());
        let layout = new.layout();
        new.fields.set(layout.config_flags, record.flags() & !GRES_CONF_HAS_FILE);
        new.set_text(layout.type_name, record.type_name().as_deref());
        let cores: Vec<usize> =
            record.cpus_bitmap().map(|bits| bits.iter().collect()).unwrap_or_default();
        new.set_cpus(record.cpus().as_deref().map(|text| (text, cores.as_slice())));
        new.set_links(record.links().as_deref());
        new
    }

    fn into_raw(self) -> *mut GresSlurmdConf {
        let raw = self.0.fields.base();
        std::mem::forget(self);
        raw
    }
}

impl Deref for OwnedGresRecord {
    type Target = GresRecord;
    fn deref(&self) -> &GresRecord {
        &self.0
    }
}

impl DerefMut for OwnedGresRecord {
    fn deref_mut(&mut self) -> &mut GresRecord {
        &mut self.0
    }
}

impl Drop for OwnedGresRecord {
    fn drop(&mut self) {
        let fields = self.0.fields;
        // SAFETY: a record of Slurm's allocator in no list, freed once with
        // everything in it.
        unsafe { (fields.slurm.api().destroy_gres_slurmd_conf)(fields.base()) };
    }
}

/// The list of all records of the node, of every GRES. Touch only your own.
pub struct GresConfList<'a> {
    slurm: Slurm,
    list: NonNull<List>,
    _borrow: PhantomData<&'a mut List>,
}

impl GresConfList<'_> {
    /// `None` for null, and if a record is not the known structure.
    ///
    /// # Safety
    /// `list` is null or a list of `gres_slurmd_conf_t`, which nobody else uses
    /// during `'a` (Slurm holds its GRES lock during the call).
    #[must_use]
    pub unsafe fn from_raw(slurm: Slurm, list: *mut List) -> Option<Self> {
        let list = NonNull::new(list)?;
        let sizes = [slurm.layout().gres_conf.size];
        let cursor = Cursor::new(slurm, list);
        while let Some(record) = cursor.next_pointer() {
            // SAFETY: Slurm and we allocate records one by one.
            unsafe { Fields::checked(slurm, record, GresConfLayout::C_NAME, &sizes) }?;
        }
        Some(Self { slurm, list, _borrow: PhantomData })
    }

    /// The number of records, of every GRES.
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

    /// Calls `edit` on each record, in order.
    pub fn for_each(&mut self, mut edit: impl FnMut(&mut GresRecord)) {
        let cursor = Cursor::new(self.slurm, self.list);
        while let Some(mut record) = cursor.next() {
            edit(&mut record);
        }
    }

    /// Takes the records of one GRES out of the list, in their order.
    pub fn take(&mut self, name: &str) -> Vec<OwnedGresRecord> {
        let cursor = Cursor::new(self.slurm, self.list);
        let mut taken = Vec::new();
        while let Some(record) = cursor.next() {
            if record.name().as_deref() == Some(name) {
                cursor.remove_current();
                taken.push(OwnedGresRecord(record));
            }
        }
        taken
    }

    /// Appends a record. Order inside a type is index order.
    pub fn push(&mut self, record: OwnedGresRecord) {
        // SAFETY: the list takes the record over and destroys it with the same
        // function as our Drop would.
        unsafe { (self.slurm.api().list_append)(self.list.as_ptr(), record.into_raw().cast()) };
    }
}

/// An iterator of Slurm's, destroyed when it goes out of scope, panic or not:
/// a list remembers its iterators.
struct Cursor {
    slurm: Slurm,
    iterator: NonNull<ListIterator>,
}

impl Cursor {
    fn new(slurm: Slurm, list: NonNull<List>) -> Self {
        // SAFETY: a live list, which outlives the cursor (both are local to a method of the list).
        let iterator = unsafe { (slurm.api().list_iterator_create)(list.as_ptr()) };
        let iterator = NonNull::new(iterator)
            .unwrap_or_else(|| std::alloc::handle_alloc_error(std::alloc::Layout::new::<u64>()));
        Self { slurm, iterator }
    }

    fn next_pointer(&self) -> Option<NonNull<std::ffi::c_void>> {
        // SAFETY: a live iterator.
        NonNull::new(unsafe { (self.slurm.api().list_next)(self.iterator.as_ptr()) })
    }

    fn next(&self) -> Option<GresRecord> {
        let record = self.next_pointer()?;
        // SAFETY: elements are live records, ours while the list is borrowed
        // mutably; `GresConfList::from_raw` has checked their size.
        Some(GresRecord { fields: unsafe { Fields::new(self.slurm, record) } })
    }

    /// Takes the record that `next` gave last out of the list, without destroying it.
    fn remove_current(&self) {
        // SAFETY: called only right after `next` gave a record. The returned
        // pointer is that record.
        unsafe { (self.slurm.api().list_remove)(self.iterator.as_ptr()) };
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        // SAFETY: created by us, destroyed once.
        unsafe { (self.slurm.api().list_iterator_destroy)(self.iterator.as_ptr()) };
    }
}

/// What slurmd (or slurmctld, for cloud nodes) tells about the node.
pub struct NodeConfig<'a> {
    fields: Fields,
    _borrow: PhantomData<&'a crate::raw::NodeConfigLoad>,
}

impl NodeConfig<'_> {
    /// `None` for null.
    ///
    /// # Safety
    /// `config` is null or what Slurm passed to `gres_p_node_config_load`, valid for `'a`.
    #[must_use]
    pub unsafe fn from_raw(slurm: Slurm, config: *mut crate::raw::NodeConfigLoad) -> Option<Self> {
        // SAFETY: promised by the caller; we only read.
        let fields = unsafe { Fields::new(slurm, NonNull::new(config)?) };
        Some(Self { fields, _borrow: PhantomData })
    }

    /// The number of cores (or CPUs) of the node.
    #[must_use]
    pub fn cpu_count(&self) -> u32 {
        self.fields.get(self.fields.slurm.layout().node_config.cpu_cnt)
    }

    /// Whether this is slurmd on the node itself; false in slurmctld.
    #[must_use]
    pub fn in_slurmd(&self) -> bool {
        self.fields.get::<u8>(self.fields.slurm.layout().node_config.in_slurmd) != 0
    }

    /// Turns CPU numbers of the machine (`0-3,16-19`) into Slurm's abstract core
    /// numbers, as `Cores=` wants them.
    #[must_use]
    pub fn abstract_cores(&self, machine_cpus: &str) -> Option<String> {
        type Convert =
            unsafe extern "C" fn(*mut std::ffi::c_char, *mut *mut std::ffi::c_char) -> i32;
        let offset = self.fields.slurm.layout().node_config.xcpuinfo_mac_to_abs;
        let convert = self.fields.get::<Option<Convert>>(offset)?;
        let machine_cpus = c_string(machine_cpus.as_bytes());
        let mut answer = std::ptr::null_mut();
        // SAFETY: the function pointer of Slurm's own converter; it copies its
        // input and stores a new string of Slurm's allocator (or null).
        let rc = unsafe { convert(machine_cpus.as_ptr().cast_mut(), &raw mut answer) };
        let text = NonNull::new(answer).map(|text| {
            // SAFETY: a terminated string, not freed yet.
            unsafe { CStr::from_ptr(text.as_ptr()) }.to_string_lossy().into_owned()
        });
        // SAFETY: the string (or null) is ours.
        unsafe { self.fields.slurm.xfree(&raw mut answer) };
        text.filter(|_| rc == crate::consts::SLURM_SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, TestConfList};

    fn record(slurm: Slurm, name: &str, kind: &str, count: u64) -> OwnedGresRecord {
        let mut record = OwnedGresRecord::new(slurm, name, 32);
        record.set_type_name(Some(kind));
        record.set_count(count);
        record
    }

    fn types(list: &mut GresConfList<'_>) -> Vec<String> {
        let mut types = Vec::new();
        list.for_each(|r| types.push(format!("{}:{}", r.name().unwrap(), r.type_name().unwrap())));
        types
    }

    #[test]
    fn own_records_are_taken_and_put_back_in_a_new_order() {
        let Some(slurm) = testing::slurm() else { return };
        let mut test = TestConfList::new(slurm);
        let mut list = test.list();
        for (name, kind) in
            [("flexmig", "1g.10gb"), ("gpu", "a100"), ("flexmig", "3g.40gb"), ("flexmig", "7g")]
        {
            list.push(record(slurm, name, kind, 7));
        }
        let mut taken = list.take("flexmig");
        assert_eq!(types(&mut list), ["gpu:a100"]);
        taken.reverse();
        taken.pop();
        taken.into_iter().for_each(|r| list.push(r));
        assert_eq!(types(&mut list), ["gpu:a100", "flexmig:7g", "flexmig:3g.40gb"]);
        assert_eq!(list.len(), 3);
    }

    #[test]
    fn a_record_reads_back_what_was_set() {
        let Some(slurm) = testing::slurm() else { return };
        let mut one = record(slurm, "flexmig", "1g.10gb", 2);
        one.set_file(Some("/dev/nvidia-caps/nvidia-cap[30-31]"));
        one.set_unique_id(Some("MIG-1"));
        one.set_links(Some("-1,0"));
        one.set_cpus(Some(("0-1,31", &[0, 1, 31, 32])));
        assert_eq!(one.flags(), GRES_CONF_HAS_FILE | GRES_CONF_HAS_TYPE);
        assert_eq!(one.file().as_deref(), Some("/dev/nvidia-caps/nvidia-cap[30-31]"));
        assert_eq!(one.cpus_bitmap().unwrap().iter().collect::<Vec<_>>(), [0, 1, 31]);
        let like = OwnedGresRecord::like(&one);
        assert_eq!(like.flags(), GRES_CONF_HAS_TYPE);
        assert_eq!((like.file(), like.unique_id(), like.count()), (None, None, 0));
        assert_eq!(like.cpus().as_deref(), Some("0-1,31"));
        assert_eq!(like.cpus_bitmap().unwrap().len(), 32);
        assert_eq!(like.links().as_deref(), Some("-1,0"));
        one.set_cpus(None);
        assert!(one.cpus().is_none() && one.cpus_bitmap().is_none());
        assert_eq!(like.fields.get::<u32>(80), slurm.gres_id(c"flexmig"));
    }

    #[test]
    fn a_panic_while_editing_leaves_the_list_usable() {
        let Some(slurm) = testing::slurm() else { return };
        let mut test = TestConfList::new(slurm);
        let mut list = test.list();
        list.push(record(slurm, "flexmig", "1g", 1));
        let (answer, _) = testing::captured(|| {
            crate::fence("edit", false, || {
                list.for_each(|_| panic!("while editing"));
                true
            })
        });
        assert!(!answer);
        assert_eq!(types(&mut list), ["flexmig:1g"]);
    }

    #[test]
    fn the_node_configuration_is_read() {
        unsafe extern "C" fn convert(
            mac: *mut std::ffi::c_char,
            abs: *mut *mut std::ffi::c_char,
        ) -> i32 {
            // SAFETY: called by `abstract_cores` with a terminated string and a valid slot.
            unsafe {
                let text = CStr::from_ptr(mac).to_bytes();
                abs.write(testing::slurm().unwrap().xstrdup(&[b"abs ", text].concat()));
            }
            0
        }
        type Convert =
            unsafe extern "C" fn(*mut std::ffi::c_char, *mut *mut std::ffi::c_char) -> i32;
        let Some(slurm) = testing::slurm() else { return };
        let layout = &slurm.layout().node_config;
        let mut memory = [0_u64; 4];
        // SAFETY: 32 bytes are the largest size of the structure.
        let fields = unsafe { Fields::new(slurm, NonNull::from(&mut memory)) };
        fields.set(layout.cpu_cnt, 16_u32);
        fields.set(layout.in_slurmd, 1_u8);
        // SAFETY: as above; only read from here on.
        let config = unsafe { NodeConfig::from_raw(slurm, fields.base()) }.unwrap();
        assert_eq!((config.cpu_count(), config.in_slurmd()), (16, true));
        assert_eq!(config.abstract_cores("0-3"), None, "without a converter");
        fields.set(layout.xcpuinfo_mac_to_abs, convert as Convert);
        assert_eq!(config.abstract_cores("0-3").as_deref(), Some("abs 0-3"));
    }
}
