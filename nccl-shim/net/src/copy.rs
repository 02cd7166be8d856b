//! Copy primitives.
//!
//! Where the destination is a buffer that the GPU may poll while it is written
//! (LL flags, [`crate::polled`]), stores go forward, each 8, 16 or 32 bytes wide and
//! aligned to its width, from the first 8-byte boundary of the destination on:
//! [`forward`]. `memcpy` promises none of this. Into the ring nobody looks before the
//! index is published, so any store will do: [`bulk`]. A long message that nobody
//! polls leaves the ring with stores past the cache: [`streaming`] spares the memory
//! from reading what is overwritten.
//!
//! The loops are assembler, as the compiler turns a plain copy loop back into
//! `memcpy`.

/// Copies forward with ordinary stores of 8, 16 or 32 bytes.
///
/// # Safety
/// `src` must be readable and `dst` writable for `len` bytes, and they must not
/// overlap.
#[inline]
pub unsafe fn forward(dst: *mut u8, src: *const u8, len: usize) {
    // SAFETY: the callee's contract is ours.
    unsafe { arch::forward(dst, src, len) }
}

/// Copies with whatever stores the processor is fastest with.
///
/// # Safety
/// As for [`forward`].
#[inline]
pub unsafe fn bulk(dst: *mut u8, src: *const u8, len: usize) {
    // SAFETY: the callee's contract is ours.
    unsafe { arch::bulk(dst, src, len) }
}

/// Copies with streaming stores, made visible before it returns.
///
/// # Safety
/// As for [`forward`].
#[inline]
pub unsafe fn streaming(dst: *mut u8, src: *const u8, len: usize) {
    // SAFETY: the callee's contract is ours.
    unsafe { arch::streaming(dst, src, len) }
}

/// Copies `len` bytes up to the first boundary of `to` bytes in `dst`, with the
/// widest naturally aligned stores of at most 8 bytes. Returns how many it were.
///
/// # Safety
/// As for [`forward`].
#[inline]
unsafe fn head(dst: *mut u8, src: *const u8, len: usize, to: usize) -> usize {
    let gap = dst.align_offset(to).min(len);
    // SAFETY: `gap <= len`.
    unsafe { narrow(dst, src, gap) };
    gap
}

/// Copies a short run: bytes up to an 8-byte boundary, words, bytes.
///
/// # Safety
/// As for [`forward`].
#[inline]
unsafe fn narrow(dst: *mut u8, src: *const u8, len: usize) {
    let mut done = 0;
    // SAFETY: every access lies below `len`; volatile keeps each store whole and
    // in order, and keeps the loop from becoming a memcpy.
    unsafe {
        while done < len && !(dst as usize + done).is_multiple_of(8) {
            dst.add(done).write_volatile(src.add(done).read());
            done += 1;
        }
        while done + 8 <= len {
            let word = src.add(done).cast::<u64>().read_unaligned();
            dst.add(done).cast::<u64>().write_volatile(word);
            done += 8;
        }
        while done < len {
            dst.add(done).write_volatile(src.add(done).read());
            done += 1;
        }
    }
}

#[cfg(all(target_arch = "x86_64", not(miri), not(feature = "loom")))]
mod arch {
    use std::arch::asm;
    use std::arch::x86_64::__cpuid_count;
    use std::sync::atomic::{AtomicU8, Ordering};

    /// What this processor has; 0 if nobody has looked yet.
    static FEATURES: AtomicU8 = AtomicU8::new(0);
    const LOOKED: u8 = 1;
    const AVX: u8 = 2;
    const AVX512: u8 = 4;
    /// `rep movsb` is fast ("enhanced").
    const ERMS: u8 = 8;

    #[inline]
    fn has(feature: u8) -> bool {
        let known = FEATURES.load(Ordering::Relaxed);
        (if known == 0 { look() } else { known }) & feature != 0
    }

    #[cold]
    fn look() -> u8 {
        let mut found = LOOKED;
        if std::is_x86_feature_detected!("avx") {
            found |= AVX;
        }
        if std::is_x86_feature_detected!("avx512f") {
            found |= AVX512;
        }
        // Leaf 7 exists: every processor with ERMS has AVX.
        if found & AVX != 0 && __cpuid_count(7, 0).ebx & 1 << 9 != 0 {
            found |= ERMS;
        }
        FEATURES.store(found, Ordering::Relaxed);
        found
    }

