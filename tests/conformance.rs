//! What holds for every setting of a model, whatever its invariances, likelihood and channels.

use std::ops::ControlFlow;

use dfdx::tensor::Cpu;
use parsimon_core::Embedding;
use parsimon_ivae::{Config, Ivae, Noise, Params, train};
use parsimon_nets::{Parameters, weights};
use parsimon_train::{Fitted, Options, evaluate, load_checkpoint, save_checkpoint};
use rand::SeedableRng;

use crate::objects::objects;
use crate::settings::{SPREAD, Samples, fit, named, options, settings};

#[test]
fn training_lowers_both_losses_and_names_every_latent() {
    for params in settings() {
        let fitted = fit(&params, &options());
        let history = &fitted.state.history;
        let (first, last) = (history[0], history[history.len() - 1]);
        assert!(last.train.loss < first.train.loss, "{}: {first:?} {last:?}", named(&params));
        assert!(last.test.unwrap().loss < first.test.unwrap().loss, "{}", named(&params));
        let embedding = fitted.state.model.embedding(Samples::new(&params).examples(&params)).unwrap();
        let names: Vec<&str> = embedding.columns().iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, [params.columns(), params.condition.columns()].concat(), "{}", named(&params));
        let latents = &embedding.columns()[..params.columns().len()];
        let spread = |c: &parsimon_core::Column| c.sd.as_ref().is_some_and(|sd| sd.iter().all(|s| *s > 0.0));
        assert!(latents.iter().all(|c| spread(c) != params.deterministic), "{}", named(&params));
    }
}

#[test]
fn the_same_seed_gives_the_same_bits_whatever_the_threads_and_another_seed_others() {
    for params in settings() {
        let latents = |threads: usize, seed: u64| -> Embedding {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let options = Options { epochs: 2, seed, ..options() };
            pool.install(|| {
                fit(&params, &options).state.model.embedding(Samples::new(&params).examples(&params)).unwrap()
            })
        };
        let one = latents(1, 3);
        assert_eq!(one, latents(1, 3), "{}: repeated", named(&params));
        assert_eq!(one, latents(3, 3), "{}: three threads", named(&params));
        assert_ne!(one, latents(1, 4), "{}: another seed", named(&params));
    }
}

#[test]
fn large_products_do_not_depend_on_the_threads_either() {
    // Large enough that the encoder's products are split among threads.
    let params = Params::new((28, 28, 1));
    let data = objects(220, 28, 1, SPREAD, 9).patches;
    let bits = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let options = Options { epochs: 1, batch: 100, ..Options::default() };
        let go = |_: &parsimon_train::Progress<'_, _>| ControlFlow::Continue(());
        let fitted = pool.install(|| train(&Cpu::default(), &params, &data, &options, None, go).unwrap());
        weights::collect(&fitted.state.model as &dyn Parameters<Cpu>)
    };
    assert_eq!(bits(1), bits(3));
}

#[test]
fn evaluation_leaves_the_model_alone_and_repeats_itself() {
    let params = Params { hidden: vec![16], ..Params::new((10, 10, 1)) };
    let fitted = fit(&params, &options());
    let (data, rows) = (Samples::new(&params).patches, (135..150).collect::<Vec<_>>());
    let before = weights::collect(&fitted.state.model as &dyn Parameters<Cpu>);
    let first = evaluate(&fitted.state.model, &(&data).into(), &rows, 0).unwrap();
    assert_eq!(first, evaluate(&fitted.state.model, &(&data).into(), &rows, 0).unwrap());
    assert_eq!(before, weights::collect(&fitted.state.model as &dyn Parameters<Cpu>));
    let recorded = fitted.state.history.last().unwrap().test.unwrap();
    assert_eq!(recorded, first, "the last epoch's held-out loss is that of the model returned");
}

