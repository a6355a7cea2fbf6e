//! Steps, and their text form for a command line.
//!
//! ```text
//! steps  = step { "," step }
//! step   = "crop=" window              the spectral axis
//!        | "rows=" range | "columns=" range
//!        | "bin=" N                    N channels become one
//!        | "bin-pixels=" N             N×N pixels become one
//!        | "bin-pixels=" R "x" C       R rows by C columns become one
//!        | "background=" window        a power law fitted there is subtracted there and above
//!        | "poisson" [ "=" ( "keenan-kotula" | "anscombe" ) ]     the first if nothing is said
//!        | "normalise=" ( "total" | "max" | window )
//! window = [ number [ unit ] ] ".." [ number [ unit ] ]     ends included; without a unit, that of the axis
//! range  = [ N ] ".." [ N ]                                 from 0; the end not included
//! ```
//!
//! Spaces around steps, names, numbers and units mean nothing.

use std::fmt;

use crate::{Bin, Crop, Error, Normalise, Pixels, PowerLaw, Result, Window};

const STEPS: &str = "crop=FROM..TO, rows=FROM..TO, columns=FROM..TO, bin=N, bin-pixels=N or NxN, background=FROM..TO, \
                     poisson, poisson=anscombe, normalise=total, normalise=max, normalise=FROM..TO";
const WINDOWS: &str = "windows such as 0.25..10keV, 250eV.. or ..10";
const RANGES: &str = "ranges such as 10..50, 10.. or ..50";
const FACTORS: &str = "whole numbers from 1 on";

/// How counts are scaled so that their noise is alike everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoissonScaling {
    /// [`KeenanKotula`](crate::KeenanKotula): linear, so that components and loadings go back.
    KeenanKotula,
    /// [`anscombe`](crate::anscombe()): a root of each count by itself.
    Anscombe,
}

/// One step of a preparation.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// A part.
    Crop(Crop),
    /// Sums of neighbours.
    Bin(Bin),
    /// Spectra less a power law.
    Background(PowerLaw),
    /// Counts scaled by their noise.
    Poisson(PoissonScaling),
    /// Spectra divided by their size.
    Normalise(Normalise),
}

/// Reads steps; [the module](self) tells how they are written.
///
/// # Errors
/// If a step, a number or a window is not of that form. Whether the data have such channels is seen when the steps are
/// [applied](crate::apply()).
pub fn parse(text: &str) -> Result<Vec<Step>> {
    text.split(',').map(str::trim).map(step).collect()
}

fn step(text: &str) -> Result<Step> {
    let wrong = |problem: String, accepted| Err(Error::Text { step: text.to_owned(), problem, accepted });
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name.trim_end(), Some(value.trim())),
        None => (text, None),
    };
    let known = ["crop", "rows", "columns", "bin", "bin-pixels", "background", "poisson", "normalise"];
    if !known.contains(&name) {
        let problem = if text.is_empty() { "nothing is there".to_owned() } else { format!("there is no `{name}`") };
        return wrong(problem, STEPS);
    }
    let value = match (name, value) {
        ("poisson", None) => "keenan-kotula",
        (_, Some(value)) if !value.is_empty() => value,
        _ => return wrong(format!("`{name}` needs a value"), STEPS),
    };
    Ok(match (name, value) {
        ("crop", _) => Step::Crop(Crop { energy: window(text, value)?, ..Crop::default() }),
        ("rows", _) => Step::Crop(Crop { rows: pixels(text, value)?, ..Crop::default() }),
        ("columns", _) => Step::Crop(Crop { columns: pixels(text, value)?, ..Crop::default() }),
        ("bin", _) => Step::Bin(Bin { channels: factor(text, value)?, ..Bin::default() }),
        ("bin-pixels", _) => {
            let (rows, columns) = value.split_once('x').unwrap_or((value, value));
            Step::Bin(Bin { rows: factor(text, rows)?, columns: factor(text, columns)?, ..Bin::default() })
        }
        ("background", _) => Step::Background(PowerLaw { window: window(text, value)? }),
        ("poisson", "keenan-kotula") => Step::Poisson(PoissonScaling::KeenanKotula),
        ("poisson", "anscombe") => Step::Poisson(PoissonScaling::Anscombe),
        ("poisson", _) => return wrong(format!("there is no scaling `{value}`"), "keenan-kotula and anscombe"),
        (_, "total") => Step::Normalise(Normalise::Total),
        (_, "max") => Step::Normalise(Normalise::Maximum),
        _ if value.contains("..") => Step::Normalise(Normalise::Window(window(text, value)?)),
        _ => return wrong(format!("there is no norm `{value}`"), "total, max, and windows such as 0.25..10keV"),
    })
}