    /// Shorter copies are not worth the start of `rep movsb`.
    const REP: usize = 16 << 10;

    /// # Safety
    /// See [`super::bulk`].
    #[inline]
    pub unsafe fn bulk(dst: *mut u8, src: *const u8, len: usize) {
        if len < REP || !has(ERMS) {
            // SAFETY: the callee's contract is ours.
            return unsafe { forward(dst, src, len) };
        }
        // SAFETY: the caller vouches for `len` bytes at both ends; the direction
        // flag is clear, as the ABI demands.
        unsafe {
            asm!(
                "rep movsb",
                inout("rdi") dst => _,
                inout("rsi") src => _,
                inout("rcx") len => _,
                options(nostack, preserves_flags),
            );
        }
    }

    /// # Safety
    /// See [`super::forward`].
    #[inline]
    pub unsafe fn forward(dst: *mut u8, src: *const u8, len: usize) {
        // SAFETY: offsets stay within `len`; the wide loops run on whole blocks.
        unsafe {
            if len < 128 {
                return super::narrow(dst, src, len);
            }
            let mut done = super::head(dst, src, len, 32);
            let blocks = (len - done) / 128;
            if has(AVX) {
                blocks_avx(dst.add(done), src.add(done), blocks);
            } else {
                blocks_sse(dst.add(done), src.add(done), blocks);
            }
            done += blocks * 128;
            super::narrow(dst.add(done), src.add(done), len - done);
        }
    }

    /// # Safety
    /// See [`super::streaming`].
    #[inline]
    pub unsafe fn streaming(dst: *mut u8, src: *const u8, len: usize) {
        // SAFETY: offsets stay within `len`; the fence orders the streaming
        // stores before the store that publishes them.
        unsafe {
            if len < 128 {
                return super::narrow(dst, src, len);
            }
            let mut done = super::head(dst, src, len, 64);
            let blocks = (len - done) / 128;
            if has(AVX512) {
                blocks_avx512_streaming(dst.add(done), src.add(done), blocks);
            } else if has(AVX) {
                blocks_avx_streaming(dst.add(done), src.add(done), blocks);
            } else {
                blocks_sse_streaming(dst.add(done), src.add(done), blocks);
            }
            done += blocks * 128;
            super::narrow(dst.add(done), src.add(done), len - done);
            asm!("sfence", options(nostack, preserves_flags));
        }
    }

    macro_rules! blocks_256 {
        ($name:ident, $store:literal) => {
            /// Blocks of 128 bytes; `dst` is aligned to 32.
            ///
            /// # Safety
            /// `blocks * 128` bytes must be readable and writable.
            #[target_feature(enable = "avx")]
            unsafe fn $name(mut dst: *mut u8, mut src: *const u8, mut blocks: usize) {
                if blocks == 0 {
                    return;
                }
                // SAFETY: the loop runs `blocks` times over 128 bytes each.
                unsafe {
                    asm!(
                        "2:",
                        "vmovdqu {a}, [{src}]",
                        "vmovdqu {b}, [{src} + 32]",
                        "vmovdqu {c}, [{src} + 64]",
                        "vmovdqu {d}, [{src} + 96]",
                        concat!($store, " [{dst}], {a}"),
                        concat!($store, " [{dst} + 32], {b}"),
                        concat!($store, " [{dst} + 64], {c}"),
                        concat!($store, " [{dst} + 96], {d}"),
                        "add {src}, 128",
                        "add {dst}, 128",
                        "dec {n}",
                        "jnz 2b",
                        "vzeroupper",
                        src = inout(reg) src,
                        dst = inout(reg) dst,
                        n = inout(reg) blocks,
                        a = out(ymm_reg) _,
                        b = out(ymm_reg) _,
                        c = out(ymm_reg) _,
                        d = out(ymm_reg) _,
                        options(nostack),
                    );
                }
                let _ = (dst, src, blocks);
            }
        };
    }

