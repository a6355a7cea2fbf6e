use parsimon_core::{Image, Refinement, Site, Sites};

use crate::bars::{ColourBar, ScaleBar};
use crate::canvas::{Canvas, Pen};
use crate::colour::{self, ColourMap};
use crate::error::{check_finite, check_length};
use crate::figure::{Figure, MARGIN, SIDE, sheet};
use crate::legend::{Entry, Legend, Mark};
use crate::mounted::{classed, coloured, framed};
use crate::view::{Tone, View, spacing};
use crate::{Error, Result};

/// Words and colours of a map.
#[derive(Debug, Clone, PartialEq)]
pub struct MapStyle {
    /// File stem of the figure, such as `map_z1`.
    pub name: String,
    /// Title above the map.
    pub title: String,
    /// What the colours mean, with its unit, such as `rotation (rad)`.
    pub label: String,
    /// The colour map.
    pub colours: ColourMap,
    /// Values at the ends of the colour bar. `None`: the 1 % and 99 % quantiles; −π to π for the cyclic map; symmetric
    /// about zero for the diverging one.
    pub limits: Option<(f64, f64)>,
}

impl Default for MapStyle {
    fn default() -> Self {
        let [name, title, label] = ["map", "", ""].map(str::to_owned);
        Self { name, title, label, colours: ColourMap::Sequential, limits: None }
    }
}

impl MapStyle {
    /// What a caption says of the ends of the colour bar.
    pub(crate) fn range(&self) -> &'static str {
        match (self.limits, self.colours) {
            (None, ColourMap::Sequential | ColourMap::Grey) => {
                " The colour bar runs from the 1 % to the 99 % quantile."
            }
            (None, ColourMap::Diverging) => " The colour bar is symmetric about zero and holds 98 % of the values.",
            _ => "",
        }
    }

    /// What was drawn, under the name and the title.
    pub(crate) fn figure(&self, canvas: Canvas, caption: String) -> Figure {
        Figure { name: self.name.clone(), title: self.title.clone(), caption, image: canvas.picture() }
    }
}

/// A number at every site, as coloured discs on the micrograph.
///
/// The discs nearly touch: their diameter is 0.9 times the median distance of nearest neighbours (up to 1.24 times where
/// that is a few pixels of the figure). The micrograph is
/// dimmed; a scale bar gives lengths.
///
/// # Shapes
/// `values`: one per site, finite.
///
/// # Errors
/// If there is no site, the lengths differ, a value is not finite, or the limits are not an interval.
pub fn site_map(image: &Image, sites: &Sites, values: &[f32], style: &MapStyle) -> Result<Figure> {
    check_sites(sites, values.len(), "values of the map")?;
    check_finite(&style.title, values.iter().copied())?;
    let values: Vec<f64> = values.iter().map(|&v| v.into()).collect();
    let bar = ColourBar::new(style.colours, &values, style.limits, &style.label)?;
    let view = View::whole(image);
    let map = dotted(image, sites, view, |i| values.get(i).map_or(colour::UNKNOWN, |&v| bar.colour(v)))?;
    coloured(map, &bar, style, &format!("at {} sites, on the micrograph", sites.len()))
}

/// The class of every site, as coloured discs on the micrograph with a legend.
///
/// # Shapes
/// `class`: one per site; −1 is unknown and grey. `names[c]` names class c; classes beyond are named by their number.
///
/// # Errors
/// If there is no site, or the lengths differ.
pub fn class_map(image: &Image, sites: &Sites, class: &[i64], names: &[String], style: &MapStyle) -> Result<Figure> {
    check_sites(sites, class.len(), "classes of the map")?;
    let view = View::whole(image);
    let map = dotted(image, sites, view, |i| colour::class_colour(class.get(i).copied().unwrap_or(-1)))?;
    classed(map, class, names, style, &format!("{} sites, on the micrograph", sites.len()))
}

