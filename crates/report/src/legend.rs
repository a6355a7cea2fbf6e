//! Legends: a mark and a text per line.

use std::collections::BTreeMap;

use crate::Result;
use crate::canvas::{Canvas, Pen};
use crate::colour;
use crate::text::{self, Align, INK, Style, TICK};

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
        Self { entries }
    }

    pub fn height(&self) -> f64 {
        self.entries.len() as f64 * PITCH
    }

    pub fn width(&self) -> Result<f64> {
        self.entries.iter().try_fold(0.0, |w: f64, e| Ok(w.max(INDENT + text::width(&e.text, TICK)?)))
    }

    /// Places of the entries when they follow each other in rows no longer than `room`, and the height of the rows.
    fn rows(&self, room: f64) -> Result<(Vec<[f64; 2]>, f64)> {
        let (mut places, mut x, mut y) = (Vec::new(), 0.0, 0.0);
        for entry in &self.entries {
            let needed = INDENT + text::width(&entry.text, TICK)?;
            if x > 0.0 && x + needed > room {
                (x, y) = (0.0, y + PITCH);
            }
            places.push([x, y]);
            x += needed + 34.0;
        }
        Ok((places, y + PITCH))
    }

    /// Height of the entries in rows.
    pub fn rows_height(&self, room: f64) -> Result<f64> {
        Ok(self.rows(room)?.1)
    }

    /// Draws the entries in rows.
    pub fn draw_rows(&self, canvas: &mut Canvas, [x, y]: [f64; 2], room: f64) -> Result<()> {
        for (entry, place) in self.entries.iter().zip(self.rows(room)?.0) {
            let style = text::fitted(&entry.text, TICK, room - INDENT)?;
            entry.draw(canvas, [x + place[0], y + place[1] + PITCH / 2.0], style)?;
        }
        Ok(())
    }

    /// Draws a line per entry.
    pub fn draw(&self, canvas: &mut Canvas, x: f64, y: f64) -> Result<()> {
        for (i, entry) in self.entries.iter().enumerate() {
            entry.draw(canvas, [x, y + (i as f64 + 0.5) * PITCH], TICK)?;
        }
        Ok(())
    }
}

impl Entry {
    fn draw(&self, canvas: &mut Canvas, [x, y]: [f64; 2], style: Style) -> Result<()> {
        let centre = [x + 16.0, y];
        match self.mark {
            Mark::Disc(colour) => {
                canvas.disc(centre, 10.0, colour, 1.0);
                canvas.ring(centre, 10.0, Pen { opacity: 0.5, ..Pen::solid(1.0, INK) });
            }
            Mark::Ring(colour) => {
                canvas.ring(centre, 8.5, Pen::solid(6.0, [90; 3]));
                canvas.ring(centre, 8.5, Pen::solid(4.0, colour));
            }
            Mark::Line(colour, dashed) => {
                canvas.line(&[[x, y], [x + 34.0, y]], false, Pen { dashed, ..Pen::solid(4.0, colour) });
            }
        }
        canvas.text(&self.text, [x + INDENT, y], Align::Left, style)
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
        let (places, height) = legend.rows(300.0).unwrap();
        assert!(places.iter().all(|p| p[0] < 300.0) && places[3][1] > 0.0 && height == places[3][1] + PITCH);
        let many: Vec<i64> = (0..40).collect();
        let legend = Legend::of_classes(&many, &[]);
        assert_eq!((legend.entries.len(), legend.entries[MOST].text.as_str()), (MOST + 1, "… and 24 more"));
    }
}
