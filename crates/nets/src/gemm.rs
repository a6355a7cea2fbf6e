//! Matrix products on slices.
#![allow(unsafe_code, reason = "matrixmultiply takes pointers; every wrapper checks the lengths first")]

/// C ← α·C + A·B with A m×k, B k×n, C m×n, all row-major and dense; `transpose_*` reads the factor transposed
/// (A as k×m, B as n×k). α is 0 or 1.
pub(crate) struct Product {
    pub m: usize,
    pub k: usize,
    pub n: usize,
    pub transpose_a: bool,
    pub transpose_b: bool,
    pub add: bool,
}

impl Product {
    pub(crate) fn run(&self, a: &[f32], b: &[f32], c: &mut [f32]) {
        let &Self { m, k, n, transpose_a, transpose_b, add } = self;
        assert!(a.len() >= m * k && b.len() >= k * n && c.len() >= m * n, "matrix product {m}×{k}×{n}");
        let (rsa, csa) = if transpose_a { (1, m) } else { (k, 1) };
        let (rsb, csb) = if transpose_b { (1, k) } else { (n, 1) };
        let beta = if add { 1.0 } else { 0.0 };
        // SAFETY: the assertion above bounds every element that these sizes and strides reach; C is borrowed alone.
        unsafe {
            matrixmultiply::sgemm(
                m,
                k,
                n,
                1.0,
                a.as_ptr(),
                rsa as isize,
                csa as isize,
                b.as_ptr(),
                rsb as isize,
                csb as isize,
                beta,
                c.as_mut_ptr(),
                n as isize,
                1,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn products_agree_with_the_definition(
            m in 1usize..9, k in 1usize..9, n in 1usize..9, transpose_a: bool, transpose_b: bool, add: bool,
            seed in 0u32..1000,
        ) {
            let value = |i: usize| ((i as u32).wrapping_mul(2_654_435_761).wrapping_add(seed) % 17) as f32 - 8.0;
            let a: Vec<f32> = (0..m * k).map(value).collect();
            let b: Vec<f32> = (0..k * n).map(|i| value(i + 100)).collect();
            let start: Vec<f32> = (0..m * n).map(|i| value(i + 200)).collect();
            let mut c = start.clone();
            Product { m, k, n, transpose_a, transpose_b, add }.run(&a, &b, &mut c);
            for i in 0..m { for j in 0..n {
                let sum: f32 = (0..k).map(|l| {
                    let x = if transpose_a { a[l * m + i] } else { a[i * k + l] };
                    let y = if transpose_b { b[j * k + l] } else { b[l * n + j] };
                    x * y
                }).sum();
                prop_assert_eq!(c[i * n + j], sum + if add { start[i * n + j] } else { 0.0 });
            } }
        }
    }
}