/// The micrograph with its sites, and its centre enlarged.
///
/// Sites whose refinement failed have another colour; those in `left_out` (too near the border for a patch) are hollow.
/// There may be no site at all.
///
/// # Errors
/// If the figure cannot be drawn at this size.
pub fn image(image: &Image, sites: &Sites, left_out: &Sites, title: &str) -> Result<Figure> {
    const ZOOM: f64 = 520.0;
    let whole = View::whole(image);
    let pitch = spacing(sites, [whole.zoom[0] / whole.zoom[1], 1.0]).filter(|d| *d > 0.0).unwrap_or(16.0);
    let crop = View::centre(image, (12.0 * pitch).max(24.0), ZOOM);
    let mut map = Canvas::of(&whole.draw(image, Tone::Full))?;
    let mut part = Canvas::of(&crop.draw(image, Tone::Full))?;
    for (canvas, view) in [(&mut map, whole), (&mut part, crop)] {
        let radius = (0.16 * pitch * view.zoom[1]).clamp(1.3, 5.5);
        // Failed fits are few: a little larger and on top, so that they show among thousands.
        for (failed, size) in [(false, 1.0), (true, 1.3)] {
            for site in sites.iter().filter(|s| (s.refinement == Refinement::Failed) == failed) {
                canvas.disc(view.place([site.y, site.x]), size * radius, colour_of(site), 1.0);
            }
        }
        for site in left_out {
            canvas.ring(view.place([site.y, site.x]), radius + 0.8, Pen::solid((0.5 * radius).clamp(1.2, 2.6), HOLLOW));
        }
    }
    let bar = ScaleBar::of(image, 0.25);
    bar.draw(&mut map, whole.zoom[1])?;
    let enlarged = crop.zoom[1] / whole.zoom[1] > 1.15;
    let legend = Legend { entries: entries(sites, left_out) };
    let side = if enlarged { part.width().max(legend.width()?) } else { legend.width()? };
    let below = if enlarged { part.height() + 22.0 } else { 0.0 };
    let (w, h) = (map.width(), map.height());
    let body = h.max(below + legend.height());
    let (mut canvas, top) = sheet(title, 3.0 * MARGIN + w + side, body + MARGIN)?;
    let right = 2.0 * MARGIN + w;
    framed(&mut canvas, map, MARGIN, top);
    if enlarged {
        let [y, x] = [crop.from[0] as f64, crop.from[1] as f64].map(|v| v - 0.5);
        let corner = whole.place([y, x]);
        let size = [crop.size[1] as f64 * whole.zoom[1], crop.size[0] as f64 * whole.zoom[0]];
        let box_ = [MARGIN + corner[0], top + corner[1], size[0], size[1]];
        canvas.frame(box_, Pen::solid(5.0, [0; 3]));
        canvas.frame(box_, Pen::solid(2.4, [255; 3]));
        framed(&mut canvas, part, right, top);
    }
    legend.draw(&mut canvas, right, top + below)?;
    let enlargement = if enlarged { " Right: the framed part about the centre, enlarged." } else { "" };
    let caption = format!("The micrograph with {} sites found in it.{enlargement}", sites.len() + left_out.len());
    Ok(Figure { name: "image".into(), title: title.into(), caption, image: canvas.picture() })
}

const FOUND: [u8; 3] = [86, 180, 233];
const FAILED: [u8; 3] = [213, 94, 0];
const HOLLOW: [u8; 3] = [240, 228, 66];

fn colour_of(site: &Site) -> [u8; 3] {
    if site.refinement == Refinement::Failed { FAILED } else { FOUND }
}

fn entries(sites: &Sites, left_out: &Sites) -> Vec<Entry> {
    let failed = sites.iter().filter(|s| s.refinement == Refinement::Failed).count();
    let refined = sites.iter().any(|s| s.refinement == Refinement::Converged) || failed > 0;
    let found = if refined { "refined" } else { "found" };
    let rows = [
        (sites.len() - failed, found, Mark::Disc(FOUND)),
        (failed, "with a failed fit", Mark::Disc(FAILED)),
        (left_out.len(), "left out at the border", Mark::Ring(HOLLOW)),
    ];
    let shown = rows.into_iter().enumerate().filter(|(i, (count, ..))| *i == 0 || *count > 0);
    shown.map(|(_, (count, what, mark))| Entry { mark, text: format!("{count} {what}") }).collect()
}

