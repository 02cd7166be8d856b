//! What NCCL gets in place of CUDA's and NVML's functions, so that it sees synthetic bus ids.
//!
//! NCCL's static CUDA runtime asks `dlsym` for `cuGetProcAddress_v2`, and that for
//! `cuDeviceGetPCIBusId` (in all published builds from 2.18 to 2.32); NVML's functions it asks
//! `dlsym` for by name. Each of ours calls the real one and changes only what is said about bus ids:
//! the answer to "what is this device's bus id" becomes the leaf's, and a leaf's bus id in a question
//! becomes its parent's.
//!
//! The leaf is the device's own: its UUID is looked up in FLEXMIG_UUIDS. What CUDA's runtime checks
//! at its start (UUIDs, counts, attributes) is never touched.

use core::ffi::{CStr, c_char, c_int, c_uint, c_void};
use core::mem::transmute;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use flexmig_core::bus_id::BusId;
use flexmig_core::rank::Mode;
use flexmig_core::text::Text;

use crate::log::{Level, say};
use crate::synthetic::{self, Lists, Why};
use crate::{elf, environment};

/// `dlsym`.
pub type Dlsym = unsafe extern "C" fn(*mut c_void, *const c_char) -> *mut c_void;
type GetProcAddress = unsafe extern "C" fn(*const c_char, *mut *mut c_void, c_int, u64) -> c_int;
type GetProcAddressV2 =
    unsafe extern "C" fn(*const c_char, *mut *mut c_void, c_int, u64, *mut c_int) -> c_int;
type GetBusId = unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int;
type ByBusId = unsafe extern "C" fn(*mut c_int, *const c_char) -> c_int;
type GetUuid = unsafe extern "C" fn(*mut [u8; 16], c_int) -> c_int;
type NvmlByBusId = unsafe extern "C" fn(*const c_char, *mut *mut c_void) -> c_int;
type P2pStatus = unsafe extern "C" fn(*mut c_void, *mut c_void, c_uint, *mut c_int) -> c_int;

/// CUDA's and NVML's success.
const SUCCESS: c_int = 0;
/// CUDA_ERROR_NOT_FOUND, and near enough NVML's answer to a name without function.
const NOT_FOUND: c_int = 500;
/// CUDA_ERROR_INVALID_DEVICE.
const INVALID_DEVICE: c_int = 101;
/// Room for any bus id: NVML's has 16 bytes, its newer one 32.
const BUS_ID: usize = 32;

// The real functions, stored before a wrapper is handed out. CUDA's are one library's, whoever asks.
static GET_PROC_ADDRESS: AtomicUsize = AtomicUsize::new(0);
static GET_PROC_ADDRESS_V2: AtomicUsize = AtomicUsize::new(0);
static GET_BUS_ID: AtomicUsize = AtomicUsize::new(0);
static BY_BUS_ID: AtomicUsize = AtomicUsize::new(0);
static GET_UUID: AtomicUsize = AtomicUsize::new(0);
static NVML_BY_BUS_ID: AtomicUsize = AtomicUsize::new(0);
static NVML_BY_BUS_ID_V2: AtomicUsize = AtomicUsize::new(0);
static P2P_STATUS: AtomicUsize = AtomicUsize::new(0);

/// NCCL in this process supports MIG by itself.
static NATIVE: AtomicBool = AtomicBool::new(false);

/// From now on nothing is relabelled. NCCL's env plugin calls it (2.28 and later), which knows NCCL's
/// version and is initialised before NCCL's first `dlsym`.
#[cfg_attr(not(test), unsafe(no_mangle))]
extern "C" fn flexmig_preload_native() {
    NATIVE.store(true, Relaxed);
}

/// Could the name be one that is wrapped? In every process, on every call: so no more than this.
pub fn interesting(name: &[u8]) -> bool {
    hook(name, true).is_some()
}

