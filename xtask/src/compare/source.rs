//! The file that is compared: what it holds after the steps, and what is known of that.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use ndarray::{Array3, Axis as Dim};
use parsimon_core::{Axis, Dataset, SpectrumImage};
use parsimon_io::Content;
use parsimon_spectra::steps::parse;
use parsimon_spectra::{Bin, Crop, PoissonScaling, Preparation, Step, apply};

pub struct Source {
    /// Samples, the spectra as prepared, and what is known of them.
    pub known: Dataset,
    /// What was done to the spectra of a scan, or to those of any file by steps.
    pub prepared: Option<Preparation>,
    /// Pixels, if the samples are all those of a scan.
    pub scan: Option<(usize, usize, [Axis; 2])>,
    /// What was known and is not any more, in a sentence.
    pub lost: Option<String>,
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
            ensure!(steps.is_empty() || has_spectra, "{}: --steps are for spectra, and this file holds images", name());
            // Spectra of no place need none, unless they are to be changed.
            let wanted = has_spectra && (scan.is_some() || !steps.is_empty());
            let Some(spectra) = known.spectra.take_if(|_| wanted) else {
                return Ok(Self { known, prepared: None, scan, lost: None, notes: Vec::new() });
            };
            match scan {
                Some((h, w, [y, x])) => (known, SpectrumImage::from_spectra(spectra, (h, w), y, x)?, true),
                None => (known, SpectrumImage::from(spectra), false),
            }
        } else {
            (Dataset::default(), scanned(data)?, true)
        };
        if let Some(step) = steps.iter().find(|step| joins_pixels(step)).filter(|_| !is_scan) {
            bail!("{}: --steps {step} adds up neighbouring pixels, and these spectra are of no place", name());
        }
        let shape = image.values().dim();
        let (image, prepared) = apply(&steps, image).with_context(name)?;
        let (known, lost) = after(&steps, known, shape)?;
        let notes = text.map(|text| told(text, &steps, is_scan)).into_iter().collect();
        let (h, w, _) = image.values().dim();
        let [y, x, _] = image.axes().map(Clone::clone);
        let scan = is_scan.then_some((h, w, [y, x]));
        let known = Dataset { spectra: Some(image.into_spectra()), ..known };
        Ok(Self { known, prepared: Some(prepared), scan, lost, notes })
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

fn joins_pixels(step: &Step) -> bool {
    matches!(step, Step::Bin(bin) if bin.rows > 1 || bin.columns > 1)
}

/// What is known of the pixels and endmembers that remain, and what no longer is.
fn after(steps: &[Step], known: Dataset, (h, w, _): (usize, usize, usize)) -> Result<(Dataset, Option<String>)> {
    let (mut pixels, mut channels) = (Vec::new(), Vec::new());
    let (mut scaled, mut bent) = (false, false);
    for step in steps {
        match step {
            Step::Crop(Crop { energy, rows, columns }) => {
                pixels.push(Step::Crop(Crop { rows: *rows, columns: *columns, ..Crop::default() }));
                channels.push(Step::Crop(Crop { energy: energy.clone(), ..Crop::default() }));
            }
            Step::Bin(bin) => channels.push(Step::Bin(Bin { channels: bin.channels, ..Bin::default() })),
            // Each spectrum has a factor, so that shares become others. Factors of channels are taken back from patterns before
            // these are compared with endmembers.
            Step::Normalise(_) | Step::Poisson(PoissonScaling::KeenanKotula) => scaled = true,
            Step::Background(_) | Step::Poisson(PoissonScaling::Anscombe) => bent = true,
        }
    }
    let shares: Vec<String> =
        (1..=known.endmembers.as_ref().map_or(0, |e| e.values().nrows())).map(|r| format!("a{r}")).collect();
    let (mut kept, mut lost) = (known, Vec::new());
    kept.endmembers = match kept.endmembers {
        Some(_) if bent => {
            lost.push("endmembers");
            None
        }
        Some(endmembers) => Some(apply(&channels, endmembers)?.0.into_spectra()),
        None => None,
    };
    if steps.iter().any(joins_pixels) {
        let any = kept.labels.is_some() || kept.targets.is_some() || !kept.truth.is_empty();
        lost.extend(any.then_some("classes and numbers of single pixels"));
        kept = Dataset { endmembers: kept.endmembers, ..Dataset::default() };
    } else {
        if (scaled || bent) && shares.iter().any(|name| kept.truth.contains_key(name)) {
            lost.push("shares");
            kept.truth.retain(|name, _| !shares.contains(name));
        }
        let [y, x, place] = ["y", "x", "place"].map(Axis::uncalibrated);
        let places = Array3::from_shape_fn((h, w, 1), |(i, j, _)| (i * w + j) as f64);
        let (places, _) = apply(&pixels, SpectrumImage::new(places, y, x, place)?)?;
        let rows: Vec<usize> = places.values().iter().map(|place| *place as usize).collect();
        kept.labels = kept.labels.map(|v| v.select(Dim(0), &rows));
        kept.targets = kept.targets.map(|v| v.select(Dim(0), &rows));
        kept.sites = kept.sites.map(|sites| sites.select(&rows));
        kept.truth.values_mut().for_each(|v| *v = v.select(Dim(0), &rows));
    }
    let told = || {
        format!(
            "After these steps the {} of the file are not those of the spectra any more, and are left out.",
            lost.join(" and the ")
        )
    };
    Ok((kept, (!lost.is_empty()).then(told)))
}

