#![doc = include_str!("../README.md")]

mod angles;
mod correlation;
mod detection;
mod error;
mod neighbours;
mod partitions;
mod reconstruction;
mod regression;
mod trust;
mod unmixing;

pub use angles::{AngleScore, ClassAngle, circular_correlation};
pub use correlation::correlation;
pub use detection::{DetectionScores, SiteMatch, away_from_edges, detection_scores, labels_of_matches, match_sites};
pub use error::{Error, Result};
pub use neighbours::{NearestNeighbours, accuracy_within, held_out_accuracy, nearest_neighbour_accuracy};
pub use partitions::{adjusted_rand_index, boundary_length};
pub use reconstruction::{reconstruction_error, reconstruction_errors};
pub use regression::held_out_regression;
pub use trust::trustworthiness;
pub use unmixing::{abundance_coverage, abundance_error, match_spectra};