    macro_rules! blocks_128 {
        ($name:ident, $store:literal) => {
            /// Blocks of 128 bytes; `dst` is aligned to 16.
            ///
            /// # Safety
            /// `blocks * 128` bytes must be readable and writable.
            unsafe fn $name(mut dst: *mut u8, mut src: *const u8, blocks: usize) {
                // Two rounds of 64 bytes a block.
                let mut rounds = blocks * 2;
                if rounds == 0 {
                    return;
                }
                // SAFETY: the loop runs `rounds` times over 64 bytes each.
                unsafe {
                    asm!(
                        "2:",
                        "movdqu {a}, [{src}]",
                        "movdqu {b}, [{src} + 16]",
                        "movdqu {c}, [{src} + 32]",
                        "movdqu {d}, [{src} + 48]",
                        concat!($store, " [{dst}], {a}"),
                        concat!($store, " [{dst} + 16], {b}"),
                        concat!($store, " [{dst} + 32], {c}"),
                        concat!($store, " [{dst} + 48], {d}"),
                        "add {src}, 64",
                        "add {dst}, 64",
                        "dec {n}",
                        "jnz 2b",
                        src = inout(reg) src,
                        dst = inout(reg) dst,
                        n = inout(reg) rounds,
                        a = out(xmm_reg) _,
                        b = out(xmm_reg) _,
                        c = out(xmm_reg) _,
                        d = out(xmm_reg) _,
                        options(nostack),
                    );
                }
                let _ = (dst, src, rounds);
            }
        };
    }

    /// Blocks of 128 bytes; `dst` is aligned to 64. Stores of whole lines: partly
    /// filled write buffers cost a third of the rate when pieces are short.
    ///
    /// # Safety
    /// `blocks * 128` bytes must be readable and writable, and AVX-512 there.
    unsafe fn blocks_avx512_streaming(dst: *mut u8, src: *const u8, blocks: usize) {
        if blocks == 0 {
            return;
        }
        // SAFETY: the loop runs `blocks` times over 128 bytes each. The registers
        // are named, as without the target feature only their lower parts have types.
        unsafe {
            asm!(
                "2:",
                "vmovdqu64 zmm0, [{src}]",
                "vmovdqu64 zmm1, [{src} + 64]",
                "vmovntdq [{dst}], zmm0",
                "vmovntdq [{dst} + 64], zmm1",
                "add {src}, 128",
                "add {dst}, 128",
                "dec {n}",
                "jnz 2b",
                "vzeroupper",
                src = inout(reg) src => _,
                dst = inout(reg) dst => _,
                n = inout(reg) blocks => _,
                out("xmm0") _,
                out("xmm1") _,
                options(nostack),
            );
        }
    }

    blocks_256!(blocks_avx, "vmovdqa");
    blocks_256!(blocks_avx_streaming, "vmovntdq");
    blocks_128!(blocks_sse, "movdqa");
    blocks_128!(blocks_sse_streaming, "movntdq");

    #[cfg(test)]
    mod tests {
        /// Fallbacks that this machine does not use; tried all the same.
        #[test]
        fn sse_blocks_copy_what_avx_blocks_copy() {
            let src: Vec<u8> = (0..640).map(|i| (i % 251) as u8).collect();
            let mut dst = vec![0u8; 1024];
            let at = dst.as_ptr().align_offset(64);
            // SAFETY: 512 bytes lie within both buffers.
            unsafe {
                super::blocks_sse(dst.as_mut_ptr().add(at), src.as_ptr().add(3), 4);
                assert_eq!(dst[at..at + 512], src[3..515]);
                super::blocks_sse_streaming(dst.as_mut_ptr().add(at), src.as_ptr().add(5), 4);
                std::arch::asm!("sfence", options(nostack, preserves_flags));
            }
            assert_eq!(dst[at..at + 512], src[5..517]);
            if super::has(super::AVX) {
                // SAFETY: as above.
                unsafe {
                    super::blocks_avx_streaming(dst.as_mut_ptr().add(at), src.as_ptr().add(7), 4);
                    std::arch::asm!("sfence", options(nostack, preserves_flags));
                }
                assert_eq!(dst[at..at + 512], src[7..519]);
            }
        }
    }
}

#[cfg(all(target_arch = "aarch64", not(miri), not(feature = "loom")))]
mod arch {
    use std::arch::asm;

    /// # Safety
    /// See [`super::forward`].
    #[inline]
    pub unsafe fn forward(dst: *mut u8, src: *const u8, len: usize) {
        // SAFETY: offsets stay within `len`.
        unsafe { copy(dst, src, len, blocks) }
    }

    /// # Safety
    /// See [`super::bulk`].
    #[inline]
    pub unsafe fn bulk(dst: *mut u8, src: *const u8, len: usize) {
        // SAFETY: the callee's contract is ours.
        unsafe { forward(dst, src, len) }
    }

