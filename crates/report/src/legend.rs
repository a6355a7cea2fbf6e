//! Legends: a mark and a text per line.

use std::collections::BTreeMap;

use crate::Result;
use crate::canvas::{Canvas, Pen};
use crate::colour;
use crate::text::{self, Align, INK, LABEL, TICK};

const PITCH: f64 = 38.0;
const INDENT: f64 = 44.0;
/// Classes beyond these share the last line.
const MOST: usize = 16;

/// What stands before the text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Mark {
    Disc([u8; 3]),
    Ring([u8; 3]),
    Line([u8; 3], bool),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub mark: Mark,
    pub text: String,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Legend {
    pub heading: String,
    pub entries: Vec<Entry>,
}

impl Legend {
    /// One line per class with its count, in the order of the classes, unknown ones last.
    pub fn of_classes(class: &[i64], names: &[String]) -> Self {
        let mut counts = BTreeMap::new();
        for &c in class {
            *counts.entry(if c < 0 { i64::MAX } else { c }).or_insert(0usize) += 1;
        }
        let name = |c: i64| match usize::try_from(c).ok().and_then(|c| names.get(c)) {
            _ if c == i64::MAX => "unknown".to_owned(),
            Some(name) => name.clone(),
            None => format!("class {c}"),
        };
        let entry = |(&c, count): (&i64, &usize)| {
            let colour = if c == i64::MAX { colour::UNKNOWN } else { colour::class_colour(c) };
            Entry { mark: Mark::Disc(colour), text: format!("{} ({count})", name(c)) }
        };
        let mut entries: Vec<Entry> = counts.iter().take(MOST).map(entry).collect();
        if counts.len() > MOST {
            let text = format!("… and {} more", counts.len() - MOST);
            entries.push(Entry { mark: Mark::Ring(colour::UNKNOWN), text });
        }
        Self { heading: String::new(), entries }
    }

    fn lines(&self) -> usize {
        self.entries.len() + usize::from(!self.heading.is_empty())
    }

    pub fn height(&self) -> f64 {
        self.lines() as f64 * PITCH
    }

    pub fn width(&self) -> Result<f64> {
        let heading = text::width(&self.heading, LABEL)?;
        self.entries.iter().try_fold(heading, |w, e| Ok(w.max(INDENT + text::width(&e.text, TICK)?)))
    }

    pub fn draw(&self, canvas: &mut Canvas, x: f64, y: f64) -> Result<()> {
        let mut middle = y + PITCH / 2.0;
        if !self.heading.is_empty() {
            canvas.text(&self.heading, [x, middle], Align::Left, LABEL)?;
            middle += PITCH;
        }
        for Entry { mark, text } in &self.entries {
            let centre = [x + 16.0, middle];
            match *mark {
                Mark::Disc(colour) => {
                    canvas.disc(centre, 10.0, colour, 1.0);
                    canvas.ring(centre, 10.0, Pen { opacity: 0.5, ..Pen::solid(1.0, INK) });
                }
                Mark::Ring(colour) => {
                    canvas.ring(centre, 8.5, Pen::solid(6.0, [90; 3]));
                    canvas.ring(centre, 8.5, Pen::solid(4.0, colour));
                }
                Mark::Line(colour, dashed) => {
                    let ends = [[x, middle], [x + 34.0, middle]];
                    canvas.line(&ends, false, Pen { dashed, ..Pen::solid(4.0, colour) });
                }
            }
            canvas.text(text, [x + INDENT, middle], Align::Left, TICK)?;
            middle += PITCH;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_named_counted_and_unknown_comes_last() {
        let legend = Legend::of_classes(&[1, -1, 0, 1, 5], &["Sr".into(), "Ti".into()]);
        let texts: Vec<&str> = legend.entries.iter().map(|e| e.text.as_str()).collect();
        assert_eq!(texts, ["Sr (1)", "Ti (2)", "class 5 (1)", "unknown (1)"]);
        assert_eq!(legend.entries[1].mark, Mark::Disc(colour::class_colour(1)));
        let many: Vec<i64> = (0..40).collect();
        let legend = Legend::of_classes(&many, &[]);
        assert_eq!((legend.entries.len(), legend.entries[MOST].text.as_str()), (MOST + 1, "… and 24 more"));
    }
}