#[test]
fn a_run_directory_gives_back_the_same_model() {
    for params in settings() {
        let (fitted, samples) = (fit(&params, &Options { epochs: 1, ..options() }), Samples::new(&params));
        let folder = tempfile::tempdir().unwrap();
        let config = Config::new(&params, &options(), samples.patches.scaling());
        for (name, bytes) in fitted.state.model.files(&config).unwrap() {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        let (loaded, config) = Ivae::load(&Cpu::default(), folder.path()).unwrap();
        assert_eq!(config.params, params);
        assert_eq!(
            loaded.embedding(samples.examples(&params)).unwrap(),
            fitted.state.model.embedding(samples.examples(&params)).unwrap(),
            "{}",
            named(&params)
        );
    }
}

#[test]
fn a_resumed_training_equals_an_uninterrupted_one() {
    for params in settings() {
        resumed_equals_uninterrupted(&params, &options());
    }
    let params = Params { hidden: vec![16, 16], ..Params::new((10, 10, 1)) };
    resumed_equals_uninterrupted(&params, &Options { average: 0.9, ..options() });
}

fn resumed_equals_uninterrupted(params: &Params, options: &Options) {
    let samples = Samples::new(params);
    let whole = fit(params, options);
    let folder = tempfile::tempdir().unwrap();
    let stop_after_three = |p: &parsimon_train::Progress<'_, Ivae<Cpu>>| {
        if p.done >= 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let folder_of_state = |state: &_| save_checkpoint(state, folder.path()).unwrap();
    let keep_after_three = |p: &parsimon_train::Progress<'_, Ivae<Cpu>>| {
        let flow = stop_after_three(p);
        if flow.is_break() {
            folder_of_state(p.state);
        }
        flow
    };
    train(&Cpu::default(), params, samples.examples(params), options, None, keep_after_three).unwrap();
    let fresh = Ivae::new(&Cpu::default(), params, &mut rand_chacha::ChaCha8Rng::seed_from_u64(9)).unwrap();
    let state = load_checkpoint(fresh, folder.path()).unwrap();
    let other = Params { beta: 2.0, ..params.clone() };
    let refused = train(&Cpu::default(), &other, samples.examples(params), options, Some(state.clone()), |_| {
        ControlFlow::Continue(())
    });
    assert!(refused.unwrap_err().to_string().contains("state to resume"), "{}", named(params));
    let go = |_: &parsimon_train::Progress<'_, _>| ControlFlow::Continue(());
    let resumed = train(&Cpu::default(), params, samples.examples(params), options, Some(state), go).unwrap();
    let bits = |fitted: &Fitted<Ivae<Cpu>>| weights::collect(&fitted.state.model as &dyn Parameters<Cpu>);
    assert!(bits(&whole) == bits(&resumed), "{}", named(params));
    assert_eq!(resumed.state.history.len(), 6);
}

#[test]
fn an_average_is_what_is_evaluated_and_returned() {
    let params = Params { hidden: vec![16], ..Params::new((10, 10, 1)) };
    let (plain, mean) = (fit(&params, &options()), fit(&params, &Options { average: 0.9, ..options() }));
    assert_ne!(
        plain.state.model.embedding(Samples::new(&params).examples(&params)).unwrap(),
        mean.state.model.embedding(Samples::new(&params).examples(&params)).unwrap()
    );
    let losses = |fitted: &Fitted<Ivae<Cpu>>| fitted.state.history.iter().map(|e| e.train.loss).collect::<Vec<_>>();
    assert_eq!(losses(&plain), losses(&mean), "the steps are the same");
    let rows: Vec<usize> = (135..150).collect();
    let last = mean.state.history.last().unwrap().test.unwrap();
    assert_eq!(evaluate(&mean.state.model, &(&Samples::new(&params).patches).into(), &rows, 0).unwrap(), last);
}

#[test]
fn early_stop_returns_the_best_epoch_and_starts_are_compared() {
    let params = Params { hidden: vec![16], ..Params::new((10, 10, 1)) };
    // A step this large overshoots soon, so that the best epoch is not the last.
    let wild = Options { epochs: 60, patience: Some(3), learning_rate: 0.05, ..options() };
    let fitted = fit(&params, &wild);
    let losses: Vec<f32> = fitted.state.history.iter().map(|e| e.test.unwrap().loss).collect();
    let best = losses.iter().copied().fold(f32::INFINITY, f32::min);
    assert!(losses.len() < 60 && losses.len() == fitted.epoch + 3, "{} epochs, best {}", losses.len(), fitted.epoch);
    assert_eq!(losses[fitted.epoch - 1], best);
    let rows: Vec<usize> = (135..150).collect();
    assert_eq!(evaluate(&fitted.state.model, &(&Samples::new(&params).patches).into(), &rows, 0).unwrap().loss, best);

    let several = fit(&params, &Options { starts: 3, start_epochs: 2, ..options() });
    assert!(several.state.history.windows(2).all(|w| w[0].seconds < w[1].seconds));
    assert_eq!(several.starts.len(), 3);
    let chosen = several.state.start;
    assert!(several.starts.iter().all(|loss| several.starts[chosen] <= *loss), "{:?}", several.starts);
    assert_eq!(several.state.history.len(), 6);
}

