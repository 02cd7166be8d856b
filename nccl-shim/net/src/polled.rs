//! Which messages the GPU may poll while they arrive.
//!
//! With NCCL's LL and LL128 protocols the flags lie among the data: the GPU reads
//! the destination while it is written, and trusts a flag for its neighbours. Such a
//! message is copied with [`crate::copy::forward`] and nothing else. With the Simple
//! protocol the GPU looks only when `test` has said done, and any copy will do.
//!
//! The protocol is not told. But NCCL registers one buffer per protocol and
//! connection, with its size (`src/transport/net.cc`), and its constants have been
//! the same from 2.18 to 2.30 (`src/include/device.h`): LL 512 KiB in steps of
//! 64 KiB, LL128 4,915,200 bytes in steps of 600 KiB, Simple 4 MiB (aarch64: 1 MiB).

/// The buffer of the LL protocol.
const LL_BUFFER: usize = 512 << 10;
/// NCCL's steps per buffer.
const STEPS: usize = 8;
/// The buffer of LL128.
const LL128_BUFFER: usize = 4_915_200;

/// What is known about NCCL's protocols in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polled {
    /// LL alone: x86-64, where NCCL takes LL128 towards a device at the CPU only if
    /// it is asked to.
    Ll,
    /// LL and LL128.
    LlAndLl128,
    /// Buffers of the user's own sizes: any message.
    Any,
}

impl Polled {
    /// From NCCL's variables.
    pub fn from_env(env: impl Fn(&str) -> Option<String>) -> Self {
        let sized = ["NCCL_LL_BUFFSIZE", "NCCL_LL128_BUFFSIZE"];
        if sized.into_iter().any(|name| env(name).is_some_and(|text| !text.trim().is_empty())) {
            return Self::Any;
        }
        let protocols = env("NCCL_PROTO").unwrap_or_default().to_ascii_uppercase();
        let asked = protocols.contains("LL128") && !protocols.trim_start().starts_with('^');
        if asked || !cfg!(target_arch = "x86_64") { Self::LlAndLl128 } else { Self::Ll }
    }

    /// Whether the GPU may poll a message of `len` bytes on its way into memory that
    /// was registered with `region` bytes; 0 if that is not known.
    pub fn may_be(self, len: usize, region: usize) -> bool {
        let ll = len <= LL_BUFFER / STEPS && region <= LL_BUFFER;
        let ll128 = len <= LL128_BUFFER / STEPS && (region == LL128_BUFFER || region == 0);
        match self {
            Self::Ll => ll,
            Self::LlAndLl128 => ll || ll128,
            Self::Any => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_says_which_protocols_there_are() {
        let polled = |name: &'static str, value: &'static str| {
            Polled::from_env(|asked| (asked == name).then(|| value.to_owned()))
        };
        let plain = if cfg!(target_arch = "x86_64") { Polled::Ll } else { Polled::LlAndLl128 };
        assert_eq!(polled("", ""), plain);
        assert_eq!(polled("NCCL_PROTO", "Simple,LL"), plain);
        assert_eq!(polled("NCCL_PROTO", "^LL128"), plain);
        assert_eq!(polled("NCCL_PROTO", "ll128"), Polled::LlAndLl128);
        assert_eq!(polled("NCCL_LL_BUFFSIZE", "8388608"), Polled::Any);
        assert_eq!(polled("NCCL_LL128_BUFFSIZE", "1"), Polled::Any);
        assert_eq!(polled("NCCL_LL_BUFFSIZE", " "), plain);
    }

    #[test]
    fn a_step_of_a_polled_buffer_may_be_polled() {
        let simple = 4 << 20;
        for polled in [Polled::Ll, Polled::LlAndLl128] {
            assert!(polled.may_be(65_536, LL_BUFFER));
            assert!(polled.may_be(8, 0), "memory that was not registered");
            assert!(!polled.may_be(65_536, simple));
            assert!(!polled.may_be(1 << 20, 1 << 20));
        }
        assert!(!Polled::Ll.may_be(65_537, LL_BUFFER), "longer than a step");
        assert!(Polled::LlAndLl128.may_be(614_400, LL128_BUFFER));
        assert!(Polled::LlAndLl128.may_be(614_400, 0));
        assert!(!Polled::LlAndLl128.may_be(614_401, LL128_BUFFER));
        assert!(!Polled::LlAndLl128.may_be(614_400, simple));
        assert!(Polled::Any.may_be(1 << 30, simple));
    }
}