/// Where the real function is kept, and ours.
fn hook(name: &[u8], p2p: bool) -> Option<(&'static AtomicUsize, usize)> {
    Some(match name {
        b"cuGetProcAddress" => (&GET_PROC_ADDRESS, get_proc_address as *const () as usize),
        b"cuGetProcAddress_v2" => (&GET_PROC_ADDRESS_V2, get_proc_address_v2 as *const () as usize),
        b"cuDeviceGetPCIBusId" => (&GET_BUS_ID, get_bus_id as *const () as usize),
        b"cuDeviceGetByPCIBusId" => (&BY_BUS_ID, by_bus_id as *const () as usize),
        b"nvmlDeviceGetHandleByPciBusId" => (&NVML_BY_BUS_ID, nvml_by_bus_id as *const () as usize),
        b"nvmlDeviceGetHandleByPciBusId_v2" => {
            (&NVML_BY_BUS_ID_V2, nvml_by_bus_id_v2 as *const () as usize)
        }
        b"nvmlDeviceGetP2PStatus" if p2p => (&P2P_STATUS, p2p_status as *const () as usize),
        _ => return None,
    })
}

/// The answer to an interesting name, or `None` if the real `dlsym` is to give it: the mode does not
/// relabel, or the caller is not NCCL, or the library does not have it.
pub fn answer(dlsym: Dlsym, handle: *mut c_void, name: &CStr, caller: usize) -> Option<usize> {
    let mode = environment::get(c"FLEXMIG_MODE").and_then(Mode::parse)?;
    if !matches!(mode, Mode::RelabelP2p | Mode::RelabelShm) || NATIVE.load(Relaxed) {
        return None;
    }
    let (slot, ours) = hook(name.to_bytes(), mode == Mode::RelabelP2p)?;
    // Asked a dozen times in a process, by a linear search that allocates nothing: no cache, whose
    // entries would outlive a library that is closed.
    let mut library = Text::<256>::new();
    if !is_nccl(caller, &mut library) {
        return None;
    }
    // SAFETY: the caller's own handle and name; neither RTLD_NEXT nor RTLD_DEFAULT, so it does not
    // matter who asks.
    let real = unsafe { dlsym(handle, name.as_ptr()) } as usize;
    if real == 0 {
        return None;
    }
    slot.store(real, Relaxed);
    if name.to_bytes().starts_with(b"cu") && GET_UUID.load(Relaxed) == 0 {
        // SAFETY: as above. The second form answers with the MIG device's own UUID.
        GET_UUID.store(unsafe { dlsym(handle, c"cuDeviceGetUuid_v2".as_ptr()) } as usize, Relaxed);
    }
    say(Level::Debug, &[b"hook: dlsym ", name.to_bytes(), b" for ", library.as_bytes()]);
    Some(ours)
}

/// Is the address in an object that defines `ncclGetVersion`, or whose file FLEXMIG_NCCL_CALLERS
/// names? The program itself goes by the name it was started with.
fn is_nccl(address: usize, library: &mut Text<256>) -> bool {
    let found = elf::find(|object| {
        object.contains(address).then(|| {
            let name = if object.name().is_empty() { program() } else { object.name() };
            library.push(name);
            object.symbol(b"ncclGetVersion").is_some() || named(name)
        })
    });
    found == Some(true)
}

fn named(path: &[u8]) -> bool {
    let file = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    let others = environment::get(c"FLEXMIG_NCCL_CALLERS").unwrap_or_default();
    let mut others = others.split(|byte| *byte == b',');
    others.any(|other| !other.is_empty() && (other == file || other == path))
}

fn program() -> &'static [u8] {
    // SAFETY: no preconditions.
    let path = unsafe { libc::getauxval(libc::AT_EXECFN) } as *const c_char;
    if path.is_null() {
        return b"";
    }
    // SAFETY: the kernel's C string, which stays.
    unsafe { CStr::from_ptr(path) }.to_bytes()
}

/// A real function. The macro names its type, which `slot` has by construction of [`hook`].
macro_rules! real {
    ($slot:expr, $kind:ty) => {{
        let address = $slot.load(Relaxed);
        // SAFETY: stored from the library's symbol of the name that has this type, before the wrapper
        // that runs now was handed out; 0 is no function.
        (address != 0).then(|| unsafe { transmute::<usize, $kind>(address) })
    }};
}