fn factor(step: &str, text: &str) -> Result<usize> {
    let text = text.trim();
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| Error::Text {
        step: step.to_owned(),
        problem: format!("the factor is `{text}`"),
        accepted: FACTORS,
    })
}

fn pixels(step: &str, text: &str) -> Result<Pixels> {
    let wrong = || Error::Text { step: step.to_owned(), problem: format!("the range is `{text}`"), accepted: RANGES };
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    let end = |end: &str| match end.trim() {
        "" => Ok(None),
        end => end.parse().map(Some).map_err(|_| wrong()),
    };
    let (from, to) = (end(from)?.unwrap_or(0), end(to)?);
    if to.is_some_and(|to| to <= from) { Err(wrong()) } else { Ok(Pixels { from, to }) }
}

fn window(step: &str, text: &str) -> Result<Window> {
    let wrong = |problem: String| Error::Text { step: step.to_owned(), problem, accepted: WINDOWS };
    let (from, to) = text.split_once("..").ok_or_else(|| wrong(format!("the window is `{text}`")))?;
    let end = |end: &str| match end.trim() {
        "" => Ok((None, None)),
        end => quantity(end).ok_or_else(|| wrong(format!("`{end}` is no number"))),
    };
    let ((from, before), (to, after)) = (end(from)?, end(to)?);
    let unit = match (before, after) {
        (Some(a), Some(b)) if a != b => return Err(wrong(format!("its ends are in `{a}` and `{b}`"))),
        (a, b) => b.or(a),
    };
    if from.zip(to).is_some_and(|(from, to)| from > to) {
        return Err(wrong("its first end is the greater".to_owned()));
    }
    Ok(Window { from, to, unit })
}

/// A finite number, and the unit after it.
fn quantity(text: &str) -> Option<(Option<f64>, Option<String>)> {
    // The longest beginning that is a number: `1e3eV` is 1e3 and eV, `10eV` is 10 and eV.
    let digits = text.find(|c: char| !(c.is_ascii_digit() || "+-.eE".contains(c))).unwrap_or(text.len());
    let (end, number) = (1..=digits).rev().find_map(|end| Some((end, text[..end].parse::<f64>().ok()?)))?;
    let unit = text[end..].trim();
    number.is_finite().then(|| (Some(number), (!unit.is_empty()).then(|| unit.to_owned())))
}

