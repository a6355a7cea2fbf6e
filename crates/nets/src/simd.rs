//! Vectors of f32 of each instruction set, for kernels written once.
#![allow(unsafe_code, reason = "vector instructions work on registers and on memory behind pointers")]

/// A vector register.
///
/// # Safety
/// Every method needs a CPU with the instructions of the type, so only functions that [`dispatch!`](crate::maths::dispatch)
/// compiles for them may call it. Pointers are to `LANES` numbers, or to `count` of them.
pub(crate) trait Simd: Copy {
    /// Numbers in it.
    const LANES: usize;
    unsafe fn splat(x: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    /// The first `count` numbers, and zeros.
    unsafe fn load_some(from: *const f32, count: usize) -> Self;
    unsafe fn store(self, to: *mut f32);
    /// The first `count` numbers only.
    unsafe fn store_some(self, to: *mut f32, count: usize);
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn sub(self, other: Self) -> Self;
    unsafe fn mul(self, other: Self) -> Self;
    unsafe fn div(self, other: Self) -> Self;
    /// self·factor + sum.
    unsafe fn fused(self, factor: Self, sum: Self) -> Self;
    /// The larger; NaN stays NaN.
    unsafe fn at_least(self, low: Self) -> Self;
    /// The smaller; NaN stays NaN.
    unsafe fn at_most(self, high: Self) -> Self;
    /// `yes` where self is above 0, else `no`.
    unsafe fn if_positive(self, yes: Self, no: Self) -> Self;
    /// 2ⁿ of 2²³·1.5 + n, whole n from −126 to 127.
    unsafe fn power_of_two(self) -> Self;
    /// m and n of self = m·2ⁿ with m from √½ to √2, of normal numbers above 0.
    unsafe fn parts(self) -> (Self, Self);
    unsafe fn sqrt(self) -> Self;
    /// 1/self to 2 ulp, of finite numbers.
    unsafe fn reciprocal(self) -> Self;
    /// `LANES` numbers in bf16, the upper halves of f32.
    unsafe fn load_half(from: *const u16) -> Self;
    /// Rounded to bf16, to nearest, ties to even.
    unsafe fn store_half(self, to: *mut u16);
    /// Lanes of two numbers in bf16: self rounded in the lower half, `upper` in the upper one.
    unsafe fn pairs(self, upper: Self) -> Self;
    /// Of pairs, the numbers in the lower halves.
    unsafe fn lower(self) -> Self;
    /// Of pairs, the numbers in the upper halves.
    unsafe fn upper(self) -> Self;

    /// The next numbers of a slice, and zeros after its end.
    #[inline(always)]
    unsafe fn get(from: &[f32]) -> Self {
        // SAFETY: as the trait says; the slice bounds what is read.
        unsafe {
            if from.len() >= Self::LANES {
                Self::load(from.as_ptr())
            } else {
                Self::load_some(from.as_ptr(), from.len())
            }
        }
    }

    /// Sets the next numbers of a slice, up to its end.
    #[inline(always)]
    unsafe fn put(self, to: &mut [f32]) {
        // SAFETY: as the trait says; the slice bounds what is written.
        unsafe {
            if to.len() >= Self::LANES {
                self.store(to.as_mut_ptr())
            } else {
                self.store_some(to.as_mut_ptr(), to.len())
            }
        }
    }

    /// Sum of its numbers.
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        let mut lanes = [0.0f32; 16];
        // SAFETY: as the trait says; no vector has more than 16 lanes.
        unsafe { self.store(lanes.as_mut_ptr()) };
        let mut width = 8;
        while width > 0 {
            for i in 0..width {
                lanes[i] += lanes[i + width];
            }
            width /= 2;
        }
        lanes[0]
    }
}

/// What the compiler makes of plain arithmetic.
#[derive(Clone, Copy)]
pub(crate) struct Plain([f32; 8]);

impl Plain {
    #[inline(always)]
    fn with(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }
}

