//! The report: one HTML file that needs nothing else.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::{Error, Figure, Result, error::check_length};

/// A table of texts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    /// Column headings.
    pub header: Vec<String>,
    /// Rows, each as long as the header.
    pub rows: Vec<Vec<String>>,
}

/// A part of the report under a heading: text, then figures, then a table.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Section {
    /// Heading.
    pub heading: String,
    /// Paragraphs, separated by empty lines.
    pub text: String,
    /// Figures; two stand side by side where the window is wide enough.
    pub figures: Vec<Figure>,
    /// A table, if there is one.
    pub table: Option<Table>,
}

/// Everything a report says. All texts are plain; they are escaped.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// Title, such as the name of the file that was analysed.
    pub title: String,
    /// What was done, in a sentence or two.
    pub subtitle: String,
    /// Key numbers as (value, what it is), shown first and large.
    pub key_numbers: Vec<(String, String)>,
    /// Notes and warnings, such as how many sites were left out; shown near the top.
    pub notes: Vec<String>,
    /// Sections in order.
    pub sections: Vec<Section>,
    /// Parameters as (name, value).
    pub parameters: Vec<(String, String)>,
    /// Versions as (program or library, version).
    pub versions: Vec<(String, String)>,
    /// The seed of everything random.
    pub seed: Option<u64>,
    /// The command that repeats the analysis.
    pub command: String,
}

const STYLE: &str = include_str!("style.css");

impl Report {
    /// The report as one HTML document: styles inside, figures as PNG in base64, no script, nothing loaded from elsewhere.
    /// The same report gives the same bytes.
    ///
    /// # Errors
    /// If a figure cannot be encoded, or a row of a table differs from its header in length.
    pub fn html(&self) -> Result<String> {
        let mut out = String::new();
        self.write(&mut out).map(|()| out)
    }

    fn write(&self, out: &mut String) -> Result<()> {
        let title = escape(&self.title);
        out.push_str("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
        out.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
        push(out, format_args!("<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n"));
        push(out, format_args!("<header>\n<h1>{title}</h1>\n"));
        if !self.subtitle.is_empty() {
            push(out, format_args!("<p class=\"lead\">{}</p>\n", escape(&self.subtitle)));
        }
        out.push_str("</header>\n");
        if !self.key_numbers.is_empty() {
            out.push_str("<dl class=\"key\">\n");
            for (value, name) in &self.key_numbers {
                push(out, format_args!("<div><dt>{}</dt><dd>{}</dd></div>\n", escape(name), escape(value)));
            }
            out.push_str("</dl>\n");
        }
        if !self.notes.is_empty() {
            out.push_str("<aside>\n<h2>Notes</h2>\n<ul>\n");
            for note in &self.notes {
                push(out, format_args!("<li>{}</li>\n", escape(note)));
            }
            out.push_str("</ul>\n</aside>\n");
        }
        for section in &self.sections {
            section.write(out)?;
        }
        self.write_origin(out);
        out.push_str("</main>\n</body>\n</html>\n");
        Ok(())
    }

    /// How it was made: command, seed, parameters, versions.
    fn write_origin(&self, out: &mut String) {
        out.push_str("<section>\n<h2>How this was made</h2>\n");
        if !self.command.is_empty() {
            push(out, format_args!("<p>To repeat it:</p>\n<pre><code>{}</code></pre>\n", escape(&self.command)));
        }
        if let Some(seed) = self.seed {
            push(out, format_args!("<p>Seed {seed}: the same command gives the same numbers.</p>\n"));
        }
        out.push_str("<div class=\"pairs\">\n");
        for (heading, pairs) in [("Parameters", &self.parameters), ("Versions", &self.versions)] {
            if pairs.is_empty() {
                continue;
            }
            push(out, format_args!("<div>\n<h3>{heading}</h3>\n<div class=\"scroll\"><table>\n"));
            for (name, value) in pairs {
                push(out, format_args!("<tr><th scope=\"row\">{}</th><td>{}</td></tr>\n", escape(name), escape(value)));
            }
            out.push_str("</table></div>\n</div>\n");
        }
        out.push_str("</div>\n</section>\n");
    }
}

impl Section {
    fn write(&self, out: &mut String) -> Result<()> {
        push(out, format_args!("<section>\n<h2>{}</h2>\n", escape(&self.heading)));
        for paragraph in self.text.split("\n\n").map(str::trim).filter(|p| !p.is_empty()) {
            push(out, format_args!("<p>{}</p>\n", escape(paragraph)));
        }
        if !self.figures.is_empty() {
            out.push_str("<div class=\"figures\">\n");
            for figure in &self.figures {
                figure_html(out, figure)?;
            }
            out.push_str("</div>\n");
        }
        if let Some(table) = &self.table {
            table.write(out)?;
        }
        out.push_str("</section>\n");
        Ok(())
    }
}

impl Table {
    fn write(&self, out: &mut String) -> Result<()> {
        out.push_str("<div class=\"scroll\"><table>\n<thead><tr>");
        for cell in &self.header {
            push(out, format_args!("<th scope=\"col\">{}</th>", escape(cell)));
        }
        out.push_str("</tr></thead>\n<tbody>\n");
        for (i, row) in self.rows.iter().enumerate() {
            check_length(&format!("row {i} of the table"), row.len(), self.header.len())?;
            out.push_str("<tr>");
            for cell in row {
                push(out, format_args!("<td>{}</td>", escape(cell)));
            }
            out.push_str("</tr>\n");
        }
        out.push_str("</tbody>\n</table></div>\n");
        Ok(())
    }
}

fn figure_html(out: &mut String, figure: &Figure) -> Result<()> {
    let (width, height) = figure.image.dimensions();
    if width == 0 || height == 0 {
        return Err(Error::Size { width: width.into(), height: height.into() });
    }
    // Figures are drawn at about twice the density of the page; wide ones take the whole row, but no more than their
    // letters need.
    let class = if width > 1500 { " class=\"wide\"" } else { "" };
    let room = width * 5 / 8;
    let alt =
        if figure.title.is_empty() { figure.caption.clone() } else { format!("{}. {}", figure.title, figure.caption) };
    push(
        out,
        format_args!(
            "<figure{class} id=\"{}\">\n<img style=\"max-width:min(100%,{room}px)\" width=\"{width}\" height=\"{height}\" alt=\"{}\" src=\"data:image/png;base64,",
            escape(&figure.name),
            escape(&alt)
        ),
    );
    STANDARD.encode_string(figure.png()?, out);
    push(out, format_args!("\">\n<figcaption>{}</figcaption>\n</figure>\n", escape(&figure.caption)));
    Ok(())
}

/// Writing to a string cannot fail.
fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

/// The text with `& < > " '` written so that HTML shows them and never reads them.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::RgbImage;

