//! What NVML's functions return, under shorter names.

use nvml_wrapper_sys::bindings::*;

macro_rules! errors {
    ($($name:ident = $bound:ident;)*) => {
        $(pub(crate) const $name: nvmlReturn_t = $bound;)*
    };
}

errors! {
    SUCCESS = nvmlReturn_enum_NVML_SUCCESS;
    UNINITIALIZED = nvmlReturn_enum_NVML_ERROR_UNINITIALIZED;
    INVALID_ARGUMENT = nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT;
    NOT_SUPPORTED = nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED;
    NO_PERMISSION = nvmlReturn_enum_NVML_ERROR_NO_PERMISSION;
    NOT_FOUND = nvmlReturn_enum_NVML_ERROR_NOT_FOUND;
    INSUFFICIENT_SIZE = nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_SIZE;
    DRIVER_NOT_LOADED = nvmlReturn_enum_NVML_ERROR_DRIVER_NOT_LOADED;
    GPU_IS_LOST = nvmlReturn_enum_NVML_ERROR_GPU_IS_LOST;
    LIB_RM_VERSION_MISMATCH = nvmlReturn_enum_NVML_ERROR_LIB_RM_VERSION_MISMATCH;
    ARGUMENT_VERSION_MISMATCH = nvmlReturn_enum_NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    UNKNOWN = nvmlReturn_enum_NVML_ERROR_UNKNOWN;
}
