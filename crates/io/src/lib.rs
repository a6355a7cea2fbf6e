#![doc = include_str!("../README.md")]

mod assemble;
mod atomic;
mod bcf;
mod colour;
mod content;
mod dataset;
mod dm;
mod error;
mod files;
mod hyperspy;
mod idx;
mod latents;
mod npy;
mod npz;
mod numpy;
mod png;
mod raw;
mod rows;
mod sample;
mod scene;
mod sites;
mod tiff;

pub use atomic::{Writer, write_atomically};
pub use content::{Content, is_list, read, read_detector_images, read_frame, read_image, with_pixel_size};
pub use dataset::{read_dataset, write_dataset};
pub use error::{Error, Result};
pub use hyperspy::UNITLESS;
pub use latents::{read_latents, write_latents};
pub use npy::{Values, write_npy};
pub use npz::{read_arrays, write_npz};
pub use png::write_png;
pub use raw::{RawLayout, read_raw};
pub use rows::NpyRows;
pub use scene::{read_scene, write_scene};
pub use sites::{SiteColumns, read_sites_csv, write_sites_csv};
pub use tiff::write_tiff;
