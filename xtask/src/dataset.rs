use anyhow::{Result, ensure};
use ndarray::Axis;
use parsimon_core::{Dataset, Normalise};
use parsimon_datasets::{
    CardsParams, GrapheneParams, LatticeImages, LatticeParams, PeaksParams, PerovskiteParams, SpectrumImageParams,
    cards, graphene, lattice, peaks, perovskite, spectrum_image,
};
use parsimon_io::{write_dataset, write_scene};
use parsimon_patch::{Cut, cut};

use crate::args::{DatasetArgs, DatasetName};
use crate::output::writable;

pub fn run(args: &DatasetArgs) -> Result<()> {
    writable(&args.out)?;
    let scan = args.name == DatasetName::SpectrumImage;
    let counted = scan || matches!(args.name, DatasetName::Lattice | DatasetName::Walls);
    ensure!(args.counts.is_none() || counted, "--counts belongs to lattice, walls and spectrum-image");
    let mixed = args.channels.is_some() || args.endmembers.is_some() || args.purest.is_some();
    ensure!(scan || !mixed, "--channels, --endmembers and --purest belong to spectrum-image");
    let variant = match args.name {
        DatasetName::Cards1 => 1,
        DatasetName::Cards2 => 2,
        DatasetName::Cards3 => 3,
        DatasetName::Cards4 => 4,
        DatasetName::Peaks => return spectra(args),
        DatasetName::Lattice | DatasetName::LatticeGrey | DatasetName::LatticeColour => return patches(args),
        DatasetName::Perovskite | DatasetName::Graphene | DatasetName::Walls | DatasetName::SpectrumImage => {
            ensure!(args.per_suit.is_none(), "--per-suit belongs to cards, peaks and patches of a lattice");
            return match args.name {
                DatasetName::Walls => walls(args),
                DatasetName::SpectrumImage => mixture(args),
                _ => scene(args),
            };
        }
    };
    let base = CardsParams::default();
    let (size, per_suit) = (args.size.unwrap_or(base.size), args.per_suit.unwrap_or(base.per_suit));
    let data = cards(&CardsParams { variant, size, per_suit, seed: args.seed })?;
    write_dataset(&args.out, &data)?;
    println!("{}: {} cards of {size}×{size} pixels", args.out.display(), data.samples()?);
    Ok(())
}

fn spectra(args: &DatasetArgs) -> Result<()> {
    let base = PeaksParams::default();
    let (length, per_shape) = (args.size.unwrap_or(base.length), args.per_suit.unwrap_or(base.per_shape));
    let data = peaks(&PeaksParams { length, per_shape, seed: args.seed, ..base })?;
    write_dataset(&args.out, &data)?;
    println!("{}: {} spectra of {length} channels", args.out.display(), data.samples()?);
    Ok(())
}

fn patches(args: &DatasetArgs) -> Result<()> {
    let base = LatticeParams::default();
    let images = match args.name {
        DatasetName::LatticeGrey => LatticeImages::Grey,
        DatasetName::LatticeColour => LatticeImages::Colour,
        _ => args.counts.map_or(base.images, LatticeImages::Counts),
    };
    let (size, count) = (args.size.unwrap_or(base.size), args.per_suit.map_or(base.count, |n| n.saturating_mul(4)));
    let data = lattice(&LatticeParams { size, count, images, seed: args.seed })?;
    write_dataset(&args.out, &data)?;
    println!("{}: {} patches of {size}×{size} pixels", args.out.display(), data.samples()?);
    Ok(())
}

/// Counts at the top of an atom of a noisy image.
const NOISY: f64 = 10.0;

fn walls(args: &DatasetArgs) -> Result<()> {
    let side = args.size.unwrap_or(512);
    let dose = args.counts.unwrap_or(NOISY);
    let scene = perovskite(&PerovskiteParams {
        height: side,
        width: side,
        dose,
        seed: args.seed,
        ..PerovskiteParams::default()
    })?;
    let cutting = parsimon_patch::Params { window: None, normalise: Normalise::Global };
    let Cut { patches, kept, .. } = cut(std::slice::from_ref(&scene.image), &scene.sites, &cutting)?;
    let of = |name: &str| scene.truth.get(name).map(|values| values.select(Axis(0), &kept)).unwrap_or_default();
    let truth = ["domain", "polarisation_y", "polarisation_x"].map(|name| (name.to_owned(), of(name)));
    let data = Dataset {
        images: Some(patches),
        labels: Some(of("sublattice").mapv(|v| v as i64)),
        sites: Some(scene.sites.select(&kept)),
        truth: truth.into(),
        micrograph: Some(scene.image),
        ..Dataset::default()
    };
    write_dataset(&args.out, &data)?;
    println!("{}: patches around {} atoms of an image of {side}×{side} pixels", args.out.display(), data.samples()?);
    Ok(())
}

fn mixture(args: &DatasetArgs) -> Result<()> {
    let base = SpectrumImageParams::default();
    let side = args.size.unwrap_or(base.height);
    let channels = args.channels.unwrap_or(base.channels);
    let mixture = spectrum_image(&SpectrumImageParams {
        height: side,
        width: side,
        channels,
        endmembers: args.endmembers.unwrap_or(base.endmembers),
        dose: args.counts.unwrap_or(base.dose),
        purest: args.purest.unwrap_or(base.purest),
        seed: args.seed,
        ..base
    })?;
    let names = mixture.names.join(", ");
    write_dataset(&args.out, &mixture.into_dataset()?)?;
    println!("{}: a scan of {side}×{side} spectra of {channels} channels, mixed of {names}", args.out.display());
    Ok(())
}

fn scene(args: &DatasetArgs) -> Result<()> {
    let seed = args.seed;
    let scene = if args.name == DatasetName::Perovskite {
        let base = PerovskiteParams::default();
        let (height, width) = (args.size.unwrap_or(base.height), args.size.unwrap_or(base.width));
        perovskite(&PerovskiteParams { height, width, seed, ..base })?
    } else {
        let base = GrapheneParams::default();
        let (height, width) = (args.size.unwrap_or(base.height), args.size.unwrap_or(base.width));
        graphene(&GrapheneParams { height, width, seed, ..base })?
    };
    write_scene(&args.out, &scene)?;
    let (height, width) = scene.image.shape();
    println!("{}: an image of {height}×{width} pixels with {} atoms", args.out.display(), scene.sites.len());
    Ok(())
}
