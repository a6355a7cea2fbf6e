use proptest::prelude::*;

use super::*;
use crate::oracle::activation as value;

fn values(seed: u32, n: usize) -> Vec<f32> {
    let number = |i: usize| ((i as u32).wrapping_mul(2_654_435_761).wrapping_add(seed) >> 8) as f32 / 16_777_216.0;
    (0..n).map(|i| 2.0 * number(i) - 1.0).collect()
}

fn close(found: &[f32], expected: impl Fn(usize) -> f64) -> Result<(), TestCaseError> {
    for (i, found) in found.iter().enumerate() {
        let expected = expected(i);
        prop_assert!((f64::from(*found) - expected).abs() < 2e-5 * (1.0 + expected.abs()), "{i}: {found} {expected}");
    }
    Ok(())
}

/// From the value, or from what is kept.
fn slope(activation: Activation, y: f64) -> f64 {
    match activation {
        Activation::Identity => 1.0,
        Activation::Tanh => 1.0 - y * y,
        Activation::Relu => {
            if y > 0.0 {
                1.0
            } else {
                0.0
            }
        }
        Activation::LeakyRelu => {
            if y > 0.0 {
                1.0
            } else {
                0.01
            }
        }
        Activation::Softplus => 1.0 - (-y).exp(),
        Activation::Gelu => y,
    }
}

proptest! {
    #[test]
    fn hidden_layers_agree_with_their_definition(
        rows in 1usize..40, inputs in 1usize..70, outputs in 1usize..70, seed: u32, kind in 0usize..6,
    ) {
        let activation = Activation::ALL[kind % Activation::ALL.len()];
        let (h, w, bias) = (values(seed, rows * inputs), values(seed ^ 1, inputs * outputs), values(seed ^ 2, outputs));
        let exact = |row: usize, column: usize| -> f64 {
            (0..inputs).map(|i| f64::from(h[row * inputs + i]) * f64::from(w[i * outputs + column])).sum()
        };
        let mut out = vec![7.0; rows * outputs];
        let mut slopes = vec![7.0; if activation.keeps_slope() { out.len() } else { 0 }];
        let panels = Panels::new(&w, inputs, outputs);
        product(&h, &panels, Start::Row(&bias), (&mut out, &mut slopes), Finish::Activate(activation));
        let before = |i: usize| exact(i / outputs, i % outputs) + f64::from(bias[i % outputs]);
        close(&out, |i| value(activation, before(i)))?;
        // By differences, which is all that is known of it here.
        let step = 1e-6;
        let rise = |x: f64| (value(activation, x + step) - value(activation, x - step)) / (2.0 * step);
        close(&slopes, |i| rise(before(i)))?;
        let each: Vec<f32> = (0..rows).flat_map(|_| bias.clone()).collect();
        let mut again = vec![7.0; rows * outputs];
        product(&h, &panels, Start::Each(&each), (&mut again, &mut slopes), Finish::Activate(activation));
        prop_assert_eq!(&again, &out);

        let delta = values(seed ^ 3, rows * outputs);
        let mut below = vec![7.0; rows * inputs];
        product(&delta, &Panels::transposed(&w, inputs, outputs), Start::Zero, (&mut below, &mut []), Finish::Chain(activation, &h));
        close(&below, |i| {
            let (row, input) = (i / inputs, i % inputs);
            let sum: f64 = (0..outputs).map(|o| f64::from(delta[row * outputs + o]) * f64::from(w[input * outputs + o])).sum();
            sum * slope(activation, h[i].into())
        })?;

        let (mut dw, mut db) = (values(seed ^ 4, inputs * outputs), values(seed ^ 5, outputs));
        let (dw_before, db_before) = (dw.clone(), db.clone());
        add_transposed(&h, inputs, &delta, outputs, &mut dw);
        add_rows(&delta, &mut db);
        close(&dw, |i| {
            let (input, output) = (i / outputs, i % outputs);
            let sum: f64 = (0..rows).map(|r| f64::from(h[r * inputs + input]) * f64::from(delta[r * outputs + output])).sum();
            sum + f64::from(dw_before[i])
        })?;
        close(&db, |o| (0..rows).map(|r| f64::from(delta[r * outputs + o])).sum::<f64>() + f64::from(db_before[o]))?;
    }
}
