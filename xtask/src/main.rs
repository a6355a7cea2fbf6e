//! The parsimon runner.
fn main() {}
