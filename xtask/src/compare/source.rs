//! The file that is compared: what it holds after the steps, and what is known of that.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use ndarray::{Array3, Axis as Dim};
use parsimon_core::{Axis, Dataset, SpectrumImage};
use parsimon_io::Content;
use parsimon_spectra::steps::parse;
use parsimon_spectra::{Bin, Crop, PoissonScaling, Prepared, Step, apply};

use super::patterns::linear;

pub struct Source {
    /// Samples, the spectra as prepared, and what is known of them.
    pub known: Dataset,
    /// Spectra of a scan, or of any file after steps.
    pub prepared: Option<Prepared>,
    /// Pixels, if the samples are all those of a scan.
    pub scan: Option<(usize, usize, [Axis; 2])>,
    pub notes: Vec<String>,
}

impl Source {
    pub fn read(data: &Path, text: Option<&str>) -> Result<Self> {
        let name = || data.display().to_string();
        let steps = text.map(parse).transpose().context("--steps")?.unwrap_or_default();
        let (known, image, is_scan) = if parsimon_io::is_list(data)? {
            let mut known = parsimon_io::read_dataset(data)?;
            let scan = pixels(&known);
            let has_spectra = known.spectra.is_some() && known.images.is_none();
            ensure!(
                steps.is_empty() || has_spectra,
                "{}: --steps are for spectra, and this is a list of images",
                name()
            );
            // Spectra of no place need none, unless they are to be changed.
            let wanted = has_spectra && (scan.is_some() || !steps.is_empty());
            let Some(spectra) = known.spectra.take_if(|_| wanted) else {
                return Ok(Self { known, prepared: None, scan, notes: Vec::new() });
            };
            match scan {
                Some((h, w, [y, x])) => (known, SpectrumImage::from_spectra(spectra, (h, w), y, x)?, true),
                None => (known, SpectrumImage::from(spectra), false),
            }
        } else {
            (Dataset::default(), scanned(data)?, true)
        };
        let shape = image.values().dim();
        let prepared = apply(&steps, image).with_context(name)?;
        let (known, lost) = after(&steps, known, shape)?;
        let mut notes = Vec::new();
        if let Some(text) = text {
            notes.push(told(text, &steps, &prepared));
            notes.extend(lost);
        }
        let (h, w, _) = prepared.image().values().dim();
        let [y, x, _] = prepared.image().axes().map(Clone::clone);
        let scan = is_scan.then_some((h, w, [y, x]));
        Ok(Self {
            known: Dataset { spectra: Some(prepared.spectra()), ..known },
            prepared: Some(prepared),
            scan,
            notes,
        })
    }
}

/// Samples from every pixel of a micrograph are a scan.
fn pixels(known: &Dataset) -> Option<(usize, usize, [Axis; 2])> {
    let m = known.micrograph.as_ref()?;
    let all = known.sites.as_ref().is_some_and(|sites| sites.are_grid(m.shape()));
    all.then(|| (m.shape().0, m.shape().1, [m.y().clone(), m.x().clone()]))
}

/// A spectrum image, or spectra in a column, of a microscope.
fn scanned(data: &Path) -> Result<SpectrumImage> {
    match parsimon_io::read(data)? {
        Content::SpectrumImage(image) => Ok(image),
        Content::Spectra(spectra) => Ok(SpectrumImage::from(spectra)),
        other => bail!(
            "{}: holds {}, accepted are spectra or a list of images; for atoms in an image, see `analyze`",
            data.display(),
            other.describe()
        ),
    }
}

/// What is known of the pixels and endmembers that remain, and what no longer is.
fn after(steps: &[Step], known: Dataset, (h, w, _): (usize, usize, usize)) -> Result<(Dataset, Option<String>)> {
    let (mut pixels, mut channels) = (Vec::new(), Vec::new());
    let (mut joined, mut scaled, mut bent) = (false, false, false);
    for step in steps {
        match step {
            Step::Crop(Crop { energy, rows, columns }) => {
                pixels.push(Step::Crop(Crop { rows: *rows, columns: *columns, ..Crop::default() }));
                channels.push(Step::Crop(Crop { energy: energy.clone(), ..Crop::default() }));
            }
            Step::Bin(bin) => {
                joined |= bin.rows * bin.columns > 1;
                channels.push(Step::Bin(Bin { channels: bin.channels, ..Bin::default() }));
            }
            // A factor for each spectrum: endmembers keep their directions, shares become others.
            Step::Normalise(_) | Step::Poisson(PoissonScaling::KeenanKotula) => scaled = true,
            Step::Background(_) | Step::Poisson(PoissonScaling::Anscombe) => bent = true,
        }
    }
    let (mut kept, mut lost) = (known, Vec::new());
    kept.endmembers = match kept.endmembers {
        Some(_) if bent => {
            lost.push("endmembers");
            None
        }
        Some(endmembers) => Some(apply(&channels, endmembers)?.spectra()),
        None => None,
    };
    let is_share = |name: &str| name.strip_prefix('a').is_some_and(|r| r.parse::<usize>().is_ok());
    if joined {
        lost.push("classes and numbers of single pixels");
        kept = Dataset { endmembers: kept.endmembers, ..Dataset::default() };
    } else {
        if (scaled || bent) && kept.truth.keys().any(|name| is_share(name)) {
            lost.push("shares");
            kept.truth.retain(|name, _| !is_share(name));
        }
        let [y, x, place] = ["y", "x", "place"].map(Axis::uncalibrated);
        let places = Array3::from_shape_fn((h, w, 1), |(i, j, _)| (i * w + j) as f64);
        let places = apply(&pixels, SpectrumImage::new(places, y, x, place)?)?;
        let rows: Vec<usize> = places.image().values().iter().map(|place| *place as usize).collect();
        kept.labels = kept.labels.map(|v| v.select(Dim(0), &rows));
        kept.targets = kept.targets.map(|v| v.select(Dim(0), &rows));
        kept.sites = kept.sites.map(|sites| sites.select(&rows));
        kept.truth.values_mut().for_each(|v| *v = v.select(Dim(0), &rows));
    }
    let told = || format!("Of the prepared spectra, the {} are not known any more.", lost.join(" and the "));
    Ok((kept, (!lost.is_empty()).then(told)))
}