impl Simd for Plain {
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        Self([x; 8])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller vouches for eight numbers.
        Self(unsafe { from.cast::<[f32; 8]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn load_some(from: *const f32, count: usize) -> Self {
        // SAFETY: the caller vouches for `count` numbers.
        Self(std::array::from_fn(|i| if i < count { unsafe { *from.add(i) } } else { 0.0 }))
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller vouches for eight numbers.
        unsafe { to.cast::<[f32; 8]>().write_unaligned(self.0) }
    }

    #[inline(always)]
    unsafe fn store_some(self, to: *mut f32, count: usize) {
        for (i, x) in self.0.iter().enumerate().take(count) {
            // SAFETY: the caller vouches for `count` numbers.
            unsafe { *to.add(i) = *x }
        }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self.with(other, |a, b| a + b)
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        self.with(other, |a, b| a - b)
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        self.with(other, |a, b| a * b)
    }

    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        self.with(other, |a, b| a / b)
    }

    #[inline(always)]
    unsafe fn fused(self, factor: Self, sum: Self) -> Self {
        self.with(factor, |a, b| a * b).with(sum, |a, b| a + b)
    }

    #[inline(always)]
    unsafe fn at_least(self, low: Self) -> Self {
        self.with(low, |x, low| if x < low { low } else { x })
    }

    #[inline(always)]
    unsafe fn at_most(self, high: Self) -> Self {
        self.with(high, |x, high| if x > high { high } else { x })
    }

    #[inline(always)]
    unsafe fn if_positive(self, yes: Self, no: Self) -> Self {
        Self(std::array::from_fn(|i| if self.0[i] > 0.0 { yes.0[i] } else { no.0[i] }))
    }

    #[inline(always)]
    unsafe fn power_of_two(self) -> Self {
        Self(self.0.map(|x| f32::from_bits(x.to_bits().wrapping_add(127) << 23)))
    }

    #[inline(always)]
    unsafe fn parts(self) -> (Self, Self) {
        let exponent = self.0.map(|x| (x.to_bits() as i32).wrapping_sub(HALF_ROOT) >> 23);
        let mantissa = |i: usize| f32::from_bits((self.0[i].to_bits() as i32).wrapping_sub(exponent[i] << 23) as u32);
        (Self(std::array::from_fn(mantissa)), Self(exponent.map(|n| n as f32)))
    }

    #[inline(always)]
    unsafe fn sqrt(self) -> Self {
        Self(self.0.map(f32::sqrt))
    }

    #[inline(always)]
    unsafe fn reciprocal(self) -> Self {
        Self(self.0.map(f32::recip))
    }

    #[inline(always)]
    unsafe fn load_half(from: *const u16) -> Self {
        // SAFETY: the caller vouches for eight numbers.
        Self(std::array::from_fn(|i| f32::from_bits(u32::from(unsafe { *from.add(i) }) << 16)))
    }

    #[inline(always)]
    unsafe fn store_half(self, to: *mut u16) {
        for (i, x) in self.0.iter().enumerate() {
            // SAFETY: the caller vouches for eight numbers.
            unsafe { *to.add(i) = (rounded(*x) >> 16) as u16 }
        }
    }

    #[inline(always)]
    unsafe fn pairs(self, upper: Self) -> Self {
        self.with(upper, |low, up| f32::from_bits(rounded(low) >> 16 | rounded(up) & UPPER))
    }

    #[inline(always)]
    unsafe fn lower(self) -> Self {
        Self(self.0.map(|x| f32::from_bits(x.to_bits() << 16)))
    }

    #[inline(always)]
    unsafe fn upper(self) -> Self {
        Self(self.0.map(|x| f32::from_bits(x.to_bits() & UPPER)))
    }
}

/// The half of an f32 that is a bf16.
const UPPER: u32 = 0xffff_0000;

/// Bits of √½: from its to those of √2 is one step of the exponent.
const HALF_ROOT: i32 = 0x3f35_04f3;

/// Bits of an f32 whose upper half is the nearest bf16.
#[inline(always)]
fn rounded(x: f32) -> u32 {
    let bits = x.to_bits();
    bits.wrapping_add(0x7fff + (bits >> 16 & 1))
}

#[cfg(target_arch = "x86_64")]
pub(crate) mod x86 {
    use std::arch::x86_64::*;

