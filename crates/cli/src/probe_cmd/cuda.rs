//! The part of the CUDA driver API that the probe needs, by dlopen.
//!
//! Types and numbers are those of cuda.h (CUDA 11.0 and later; the virtual memory functions are of
//! 10.2). All functions return a `CUresult`, 0 for success.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::ptr::{null_mut, without_provenance_mut};

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

type CuResult = c_int;
type DevicePtr = u64;
type MemHandle = u64;

/// `CU_MEM_ALLOCATION_TYPE_PINNED`.
const PINNED: c_int = 1;
/// `CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR`.
const POSIX_FD: c_int = 1;
/// `CU_MEM_LOCATION_TYPE_DEVICE`.
const ON_DEVICE: c_int = 1;
/// `CU_MEM_ACCESS_FLAGS_PROT_READWRITE`.
const READ_WRITE: c_int = 3;
/// `CU_MEM_ALLOC_GRANULARITY_MINIMUM`.
const MINIMUM: c_int = 0;
/// The only device: each process of the probe sees one.
const ORDINAL: c_int = 0;

/// `CUmemLocation`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Location {
    kind: c_int,
    id: c_int,
}

/// `CUmemAllocationProp`.
#[repr(C)]
struct AllocationProp {
    kind: c_int,
    handle_types: c_int,
    location: Location,
    win32_meta_data: *mut c_void,
    /// compressionType, gpuDirectRDMACapable, usage, reserved.
    flags: [u8; 8],
}

/// `CUmemAccessDesc`.
#[repr(C)]
struct AccessDesc {
    location: Location,
    flags: c_int,
}

/// A call that the driver refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The function.
    pub call: &'static str,
    /// `CUresult`.
    pub result: i32,
    /// Its name, `CUDA_ERROR_NOT_SUPPORTED`.
    pub name: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} ({})", self.call, self.name, self.result)
    }
}

macro_rules! driver {
    ($($field:ident: $symbol:literal fn($($arg:ty),*);)*) => {
        /// The driver library, with the context of its first device once that is open.
        pub struct Driver {
            $($field: unsafe extern "C" fn($($arg),*) -> CuResult,)*
        }

        impl Driver {
            /// Loads the library. The error is what dlopen or dlsym says.
            pub fn load(path: &Path) -> Result<Driver, String> {
                // SAFETY: loading runs the library's constructors; the administrator named it, or
                // it is the driver's.
                let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) };
                let words = |error: libloading::Error| {
                    let source = std::error::Error::source(&error);
                    source.map_or(error.to_string(), |source| source.to_string())
                };
                let library = library.map_err(words)?;
                // SAFETY: cuda.h declares the functions with these types.
                let driver = unsafe {
                    Driver { $($field: *library.get(concat!($symbol, "\0")).map_err(words)?,)* }
                };
                // The driver keeps threads; it stays until the process ends.
                std::mem::forget(library);
                Ok(driver)
            }
        }
    };
}

driver! {
    init: "cuInit" fn(c_uint);
    version: "cuDriverGetVersion" fn(*mut c_int);
    error_name: "cuGetErrorName" fn(CuResult, *mut *const c_char);
    device: "cuDeviceGet" fn(*mut c_int, c_int);
    retain: "cuDevicePrimaryCtxRetain" fn(*mut *mut c_void, c_int);
    set_current: "cuCtxSetCurrent" fn(*mut c_void);
    granularity: "cuMemGetAllocationGranularity" fn(*mut usize, *const AllocationProp, c_int);
    create: "cuMemCreate" fn(*mut MemHandle, usize, *const AllocationProp, u64);
    export: "cuMemExportToShareableHandle" fn(*mut c_int, MemHandle, c_int, u64);
    import: "cuMemImportFromShareableHandle" fn(*mut MemHandle, *mut c_void, c_int);
    reserve: "cuMemAddressReserve" fn(*mut DevicePtr, usize, usize, DevicePtr, u64);
    map: "cuMemMap" fn(DevicePtr, usize, usize, MemHandle, u64);
    set_access: "cuMemSetAccess" fn(DevicePtr, usize, *const AccessDesc, usize);
    to_device: "cuMemcpyHtoD_v2" fn(DevicePtr, *const c_void, usize);
    to_host: "cuMemcpyDtoH_v2" fn(*mut c_void, DevicePtr, usize);
    unmap: "cuMemUnmap" fn(DevicePtr, usize);
    free: "cuMemAddressFree" fn(DevicePtr, usize);
    release: "cuMemRelease" fn(MemHandle);
}

impl Driver {
    fn check(&self, call: &'static str, result: CuResult) -> Result<(), Refused> {
        if result == 0 {
            return Ok(());
        }
        let mut name = std::ptr::null();
        // SAFETY: the pointer is to a live value; the name is a constant of the driver, or the call
        // fails and leaves null.
        let name = unsafe {
            (self.error_name)(result, &mut name);
            if name.is_null() { c"an unknown error" } else { CStr::from_ptr(name) }
        };
        Err(Refused { call, result, name: name.to_string_lossy().into_owned() })
    }

    /// Initialises the driver, and makes the context of the only device current.
    pub fn open(&self) -> Result<Device<'_>, Refused> {
        let (mut ordinal, mut context) = (0, null_mut());
        // SAFETY: pointers are to live values; each call succeeded before the next is made.
        unsafe {
            self.check("cuInit", (self.init)(0))?;
            self.check("cuDeviceGet", (self.device)(&mut ordinal, ORDINAL))?;
            self.check("cuDevicePrimaryCtxRetain", (self.retain)(&mut context, ordinal))?;
            self.check("cuCtxSetCurrent", (self.set_current)(context))?;
        }
        Ok(Device { driver: self, location: Location { kind: ON_DEVICE, id: ordinal } })
    }

    /// Version of the driver's API, `13.0`.
    pub fn api_version(&self) -> String {
        let mut version = 0;
        // SAFETY: the pointer is to a live value; the call needs no initialisation.
        match unsafe { (self.version)(&mut version) } {
            0 => format!("{}.{}", version / 1000, version % 1000 / 10),
            _ => "unknown".to_owned(),
        }
    }
}

