//! Every method beside every kind of bad rows: an error that names what is wrong, or what the documentation says is done.

use std::collections::HashSet;

use linfa::ParamGuard;
use ndarray::{Array2, ArrayView2, Axis, concatenate, s};
use parsimon_baselines::{
    AfterPca, Blu, Covariance, Dbscan, Error, Extraction, Fcls, GaussianMixture, InBatches, IncrementalPca, Isomap,
    KMeans, Loss, Method, MiniBatchKMeans, Nmf, Params, Pca, PcaSolver, RowEmbedding, RowModel, Som, TSne, Umap,
};

type Fit = Box<dyn Fn(ArrayView2<'_, f64>) -> Result<Box<dyn RowModel>, Error>>;

/// By the method itself, which nothing has checked the rows for.
fn of<M: Method + 'static>(params: Params<M>) -> Fit
where
    M::Model: 'static,
{
    Box::new(move |rows| Ok(Box::new(params.check_ref()?.fit_rows(rows)?)))
}

fn incremental(components: usize) -> Fit {
    let params = IncrementalPca::params(components);
    Box::new(move |rows| Ok(Box::new(params.check_ref()?.learn(None, rows)?.pca()?)))
}

fn streamed(clusters: usize) -> Fit {
    let params = MiniBatchKMeans::params(clusters);
    Box::new(move |rows| Ok(Box::new(params.check_ref()?.learn(None, rows)?.k_means())))
}

/// All methods, of two columns or three kinds of rows; radii are in units of `scale`.
fn methods(scale: f64) -> Vec<(&'static str, Fit)> {
    let mixture = |covariance| of(GaussianMixture::params(3).covariance(covariance));
    vec![
        ("pca", of(Pca::params(2))),
        ("pca-random", of(Pca::params(2).solver(PcaSolver::Randomised { powers: 4 }))),
        ("pca-batch", incremental(2)),
        ("nmf", of(Nmf::params(2))),
        ("nmf-kl", of(Nmf::params(2).loss(Loss::KullbackLeibler))),
        ("kmeans", of(KMeans::params(3))),
        ("minibatch", of(MiniBatchKMeans::params(3))),
        ("streamed", streamed(3)),
        ("full", mixture(Covariance::Full)),
        ("tied", mixture(Covariance::Tied)),
        ("diagonal", mixture(Covariance::Diagonal)),
        ("spherical", mixture(Covariance::Spherical)),
        ("dbscan", of(Dbscan::params(0.5 * scale))),
        ("suggested", of(Dbscan::suggested())),
        ("isomap", of(Isomap::params(2).neighbours(5))),
        ("tsne", of(TSne::params().perplexity(5.0).rounds(260))),
        ("umap", of(Umap::params().neighbours(5).rounds(30))),
        ("som", of(Som::params(3, 3))),
        ("nfindr", of(Fcls::params(3))),
        ("vca", of(Fcls::params(3).extraction(Extraction::Vca))),
        ("blu", of(Blu::params(3).burn_in(10).samples(10))),
        ("after", of(AfterPca::params(2, KMeans::params(3)))),
    ]
}

/// Three kinds of rows of four columns, which take turns; none is negative.
fn kinds() -> Array2<f64> {
    let chance = |i: usize, j: usize| ((i * (7 + 4 * j) + j) as f64 * 12.9898).sin() * 43758.5453;
    Array2::from_shape_fn((60, 4), |(i, j)| {
        let (centre, x) = (if i % 3 == j { 3.0 } else { 1.0 }, chance(i, j));
        centre + 0.2 * (x - x.floor() - 0.5)
    })
}

/// Numbers of each row, all finite, as many as there are names.
fn sound(name: &str, model: &dyn RowModel, rows: ArrayView2<'_, f64>) -> RowEmbedding {
    let found = model.embed_rows(rows).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(found.columns.dim(), (rows.nrows(), model.names().len()), "{name}");
    assert!(found.columns.iter().chain(found.deviations.iter().flatten()).all(|v| v.is_finite()), "{name}");
    if let Some(classes) = &found.classes {
        assert!(classes.len() == rows.nrows() && classes.iter().all(|c| *c >= -1), "{name}");
    }
    found
}

/// Fits all methods; those that are named in `refused` say so with the text beside them, all others give finite numbers.
/// Where `told` names one with classes, these are as many.
fn expect(input: &str, scale: f64, rows: &Array2<f64>, refused: &[(&str, &str)], told: &[(&str, usize)]) {
    let named = |names: &str, name: &str| names.split(' ').any(|n| n == name || n == "all");
    for (name, fit) in methods(scale) {
        let (found, label) = (fit(rows.view()), format!("{input}, {name}"));
        match (found, refused.iter().find(|(names, _)| named(names, name))) {
            (Err(error), Some((_, text))) => assert!(error.to_string().contains(text), "{label}: {error}"),
            (Ok(model), None) => {
                let classes = sound(&label, &*model, rows.view()).classes;
                if let Some((_, expected)) = told.iter().find(|(names, _)| named(names, name)) {
                    let classes: HashSet<i64> = classes.unwrap().into_iter().collect();
                    assert_eq!(classes.len(), *expected, "{label}");
                }
            }
            (Err(error), None) => panic!("{label}: {error}"),
            (Ok(_), Some((_, text))) => panic!("{label} does not say: {text}"),
        }
    }
}

const PCAS: &str = "pca pca-random pca-batch nfindr vca blu after";
const CLUSTERS: &str = "kmeans minibatch streamed full tied diagonal spherical";

#[test]
fn good_and_negative_rows_and_constant_columns() {
    let (rows, told) = (kinds(), [(CLUSTERS, 3), ("dbscan suggested after", 3)]);
    expect("good", 1.0, &rows, &[], &told);
    let refused = [("nmf nmf-kl", "row 0 holds -"), ("blu", "the mean spectrum is negative")];
    expect("negative", 1.0, &-&rows, &refused, &told);
    let mut constant = rows.clone();
    constant.column_mut(3).fill(2.0);
    expect("constant column", 1.0, &constant, &[], &told);
    constant.column_mut(3).fill(0.0);
    expect("column of zeros", 1.0, &constant, &[], &told);
    let large = concatenate![Axis(1), Array2::from_elem((60, 1), 1e9), &rows * 1e-3];
    expect("large constant column", 1e-3, &large, &[], &told);
    // Beside it, the kinds are still told apart, each with its own class.
    for (name, fit) in methods(1e-3).into_iter().filter(|(name, _)| CLUSTERS.split(' ').any(|n| n == *name)) {
        let classes = fit(large.view()).unwrap().embed_rows(large.view()).unwrap().classes.unwrap();
        assert!((0..60).all(|i| classes[i] == classes[i % 3]), "{name}: {classes}");
    }
}

#[test]
fn equal_rows_and_copies() {
    let equal = Array2::from_elem((60, 4), 0.3);
    let copied = "distance to the neighbours is 0, accepted are above 0 for some row";
    let refused = [
        (PCAS, "vary along 0 directions"),
        ("isomap", "vary along 0 directions"),
        (CLUSTERS, "only 1 of the rows differ"),
        ("suggested", copied),
    ];
    expect("equal rows", 1.0, &equal, &refused, &[("dbscan", 1), ("som", 1)]);
    let copies = |different: usize| Array2::from_shape_fn((60, 4), |(i, j)| kinds()[(i % different, j)]);
    let told = [(CLUSTERS, 3), ("after", 3), ("dbscan", 3)];
    expect("ten copies of each row", 1.0, &copies(6), &[("suggested", copied)], &told);
    let refused = [
        ("pca pca-random pca-batch nfindr vca blu isomap", "vary along 1 directions"),
        (CLUSTERS, "3 clusters asked for, but only 2 of the rows differ"),
        ("after", "in principal components"),
        ("suggested", copied),
    ];
    expect("fewer kinds than clusters", 1.0, &copies(2), &refused, &[("dbscan", 2)]);
    // All but three rows are one: starts draw several centres from it, and clusters lose their rows.
    let mut crowd = equal;
    (crowd[(10, 0)], crowd[(20, 1)], crowd[(30, 2)]) = (0.4, 0.5, 9.0);
    let told = [("kmeans minibatch streamed after", 3), ("dbscan", 2)];
    expect("a crowd", 1.0, &crowd, &[], &told);
}

#[test]
fn few_rows_and_columns() {
    let rows = kinds();
    let refused = [
        (
            "pca pca-random full tied diagonal spherical suggested isomap umap after nfindr vca blu",
            "rows is 1, accepted are at least 2",
        ),
        ("tsne", "rows is 1, accepted are at least 4 rows"),
        ("pca-batch", "components is 2, accepted are 1 to 1"),
        ("nmf nmf-kl", "components is 2, accepted are 1 to 1"),
        ("kmeans minibatch streamed", "only 1 of the rows differ"),
    ];
    expect("one row", 1.0, &rows.slice(s![..1, ..]).to_owned(), &refused, &[("dbscan som", 1)]);
    expect("no rows", 1.0, &rows.slice(s![..0, ..]).to_owned(), &[("all", "no data: 0 rows of 4 numbers")], &[]);
    expect("no columns", 1.0, &rows.slice(s![.., ..0]).to_owned(), &[("all", "no data: 60 rows of 0 numbers")], &[]);
    let refused = [
        ("pca pca-random pca-batch nmf nmf-kl", "components is 2, accepted are 1 to 1"),
        ("nfindr vca blu", "endmembers is 3, accepted are 2 to 2"),
        ("isomap", "vary along 1 directions"),
    ];
    expect("one column", 1.0, &rows.slice(s![.., ..1]).to_owned(), &refused, &[("kmeans minibatch after", 3)]);
}

#[test]
fn numbers_that_are_none() {
    for (value, text) in [
        (f64::NAN, "row 7 holds a value that is NaN or infinite"),
        (f64::INFINITY, "row 7 holds a value that is NaN or infinite"),
        (f64::NEG_INFINITY, "row 7 holds a value that is NaN or infinite"),
        (1e200, "is 1e200, accepted are -1e140 to 1e140"),
    ] {
        let mut rows = kinds();
        rows[(7, 2)] = value;
        expect(&format!("{value} in the fit"), 1.0, &rows, &[("all", text)], &[]);
        for (name, fit) in methods(1.0) {
            let model = fit(kinds().view()).unwrap();
            let error = model.embed_rows(rows.view()).unwrap_err().to_string();
            assert!(error.contains(text), "{value} in the embedding, {name}: {error}");
        }
    }
    // Factorisation and unmixing bring rows to units of their own; what others would square vanishes.
    for (name, fit) in methods(1e-150) {
        let (rows, own) = (kinds() * 1e-150, ["nmf", "nmf-kl", "nfindr", "vca", "blu"].contains(&name));
        match fit(rows.view()) {
            Ok(model) if own => drop(sound(name, &*model, rows.view())),
            Ok(_) => panic!("{name} takes what it cannot square"),
            Err(error) => assert!(!own && error.to_string().contains("accepted are 1e-140"), "{name}: {error}"),
        }
    }
}

#[test]
fn embeddings_of_what_the_fit_has_not_seen() {
    let rows = kinds();
    for (name, fit) in methods(1.0) {
        let model = fit(rows.view()).unwrap();
        for (n, d) in [(2, 5), (0, 5)] {
            let error = model.embed_rows(Array2::zeros((n, d)).view()).unwrap_err();
            assert_eq!(error, Error::Width { found: 5, expected: 4 }, "{name}");
        }
        let error = model.embed_rows(Array2::zeros((0, 4)).view()).unwrap_err();
        assert_eq!(error, Error::Empty { rows: 0, columns: 4 }, "{name}");
        // One row, zeros, and one far away.
        for value in [0.0, 1e130] {
            sound(name, &*model, Array2::from_elem((1, 4), value).view());
        }
        let negative = model.embed_rows((-&rows).view());
        assert_eq!(negative.is_err(), name.starts_with("nmf"), "{name}");
        let width = model.names().len();
        let back = model.rows_of(Array2::from_elem((2, width), 0.5).view());
        assert_eq!(back.is_ok(), model.goes_back(), "{name}");
        let wrong = model.rows_of(Array2::zeros((2, width + 3)).view()).unwrap_err();
        assert!(matches!(wrong, Error::OneWay | Error::Columns { .. }), "{name}: {wrong}");
    }
}

#[test]
fn parameters_too_large_for_the_rows() {
    let refused: [(&str, Fit, &str); 16] = [
        ("pca", of(Pca::params(5)), "components is 5, accepted are 1 to 4 for 60 rows of 4 numbers"),
        ("pca-batch", incremental(5), "components is 5, accepted are 1 to 4"),
        ("nmf", of(Nmf::params(5)), "components is 5, accepted are 1 to 4"),
        ("kmeans", of(KMeans::params(61)), "61 clusters asked for, but only 60"),
        ("minibatch", of(MiniBatchKMeans::params(61)), "61 clusters asked for, but only 60"),
        ("streamed", streamed(61), "61 clusters asked for, but only 60"),
        ("batch", of(MiniBatchKMeans::params(3).batch(2)), "rows of a batch is 2, accepted are 3 and more"),
        ("mixture", of(GaussianMixture::params(60)), "components is 60, accepted are 1 to 59"),
        ("isomap", of(Isomap::params(2).neighbours(60)), "neighbours is 60, accepted are 1 to 59"),
        ("columns", of(Isomap::params(60)), "dimensions is 60, accepted are 1 to 59"),
        ("tsne", of(TSne::params().perplexity(20.0)), "perplexity is 20, accepted are 1 to 19.66"),
        ("umap", of(Umap::params().neighbours(61)), "neighbours is 61, accepted are 2 to 60"),
        ("som", of(Som::params(101, 100)), "units is 10100, accepted are 1 to 10000"),
        ("fcls", of(Fcls::params(3).average(21)), "is 21, accepted are 1 to 20 of 60 rows for 3 endmembers"),
        ("blu", of(Blu::params(6)), "endmembers is 6, accepted are 2 to 5"),
        ("after", of(AfterPca::params(9, KMeans::params(61))), "in principal components"),
    ];
    let rows = kinds();
    for (name, fit, text) in refused {
        let error = fit(rows.view()).err().unwrap_or_else(|| panic!("{name} does not say: {text}")).to_string();
        assert!(error.contains(text), "{name}: {error}");
    }
    // As many as there are, and what is cut to that.
    let taken: [(&str, Fit); 6] = [
        ("after", of(AfterPca::params(900, KMeans::params(3)))),
        ("dbscan", of(Dbscan::params(0.5).min_rows(100))),
        ("suggested", of(Dbscan::suggested().min_rows(100))),
        ("som", of(Som::params(20, 20))),
        ("kmeans", of(KMeans::params(60))),
        ("minibatch", of(MiniBatchKMeans::params(60))),
    ];
    for (name, fit) in taken {
        let found = sound(name, &*fit(rows.view()).unwrap(), rows.view()).classes.unwrap();
        let classes: HashSet<i64> = found.iter().copied().collect();
        match name {
            "dbscan" | "suggested" => assert!(classes == HashSet::from([-1]), "{name}: {found}"),
            "kmeans" | "minibatch" => assert_eq!(classes.len(), 60, "{name}"),
            _ => {}
        }
    }
}