    use super::{HALF_ROOT, Simd, UPPER};

    pub(crate) use std::arch::x86_64::{__m256, __m512};

    /// Methods that are one instruction.
    macro_rules! instructions {
        ($($name:ident($($arg:ident: $type:ty),*) -> $result:ty = $body:expr;)*) => {
            $(
                #[inline(always)]
                unsafe fn $name($($arg: $type),*) -> $result {
                    // SAFETY: the caller vouches for the CPU and for the numbers behind pointers; masked lanes are not
                    // touched.
                    unsafe { $body }
                }
            )*
        };
    }

    /// The lowest `count` bits.
    #[inline(always)]
    fn low(count: usize) -> u16 {
        ((1u32 << count) - 1) as u16
    }

    // `self` cannot be named by a macro's caller, so the first operand is written `x` and the methods are thin.
    macro_rules! vector {
        ($vector:ty, $lanes:expr, {$($loads:tt)*}, {$($ops:tt)*}) => {
            impl Simd for $vector {
                const LANES: usize = $lanes;
                instructions! { $($loads)* }
                vector! { @ops $($ops)* }
            }
        };
        (@ops $($name:ident($this:ident $(, $arg:ident: $type:ty)*) $(-> $result:ty)? = $body:expr;)*) => {
            $(
                #[inline(always)]
                unsafe fn $name(self $(, $arg: $type)*) $(-> $result)? {
                    let $this = self;
                    // SAFETY: the caller vouches for the CPU and for the numbers behind pointers; masked lanes are not
                    // touched.
                    unsafe { $body }
                }
            )*
        };
    }