unsafe extern "C" fn get_proc_address(
    name: *const c_char,
    function: *mut *mut c_void,
    version: c_int,
    flags: u64,
) -> c_int {
    let Some(real) = real!(GET_PROC_ADDRESS, GetProcAddress) else { return NOT_FOUND };
    // SAFETY: the caller's arguments.
    let result = unsafe { real(name, function, version, flags) };
    // SAFETY: as above; the real one has read and written them.
    unsafe { replace(result, name, function, version) };
    result
}

unsafe extern "C" fn get_proc_address_v2(
    name: *const c_char,
    function: *mut *mut c_void,
    version: c_int,
    flags: u64,
    status: *mut c_int,
) -> c_int {
    let Some(real) = real!(GET_PROC_ADDRESS_V2, GetProcAddressV2) else { return NOT_FOUND };
    // SAFETY: the caller's arguments.
    let result = unsafe { real(name, function, version, flags, status) };
    // SAFETY: as above; the real one has read and written them.
    unsafe { replace(result, name, function, version) };
    result
}

/// Puts our function in place of one that was found.
///
/// # Safety
///
/// The arguments of a call of `cuGetProcAddress` that returned `result`.
unsafe fn replace(result: c_int, name: *const c_char, function: *mut *mut c_void, version: c_int) {
    if result != SUCCESS || name.is_null() || function.is_null() {
        return;
    }
    // SAFETY: the call succeeded, so the name is a C string.
    let name = unsafe { CStr::from_ptr(name) };
    let Some((mut slot, mut ours)) = hook(name.to_bytes(), false) else { return };
    // From CUDA 12 on the same name means the form with a status.
    if name == c"cuGetProcAddress"
        && version >= 12_000
        && let Some(second) = hook(b"cuGetProcAddress_v2", false)
    {
        (slot, ours) = second;
    }
    // SAFETY: the call succeeded, so the place was written.
    let found = unsafe { *function } as usize;
    if found == 0 {
        return;
    }
    slot.store(found, Relaxed);
    say(Level::Debug, &[b"hook: cuGetProcAddress ", name.to_bytes()]);
    // SAFETY: as above.
    unsafe { *function = ours as *mut c_void };
}

unsafe extern "C" fn get_bus_id(text: *mut c_char, length: c_int, device: c_int) -> c_int {
    let Some(real) = real!(GET_BUS_ID, GetBusId) else { return NOT_FOUND };
    // SAFETY: the caller's arguments.
    let result = unsafe { real(text, length, device) };
    if result != SUCCESS || text.is_null() || NATIVE.load(Relaxed) {
        return result;
    }
    // The caller's buffer may be too short for all of it.
    let mut whole = [0; BUS_ID];
    // SAFETY: a buffer of that length.
    if unsafe { real(whole.as_mut_ptr().cast(), BUS_ID as c_int, device) } != SUCCESS {
        return result;
    }
    match relabel(&mut whole, device) {
        Ok(()) => {
            let end = text.wrapping_add(usize::try_from(length).unwrap_or(0));
            let mut place = text;
            for byte in whole.iter().take_while(|byte| **byte != 0) {
                if place.wrapping_add(1) >= end {
                    break;
                }
                // SAFETY: inside the caller's buffer, with room for the NUL.
                unsafe { *place = *byte as c_char };
                place = place.wrapping_add(1);
            }
            if place < end {
                // SAFETY: as above.
                unsafe { *place = 0 };
            }
        }
        Err(why) => {
            static SAID: AtomicBool = AtomicBool::new(false);
            if !SAID.swap(true, Relaxed) {
                say(Level::Error, &[why.line()]);
            }
        }
    }
    result
}

/// Writes the synthetic bus id of the device's leaf over the real one.
fn relabel(text: &mut [u8], device: c_int) -> Result<(), Why> {
    let real_id = CStr::from_bytes_until_nul(text).unwrap_or_default().to_bytes();
    let (place, id) = leaf(BusId::parse(real_id).map_err(|_| Why::BusId)?, device)?;
    if !synthetic::write_domain(text, id) {
        return Err(Why::BusId);
    }
    let mut leaf = Text::<12>::new();
    leaf.push_number(place as u64);
    let written = CStr::from_bytes_until_nul(text).unwrap_or_default().to_bytes();
    say(Level::Info, &[b"relabelled: leaf ", leaf.as_bytes(), b" is ", written, b" for NCCL"]);
    Ok(())
}

