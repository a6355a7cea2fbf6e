use half::f16;

/// Type of one stored number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sample {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F16,
    F32,
    F64,
}

/// The numbers in `bytes` as `$out`, rounded or cut as `as` does; an incomplete one at the end is left out.
macro_rules! decoder {
    ($name:ident, $out:ty) => {
        pub(crate) fn $name(self, big_endian: bool, bytes: &[u8]) -> Vec<$out> {
            macro_rules! numbers {
                ($t:ty, $number:ident => $value:expr) => {{
                    let from = if big_endian { <$t>::from_be_bytes } else { <$t>::from_le_bytes };
                    let (chunks, _) = bytes.as_chunks::<{ size_of::<$t>() }>();
                    chunks
                        .iter()
                        .map(|&c| {
                            let $number = from(c);
                            $value as $out
                        })
                        .collect()
                }};
            }
            match self {
                U8 => numbers!(u8, v => v),
                I8 => numbers!(i8, v => v),
                U16 => numbers!(u16, v => v),
                I16 => numbers!(i16, v => v),
                U32 => numbers!(u32, v => v),
                I32 => numbers!(i32, v => v),
                U64 => numbers!(u64, v => v),
                I64 => numbers!(i64, v => v),
                F16 => numbers!(f16, v => v.to_f32()),
                F32 => numbers!(f32, v => v),
                F64 => numbers!(f64, v => v),
            }
        }
    };
}

use Sample::{F16, F32, F64, I8, I16, I32, I64, U8, U16, U32, U64};

impl Sample {
    /// Unsigned, signed or floating numbers of `size` bytes.
    pub(crate) fn from_kind(kind: char, size: usize) -> Option<Self> {
        Some(match (kind, size) {
            ('u' | 'b', 1) => U8,
            ('i', 1) => I8,
            ('u', 2) => U16,
            ('i', 2) => I16,
            ('u', 4) => U32,
            ('i', 4) => I32,
            ('u', 8) => U64,
            ('i', 8) => I64,
            ('f', 2) => F16,
            ('f', 4) => F32,
            ('f', 8) => F64,
            _ => return None,
        })
    }

    /// Bytes of one number.
    pub(crate) fn size(self) -> usize {
        match self {
            U8 | I8 => 1,
            U16 | I16 | F16 => 2,
            U32 | I32 | F32 => 4,
            U64 | I64 | F64 => 8,
        }
    }

    /// `uint32`, `float16`, … as numpy says it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            U8 => "uint8",
            I8 => "int8",
            U16 => "uint16",
            I16 => "int16",
            U32 => "uint32",
            I32 => "int32",
            U64 => "uint64",
            I64 => "int64",
            F16 => "float16",
            F32 => "float32",
            F64 => "float64",
        }
    }

    /// Whether the numbers are integers.
    pub(crate) fn is_integer(self) -> bool {
        !matches!(self, F16 | F32 | F64)
    }

    decoder!(to_f64, f64);
    decoder!(to_f32, f32);
    decoder!(to_i64, i64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_decoded_in_both_byte_orders() {
        macro_rules! check {
            ($sample:ident, $t:ty, $values:expr) => {
                let values: Vec<$t> = $values.to_vec();
                let wanted: Vec<f64> = values.iter().map(|&v| f64::from(v)).collect();
                let little: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                let big: Vec<u8> = values.iter().flat_map(|v| v.to_be_bytes()).collect();
                assert_eq!($sample.to_f64(false, &little), wanted);
                assert_eq!($sample.to_f64(true, &big), wanted);
                assert_eq!($sample.size() * values.len(), little.len());
            };
        }
        check!(U8, u8, [0, 1, u8::MAX]);
        check!(I8, i8, [i8::MIN, -1, i8::MAX]);
        check!(U16, u16, [0, 258, u16::MAX]);
        check!(I16, i16, [i16::MIN, -2, i16::MAX]);
        check!(U32, u32, [0, 66_051, u32::MAX]);
        check!(I32, i32, [i32::MIN, -3, i32::MAX]);
        check!(F16, f16, [f16::from_f32(-1.5), f16::from_f32(6.1e-5), f16::MAX]);
        check!(F32, f32, [-1.5f32, 1e-30, f32::MAX]);
        check!(F64, f64, [-1.5, 1e-300, f64::MAX]);
        let large = [i64::MIN, -9_007_199_254_740_993, i64::MAX];
        let bytes: Vec<u8> = large.iter().flat_map(|v| v.to_be_bytes()).collect();
        assert_eq!(I64.to_i64(true, &bytes), large);
        assert_eq!(U64.to_f64(true, &bytes[16..]), [i64::MAX as f64]);
        assert_eq!(F32.to_f32(false, &1e-40f32.to_le_bytes()), [1e-40]);
    }
}
