//! Varints: whole numbers in as few bytes as they need.
//!
//! Seven bits a byte, the low ones first, the top bit set on all but the last (LEB128). Signed
//! numbers are folded first (zigzag: 0, -1, 1, -2, …), so that small ones of either sign are short.

/// Bytes of the longest varint.
const MAX_BYTES: usize = 10;

/// Appends `n`: one byte below 128, ten at most.
pub(crate) fn write_u64(into: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        into.push(n as u8 | 0x80);
        n >>= 7;
    }
    into.push(n as u8);
}

/// Appends `n`: one byte within -64..64, ten at most.
pub(crate) fn write_i64(into: &mut Vec<u8>, n: i64) {
    write_u64(into, ((n << 1) ^ (n >> 63)) as u64);
}

/// Takes a number off the front of `bytes`; none, if they end before it does or it does not fit.
pub(crate) fn read_u64(bytes: &mut &[u8]) -> Option<u64> {
    let mut n = 0;
    for (i, &byte) in bytes.iter().take(MAX_BYTES).enumerate() {
        n |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            // The tenth byte has room for one bit.
            let fits = i + 1 < MAX_BYTES || byte <= 1;
            *bytes = &bytes[i + 1..];
            return fits.then_some(n);
        }
    }
    None
}

/// Takes a signed number off the front of `bytes`; none, if they end before it does or it does not
/// fit.
pub(crate) fn read_i64(bytes: &mut &[u8]) -> Option<i64> {
    let folded = read_u64(bytes)?;
    Some((folded >> 1) as i64 ^ -((folded & 1) as i64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_number_comes_back_and_leaves_what_follows(n: u64, shift in 0..64_u32, tail: u8) {
            let (n, mut bytes) = (n >> shift, Vec::new());
            write_u64(&mut bytes, n);
            write_i64(&mut bytes, n as i64);
            bytes.push(tail);
            let mut rest = &bytes[..];
            prop_assert_eq!(read_u64(&mut rest), Some(n));
            prop_assert_eq!(read_i64(&mut rest), Some(n as i64));
            prop_assert_eq!(rest, [tail]);
        }

        #[test]
        fn bytes_from_anywhere_never_panic(bytes: Vec<u8>) {
            let mut rest = &bytes[..];
            while read_u64(&mut rest).is_some() {}
        }
    }

    #[test]
    fn small_numbers_of_either_sign_take_one_byte() {
        for (n, byte) in [(0, 0), (-1, 1), (1, 2), (-64, 127), (63, 126)] {
            let mut bytes = Vec::new();
            write_i64(&mut bytes, n);
            assert_eq!(bytes, [byte]);
        }
    }

    #[test]
    fn a_number_that_is_cut_short_or_too_large_is_refused() {
        assert_eq!(read_u64(&mut &[][..]), None);
        assert_eq!(read_u64(&mut &[0x80; 3][..]), None);
        assert_eq!(read_u64(&mut &[0xff; 11][..]), None);
        let mut two_to_the_64 = [0x80; 10];
        two_to_the_64[9] = 2;
        assert_eq!(read_u64(&mut &two_to_the_64[..]), None);
    }
}
