//! Disjoint sets that many threads join at once.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Sets of numbers; the least of each stands for it, in whatever order they were joined.
pub(crate) struct Forest(Vec<AtomicUsize>);

impl Forest {
    /// The numbers below `n`, each a set of its own.
    pub(crate) fn new(n: usize) -> Self {
        Self((0..n).map(AtomicUsize::new).collect())
    }

    /// The least number of the set of `i`.
    pub(crate) fn root(&self, mut i: usize) -> usize {
        loop {
            let parent = self.0[i].load(Relaxed);
            if parent == i {
                return i;
            }
            let above = self.0[parent].load(Relaxed);
            // Others may have moved it farther up already, which is as good.
            let _ = self.0[i].compare_exchange_weak(parent, above, Relaxed, Relaxed);
            i = above;
        }
    }

    /// Makes the sets of `a` and `b` one.
    pub(crate) fn join(&self, a: usize, b: usize) {
        let (mut a, mut b) = (self.root(a), self.root(b));
        while a != b {
            let (first, second) = (a.min(b), a.max(b));
            if self.0[second].compare_exchange(second, first, Relaxed, Relaxed).is_ok() {
                return;
            }
            (a, b) = (self.root(first), self.root(second));
        }
    }
}

#[cfg(test)]
mod tests {
    use rayon::prelude::*;

    use super::*;

    #[test]
    fn threads_join_what_belongs_together_and_the_least_stands_for_it() {
        let n = 30_000;
        let forest = Forest::new(n);
        // Chains of every seventh number, joined from both ends and the middle at once.
        (0..n - 7).into_par_iter().for_each(|i| forest.join(i + 7, i));
        (0..n - 7).into_par_iter().rev().for_each(|i| forest.join(n - 8 - i, n - 1 - i));
        assert!((0..n).all(|i| forest.root(i) == i % 7));
    }
}
