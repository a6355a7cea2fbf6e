//! Scores that tell whether a representation found what is there.
