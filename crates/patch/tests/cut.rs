//! Windows, interpolation, borders, masks, movies and errors.

use ndarray::{Array2, s};
use parsimon_core::{Axis, Describe, Image, Movie, Normalise, Refinement, Site, Sites};
use parsimon_patch::{Error, Params, Reason, automatic_window, cut, cut_movie};
use proptest::prelude::*;

fn site(frame: usize, y: f64, x: f64) -> Site {
    Site { frame, y, x, intensity: 1.0, width: 2.0, quality: 1.0, refinement: Refinement::Converged }
}

fn sites(list: &[(f64, f64)]) -> Sites {
    Sites::new(list.iter().map(|&(y, x)| site(0, y, x)).collect()).unwrap()
}

fn image(rows: usize, columns: usize, f: impl Fn(f64, f64) -> f64) -> Image {
    Image::new(Array2::from_shape_fn((rows, columns), |(y, x)| f(y as f64, x as f64))).unwrap()
}

fn params(window: usize) -> Params {
    Params { window: Some(window), ..Params::default() }
}

proptest! {
    #[test]
    fn ramps_are_exact_up_to_the_very_border(
        y in 3.0f64..=36.0, x in 3.0f64..=26.0, window in 3usize..=7, a in -5.0f64..5.0, b in -5.0f64..5.0,
    ) {
        let half = 0.5 * (window - 1) as f64;
        let ramp = |y: f64, x: f64| a * y + b * x + 7.0;
        let cut = cut(&[image(40, 30, ramp)], &sites(&[(y, x)]), &params(window)).unwrap();
        for ((_, i, j, _), v) in cut.patches.stored().indexed_iter() {
            let expected = ramp(y + i as f64 - half, x + j as f64 - half);
            prop_assert!((v - expected).abs() < 1e-5 * (1.0 + a.abs() + b.abs()), "{} {}", v, expected);
        }
    }

    #[test]
    fn shifted_gaussians_look_the_same(dy in -0.5f64..0.5, dx in -0.5f64..0.5, window in 14usize..18) {
        let (y0, x0) = (20.0 + dy, 22.0 + dx);
        let bell = |r2: f64| (-r2 / (2.0 * 2.5 * 2.5)).exp();
        let image = image(45, 45, |y, x| bell((y - y0).powi(2) + (x - x0).powi(2)));
        let stored = cut(&[image], &sites(&[(y0, x0)]), &params(window)).unwrap().patches.stored();
        let half = 0.5 * (window - 1) as f64;
        for ((_, i, j, _), v) in stored.indexed_iter() {
            let expected = bell((i as f64 - half).powi(2) + (j as f64 - half).powi(2));
            prop_assert!((v - expected).abs() < 6e-3, "{} {}", v, expected);
            // Symmetric about the centre, for odd and even windows.
            let mirrored = stored[[0, window - 1 - i, window - 1 - j, 0]];
            prop_assert!((v - mirrored).abs() < 8e-3);
        }
    }

    #[test]
    fn every_site_is_kept_or_left_out(
        list in proptest::collection::vec((-5.0f64..45.0, -5.0f64..35.0), 1..40), window in 3usize..12,
    ) {
        let half = 0.5 * (window - 1) as f64;
        let fits = |&(y, x): &(f64, f64)| y - half >= 0.0 && x - half >= 0.0 && y + half <= 39.0 && x + half <= 29.0;
        let cut = cut(&[image(40, 30, |y, x| y * x)], &sites(&list), &params(window));
        let expected: Vec<usize> = (0..list.len()).filter(|&i| fits(&list[i])).collect();
        match cut {
            Err(e) => {
                let nothing = matches!(e, Error::NothingLeft { .. });
                prop_assert!(nothing && expected.is_empty());
            }
            Ok(cut) => {
                prop_assert_eq!(&cut.kept, &expected);
                prop_assert!(cut.left_out.iter().all(|(i, why)| !fits(&list[*i]) && *why == Reason::Border));
                prop_assert_eq!(cut.kept.len() + cut.left_out.len(), list.len());
                prop_assert_eq!(cut.patches.sites().unwrap(), &sites(&list).select(&cut.kept));
            }
        }
    }
}

#[test]
fn pixels_come_back_unchanged_at_whole_positions() {
    let noise = image(20, 20, |y, x| (y * 37.0 + x * 91.0).sin());
    let cut = cut(std::slice::from_ref(&noise), &sites(&[(2.0, 17.0), (10.0, 9.0)]), &params(5)).unwrap();
    let expected = noise.values().slice(s![0..5, 15..20]).to_owned();
    let found = cut.patches.stored().slice(s![0, .., .., 0]).to_owned();
    assert!((found - expected).iter().all(|d| d.abs() < 1e-6));
}

#[test]
fn masked_pixels_leave_out_the_sites_that_need_them_and_no_other() {
    let mut values = Array2::from_shape_fn((40, 40), |(y, x)| (y + x) as f64);
    values[[20, 20]] = f64::NAN;
    let image = Image::new(values).unwrap();
    // At whole positions the window needs just its own pixels, between pixels one or two more on each side.
    let list = sites(&[(20.0, 20.0), (20.0, 17.0), (20.0, 17.5), (20.0, 16.5), (30.0, 30.5)]);
    let cut = cut(&[image], &list, &params(5)).unwrap();
    assert_eq!(cut.left_out, [(0, Reason::Masked), (2, Reason::Masked), (3, Reason::Masked)]);
    assert_eq!(cut.kept, [1, 4]);
}