    fn report() -> Report {
        let image = RgbImage::from_fn(40, 30, |x, y| image::Rgb([x as u8, y as u8, 7]));
        let evil = "<script>alert('&\"')</script>".to_owned();
        let figure = Figure { name: "map".into(), title: evil.clone(), caption: evil.clone(), image };
        let table = Table { header: vec![evil.clone()], rows: vec![vec![evil.clone()]] };
        let section = Section {
            heading: evil.clone(),
            text: format!("{evil}\n\nsecond"),
            figures: vec![figure],
            table: Some(table),
        };
        Report {
            title: evil.clone(),
            subtitle: evil.clone(),
            key_numbers: vec![("1,500".into(), evil.clone())],
            notes: vec![evil.clone()],
            sections: vec![section],
            parameters: vec![(evil.clone(), evil.clone())],
            versions: vec![("parsimon".into(), "0.1.0".into())],
            seed: Some(7),
            command: evil,
        }
    }

    #[test]
    fn nothing_is_loaded_and_every_text_is_escaped() {
        let html = report().html().unwrap();
        assert!(!html.contains("<script") && !html.contains("alert('"));
        assert!(html.matches("&lt;script&gt;alert(&#39;&amp;&quot;&#39;)").count() >= 12);
        for outside in ["http", "url(", "@import", "<link", "href"] {
            assert!(!html.contains(outside), "{outside}");
        }
        let sources: Vec<&str> = html.split("src=\"").skip(1).collect();
        assert!(sources.len() == 1 && sources.iter().all(|s| s.starts_with("data:image/png;base64,")));
    }

    #[test]
    fn the_embedded_figure_is_the_picture_and_has_words() {
        let report = report();
        let html = report.html().unwrap();
        let data = html.split("base64,").nth(1).and_then(|s| s.split('"').next()).unwrap();
        let picture = image::load_from_memory(&STANDARD.decode(data).unwrap()).unwrap().to_rgb8();
        assert_eq!(picture, report.sections[0].figures[0].image);
        assert_eq!(html.matches("<figcaption>").count(), 1);
        assert_eq!(html.matches(" alt=\"&lt;script").count(), 1);
    }

    #[test]
    fn notes_and_key_numbers_come_before_the_sections_and_the_command_is_there() {
        let html = report().html().unwrap();
        let place = |what: &str| html.find(what).unwrap();
        assert!(place("1,500") < place("<aside>") && place("<aside>") < place("<figure"));
        assert!(place("<pre><code>&lt;script") > place("<figure") && html.contains("Seed 7"));
        assert_eq!(html, report().html().unwrap());
    }

    #[test]
    fn a_ragged_table_and_an_empty_picture_are_refused() {
        let mut ragged = report();
        ragged.sections[0].table = Some(Table { header: vec!["a".into()], rows: vec![vec![]] });
        assert!(matches!(ragged.html(), Err(Error::Length { .. })));
        let mut empty = report();
        empty.sections[0].figures[0].image = RgbImage::new(0, 0);
        assert!(matches!(empty.html(), Err(Error::Size { .. })));
        assert!(Report::default().html().unwrap().contains("</html>"));
    }
}