fn told(text: &str, steps: &[Step], prepared: &Prepared) -> String {
    let cut = steps.iter().all(|step| matches!(step, Step::Crop(_) | Step::Bin(_)));
    let back = match (cut, linear(prepared)) {
        (true, _) => "",
        (_, true) => {
            " A Poisson scaling is taken back from METHOD_patterns.npy, and it and a norm from METHOD_maps.npy (rows, columns, \
             components): of NMF, maps times patterns are the spectra before them; of PCA, the same less their mean. Shares are \
             shares of the prepared spectra."
        }
        _ => " Square roots cannot be taken back from parts of a sum, and so patterns are as prepared, too.",
    };
    format!("Before all methods: {text}. Methods, scores and METHOD.npz are of the spectra so prepared.{back}")
}

#[cfg(test)]
mod tests {
    use ndarray::s;
    use parsimon_datasets::{PeaksParams, SpectrumImageParams, peaks, spectrum_image};

    use super::*;

    /// A scan of 18×16 pixels and 64 channels with all that is known of it, and what `read` makes of it.
    fn scan(steps: &str) -> (Dataset, Source) {
        let sides = SpectrumImageParams { height: 18, width: 16, channels: 64, endmembers: 3, ..Default::default() };
        let mut known = spectrum_image(&sides).unwrap().into_dataset().unwrap();
        known.labels = Some((0..288).collect());
        read(known, steps)
    }

    fn read(known: Dataset, steps: &str) -> (Dataset, Source) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scan.npz");
        parsimon_io::write_dataset(&path, &known).unwrap();
        let source = Source::read(&path, Some(steps).filter(|s| !s.is_empty())).unwrap();
        // A file holds spectra in f32.
        (parsimon_io::read_dataset(&path).unwrap(), source)
    }

    fn list() -> Dataset {
        peaks(&PeaksParams { per_shape: 20, ..Default::default() }).unwrap()
    }

    fn endmembers(known: &Dataset) -> ndarray::Array2<f64> {
        known.endmembers.as_ref().unwrap().values().to_owned()
    }

    #[test]
    fn pixels_and_channels_that_are_cut_off_are_so_of_what_is_known() {
        let (before, after) = scan("rows=2..5,columns=4..,bin=2");
        let pixels: Vec<i64> = (2..5).flat_map(|y| (4..16).map(move |x| 16 * y + x)).collect();
        assert_eq!(after.known.labels.as_ref().unwrap().to_vec(), pixels);
        let shares: Vec<f64> = pixels.iter().map(|n| before.truth["a2"][*n as usize]).collect();
        assert_eq!(after.known.truth["a2"].to_vec(), shares);
        let whole = endmembers(&before);
        assert_eq!(endmembers(&after.known), &whole.slice(s![.., ..;2]) + &whole.slice(s![.., 1..;2]));
        let (h, w, [y, x]) = after.scan.unwrap();
        let micrograph = before.micrograph.unwrap();
        assert_eq!((h, w), (3, 12));
        assert_eq!((y.value(0.0), x.value(0.0)), (micrograph.y().value(2.0), micrograph.x().value(4.0)));
        assert_eq!(after.known.samples().unwrap(), 36);
        assert!(after.notes.len() == 1 && !after.notes[0].contains("scaling"), "{:?}", after.notes);
    }

    #[test]
    fn what_steps_make_unknown_is_told() {
        for (steps, shares, pure, labels) in [
            ("poisson", false, true, true),
            ("normalise=total", false, true, true),
            ("poisson=anscombe", false, false, true),
            ("bin-pixels=2", false, true, false),
        ] {
            let (_, after) = scan(steps);
            let known = &after.known;
            let found = (known.truth.contains_key("a1"), known.endmembers.is_some(), known.labels.is_some());
            assert_eq!(found, (shares, pure, labels), "{steps}");
            assert!(after.notes[1].contains("not known any more"), "{steps}: {:?}", after.notes);
            known.samples().unwrap();
        }
    }

    #[test]
    fn spectra_without_a_place_stay_a_list() {
        let (before, after) = read(list(), "rows=5..30,normalise=max");
        assert!(after.scan.is_none() && after.known.samples().unwrap() == 25);
        assert_eq!(after.known.labels.unwrap(), before.labels.unwrap().slice(s![5..30]));
        let largest = |row: ndarray::ArrayView1<'_, f64>| row.fold(f64::MIN, |m, v| m.max(*v));
        let spectra = after.known.spectra.unwrap();
        assert!(spectra.values().rows().into_iter().all(|row| (largest(row) - 1.0).abs() < 1e-12));
        let (before, after) = read(list(), "");
        assert!(after.prepared.is_none() && after.known == before);
    }
}