/// The leaf that the device is, and its synthetic bus id.
fn leaf(real_id: BusId, device: c_int) -> Result<(usize, BusId), Why> {
    let get_uuid = real!(GET_UUID, GetUuid).ok_or(Why::Unknown)?;
    let mut uuid = [0; 16];
    // SAFETY: CUDA writes 16 bytes.
    if unsafe { get_uuid(&mut uuid, device) } != SUCCESS {
        return Err(Why::Unknown);
    }
    let lists = Lists {
        uuids: environment::get(c"FLEXMIG_UUIDS").unwrap_or_default(),
        bus_ids: environment::get(c"FLEXMIG_BUS_IDS").unwrap_or_default(),
        leaf: environment::get(c"FLEXMIG_LEAF").and_then(flexmig_core::text::number),
    };
    synthetic::leaf(&lists, &uuid, real_id)
}

unsafe extern "C" fn by_bus_id(device: *mut c_int, text: *const c_char) -> c_int {
    let Some(real) = real!(BY_BUS_ID, ByBusId) else { return NOT_FOUND };
    // SAFETY: the caller's arguments; the second time with a text of ours.
    let result = unsafe { parent_first(text, |text| real(device, text)) };
    if result != SUCCESS || device.is_null() || text.is_null() {
        return result;
    }
    // SAFETY: the call succeeded, so both are the caller's.
    let (found, asked) = unsafe { (*device, CStr::from_ptr(text)) };
    let Ok(asked) = BusId::parse(asked.to_bytes()) else { return result };
    let Some((parent, _, _)) = asked.leaf() else { return result };
    // Another leaf of the same parent is not a device of this process.
    match leaf(parent, found) {
        Ok((_, own)) if own != asked => INVALID_DEVICE,
        _ => result,
    }
}

unsafe extern "C" fn nvml_by_bus_id(text: *const c_char, device: *mut *mut c_void) -> c_int {
    let Some(real) = real!(NVML_BY_BUS_ID, NvmlByBusId) else { return NOT_FOUND };
    // SAFETY: as in `by_bus_id`.
    unsafe { parent_first(text, |text| real(text, device)) }
}

unsafe extern "C" fn nvml_by_bus_id_v2(text: *const c_char, device: *mut *mut c_void) -> c_int {
    let Some(real) = real!(NVML_BY_BUS_ID_V2, NvmlByBusId) else { return NOT_FOUND };
    // SAFETY: as in `by_bus_id`.
    unsafe { parent_first(text, |text| real(text, device)) }
}

/// Asks with the parent's bus id if the text is a leaf's, and with the text as it is if it is not or
/// there is no such parent: a real domain can look like a leaf's, as in virtual machines of Hyper-V.
///
/// # Safety
///
/// `text` is null or a C string.
unsafe fn parent_first(text: *const c_char, ask: impl Fn(*const c_char) -> c_int) -> c_int {
    if !text.is_null() {
        // SAFETY: as the caller promises.
        let given = unsafe { CStr::from_ptr(text) }.to_bytes();
        let parent = given.get(..BUS_ID).is_none().then(|| synthetic::real(given)).flatten();
        if let Some(parent) = parent
            && ask(parent.as_c_str().as_ptr()) == SUCCESS
        {
            return SUCCESS;
        }
    }
    ask(text)
}

/// relabel-p2p only: two leaves of one GPU are one device to NVML, which does not say whether they
/// reach each other. The admin's probe did.
unsafe extern "C" fn p2p_status(
    one: *mut c_void,
    other: *mut c_void,
    index: c_uint,
    status: *mut c_int,
) -> c_int {
    if one == other && !status.is_null() {
        // SAFETY: the caller's place for the answer; 0 is NVML_P2P_STATUS_OK.
        unsafe { *status = 0 };
        return SUCCESS;
    }
    let Some(real) = real!(P2P_STATUS, P2pStatus) else { return NOT_FOUND };
    // SAFETY: the caller's arguments.
    unsafe { real(one, other, index, status) }
}
