//! Data whose ground truth is known, and recipes for real data.