fn told(text: &str, steps: &[Step], is_scan: bool) -> String {
    let has = |of: fn(&Step) -> bool| steps.iter().any(of);
    let mut told =
        format!("Before all methods: {text}. Methods, scores and METHOD.npz are of the spectra so prepared.");
    let (weighted, normalised) = (
        has(|step| matches!(step, Step::Poisson(PoissonScaling::KeenanKotula))),
        has(|step| matches!(step, Step::Normalise(_))),
    );
    if has(|step| matches!(step, Step::Poisson(PoissonScaling::Anscombe))) {
        return told + " Square roots cannot be taken back from parts of a sum, and so patterns are as prepared, too.";
    }
    if weighted {
        told.push_str(" The Poisson scaling is taken back from METHOD_patterns.npy.");
    }
    if weighted && !is_scan {
        told.push_str(" It was found from all samples, those held out too.");
    }
    if (weighted || normalised) && is_scan {
        told.push_str(
            " Factors of pixels (factors.npy) are taken back from METHOD_maps.npy (rows, columns, components): what a method makes of \
             a pixel, without factors, is its maps times its patterns, and the factor times METHOD_origin.npy if there is one.",
        );
    }
    if weighted || normalised {
        told.push_str(" Shares, and the largest of them, are of the prepared spectra.");
    }
    told
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
        known.targets = Some(ndarray::Array2::from_shape_fn((288, 2), |(n, k)| (2 * n + k) as f32));
        known.truth.insert("thickness".into(), ndarray::Array1::from_shape_fn(288, |n| n as f64));
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
        // The second range counts from the first; channels are joined, and the first and last of them cut off.
        let (before, after) = scan("rows=1..8,rows=1..4,columns=4..,bin=2,crop=20..200eV");
        let pixels: Vec<usize> = (2..5).flat_map(|y| (4..16).map(move |x| 16 * y + x)).collect();
        let known = &after.known;
        assert_eq!(known.labels.as_ref().unwrap().to_vec(), pixels.iter().map(|n| *n as i64).collect::<Vec<_>>());
        assert_eq!(known.truth["a2"], before.truth["a2"].select(Dim(0), &pixels));
        assert_eq!(known.targets.as_ref().unwrap(), before.targets.as_ref().unwrap().select(Dim(0), &pixels));
        assert_eq!(known.sites.as_ref().unwrap(), &before.sites.as_ref().unwrap().select(&pixels));
        let whole = endmembers(&before);
        let joined = &whole.slice(s![.., ..;2]) + &whole.slice(s![.., 1..;2]);
        let energy = before.spectra.as_ref().unwrap().energy();
        let inside = |pair: &usize| (20.0..=200.0).contains(&energy.value(2.0 * *pair as f64 + 0.5));
        let inside: Vec<usize> = (0..32).filter(inside).collect();
        assert!(inside.len() < 31, "some are cut off");
        assert_eq!(endmembers(known), joined.select(Dim(1), &inside));
        assert_eq!(known.spectra.as_ref().unwrap().values().dim(), (36, inside.len()));
        let (h, w, [y, x]) = after.scan.unwrap();
        let micrograph = before.micrograph.unwrap();
        assert_eq!((h, w), (3, 12));
        assert_eq!((y.value(0.0), x.value(0.0)), (micrograph.y().value(2.0), micrograph.x().value(4.0)));
        assert_eq!(known.samples().unwrap(), 36);
        assert!(after.lost.is_none() && after.notes.len() == 1 && !after.notes[0].contains("taken back"));
    }

    #[test]
    fn what_steps_make_unknown_is_told() {
        for (steps, shares, pure, labels, lost) in [
            ("crop=30eV..", true, true, true, None),
            ("poisson", false, true, true, Some("the shares of")),
            ("normalise=total", false, true, true, Some("the shares of")),
            ("background=10..20eV", false, false, true, Some("the endmembers and the shares of")),
            ("poisson=anscombe", false, false, true, Some("the endmembers and the shares of")),
            ("bin-pixels=2", false, true, false, Some("the classes and numbers of single pixels of")),
        ] {
            let (_, after) = scan(steps);
            let known = &after.known;
            let found = (known.truth.contains_key("a1"), known.endmembers.is_some(), known.labels.is_some());
            assert_eq!(found, (shares, pure, labels), "{steps}");
            assert_eq!(known.truth.contains_key("thickness"), labels, "{steps}: what is no share stays with its pixel");
            assert_eq!(after.lost.is_some(), lost.is_some(), "{steps}");
            assert!(after.lost.iter().zip(lost).all(|(told, lost)| told.contains(lost)), "{steps}: {:?}", after.lost);
            known.samples().unwrap();
        }
        let nothing = after(&parse("bin-pixels=2,normalise=max").unwrap(), Dataset::default(), (4, 4, 4)).unwrap();
        assert_eq!(nothing, (Dataset::default(), None));
    }

    #[test]
    fn notes_are_of_the_steps_there_were() {
        let note = |steps: &str, is_scan| told(steps, &parse(steps).unwrap(), is_scan);
        let (scaled, normed, plain) = ("poisson", "normalise=total", "background=10..20eV");
        assert!(note(scaled, true).contains("scaling is taken back") && note(scaled, true).contains("METHOD_maps.npy"));
        assert!(note(scaled, false).contains("held out") && !note(scaled, false).contains("METHOD_maps.npy"));
        assert!(!note(normed, true).contains("Poisson") && note(normed, true).contains("METHOD_maps.npy"));
        assert!(!note(plain, true).contains("taken back") && note("poisson=anscombe", true).contains("Square roots"));
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
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list.npz");
        parsimon_io::write_dataset(&path, &list()).unwrap();
        let error = Source::read(&path, Some("bin=2,bin-pixels=2x1")).err().unwrap().to_string();
        assert!(error.contains("bin-pixels=2x1") && error.contains("of no place"), "{error}");
    }
}
