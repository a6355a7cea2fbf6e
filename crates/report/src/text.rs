//! Text from the bundled font, placed to a fraction of a pixel.

use std::sync::OnceLock;

use ab_glyph::{Font, FontRef, PxScale, ScaleFont, point};

use crate::Result;

/// Where a text lies relative to its point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Middle,
    Right,
}

/// A text's size (pixels per em), weight and colour.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Style {
    pub size: f64,
    pub bold: bool,
    pub colour: [u8; 3],
}

/// Text colour of titles, labels and ticks.
pub(crate) const INK: [u8; 3] = [33, 37, 41];
/// Ticks and legends.
pub(crate) const TICK: Style = Style { size: 24.0, bold: false, colour: INK };
/// Axis and colour bar labels.
pub(crate) const LABEL: Style = Style { size: 26.0, bold: false, colour: INK };
/// Titles.
pub(crate) const TITLE: Style = Style { size: 29.0, bold: true, colour: INK };

fn font(bold: bool) -> Result<&'static FontRef<'static>> {
    static FONTS: [OnceLock<FontRef<'static>>; 2] = [const { OnceLock::new() }; 2];
    let slot = &FONTS[usize::from(bold)];
    if let Some(font) = slot.get() {
        return Ok(font);
    }
    let bytes = if bold { dejavu::sans::bold() } else { dejavu::sans::regular() };
    let font = FontRef::try_from_slice(bytes)?;
    Ok(slot.get_or_init(|| font))
}

/// ab_glyph counts in heights of a line; figures count in ems.
fn scale(font: &FontRef<'_>, size: f64) -> PxScale {
    let em = font.units_per_em().map_or(1.0, f32::from);
    PxScale::from(size as f32 * font.height_unscaled() / em)
}

/// Width of a line of text, in pixels.
pub(crate) fn width(text: &str, style: Style) -> Result<f64> {
    let font = font(style.bold)?;
    let scaled = font.as_scaled(scale(font, style.size));
    let mut previous = None;
    let mut sum = 0.0;
    for glyph in text.chars().map(|c| scaled.glyph_id(c)) {
        sum += scaled.h_advance(glyph) + previous.map_or(0.0, |p| scaled.kern(p, glyph));
        previous = Some(glyph);
    }
    Ok(f64::from(sum))
}

/// The style, smaller if the text would be wider than `room`.
pub(crate) fn fitted(text: &str, style: Style, room: f64) -> Result<Style> {
    let needed = width(text, style)?;
    let size = if needed > room { style.size * (room.max(1.0) / needed) } else { style.size };
    Ok(Style { size, ..style })
}

/// Breaks a text between words into lines no wider than `room`; a longer word keeps a line for itself.
pub(crate) fn wrap(text: &str, style: Style, room: f64) -> Result<Vec<String>> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let longer = lines.last().map(|line| format!("{line} {word}"));
        match (longer, lines.last_mut()) {
            (Some(longer), Some(line)) if width(&longer, style)? <= room => *line = longer,
            _ => lines.push(word.to_owned()),
        }
    }
    Ok(lines)
}

/// Calls `cover(dx, dy, coverage)` for the pixels of a line of text; `fraction` is the sub-pixel start, the baseline is
/// `dy` = 0.
pub(crate) fn rasterise(text: &str, style: Style, fraction: f64, mut cover: impl FnMut(i64, i64, f32)) -> Result<()> {
    let font = font(style.bold)?;
    let scale = scale(font, style.size);
    let scaled = font.as_scaled(scale);
    let mut pen = fraction as f32;
    let mut previous = None;
    for id in text.chars().map(|c| scaled.glyph_id(c)) {
        pen += previous.map_or(0.0, |p| scaled.kern(p, id));
        previous = Some(id);
        if let Some(outline) = font.outline_glyph(id.with_scale_and_position(scale, point(pen, 0.0))) {
            let corner = outline.px_bounds().min;
            outline.draw(|x, y, c| cover(corner.x as i64 + i64::from(x), corner.y as i64 + i64::from(y), c));
        }
        pen += scaled.h_advance(id);
    }
    Ok(())
}

/// The text with a capital letter if it begins with a word; a symbol such as z₁ or pc1 stays as it is.
pub(crate) fn capital(text: &str) -> String {
    if text.split_whitespace().next().is_some_and(|word| word.chars().any(char::is_numeric)) {
        return text.to_owned();
    }
    let mut letters = text.chars();
    match (letters.next(), text.chars().nth(1)) {
        (Some(first), Some(second)) if second.is_lowercase() => first.to_uppercase().chain(letters).collect(),
        (Some(_), _) => text.to_owned(),
        (None, _) => "Value".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_font_has_the_letters_of_the_field() {
        for c in "Åµσ±−π⁻⁰¹²³⁴⁵⁶⁷⁸⁹×·°₁₂₃₄₅₆₇₈₉≤≥θ–".chars() {
            for bold in [false, true] {
                let font = font(bold).unwrap();
                assert_ne!(font.glyph_id(c).0, 0, "{c}");
            }
        }
    }

    #[test]
    fn ink_stays_within_the_measured_width() {
        let text = "Rotation θ (rad)";
        let measured = width(text, LABEL).unwrap();
        let mut right = 0;
        rasterise(text, LABEL, 0.0, |x, _, c| right = if c > 0.5 { right.max(x) } else { right }).unwrap();
        assert!((right as f64) < measured && right as f64 > measured - 6.0, "{right} of {measured}");
    }

    #[test]
    fn long_text_wraps_between_words_and_shrinks() {
        let text = "one two three four five six seven";
        let lines = wrap(text, TITLE, 200.0).unwrap();
        assert!(lines.len() > 2 && lines.join(" ") == text, "{lines:?}");
        for line in &lines {
            assert!(width(line, TITLE).unwrap() <= 200.0);
        }
        let small = fitted(text, LABEL, 100.0).unwrap();
        assert!(width(text, small).unwrap() < 100.5);
    }

    #[test]
    fn many_threads_may_draw_at_once() {
        let widths: Vec<f64> = std::thread::scope(|s| {
            let threads: Vec<_> = (0..8).map(|_| s.spawn(|| width("same text", TITLE).unwrap())).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert!(widths.iter().all(|&w| w == widths[0] && w > 100.0));
    }
}