#[test]
fn channels_stay_in_order_and_must_agree_in_shape() {
    let (a, b) = (image(30, 30, |y, _| y), image(30, 30, |_, x| 100.0 + x));
    let list = sites(&[(10.25, 12.5)]);
    let found = cut(&[a.clone(), b], &list, &params(5)).unwrap().patches;
    assert_eq!(found.shape(), (5, 5, 2));
    assert!((found.stored()[[0, 2, 2, 0]] - 10.25).abs() < 1e-5 && (found.stored()[[0, 2, 2, 1]] - 112.5).abs() < 1e-4);
    let odd = image(30, 31, |y, _| y);
    let error = cut(&[a, odd], &list, &params(5)).unwrap_err();
    assert_eq!(error, Error::ChannelShape { channel: 1, found: (30, 31), expected: (30, 30) });
    assert_eq!(cut(&[], &list, &params(5)).unwrap_err(), Error::NoChannel);
}

#[test]
fn each_site_of_a_movie_is_cut_from_its_own_frame() {
    let frames = (0..3).map(|f| image(20, 20, move |y, _| 100.0 * f64::from(f) + y)).collect();
    let movie = Movie::new(frames, Axis::uncalibrated("time")).unwrap();
    let list = Sites::new(vec![site(2, 9.0, 9.0), site(0, 10.0, 9.0), site(3, 9.0, 9.0), site(1, 0.0, 0.0)]).unwrap();
    let cut = cut_movie(&movie, &list, &params(3)).unwrap();
    assert_eq!(cut.left_out, [(2, Reason::Frame), (3, Reason::Border)]);
    let frames: Vec<usize> = cut.patches.sites().unwrap().iter().map(|s| s.frame).collect();
    assert_eq!(frames, [2, 0]);
    let centre = |n: usize| cut.patches.stored()[[n, 1, 1, 0]];
    assert!((centre(0) - 209.0).abs() < 1e-4 && (centre(1) - 10.0).abs() < 1e-4);
}

#[test]
fn the_window_follows_the_spacing_within_each_frame() {
    let grid = |frame: usize, offset: f64| {
        (0..25).map(move |k| site(frame, 12.2 * f64::from(k / 5) + offset, 12.2 * f64::from(k % 5)))
    };
    // The second frame lies between the sites of the first: a window over all of them would be half as wide.
    let list = Sites::new(grid(0, 0.0).chain(grid(1, 6.1)).collect()).unwrap();
    assert_eq!(automatic_window(&list), Ok(25));
    let movie = Movie::new(vec![image(60, 60, |y, x| y * x); 2], Axis::uncalibrated("time")).unwrap();
    assert_eq!(cut_movie(&movie, &list, &Params::default()).unwrap().window, 25);
    assert_eq!(automatic_window(&sites(&[(1.0, 1.0)])), Err(Error::NoSpacing { sites: 1 }));
    assert_eq!(automatic_window(&sites(&[(1.0, 1.0), (1.0, 1.0)])), Err(Error::NoSpacing { sites: 2 }));
    // A whole row of sites shares one coordinate.
    assert_eq!(automatic_window(&sites(&(0..500).map(|i| (7.0, 8.0 * f64::from(i))).collect::<Vec<_>>())), Ok(17));
}

#[test]
fn normalisation_is_per_patch_or_over_all() {
    let image = image(40, 40, |y, _| y);
    let list = sites(&[(10.0, 10.0), (30.0, 10.0)]);
    let global = cut(std::slice::from_ref(&image), &list, &params(5)).unwrap().patches;
    let own = Params { normalise: Normalise::PerPatch, ..params(5) }.describe(&[image], &list).unwrap();
    assert!((global.images()[[0, 4, 0, 0]] - 4.0 / 24.0).abs() < 1e-6);
    assert_eq!(own.images()[[0, 4, 0, 0]], 1.0);
    assert!((own.stored() - global.stored()).iter().all(|d| d.abs() < 1e-4));
}

#[test]
fn windows_that_cannot_be_are_refused_with_their_numbers() {
    let image = [image(20, 30, |y, x| y + x)];
    let list = sites(&[(10.0, 10.0)]);
    for window in [0, 2] {
        assert_eq!(cut(&image, &list, &params(window)).unwrap_err(), Error::WindowTooSmall { window });
    }
    let error = cut(&image, &list, &params(21)).unwrap_err().to_string();
    assert_eq!(error, "a window of 21 px does not fit into an image of 20×30 px");
    let error = cut(&image, &sites(&[(1.0, 1.0), (18.5, 4.0)]), &params(9)).unwrap_err().to_string();
    assert!(error.starts_with("none of the 2 sites can have a window of 9 px: 2 are too near the border"), "{error}");
    assert!(matches!(cut(&image, &Sites::default(), &params(9)), Err(Error::NothingLeft { sites: 0, .. })));
}
