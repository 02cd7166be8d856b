//! Text in a fixed buffer: what the preload library builds its values and lines in, because it must
//! not allocate. Compiles without `std`, and no call can panic.

use core::ffi::CStr;

/// Up to `N - 1` bytes, always followed by a NUL. What does not fit is cut off.
#[derive(Clone, Copy, Debug)]
pub struct Text<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Text<N> {
    /// No text.
    pub const fn new() -> Text<N> {
        Text { bytes: [0; N], length: 0 }
    }

    /// Appends bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        let room = N.saturating_sub(1).saturating_sub(self.length);
        for (slot, byte) in self.bytes.iter_mut().skip(self.length).take(room).zip(bytes) {
            *slot = *byte;
            self.length += 1;
        }
    }

    /// Appends a number in decimal.
    pub fn push_number(&mut self, number: u64) {
        let (mut digits, mut rest) = ([0; 20], number);
        let mut first = 20;
        for slot in digits.iter_mut().rev() {
            *slot = b'0' + (rest % 10) as u8;
            rest /= 10;
            first -= 1;
            if rest == 0 {
                break;
            }
        }
        self.push(digits.get(first..).unwrap_or_default());
    }

    /// Appends the lowest `digits` hexadecimal digits of a number, lower case.
    pub fn push_hex(&mut self, number: u64, digits: u32) {
        for place in (0..digits.min(16)).rev() {
            let digit = (number >> (4 * place) & 0xf) as u8;
            self.push(&[if digit < 10 { b'0' + digit } else { b'a' + digit - 10 }]);
        }
    }

    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// The text for a C function; ends at the first NUL.
    pub fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or_default()
    }
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Text<N> {
        Text::new()
    }
}

/// A decimal number of at most nine digits; nothing else, no sign, no blank.
pub fn number(text: &[u8]) -> Option<u32> {
    if text.is_empty() || text.len() > 9 {
        return None;
    }
    text.iter().try_fold(0u32, |value, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        value.checked_mul(10)?.checked_add(u32::from(digit))
    })
}

/// FNV-1a: tells texts apart that are too long to keep.
pub fn hash(text: &[u8]) -> u64 {
    text.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_printf_does() {
        for (number, decimal, hex) in
            [(0, "0", "0000"), (9, "9", "0009"), (10, "10", "000a"), (48_879, "48879", "beef")]
        {
            let (mut text, mut digits) = (Text::<8>::new(), Text::<8>::new());
            text.push_number(number);
            digits.push_hex(number, 4);
            assert_eq!(text.as_bytes(), decimal.as_bytes());
            assert_eq!(digits.as_bytes(), hex.as_bytes());
        }
        let mut text = Text::<32>::new();
        text.push_number(u64::MAX);
        assert_eq!(text.as_bytes(), u64::MAX.to_string().as_bytes());
    }

    #[test]
    fn what_does_not_fit_is_cut_off() {
        let mut text = Text::<4>::new();
        text.push(b"ab");
        text.push(b"cd");
        assert_eq!(text.as_bytes(), b"abc");
        assert_eq!(text.as_c_str(), c"abc");
        let mut none = Text::<0>::new();
        none.push(b"a");
        assert_eq!(none.as_c_str(), c"");
    }

    #[test]
    fn only_plain_decimal_numbers_are_numbers() {
        assert_eq!(number(b"0"), Some(0));
        assert_eq!(number(b"999999999"), Some(999_999_999));
        for text in ["", "-1", " 1", "1 ", "0x1", "1000000000", "1,2"] {
            assert_eq!(number(text.as_bytes()), None, "{text:?}");
        }
    }
}
