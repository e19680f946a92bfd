//! Reading headers bit by bit, and finding start codes.

/// Reads bits, most significant first. Everything is `None` past the end: a damaged header is no error here, it just
/// says nothing.
#[derive(Clone, Debug)]
pub(super) struct Bits<'a> {
    data: &'a [u8],
    /// In bits from the start of `data`.
    position: usize,
}

impl<'a> Bits<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { data, position: 0 }
    }

    pub(super) fn flag(&mut self) -> Option<bool> {
        let byte = self.data.get(self.position / 8)?;
        let bit = byte >> (7 - self.position % 8) & 1;
        self.position += 1;
        Some(bit == 1)
    }

    /// The next `count` bits, 64 at most, as an unsigned number.
    pub(super) fn bits(&mut self, count: u32) -> Option<u64> {
        let mut value = 0;
        for _ in 0..count {
            value = value << 1 | u64::from(self.flag()?);
        }
        Some(value)
    }

    pub(super) fn skip(&mut self, count: u32) -> Option<()> {
        let position = self.position.checked_add(count as usize)?;
        if position > self.data.len() * 8 {
            return None;
        }
        self.position = position;
        Some(())
    }

    /// Exponential Golomb code, ue(v) (H.264 9.1, H.265 9.2).
    pub(super) fn exp_golomb(&mut self) -> Option<u64> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 32 {
                return None;
            }
        }
        Some((1 << zeros) - 1 + self.bits(zeros)?)
    }
}

/// Where the next start code `00 00 01` at or after `from` ends, which is where the byte after it lies.
pub(super) fn after_start_code(data: &[u8], from: usize) -> Option<usize> {
    let mut end = from.checked_add(3)?;
    while end <= data.len() {
        // What these three bytes rule out decides how far to go.
        end += match data[end - 3..end] {
            [0, 0, 1] => return Some(end),
            [_, 0, 0] => 1,
            [_, _, 0] => 2,
            _ => 3,
        };
    }
    None
}

/// The start codes of a packet, each as the byte that tells which it is, with everything behind that byte.
pub(super) fn start_codes(data: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut position = Some(0);
    std::iter::from_fn(move || {
        position = after_start_code(data, position?);
        let (&code, payload) = data[position?..].split_first()?;
        Some((code, payload))
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Writes bits, most significant first: for tests that make their own headers.
    #[derive(Default)]
    pub(in super::super) struct BitWriter {
        bytes: Vec<u8>,
        used: u32,
    }

    impl BitWriter {
        pub(in super::super) fn put(mut self, count: u32, value: u64) -> Self {
            for bit in (0..count).rev() {
                if self.used.is_multiple_of(8) {
                    self.bytes.push(0);
                }
                if value >> bit & 1 == 1 {
                    *self.bytes.last_mut().expect("pushed above") |= 0x80 >> (self.used % 8);
                }
                self.used += 1;
            }
            self
        }

        pub(in super::super) fn exp_golomb(self, value: u64) -> Self {
            let length = (value + 1).ilog2();
            self.put(length, 0).put(length + 1, value + 1)
        }

        /// The bytes, the last one filled up with zeros.
        pub(in super::super) fn done(self) -> Vec<u8> {
            self.bytes
        }
    }

    #[test]
    fn nothing_past_the_end() {
        let mut bits = Bits::new(&[0b1010_0000]);
        assert_eq!(bits.bits(3), Some(0b101));
        assert_eq!(bits.skip(6), None);
        assert_eq!(bits.skip(5), Some(()));
        assert_eq!((bits.flag(), bits.bits(1), bits.bits(0)), (None, None, Some(0)));
    }

    #[test]
    fn start_codes_at_every_distance() {
        for zeros in 0..8 {
            let data = [vec![7, 1], vec![0; zeros], vec![1, 9]].concat();
            assert_eq!(after_start_code(&data, 0), (zeros >= 2).then_some(zeros + 3), "{zeros} zeros");
        }
        assert_eq!(after_start_code(&[0, 0], 0), None);
        assert_eq!(after_start_code(&[0, 0, 1], 9), None);
        assert_eq!(after_start_code(&[0, 0, 1], usize::MAX), None);
    }

    proptest! {
        #[test]
        fn reads_what_was_written(value in 0u64..u64::from(u32::MAX), count in 0u32..64, number: u64) {
            let number = number & ((1 << count) - 1);
            let data = BitWriter::default().exp_golomb(value).put(count, number).done();
            let mut bits = Bits::new(&data);
            prop_assert_eq!(bits.exp_golomb(), Some(value));
            prop_assert_eq!(bits.bits(count), Some(number));
        }

        #[test]
        fn start_code_search_equals_the_simple_one(data in prop::collection::vec(0u8..4, 0..40), from in 0usize..45) {
            let simple = (from + 3..=data.len()).find(|&end| data[end - 3..end] == [0, 0, 1]);
            prop_assert_eq!(after_start_code(&data, from), simple);
        }
    }
}
