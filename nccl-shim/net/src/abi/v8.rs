//! Version 8: NCCL 2.19 to 2.32. Device handles (which stay null), 64-bit regMr.

use std::ffi::{c_int, c_void};
use std::mem::{offset_of, size_of};

use super::tables::{functions, properties};
use super::{
    Close, DeregMr, GetDeviceMr, GetProperties, Iflush, IrecvConsumed, IrecvInt, IsendInt, Out,
    RegMr, RegMrDmaBuf, Test,
};
use crate::error::Code;
use crate::log::Logger;

properties! {
    /// `ncclNetProperties_v8_t`.
    name pci_path guid ptr_support reg_is_global speed port latency max_comms max_recvs
    net_device_type net_device_version
}

functions! {
    /// `ncclNet_v8_t`.
    ncclNetPlugin_v8 {
        init: unsafe extern "C" fn(Option<Logger>) -> Code = super::init_v6,
        devices: unsafe extern "C" fn(*mut c_int) -> Code = super::devices,
        get_properties: GetProperties<Properties> = get_properties,
        listen: unsafe extern "C" fn(c_int, *mut c_void, Out) -> Code = super::listen,
        connect: unsafe extern "C" fn(c_int, *mut c_void, Out, Out) -> Code = connect,
        accept: unsafe extern "C" fn(*mut c_void, Out, Out) -> Code = accept,
        reg_mr: RegMr = super::reg_mr,
        reg_mr_dma_buf: RegMrDmaBuf = super::reg_mr_dma_buf,
        dereg_mr: DeregMr = super::dereg_mr,
        isend: IsendInt = super::isend_int,
        irecv: IrecvInt = super::irecv_int,
        iflush: Iflush = super::iflush,
        test: Test = super::test,
        close_send: Close = super::close_comm,
        close_recv: Close = super::close_comm,
        close_listen: Close = super::close_listen,
        get_device_mr: Option<GetDeviceMr> = None,
        irecv_consumed: Option<IrecvConsumed> = None,
    }
}

/// `connect` with a device handle, which is left alone: null.
unsafe extern "C" fn connect(
    device: c_int,
    handle: *mut c_void,
    comm: Out,
    _device_handle: Out,
) -> Code {
    // SAFETY: NCCL's pointers, passed on.
    unsafe { super::connect(device, handle, comm) }
}

/// `accept` with a device handle, which is left alone: null.
///
/// # Safety
/// As NCCL calls it.
pub unsafe extern "C" fn accept(listener: *mut c_void, comm: Out, _device_handle: Out) -> Code {
    // SAFETY: NCCL's pointers, passed on.
    unsafe { super::accept(listener, comm) }
}

const _: () = {
    assert!(size_of::<Properties>() == 64);
    assert!(offset_of!(Properties, reg_is_global) == 28);
    assert!(offset_of!(Properties, speed) == 32);
    assert!(offset_of!(Properties, latency) == 40);
    assert!(offset_of!(Properties, max_recvs) == 48);
    assert!(offset_of!(Properties, net_device_version) == 56);
    assert!(size_of::<Net>() == 19 * 8);
    assert!(offset_of!(Net, isend) == 10 * 8);
    assert!(offset_of!(Net, close_listen) == 16 * 8);
    assert!(offset_of!(Net, irecv_consumed) == 18 * 8);
};
