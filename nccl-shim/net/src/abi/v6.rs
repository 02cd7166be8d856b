//! Version 6: NCCL 2.18 to 2.32.

use std::ffi::{c_int, c_void};
use std::mem::{offset_of, size_of};

use super::tables::{functions, properties};
use super::{Close, DeregMr, GetProperties, Iflush, IrecvInt, IsendInt, Out, RegMrDmaBuf, Test};
use crate::error::Code;
use crate::log::Logger;

properties! {
    /// `ncclNetProperties_v6_t`.
    name pci_path guid ptr_support speed port latency max_comms max_recvs
}

functions! {
    /// `ncclNet_v6_t`.
    ncclNetPlugin_v6 {
        init: unsafe extern "C" fn(Option<Logger>) -> Code = super::init_v6,
        devices: unsafe extern "C" fn(*mut c_int) -> Code = super::devices,
        get_properties: GetProperties<Properties> = get_properties,
        listen: unsafe extern "C" fn(c_int, *mut c_void, Out) -> Code = super::listen,
        connect: unsafe extern "C" fn(c_int, *mut c_void, Out) -> Code = super::connect,
        accept: unsafe extern "C" fn(*mut c_void, Out) -> Code = super::accept,
        reg_mr: unsafe extern "C" fn(*mut c_void, *mut c_void, c_int, c_int, Out) -> Code = super::reg_mr_int,
        reg_mr_dma_buf: RegMrDmaBuf = super::reg_mr_dma_buf,
        dereg_mr: DeregMr = super::dereg_mr,
        isend: IsendInt = super::isend_int,
        irecv: IrecvInt = super::irecv_int,
        iflush: Iflush = super::iflush,
        test: Test = super::test,
        close_send: Close = super::close_comm,
        close_recv: Close = super::close_comm,
        close_listen: Close = super::close_listen,
    }
}

// Sizes and offsets of NCCL's header, for 64-bit machines.
const _: () = {
    assert!(size_of::<Properties>() == 48);
    assert!(offset_of!(Properties, guid) == 16);
    assert!(offset_of!(Properties, ptr_support) == 24);
    assert!(offset_of!(Properties, speed) == 28);
    assert!(offset_of!(Properties, port) == 32);
    assert!(offset_of!(Properties, latency) == 36);
    assert!(offset_of!(Properties, max_comms) == 40);
    assert!(offset_of!(Properties, max_recvs) == 44);
    assert!(size_of::<Net>() == 17 * 8);
    assert!(offset_of!(Net, get_properties) == 3 * 8);
    assert!(offset_of!(Net, reg_mr) == 7 * 8);
    assert!(offset_of!(Net, isend) == 10 * 8);
    assert!(offset_of!(Net, test) == 13 * 8);
    assert!(offset_of!(Net, close_listen) == 16 * 8);
};