    vector! { __m512, 16, {
        splat(x: f32) -> Self = _mm512_set1_ps(x);
        load(from: *const f32) -> Self = _mm512_loadu_ps(from);
        load_some(from: *const f32, count: usize) -> Self = _mm512_maskz_loadu_ps(low(count), from);
        load_half(from: *const u16) -> Self =
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()))));
    }, {
        store(x, to: *mut f32) = _mm512_storeu_ps(to, x);
        store_some(x, to: *mut f32, count: usize) = _mm512_mask_storeu_ps(to, low(count), x);
        add(x, other: Self) -> Self = _mm512_add_ps(x, other);
        sub(x, other: Self) -> Self = _mm512_sub_ps(x, other);
        mul(x, other: Self) -> Self = _mm512_mul_ps(x, other);
        div(x, other: Self) -> Self = _mm512_div_ps(x, other);
        fused(x, factor: Self, sum: Self) -> Self = _mm512_fmadd_ps(x, factor, sum);
        at_least(x, low: Self) -> Self = _mm512_max_ps(low, x);
        at_most(x, high: Self) -> Self = _mm512_min_ps(high, x);
        if_positive(x, yes: Self, no: Self) -> Self =
            _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(x, _mm512_setzero_ps()), no, yes);
        power_of_two(x) -> Self = {
            let exponent = _mm512_add_epi32(_mm512_castps_si512(x), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(exponent))
        };
        parts(x) -> (Self, Self) = {
            let bits = _mm512_castps_si512(x);
            let exponent = _mm512_srai_epi32::<23>(_mm512_sub_epi32(bits, _mm512_set1_epi32(HALF_ROOT)));
            let mantissa = _mm512_sub_epi32(bits, _mm512_slli_epi32::<23>(exponent));
            (_mm512_castsi512_ps(mantissa), _mm512_cvtepi32_ps(exponent))
        };
        sqrt(x) -> Self = _mm512_sqrt_ps(x);
        reciprocal(x) -> Self = {
            // 14 bits and a step of Newton's take a fifth of a division.
            let near = _mm512_rcp14_ps(x);
            _mm512_mul_ps(near, _mm512_fnmadd_ps(x, near, _mm512_set1_ps(2.0)))
        };
        store_half(x, to: *mut u16) =
            _mm256_storeu_si256(to.cast(), _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(rounded_512(x))));
        pairs(x, upper: Self) -> Self = {
            let upper = _mm512_and_si512(rounded_512(upper), _mm512_set1_epi32(UPPER as i32));
            _mm512_castsi512_ps(_mm512_or_si512(_mm512_srli_epi32::<16>(rounded_512(x)), upper))
        };
        lower(x) -> Self = _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_castps_si512(x)));
        upper(x) -> Self =
            _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(UPPER as i32)));
    } }

    /// As [`super::rounded`].
    #[inline(always)]
    unsafe fn rounded_512(x: __m512) -> __m512i {
        // SAFETY: the caller vouches for the CPU.
        unsafe {
            let bits = _mm512_castps_si512(x);
            let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd)
        }
    }

    /// As [`super::rounded`].
    #[inline(always)]
    unsafe fn rounded_256(x: __m256) -> __m256i {
        // SAFETY: the caller vouches for the CPU.
        unsafe {
            let bits = _mm256_castps_si256(x);
            let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
            _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd)
        }
    }

    /// All ones in the first `count` lanes.
    #[inline(always)]
    unsafe fn mask(count: usize) -> __m256i {
        // SAFETY: the caller vouches for the CPU.
        unsafe {
            let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            _mm256_cmpgt_epi32(_mm256_set1_epi32(count as i32), lanes)
        }
    }

    vector! { __m256, 8, {
        splat(x: f32) -> Self = _mm256_set1_ps(x);
        load(from: *const f32) -> Self = _mm256_loadu_ps(from);
        load_some(from: *const f32, count: usize) -> Self = _mm256_maskload_ps(from, mask(count));
        load_half(from: *const u16) -> Self =
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast()))));
    }, {
        store(x, to: *mut f32) = _mm256_storeu_ps(to, x);
        store_some(x, to: *mut f32, count: usize) = _mm256_maskstore_ps(to, mask(count), x);
        add(x, other: Self) -> Self = _mm256_add_ps(x, other);
        sub(x, other: Self) -> Self = _mm256_sub_ps(x, other);
        mul(x, other: Self) -> Self = _mm256_mul_ps(x, other);
        div(x, other: Self) -> Self = _mm256_div_ps(x, other);
        fused(x, factor: Self, sum: Self) -> Self = _mm256_fmadd_ps(x, factor, sum);
        at_least(x, low: Self) -> Self = _mm256_max_ps(low, x);
        at_most(x, high: Self) -> Self = _mm256_min_ps(high, x);
        if_positive(x, yes: Self, no: Self) -> Self =
            _mm256_blendv_ps(no, yes, _mm256_cmp_ps::<_CMP_GT_OQ>(x, _mm256_setzero_ps()));
        power_of_two(x) -> Self = {
            let exponent = _mm256_add_epi32(_mm256_castps_si256(x), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent))
        };
        parts(x) -> (Self, Self) = {
            let bits = _mm256_castps_si256(x);
            let exponent = _mm256_srai_epi32::<23>(_mm256_sub_epi32(bits, _mm256_set1_epi32(HALF_ROOT)));
            let mantissa = _mm256_sub_epi32(bits, _mm256_slli_epi32::<23>(exponent));
            (_mm256_castsi256_ps(mantissa), _mm256_cvtepi32_ps(exponent))
        };
        sqrt(x) -> Self = _mm256_sqrt_ps(x);
        reciprocal(x) -> Self = _mm256_div_ps(_mm256_set1_ps(1.0), x);
        store_half(x, to: *mut u16) = {
            let halves = _mm256_srli_epi32::<16>(rounded_256(x));
            let packed = _mm256_permute4x64_epi64::<0b1000>(_mm256_packus_epi32(halves, halves));
            _mm_storeu_si128(to.cast(), _mm256_castsi256_si128(packed))
        };
        pairs(x, upper: Self) -> Self = {
            let upper = _mm256_and_si256(rounded_256(upper), _mm256_set1_epi32(UPPER as i32));
            _mm256_castsi256_ps(_mm256_or_si256(_mm256_srli_epi32::<16>(rounded_256(x)), upper))
        };
        lower(x) -> Self = _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_castps_si256(x)));
        upper(x) -> Self =
            _mm256_castsi256_ps(_mm256_and_si256(_mm256_castps_si256(x), _mm256_set1_epi32(UPPER as i32)));
    } }
}
