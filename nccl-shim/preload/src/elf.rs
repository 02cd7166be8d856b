//! The objects that are loaded in this process, and what they define.
//!
//! Symbols are looked up here rather than with `dlsym` and `dlvsym`: those live in libdl before glibc
//! 2.34, which not every process has, and they may allocate. What is needed is little: does the
//! caller's object define `ncclGetVersion`, and where is the next `dlsym` after ours?

use core::ffi::{CStr, c_int, c_void};

use libc::{Elf64_Phdr, Elf64_Sym, PT_DYNAMIC, PT_LOAD, dl_phdr_info};

const DT_HASH: u64 = 4;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const DT_GNU_HASH: u64 = 0x6fff_fef5;
const STT_FUNC: u8 = 2;

/// A loaded object; valid while it is visited.
pub struct Object<'a> {
    base: usize,
    headers: &'a [Elf64_Phdr],
    name: &'a CStr,
}

/// Visits the objects in the loader's order (program, preloaded libraries, their and its
/// dependencies, what was opened later), until `visit` answers.
pub fn find<T>(mut visit: impl FnMut(&Object<'_>) -> Option<T>) -> Option<T> {
    let mut found = None;
    each(&mut |object| {
        found = visit(object);
        found.is_some()
    });
    found
}

type Visit<'a> = &'a mut dyn FnMut(&Object<'_>) -> bool;

fn each(mut visit: Visit<'_>) {
    let state: *mut Visit<'_> = &mut visit;
    // SAFETY: `callback` takes what it is given here; `visit` lives until the call returns.
    unsafe { libc::dl_iterate_phdr(Some(callback), state.cast()) };
}

unsafe extern "C" fn callback(info: *mut dl_phdr_info, _: usize, state: *mut c_void) -> c_int {
    // SAFETY: the state of `each`, used by nobody else during the iteration.
    let visit = unsafe { &mut *state.cast::<Visit<'_>>() };
    // SAFETY: the loader's description, valid during this call.
    let info = unsafe { &*info };
    if info.dlpi_phdr.is_null() {
        return 0;
    }
    // SAFETY: the program headers of a loaded object, as many as the loader says.
    let headers = unsafe { core::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
    let name = if info.dlpi_name.is_null() {
        c""
    } else {
        // SAFETY: a C string of the loader's.
        unsafe { CStr::from_ptr(info.dlpi_name) }
    };
    c_int::from(visit(&Object { base: info.dlpi_addr as usize, headers, name }))
}

impl Object<'_> {
    /// Its file name; empty for the program.
    pub fn name(&self) -> &[u8] {
        self.name.to_bytes()
    }

    /// Is the address in this object?
    pub fn contains(&self, address: usize) -> bool {
        self.headers.iter().filter(|header| header.p_type == PT_LOAD).any(|header| {
            let offset = address.wrapping_sub(self.base.wrapping_add(header.p_vaddr as usize));
            offset < header.p_memsz as usize
        })
    }

    /// The address of a function that this object defines and exports.
    pub fn symbol(&self, name: &[u8]) -> Option<usize> {
        let tables = self.tables()?;
        // SAFETY: the tables are those of a loaded object, which the loader itself reads so.
        let symbol = unsafe { tables.look_up(name) }?;
        Some(self.base.wrapping_add(symbol.st_value as usize))
    }

    fn tables(&self) -> Option<Tables> {
        let dynamic = self.headers.iter().find(|header| header.p_type == PT_DYNAMIC)?;
        let mut entry = self.base.wrapping_add(dynamic.p_vaddr as usize) as *const [u64; 2];
        let mut tables = Tables::default();
        loop {
            // SAFETY: the dynamic section of a loaded object, which ends with a null tag.
            let [tag, value] = unsafe { *entry };
            // The loader makes these addresses absolute, except in the kernel's vDSO.
            let value = value as usize;
            let address = if value < self.base { value.wrapping_add(self.base) } else { value };
            match tag {
                0 => break,
                DT_HASH => tables.hash = address,
                DT_STRTAB => tables.strings = address,
                DT_SYMTAB => tables.symbols = address,
                DT_GNU_HASH => tables.gnu_hash = address,
                _ => (),
            }
            // SAFETY: this was not the last one.
            entry = unsafe { entry.add(1) };
        }
        (tables.symbols != 0 && tables.strings != 0).then_some(tables)
    }
}

/// Addresses of an object's tables; 0 where it has none.
#[derive(Default)]
struct Tables {
    symbols: usize,
    strings: usize,
    gnu_hash: usize,
    hash: usize,
}

impl Tables {
    /// # Safety
    ///
    /// The addresses are those of a loaded object.
    unsafe fn look_up(&self, name: &[u8]) -> Option<Elf64_Sym> {
        // SAFETY: as the caller promises.
        unsafe {
            if self.gnu_hash != 0 {
                self.look_up_gnu(self.gnu_hash as *const u32, name)
            } else if self.hash != 0 {
                self.look_up_old(self.hash as *const u32, name)
            } else {
                None
            }
        }
    }

    /// The table of `--hash-style=gnu`: buckets, count of symbols left out, size of the Bloom filter
    /// in words, its shift; the filter; for each bucket its first symbol; for each symbol its hash,
    /// whose lowest bit ends the bucket.
    ///
    /// # Safety
    ///
    /// `table` is that table.
    unsafe fn look_up_gnu(&self, table: *const u32, name: &[u8]) -> Option<Elf64_Sym> {
        // SAFETY: the indices are those that the table itself gives.
        unsafe {
            let (count, left_out, words) = (*table, *table.add(1), *table.add(2));
            let buckets = table.add(4 + 2 * words as usize);
            let hashes = buckets.add(count as usize);
            let hash = name
                .iter()
                .fold(5381u32, |hash, byte| hash.wrapping_mul(33).wrapping_add(u32::from(*byte)));
            let mut index = *buckets.add(hash.checked_rem(count)? as usize);
            if index < left_out {
                return None;
            }
            loop {
                let found = *hashes.add((index - left_out) as usize);
                if (found ^ hash) >> 1 == 0
                    && let Some(symbol) = self.function(index, name)
                {
                    return Some(symbol);
                }
                if found & 1 == 1 {
                    return None;
                }
                index += 1;
            }
        }
    }

    /// The table of the ELF specification: buckets, symbols; for each bucket its first symbol, for
    /// each symbol the next of its bucket.
    ///
    /// # Safety
    ///
    /// `table` is that table.
    unsafe fn look_up_old(&self, table: *const u32, name: &[u8]) -> Option<Elf64_Sym> {
        // SAFETY: the indices are those that the table itself gives.
        unsafe {
            let (count, symbols) = (*table, *table.add(1));
            let buckets = table.add(2);
            let next = buckets.add(count as usize);
            let hash = name.iter().fold(0u32, |hash, byte| {
                let hash = (hash << 4).wrapping_add(u32::from(*byte));
                (hash ^ (hash >> 24 & 0xf0)) & 0x0fff_ffff
            });
            let mut index = *buckets.add(hash.checked_rem(count)? as usize);
            while index != 0 && index < symbols {
                if let Some(symbol) = self.function(index, name) {
                    return Some(symbol);
                }
                index = *next.add(index as usize);
            }
            None
        }
    }

    /// The symbol at `index`, if it is a function that is defined here under this name.
    ///
    /// # Safety
    ///
    /// There is a symbol at `index`.
    unsafe fn function(&self, index: u32, name: &[u8]) -> Option<Elf64_Sym> {
        // SAFETY: the symbol is there, and its name is a C string in the string table.
        unsafe {
            let symbol = *(self.symbols as *const Elf64_Sym).add(index as usize);
            let text = CStr::from_ptr((self.strings + symbol.st_name as usize) as *const _);
            let defined = symbol.st_shndx != 0 && symbol.st_info & 0xf == STT_FUNC;
            (defined && text.to_bytes() == name).then_some(symbol)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The loader's own answer.
    fn dlsym(name: &CStr) -> usize {
        // SAFETY: a C string.
        unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) as usize }
    }

    #[test]
    fn symbols_are_where_the_loader_has_them() {
        for name in [c"setenv", c"dl_iterate_phdr", c"__libc_start_main"] {
            let found = find(|object| object.symbol(name.to_bytes()));
            assert_eq!(found, Some(dlsym(name)), "{name:?}");
        }
        assert_eq!(find(|object| object.symbol(b"no_such_function")), None);
    }

    #[test]
    fn an_address_is_in_the_object_that_defines_it() {
        let address = dlsym(c"setenv");
        let libc = find(|object| object.contains(address).then(|| object.name().to_vec())).unwrap();
        assert!(libc.ends_with(b"libc.so.6"), "{}", String::from_utf8_lossy(&libc));
        let here = find as fn(fn(&Object<'_>) -> Option<()>) -> Option<()> as usize;
        let program = find(|object| object.contains(here).then(|| object.name().to_vec())).unwrap();
        assert!(program.is_empty(), "this program");
        assert_eq!(find(|object| object.contains(0).then_some(())), None);
    }
}