/// A leaf with its context.
pub struct Device<'a> {
    driver: &'a Driver,
    location: Location,
}

impl<'a> Device<'a> {
    fn prop(&self) -> AllocationProp {
        AllocationProp {
            kind: PINNED,
            handle_types: POSIX_FD,
            location: self.location,
            win32_meta_data: null_mut(),
            flags: [0; 8],
        }
    }

    /// The smallest amount of memory that can be shared.
    pub fn granularity(&self) -> Result<usize, Refused> {
        let mut size = 0;
        // SAFETY: pointers are to live values.
        let result = unsafe { (self.driver.granularity)(&mut size, &self.prop(), MINIMUM) };
        self.driver.check("cuMemGetAllocationGranularity", result)?;
        Ok(size)
    }

    /// Memory of this device that can be exported.
    pub fn create(&self, size: usize) -> Result<Memory<'a>, Refused> {
        let mut handle = 0;
        // SAFETY: pointers are to live values; the size is a multiple of the granularity.
        let result = unsafe { (self.driver.create)(&mut handle, size, &self.prop(), 0) };
        self.driver.check("cuMemCreate", result)?;
        Ok(self.memory(handle, size))
    }

    /// Memory that another process has exported.
    pub fn import(&self, fd: BorrowedFd<'_>, size: usize) -> Result<Memory<'a>, Refused> {
        let mut handle = 0;
        // cuda.h: for this handle type the pointer's value is the descriptor.
        let descriptor = without_provenance_mut(fd.as_raw_fd() as usize);
        // SAFETY: an open descriptor; the driver takes a reference of its own.
        let result = unsafe { (self.driver.import)(&mut handle, descriptor, POSIX_FD) };
        self.driver.check("cuMemImportFromShareableHandle", result)?;
        Ok(self.memory(handle, size))
    }

    fn memory(&self, handle: MemHandle, size: usize) -> Memory<'a> {
        let location = self.location;
        Memory { driver: self.driver, location, handle, size, address: 0, mapped: false }
    }
}

/// Memory by handle, mapped or not; given back when dropped.
pub struct Memory<'a> {
    driver: &'a Driver,
    location: Location,
    handle: MemHandle,
    size: usize,
    /// 0: none reserved.
    address: DevicePtr,
    mapped: bool,
}

impl Memory<'_> {
    /// A descriptor that another process can import.
    pub fn export(&self) -> Result<OwnedFd, Refused> {
        let mut fd: c_int = -1;
        // SAFETY: for this handle type the driver writes a descriptor to the address of an int.
        let result = unsafe { (self.driver.export)(&mut fd, self.handle, POSIX_FD, 0) };
        self.driver.check("cuMemExportToShareableHandle", result)?;
        // SAFETY: a new descriptor that the driver has given to us.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// Makes the memory readable and writable by this process's device.
    pub fn map(&mut self) -> Result<(), Refused> {
        let Memory { driver, size, handle, location, .. } = *self;
        let access = AccessDesc { location, flags: READ_WRITE };
        // SAFETY: pointers are to live values; each call succeeded before the next is made.
        unsafe {
            let address = &mut self.address;
            driver.check("cuMemAddressReserve", (driver.reserve)(address, size, 0, 0, 0))?;
            driver.check("cuMemMap", (driver.map)(self.address, size, 0, handle, 0))?;
            self.mapped = true;
            driver.check("cuMemSetAccess", (driver.set_access)(self.address, size, &access, 1))
        }
    }

    /// Copies from host memory over the whole.
    pub fn write(&self, bytes: &[u8]) -> Result<(), Refused> {
        let size = bytes.len().min(self.size);
        // SAFETY: both sides are that long; the memory is mapped, or the driver refuses.
        let result = unsafe { (self.driver.to_device)(self.address, bytes.as_ptr().cast(), size) };
        self.driver.check("cuMemcpyHtoD", result)
    }

    /// Copies the whole to host memory.
    pub fn read(&self) -> Result<Vec<u8>, Refused> {
        let mut bytes = vec![0u8; self.size];
        let to = bytes.as_mut_ptr().cast();
        // SAFETY: both sides are that long; the memory is mapped, or the driver refuses.
        let result = unsafe { (self.driver.to_host)(to, self.address, self.size) };
        self.driver.check("cuMemcpyDtoH", result)?;
        Ok(bytes)
    }
}

impl Drop for Memory<'_> {
    fn drop(&mut self) {
        // SAFETY: undoes what succeeded, in reverse. The process ends soon: failures do not matter.
        unsafe {
            if self.mapped {
                (self.driver.unmap)(self.address, self.size);
            }
            if self.address != 0 {
                (self.driver.free)(self.address, self.size);
            }
            (self.driver.release)(self.handle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::{offset_of, size_of};

    #[test]
    fn structures_are_those_of_cuda_h() {
        assert_eq!(size_of::<AllocationProp>(), 32);
        assert_eq!(offset_of!(AllocationProp, location), 8);
        assert_eq!(offset_of!(AllocationProp, win32_meta_data), 16);
        assert_eq!(offset_of!(AllocationProp, flags), 24);
        assert_eq!(size_of::<AccessDesc>(), 12);
    }
}