/// As [`parse`] reads it.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crop(crop) => {
                let range = |p: Pixels| format!("{}..{}", p.from, p.to.map(|to| to.to_string()).unwrap_or_default());
                let parts = [
                    (crop.energy != Window::default()).then(|| format!("crop={}", crop.energy)),
                    (crop.rows != Pixels::default()).then(|| format!("rows={}", range(crop.rows))),
                    (crop.columns != Pixels::default()).then(|| format!("columns={}", range(crop.columns))),
                ];
                let parts: Vec<String> = parts.into_iter().flatten().collect();
                if parts.is_empty() { write!(f, "crop=..") } else { write!(f, "{}", parts.join(",")) }
            }
            Self::Bin(Bin { channels, rows: 1, columns: 1 }) => write!(f, "bin={channels}"),
            Self::Bin(Bin { channels, rows, columns }) => {
                if *channels != 1 {
                    write!(f, "bin={channels},")?;
                }
                write!(f, "bin-pixels={rows}x{columns}")
            }
            Self::Background(law) => write!(f, "background={}", law.window),
            Self::Poisson(PoissonScaling::KeenanKotula) => write!(f, "poisson=keenan-kotula"),
            Self::Poisson(PoissonScaling::Anscombe) => write!(f, "poisson=anscombe"),
            Self::Normalise(Normalise::Total) => write!(f, "normalise=total"),
            Self::Normalise(Normalise::Maximum) => write!(f, "normalise=max"),
            Self::Normalise(Normalise::Window(window)) => write!(f, "normalise={window}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crop(energy: Window) -> Step {
        Step::Crop(Crop { energy, ..Crop::default() })
    }

    #[test]
    fn texts_are_the_steps_they_name_and_steps_the_texts() {
        let upper = Window { from: Some(1e3), to: None, unit: Some("eV".into()) };
        let cases = [
            ("crop=0.25..10keV", crop(Window::between(0.25, 10.0).in_unit("keV"))),
            (" crop = 250 eV .. 1e4 eV ", crop(Window::between(250.0, 1e4).in_unit("eV"))),
            ("crop=1e3eV..", crop(upper)),
            ("crop=-5...5", crop(Window::between(-5.0, 0.5))),
            ("crop=..2.5e-1 µm", crop(Window { from: None, to: Some(0.25), unit: Some("µm".into()) })),
            ("rows=10..", Step::Crop(Crop { rows: Pixels { from: 10, to: None }, ..Crop::default() })),
            ("columns=..7", Step::Crop(Crop { columns: Pixels { from: 0, to: Some(7) }, ..Crop::default() })),
            ("bin=2", Step::Bin(Bin { channels: 2, ..Bin::default() })),
            ("bin-pixels=2", Step::Bin(Bin { rows: 2, columns: 2, channels: 1 })),
            ("bin-pixels=2x3", Step::Bin(Bin { rows: 2, columns: 3, channels: 1 })),
            ("poisson", Step::Poisson(PoissonScaling::KeenanKotula)),
            ("poisson=anscombe", Step::Poisson(PoissonScaling::Anscombe)),
            ("normalise=total", Step::Normalise(Normalise::Total)),
            ("normalise=max", Step::Normalise(Normalise::Maximum)),
            ("normalise=1..2", Step::Normalise(Normalise::Window(Window::between(1.0, 2.0)))),
            (
                "background=400..450eV",
                Step::Background(PowerLaw { window: Window::between(400.0, 450.0).in_unit("eV") }),
            ),
        ];
        for (text, step) in &cases {
            assert_eq!(&parse(text).unwrap(), std::slice::from_ref(step), "{text}");
            assert_eq!(&parse(&step.to_string()).unwrap(), std::slice::from_ref(step), "{step}");
        }
        let all = cases.map(|(text, _)| text).join(",");
        assert_eq!(parse(&all).unwrap().len(), 16);
        let rows = Pixels { from: 1, to: Some(2) };
        let both = Step::Crop(Crop { energy: Window::between(1.0, 2.0), rows, ..Crop::default() });
        assert_eq!(both.to_string(), "crop=1..2,rows=1..2");
        assert_eq!(Step::Bin(Bin { channels: 2, rows: 3, columns: 1 }).to_string(), "bin=2,bin-pixels=3x1");
        assert_eq!(Step::Crop(Crop::default()).to_string(), "crop=..");
    }

    #[test]
    fn every_bad_text_is_told_what_is_wrong_with_it() {
        for (text, problem) in [
            ("", "nothing is there"),
            ("bin=2,,poisson", "nothing is there"),
            ("cut=1..2", "no `cut`"),
            ("crop", "`crop` needs a value"),
            ("bin=", "`bin` needs a value"),
            ("poisson=", "`poisson` needs a value"),
            ("crop=5", "the window is `5`"),
            ("crop=a..5", "`a` is no number"),
            ("crop=1..infeV", "`infeV` is no number"),
            ("crop=1e999..", "`1e999` is no number"),
            ("crop=1..nan", "`nan` is no number"),
            ("crop=1eV..2keV", "in `eV` and `keV`"),
            ("crop=9..2", "first end is the greater"),
            ("rows=1..x", "the range is `1..x`"),
            ("rows=3..3", "the range is `3..3`"),
            ("columns=-1..3", "the range is `-1..3`"),
            ("columns=4", "the range is `4`"),
            ("bin=0", "the factor is `0`"),
            ("bin=1.5", "the factor is `1.5`"),
            ("bin=-2", "the factor is `-2`"),
            ("bin-pixels=2x", "the factor is ``"),
            ("bin-pixels=2x2x2", "the factor is `2x2`"),
            ("poisson=gauss", "no scaling `gauss`"),
            ("normalise=mean", "no norm `mean`"),
            ("normalise=1..b", "`b` is no number"),
            ("background=total", "the window is `total`"),
            ("crop=µ..2", "`µ` is no number"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(matches!(error, Error::Text { .. }), "{text}: {error}");
            assert!(error.to_string().contains(problem), "{text}: {error}");
            assert!(error.to_string().contains("accepted are"), "{error}");
        }
    }
}
