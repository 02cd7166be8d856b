//! NCCL's structures, written once: the type and the value of a field stand side by
//! side, and what versions have in common stands here.

/// The type and the value of each field that some version's properties have. The
/// values are the same in all of them.
macro_rules! property {
    // For the log.
    (type name) => { *const ::std::ffi::c_char };
    (value name) => { $crate::abi::NAME.as_ptr() };
    // Null: the device hangs off the CPU.
    (type pci_path) => { *const ::std::ffi::c_char };
    (value pci_path) => { ::std::ptr::null() };
    // One number per host.
    (type guid) => { u64 };
    (value guid) => { $crate::abi::guid() };
    (type ptr_support) => { ::std::ffi::c_int };
    (value ptr_support) => { $crate::abi::PTR_HOST };
    // Registrations belong to a connection, not to the process.
    (type reg_is_global) => { ::std::ffi::c_int };
    (value reg_is_global) => { 0 };
    // Receives want no flush.
    (type force_flush) => { ::std::ffi::c_int };
    (value force_flush) => { 0 };
    // Mbps.
    (type speed) => { ::std::ffi::c_int };
    (value speed) => { $crate::abi::SPEED };
    (type port) => { ::std::ffi::c_int };
    (value port) => { 0 };
    // Microseconds; 0: NCCL takes its own estimate.
    (type latency) => { f32 };
    (value latency) => { 0.0 };
    (type max_comms) => { ::std::ffi::c_int };
    (value max_comms) => { $crate::abi::MAX_COMMS };
    // Grouped receives.
    (type max_recvs) => { ::std::ffi::c_int };
    (value max_recvs) => { 1 };
    (type net_device_type) => { ::std::ffi::c_int };
    (value net_device_type) => { $crate::abi::DEVICE_HOST };
    (type net_device_version) => { ::std::ffi::c_int };
    (value net_device_version) => { 0 };
    // `DEVICES` is the version's own.
    (type virtual_device) => { $crate::abi::VirtualDevice<DEVICES> };
    (value virtual_device) => { $crate::abi::VirtualDevice { count: 1, devices: [0; DEVICES] } };
    // The largest message of a point-to-point operation; 0 is an error to NCCL.
    (type max_p2p_bytes) => { usize };
    (value max_p2p_bytes) => { $crate::abi::MAX_BYTES };
    // And of a collective.
    (type max_coll_bytes) => { usize };
    (value max_coll_bytes) => { $crate::abi::MAX_BYTES };
    (type max_multi_request_size) => { ::std::ffi::c_int };
    (value max_multi_request_size) => { 1 };
    // `NCCL_NET_ID_UNDEF`.
    (type rail_id) => { i16 };
    (value rail_id) => { -1 };
    (type plane_id) => { i16 };
    (value plane_id) => { -1 };
}

/// A version's properties, in NCCL's order, and the function that fills them.
macro_rules! properties {
    ($(#[$doc:meta])* $($field:ident)*) => {
        $(#[$doc])*
        #[repr(C)]
        #[derive(Debug, Clone, Copy)]
        #[allow(missing_docs, reason = "the fields are NCCL's, see `property`")]
        pub struct Properties {
            $(pub $field: $crate::abi::tables::property!(type $field),)*
        }

        unsafe extern "C" fn get_properties(
            device: ::std::ffi::c_int,
            place: *mut Properties,
        ) -> $crate::error::Code {
            $crate::fence::fence("getProperties", || {
                $crate::abi::check_device(device)?;
                let properties = Properties {
                    $($field: $crate::abi::tables::property!(value $field),)*
                };
                // SAFETY: NCCL's out parameter.
                unsafe { $crate::abi::put(place, properties) }
            })
        }
    };
}

/// A version's structure of functions, in NCCL's order, and the symbol that NCCL looks up.
macro_rules! functions {
    ($(#[$doc:meta])* $symbol:ident { $($field:ident: $kind:ty = $value:expr,)* }) => {
        $(#[$doc])*
        #[repr(C)]
        #[derive(Debug, Clone, Copy)]
        #[allow(missing_docs, reason = "the fields are NCCL's")]
        pub struct Net {
            pub name: $crate::abi::Text,
            $(pub $field: $kind,)*
        }

        /// The plugin as NCCL looks it up.
        #[unsafe(no_mangle)]
        #[allow(non_upper_case_globals, reason = "NCCL's name")]
        pub static $symbol: Net =
            Net { name: $crate::abi::Text($crate::abi::NAME.as_ptr()), $($field: $value,)* };
    };
}

pub(crate) use {functions, properties, property};
