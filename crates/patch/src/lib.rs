//! Cuts a calibrated window around each atom.
