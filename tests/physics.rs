//! Terms of physics shape the latents of neighbouring sites.

use std::ops::ControlFlow;
use std::sync::Arc;

use dfdx::tensor::Cpu;
use dfdx::tensor_ops::{TryMatMul, TrySub};
use ndarray::Axis;
use parsimon_core::{Embedding, NeighbourGraph, Normalise, Patches};
use parsimon_datasets::{PerovskiteParams, perovskite};
use parsimon_detect::neighbour_graph;
use parsimon_ivae::{BoundaryCost, Examples, Params, Term, train_with};
use parsimon_nets::{Result, matrix};
use parsimon_objective::{Energy, Neighbouring, Physics, Schedule};
use parsimon_patch::cut;
use parsimon_train::Options;

/// Patches around the atoms of a noisy perovskite, which are neighbours, and their domains.
fn walls() -> (Patches, NeighbourGraph) {
    let params = PerovskiteParams { height: 320, width: 320, dose: 2.0, ..PerovskiteParams::default() };
    let scene = perovskite(&params).unwrap();
    let cutting = parsimon_patch::Params { window: Some(15), normalise: Normalise::Global };
    let cut = cut(std::slice::from_ref(&scene.image), &scene.sites, &cutting).unwrap();
    let kinds: Vec<i64> = scene.truth["sublattice"].select(Axis(0), &cut.kept).iter().map(|v| *v as i64).collect();
    let graph = neighbour_graph(&scene.sites.select(&cut.kept), Some(&kinds)).unwrap();
    (cut.patches, graph)
}

fn latents(
    (patches, graph): &(Patches, NeighbourGraph),
    invariances: &str,
    boundary: Option<BoundaryCost>,
    terms: &[Term<Cpu>],
) -> Embedding {
    let size = patches.shape();
    let params = Params { invariances: invariances.parse().unwrap(), boundary, ..Params::new(size) };
    let options = Options { epochs: 30, batch: 50, learning_rate: 2e-3, pixels: 0.3, ..Options::default() };
    let examples = Examples::from(patches).beside(graph);
    train_with(&Cpu::default(), &params, terms, examples, &options, None, |_| ControlFlow::Continue(()))
        .unwrap()
        .state
        .model
        .embedding(patches)
        .unwrap()
}

/// Mean square difference of neighbours, all and those both held out, in units of the variance within each kind.
fn roughness(latents: &Embedding, name: &str, graph: &NeighbourGraph) -> [f32; 2] {
    let z = &latents.column(name).unwrap().mean;
    let variance = [0, 1].map(|kind| {
        let of: Vec<f32> = z.iter().zip(graph.kinds()).filter(|(_, k)| **k == kind).map(|(v, _)| *v).collect();
        let mean = of.iter().sum::<f32>() / of.len() as f32;
        of.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / of.len() as f32
    });
    let square = |p: &parsimon_core::Pair| (z[p.a] - z[p.b]).powi(2) / variance[graph.kinds()[p.a] as usize];
    let trained = Options::default().check(z.len()).unwrap().train;
    let unseen = |p: &&parsimon_core::Pair| !trained.contains(&p.a) && !trained.contains(&p.b);
    let held_out: Vec<f32> = graph.pairs().iter().filter(unseen).map(square).collect();
    assert!(held_out.len() > 20, "{} pairs", held_out.len());
    let all: Vec<f32> = graph.pairs().iter().map(square).collect();
    [all, held_out].map(|squares| squares.iter().sum::<f32>() / squares.len() as f32)
}

#[test]
fn costly_boundaries_make_maps_smooth_on_sites_never_seen() {
    let data = walls();
    let rough = |boundary| {
        let latents = latents(&data, "none", boundary, &[]);
        let [z1, z2] = ["z1", "z2"].map(|name| roughness(&latents, name, &data.1));
        [z1[0] + z2[0], z1[1] + z2[1]]
    };
    let (free, costly) = (rough(None), rough(Some(BoundaryCost::new(10.0))));
    assert!(costly[0] < 0.8 * free[0] && costly[1] < 0.6 * free[1], "{costly:?}, free {free:?}");
}

/// One's own term: neighbours shift alike, mean |Δr|².
#[derive(Debug)]
struct Stiff;

impl Physics<Cpu> for Stiff {
    fn energy(&self, sites: &Neighbouring<'_, Cpu>) -> Result<Energy<Cpu>> {
        let [here, there] = sites.latents(&["dx", "dy"])?;
        let sum = matrix(&Cpu::default(), vec![1.0; 2], 2, 1)?;
        sites.mean(here.try_sub(there).unwrap().square().try_matmul(sum).unwrap())
    }
}

#[test]
fn a_term_of_ones_own_binds_shifts() {
    let data = walls();
    let stiff = Term { physics: Arc::new(Stiff), schedule: Schedule { weight: 3e4, from: 0.0, until: 0.3 } };
    let apart = |terms: &[Term<Cpu>]| {
        let latents = latents(&data, "t", None, terms);
        let square = |p: &parsimon_core::Pair| {
            let off = |name: &str| latents.column(name).unwrap().mean[p.a] - latents.column(name).unwrap().mean[p.b];
            off("dx").powi(2) + off("dy").powi(2)
        };
        data.1.pairs().iter().map(square).sum::<f32>() / data.1.pairs().len() as f32
    };
    let (free, bound) = (apart(&[]), apart(&[stiff]));
    assert!(bound < 0.3 * free, "{bound}, free {free}");
}

#[test]
fn terms_need_neighbours_that_fit() {
    let (patches, graph) = walls();
    let params = Params {
        invariances: "none".parse().unwrap(),
        boundary: Some(BoundaryCost::new(1.0)),
        ..Params::new(patches.shape())
    };
    let fit = |examples: Examples<'_>| {
        let options = Options::default();
        let fitted = train_with(&Cpu::default(), &params, &[], examples, &options, None, |_| ControlFlow::Continue(()));
        fitted.unwrap_err().to_string()
    };
    assert!(fit((&patches).into()).starts_with("neighbours of the sites is missing"));
    let alone = NeighbourGraph::new(vec![0; patches.len()], Vec::new()).unwrap();
    let message = fit(Examples::from(&patches).beside(&alone));
    assert!(message.contains("joins sites that are trained on"), "{message}");
    let some = patches.select(&(0..120).collect::<Vec<_>>()).unwrap();
    let message = fit(Examples::from(&some).beside(&graph));
    assert!(message.contains("graph of neighbours"), "{message}");
}