#[test]
fn one_start_that_diverges_does_not_end_the_others() {
    let params = Params { hidden: vec![16], ..Params::new((10, 10, 1)) };
    let data = Samples::new(&params).patches;
    let starts = |sound: usize| {
        let mut made = 0;
        let make = |rng: &mut rand_chacha::ChaCha8Rng| {
            made += 1;
            let mut model = Ivae::new(&Cpu::default(), &params, rng).unwrap();
            if made != sound {
                let broken = weights::collect(&model).into_iter();
                let broken = broken.map(|(name, (shape, w))| (name, (shape, vec![f32::MAX; w.len()]))).collect();
                weights::restore(&mut model, &broken).unwrap();
            }
            Ok(model)
        };
        let options = Options { starts: 3, start_epochs: 2, ..options() };
        let (mut last, mut total) = (0, 0);
        let fitted = parsimon_train::fit(make, &(&data).into(), data.len(), &options, None, |p| {
            (last, total) = (p.done, p.total);
            ControlFlow::Continue(())
        });
        (fitted, last, total)
    };
    let (fitted, last, total) = starts(2);
    let fitted = fitted.unwrap();
    assert_eq!((fitted.state.start, fitted.state.history.len(), last), (1, 6, total));
    assert_eq!(fitted.starts.iter().map(|l| l.is_finite()).collect::<Vec<_>>(), [false, true, false]);
    let message = starts(9).0.unwrap_err().to_string();
    assert!(message.contains("in epoch 1, batch 1 of 5"), "{message}");
    assert!(message.starts_with("the reconstruction is") || message.starts_with("the KL is"), "{message}");
}

#[test]
fn an_observer_can_stop_training() {
    let params = Params { hidden: vec![16], ..Params::new((10, 10, 1)) };
    let stop_after_two = |p: &parsimon_train::Progress<'_, Ivae<Cpu>>| {
        if p.done >= 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let fitted =
        train(&Cpu::default(), &params, &Samples::new(&params).patches, &options(), None, stop_after_two).unwrap();
    assert!(fitted.interrupted && fitted.state.history.len() == 2);
}

#[test]
fn data_of_another_size_and_too_few_rows_are_refused() {
    let params = Params { hidden: vec![8], ..Params::new((12, 10, 1)) };
    let go = |_: &parsimon_train::Progress<'_, Ivae<Cpu>>| ControlFlow::Continue(());
    let wrong = Params { size: (10, 10, 1), ..params.clone() };
    let error = train(&Cpu::default(), &params, &Samples::new(&wrong).patches, &options(), None, go).unwrap_err();
    assert!(error.to_string().contains("(10, 10, 1)"), "{error}");
    let few = Options { batch: 500, ..options() };
    let error = train(&Cpu::default(), &wrong, &Samples::new(&wrong).patches, &few, None, go).unwrap_err();
    assert!(error.to_string().contains("135 rows"), "{error}");
}

#[test]
fn a_diverging_training_stops_with_a_diagnosis() {
    let params = Params { noise: Noise::Gaussian(1e-6), hidden: vec![8], ..Params::new((10, 10, 1)) };
    let go = |_: &parsimon_train::Progress<'_, Ivae<Cpu>>| ControlFlow::Continue(());
    let wild = Options { learning_rate: 1e20, epochs: 20, ..options() };
    let error = train(&Cpu::default(), &params, &Samples::new(&params).patches, &wild, None, go).unwrap_err();
    assert!(error.to_string().contains("lower the learning rate"), "{error}");
    // A single step of a sound loss: what it leads to must not be taken for a model.
    let once = Options { learning_rate: 1e20, epochs: 1, batch: 135, ..options() };
    let error = train(&Cpu::default(), &params, &Samples::new(&params).patches, &once, None, go).unwrap_err();
    assert!(error.to_string().contains("in epoch 1, batch 1 of 1"), "{error}");
}
