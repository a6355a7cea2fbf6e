//! Reads microscopy files with their calibration, and writes results.
