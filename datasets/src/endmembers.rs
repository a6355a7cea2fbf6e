//! Spectra that look like energy losses of electrons in eight materials.

use ndarray::Array1;

/// Energies of the first and of the last channel in eV.
pub(crate) const ENERGIES: [f64; 2] = [10.0, 210.0];
/// How many there are.
pub(crate) const MOST: usize = 8;
/// Energy in eV at which heights of the power law are given.
const REFERENCE: f64 = 50.0;

/// An edge: onset and width of the onset in eV, height at the onset, exponent of its tail; white line: height relative to the
/// edge, distance from the onset and width in eV.
struct Edge([f64; 4], [f64; 3]);

/// A material: its name; plasmon: energy and width in eV; power law: height at 50 eV and exponent; its edges.
struct Material {
    name: &'static str,
    plasmon: [f64; 2],
    background: [f64; 2],
    edges: &'static [Edge],
}

/// Onsets and plasmons are near those of the materials; heights are chosen so that every edge matters.
const MATERIALS: [Material; MOST] = [
    Material {
        name: "silicon",
        plasmon: [16.7, 3.7],
        background: [0.040, 2.6],
        edges: &[Edge([99.0, 1.2, 0.030, 1.6], [0.5, 6.0, 5.0])],
    },
    Material {
        name: "silica",
        plasmon: [22.6, 12.0],
        background: [0.050, 2.2],
        edges: &[Edge([105.0, 0.8, 0.032, 1.8], [1.6, 3.0, 1.6])],
    },
    Material {
        name: "aluminium",
        plasmon: [15.0, 1.6],
        background: [0.035, 2.9],
        edges: &[Edge([73.0, 0.6, 0.038, 1.4], [0.3, 24.0, 9.0])],
    },
    Material {
        name: "boron nitride",
        plasmon: [25.5, 8.5],
        background: [0.042, 2.4],
        edges: &[Edge([192.0, 1.0, 0.026, 2.0], [2.2, 0.6, 1.1])],
    },
    Material {
        name: "magnesia",
        plasmon: [22.0, 6.0],
        background: [0.045, 2.1],
        edges: &[Edge([52.0, 0.9, 0.050, 1.5], [0.8, 6.0, 3.0])],
    },
    Material {
        name: "titania",
        plasmon: [28.5, 8.0],
        background: [0.055, 2.5],
        edges: &[Edge([36.0, 2.0, 0.090, 2.2], [1.4, 11.0, 5.0]), Edge([60.0, 3.0, 0.015, 1.2], [0.0, 1.0, 1.0])],
    },
    Material {
        name: "zinc sulphide",
        plasmon: [19.5, 9.0],
        background: [0.038, 2.0],
        edges: &[Edge([90.0, 2.5, 0.030, 0.8], [0.0, 1.0, 1.0]), Edge([165.0, 1.2, 0.020, 1.7], [0.9, 4.0, 3.0])],
    },
    Material {
        name: "phosphide",
        plasmon: [14.5, 5.0],
        background: [0.036, 2.3],
        edges: &[Edge([132.0, 1.0, 0.030, 1.6], [0.7, 5.0, 4.0])],
    },
];

/// Names of the first `count`.
pub(crate) fn names(count: usize) -> Vec<&'static str> {
    MATERIALS.iter().take(count).map(|m| m.name).collect()
}

/// The spectrum of material `index` at these energies in eV; its greatest value is of the order of 1.
pub(crate) fn spectrum(index: usize, energies: &Array1<f64>) -> Array1<f64> {
    let material = &MATERIALS[index];
    energies.mapv(|energy| material.at(energy))
}

impl Material {
    fn at(&self, energy: f64) -> f64 {
        let [at, width] = self.plasmon;
        let loss = (energy * width).powi(2);
        let plasmon = loss / ((energy * energy - at * at).powi(2) + loss);
        let [height, exponent] = self.background;
        // Single losses begin where electrons do: the power law is the tail beyond the plasmon.
        let tail = height * (energy / REFERENCE).powf(-exponent) * onset((energy - at) / width);
        plasmon + tail + self.edges.iter().map(|edge| edge.at(energy)).sum::<f64>()
    }
}

impl Edge {
    fn at(&self, energy: f64) -> f64 {
        let Self([at, smooth, height, exponent], [line, distance, width]) = *self;
        let above = energy - at;
        // Ripples that fade, as the neighbours of an atom make them.
        let ripple = 0.15 * (above / 7.0).sin() * (-above.max(0.0) / 25.0).exp();
        let fine = 1.0 + ripple + line * (-0.5 * ((above - distance) / width).powi(2)).exp();
        height * onset(above / smooth) * (energy / at).max(1.0).powf(-exponent) * fine
    }
}

/// From 0 to 1 about 0.
fn onset(t: f64) -> f64 {
    1.0 / (1.0 + (-t).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spectra_are_positive_and_no_two_are_alike() {
        let energies = Array1::linspace(ENERGIES[0], ENERGIES[1], 400);
        let spectra: Vec<_> = (0..MOST).map(|r| spectrum(r, &energies)).collect();
        for (i, a) in spectra.iter().enumerate() {
            assert!(a.iter().all(|v| *v > 0.0 && *v < 2.0), "{i}");
            for b in &spectra[..i] {
                let cosine = a.dot(b) / (a.dot(a) * b.dot(b)).sqrt();
                assert!(cosine < 0.98, "{i}: {cosine}");
            }
        }
    }

    #[test]
    fn plasmons_and_edges_stand_where_the_table_says() {
        let energies = Array1::linspace(ENERGIES[0], ENERGIES[1], 2001);
        for (r, material) in MATERIALS.iter().enumerate() {
            let spectrum = spectrum(r, &energies);
            let at = |energy: f64| spectrum[((energy - ENERGIES[0]) * 10.0).round() as usize];
            let highest = spectrum.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
            assert!((energies[highest] - material.plasmon[0]).abs() < 3.0, "{}: {}", material.name, energies[highest]);
            for edge in material.edges {
                let share = |energy: f64| edge.at(energy) / at(energy);
                let Edge([onset, smooth, ..], _) = *edge;
                let (before, after) = (share(onset - 5.0 * smooth), share(onset + 3.0 * smooth));
                assert!(before < 0.05 && after > 0.15, "{}, {onset}: {before}, {after}", material.name);
            }
        }
    }
}