fn check_sites(sites: &Sites, found: usize, what: &str) -> Result<()> {
    if sites.is_empty() {
        return Err(Error::Empty { what: "list of sites" });
    }
    check_length(what, found, sites.len())
}

/// The dimmed micrograph with a disc at each site and a scale bar.
fn dotted(image: &Image, sites: &Sites, view: View, colour: impl Fn(usize) -> [u8; 3]) -> Result<Canvas> {
    let mut map = Canvas::of(&view.draw(image, Tone::Dim))?;
    let pitch = spacing(sites, view.zoom).unwrap_or(SIDE / 20.0);
    // Discs a few pixels wide overlap, or the micrograph between them would dull the colours.
    let share = 0.45 + 0.17 * ((14.0 - pitch) / 8.0).clamp(0.0, 1.0);
    let radius = (share * pitch).clamp(1.5, SIDE / 40.0);
    for (i, site) in sites.iter().enumerate() {
        map.disc(view.place([site.y, site.x]), radius, colour(i), 1.0);
    }
    ScaleBar::of(image, 0.25).draw(&mut map, view.zoom[1])?;
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;
    use parsimon_core::Axis;

    fn micrograph(rows: usize, columns: usize) -> Image {
        let axis = |name| Axis::new(name, 0.02, 0.0, "nm");
        Image::calibrated(
            Array2::from_shape_fn((rows, columns), |(y, x)| ((3 * y + 5 * x) % 17) as f64),
            axis("y"),
            axis("x"),
        )
        .unwrap()
    }

    fn sites(places: &[[f64; 2]]) -> Sites {
        let site = |&[y, x]: &[f64; 2]| Site {
            frame: 0,
            y,
            x,
            intensity: 1.0,
            width: 1.0,
            quality: 1.0,
            refinement: Refinement::Converged,
        };
        Sites::new(places.iter().map(site).collect()).unwrap()
    }

    fn style(colours: ColourMap, limits: Option<(f64, f64)>) -> MapStyle {
        MapStyle { colours, limits, ..MapStyle::default() }
    }

    /// Colour of the figure at a place of the image; the map has no title and begins at the margins.
    fn at(figure: &Figure, image: &Image, place: [f64; 2]) -> [u8; 3] {
        let [x, y] = View::whole(image).place(place).map(|v| (v + MARGIN).floor() as u32);
        figure.image.get_pixel(x, y).0
    }

    #[test]
    fn each_site_has_its_colour_at_its_place() {
        let image = micrograph(200, 300);
        let places = [[20.0, 40.5], [60.25, 250.0], [100.0, 150.0]];
        let values = [0.0, 5.0, 10.0];
        for map in [ColourMap::Sequential, ColourMap::Diverging, ColourMap::Grey] {
            let figure = site_map(&image, &sites(&places), &values, &style(map, Some((0.0, 10.0)))).unwrap();
            for (place, value) in places.iter().zip(values) {
                assert_eq!(at(&figure, &image, *place), map.at(f64::from(value) / 10.0));
            }
        }
        let class = class_map(&image, &sites(&places), &[0, 2, -1], &[], &MapStyle::default()).unwrap();
        let seen = places.map(|p| at(&class, &image, p));
        assert_eq!(seen, [colour::class_colour(0), colour::class_colour(2), colour::UNKNOWN]);
    }

    #[test]
    fn angles_a_turn_apart_have_one_colour() {
        let image = micrograph(200, 200);
        let places = [[40.0, 40.0], [40.0, 160.0], [100.0, 100.0]];
        let values = [1.0, 1.0 - std::f32::consts::TAU, -1.0];
        let figure = site_map(&image, &sites(&places), &values, &style(ColourMap::Cyclic, None)).unwrap();
        let [a, b, c] = places.map(|p| at(&figure, &image, p));
        assert!(a.iter().zip(b).all(|(a, b)| a.abs_diff(b) <= 1) && a != c, "{a:?} {b:?} {c:?}");
    }

    #[test]
    fn the_same_input_gives_the_same_bytes() {
        let image = micrograph(64, 64);
        let map = || site_map(&image, &sites(&[[9.0, 9.0], [40.0, 40.0]]), &[1.0, 2.0], &MapStyle::default()).unwrap();
        assert_eq!(map().png().unwrap(), map().png().unwrap());
    }

    #[test]
    fn failed_and_left_out_sites_are_told_apart() {
        let image = micrograph(400, 400);
        let mut found = sites(&[[60.0, 100.0], [60.0, 200.0]]).as_slice().to_vec();
        found[1].refinement = Refinement::Failed;
        let found = Sites::new(found).unwrap();
        let left_out = sites(&[[20.0, 300.0]]);
        let figure = super::image(&image, &found, &left_out, "").unwrap();
        assert_eq!(at(&figure, &image, [60.0, 100.0]), FOUND);
        assert_eq!(at(&figure, &image, [60.0, 200.0]), FAILED);
        let hollow = at(&figure, &image, [20.0, 300.0]);
        assert_eq!(hollow[0], hollow[2], "the micrograph shows inside the ring");
        let texts: Vec<String> = entries(&found, &left_out).into_iter().map(|e| e.text).collect();
        assert_eq!(texts, ["1 refined", "1 with a failed fit", "1 left out at the border"]);
    }

    #[test]
    fn odd_images_and_values_can_be_drawn() {
        let one = sites(&[[0.0, 0.0]]);
        for (rows, columns) in [(1, 1), (1, 500), (500, 1), (3, 7)] {
            let image = micrograph(rows, columns);
            assert!(site_map(&image, &one, &[3.0], &MapStyle::default()).is_ok(), "{rows} {columns}");
            assert!(class_map(&image, &one, &[0], &[], &MapStyle::default()).is_ok());
            assert!(super::image(&image, &Sites::default(), &Sites::default(), "none").is_ok());
        }
        // Sites on one spot, more than a leaf of the tree holds, and a constant value.
        let same = sites(&vec![[5.0, 5.0]; 200]);
        assert!(site_map(&micrograph(20, 20), &same, &vec![2.0; 200], &MapStyle::default()).is_ok());
        let far = sites(&[[-1e9, 1e9], [5.0, 5.0]]);
        assert!(site_map(&micrograph(20, 20), &far, &[0.0, 1.0], &MapStyle::default()).is_ok());
    }

    #[test]
    fn bad_input_is_refused() {
        let image = micrograph(20, 20);
        let two = sites(&[[5.0, 5.0], [9.0, 9.0]]);
        let map = |sites: &Sites, values: &[f32], style: &MapStyle| site_map(&image, sites, values, style);
        let plain = MapStyle { title: "z1".into(), ..MapStyle::default() };
        assert!(matches!(map(&Sites::default(), &[], &plain), Err(Error::Empty { .. })));
        assert!(matches!(map(&two, &[1.0], &plain), Err(Error::Length { found: 1, expected: 2, .. })));
        let nan = map(&two, &[1.0, f32::NAN], &plain).unwrap_err().to_string();
        assert!(nan.starts_with("z1 holds 1 values that are NaN or infinite, the first at index 1"), "{nan}");
        let limits = MapStyle { limits: Some((2.0, 1.0)), ..plain };
        assert!(matches!(map(&two, &[1.0, 2.0], &limits), Err(Error::Limits { .. })));
        assert!(matches!(class_map(&image, &two, &[1], &[], &limits), Err(Error::Length { .. })));
    }

    #[test]
    fn pixels_are_drawn_in_the_proportions_of_the_calibration() {
        let axis = |name, scale| Axis::new(name, scale, 0.0, "nm");
        let image = Image::calibrated(Array2::zeros((50, 100)), axis("y", 0.2), axis("x", 0.1)).unwrap();
        assert_eq!(View::whole(&image).extent, [960, 960]);
    }
}
