//! Version 12: NCCL 2.30 and later. The functions of v11, longer properties.

use std::mem::{offset_of, size_of};

use super::tables::properties;
use super::v11::functions_v11;

/// Devices of a virtual one, at most.
const DEVICES: usize = 8;

properties! {
    /// `ncclNetProperties_v12_t`.
    name pci_path guid ptr_support reg_is_global force_flush speed port latency max_comms
    max_recvs net_device_type net_device_version virtual_device max_p2p_bytes max_coll_bytes
    max_multi_request_size rail_id plane_id
}

functions_v11! {
    /// `ncclNet_v12_t`.
    ncclNetPlugin_v12
}

const _: () = {
    assert!(size_of::<Properties>() == 128);
    assert!(offset_of!(Properties, virtual_device) == 64);
    assert!(offset_of!(Properties, max_p2p_bytes) == 104);
    assert!(offset_of!(Properties, max_coll_bytes) == 112);
    assert!(offset_of!(Properties, max_multi_request_size) == 120);
    assert!(offset_of!(Properties, rail_id) == 124);
    assert!(offset_of!(Properties, plane_id) == 126);
    assert!(size_of::<Net>() == 22 * 8);
};
