#![doc = include_str!("../README.md")]

mod angles;
mod detection;
mod error;
mod neighbours;
mod partitions;
mod reconstruction;

pub use angles::{AngleScore, ClassAngle, circular_correlation};
pub use detection::{DetectionScores, SiteMatch, detection_scores, match_sites};
pub use error::{Error, Result};
pub use neighbours::{NearestNeighbours, held_out_accuracy, nearest_neighbour_accuracy};
pub use partitions::adjusted_rand_index;
pub use reconstruction::{reconstruction_error, reconstruction_errors};