    /// # Safety
    /// See [`super::streaming`].
    #[inline]
    pub unsafe fn streaming(dst: *mut u8, src: *const u8, len: usize) {
        // The publishing store is a release, which orders `stnp` as any store.
        // SAFETY: offsets stay within `len`.
        unsafe { copy(dst, src, len, blocks_streaming) }
    }

    #[inline]
    unsafe fn copy(
        dst: *mut u8,
        src: *const u8,
        len: usize,
        wide: unsafe fn(*mut u8, *const u8, usize),
    ) {
        // SAFETY: offsets stay within `len`; the wide loop runs on whole blocks.
        unsafe {
            if len < 128 {
                return super::narrow(dst, src, len);
            }
            let mut done = super::head(dst, src, len, 16);
            let blocks = (len - done) / 64;
            wide(dst.add(done), src.add(done), blocks);
            done += blocks * 64;
            super::narrow(dst.add(done), src.add(done), len - done);
        }
    }

    macro_rules! blocks_64 {
        ($name:ident, $store:literal) => {
            /// Blocks of 64 bytes; `dst` is aligned to 16.
            ///
            /// # Safety
            /// `blocks * 64` bytes must be readable and writable.
            unsafe fn $name(mut dst: *mut u8, mut src: *const u8, mut blocks: usize) {
                if blocks == 0 {
                    return;
                }
                // SAFETY: the loop runs `blocks` times over 64 bytes each.
                unsafe {
                    asm!(
                        "2:",
                        "ldp {a:q}, {b:q}, [{src}]",
                        "ldp {c:q}, {d:q}, [{src}, #32]",
                        concat!($store, " {a:q}, {b:q}, [{dst}]"),
                        concat!($store, " {c:q}, {d:q}, [{dst}, #32]"),
                        "add {src}, {src}, #64",
                        "add {dst}, {dst}, #64",
                        "subs {n}, {n}, #1",
                        "b.ne 2b",
                        src = inout(reg) src,
                        dst = inout(reg) dst,
                        n = inout(reg) blocks,
                        a = out(vreg) _,
                        b = out(vreg) _,
                        c = out(vreg) _,
                        d = out(vreg) _,
                        options(nostack),
                    );
                }
                let _ = (dst, src, blocks);
            }
        };
    }

    blocks_64!(blocks, "stp");
    blocks_64!(blocks_streaming, "stnp");
}

#[cfg(any(miri, feature = "loom", not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod arch {
    /// # Safety
    /// See [`super::forward`].
    #[inline]
    pub unsafe fn forward(dst: *mut u8, src: *const u8, len: usize) {
        // SAFETY: the callee's contract is ours.
        unsafe {
            let done = super::head(dst, src, len, 8);
            super::narrow(dst.add(done), src.add(done), len - done);
        }
    }

    pub use forward as bulk;
    pub use forward as streaming;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(copy: unsafe fn(*mut u8, *const u8, usize)) {
        let src: Vec<u8> = (0..4096u32).map(|i| (i.wrapping_mul(31) >> 3) as u8).collect();
        let lengths = [0, 1, 7, 8, 9, 31, 64, 127, 128, 129, 200, 255, 256, 1000, 3000];
        // Miri takes its time.
        let (lengths, froms) = if cfg!(miri) { (&lengths[3..7], 1) } else { (&lengths[..], 4) };
        for &from in &[0, 1, 8, 17][..froms] {
            for to in [0, 1, 3, 8, 24, 33, 63] {
                for &len in lengths {
                    let mut dst = vec![0xeeu8; 4096];
                    // SAFETY: at most 3000 + 63 bytes of 4096.
                    unsafe { copy(dst.as_mut_ptr().add(to), src.as_ptr().add(from), len) };
                    assert_eq!(dst[to..to + len], src[from..from + len], "{from} {to} {len}");
                    assert!(dst[..to].iter().all(|&b| b == 0xee), "before: {from} {to} {len}");
                    assert!(dst[to + len..].iter().all(|&b| b == 0xee), "after: {from} {to} {len}");
                }
            }
        }
    }

    #[test]
    fn forward_copies_exactly_what_was_asked() {
        check(forward);
    }

    #[test]
    fn bulk_copies_exactly_what_was_asked() {
        check(bulk);
    }

    #[test]
    fn streaming_copies_exactly_what_was_asked() {
        check(streaming);
    }
}
