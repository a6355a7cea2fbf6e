use std::path::Path;

use parsimon_core::{Refinement, Site, Sites};

use crate::scene::{check_length, check_name};
use crate::{Error, Result, files, write_atomically};

/// Columns of the file, in this order; further ones follow.
const COLUMNS: [&str; 7] = ["frame", "y", "x", "intensity", "width", "quality", "refinement"];

/// Named numbers of each site.
pub type SiteColumns = Vec<(String, Vec<f64>)>;

/// Writes sites as CSV: `frame,y,x,intensity,width,quality,refinement`, then the `extra` columns; positions in pixels.
///
/// Numbers have as many digits as they need to be read back exactly. `refinement` is `none`, `converged` or `failed`.
///
/// # Errors
/// If an extra column has another length than the sites or a taken name, or the file cannot be written.
pub fn write_sites_csv(path: &Path, sites: &Sites, extra: &[(&str, &[f64])]) -> Result<()> {
    let mut names = COLUMNS.to_vec();
    for (name, column) in extra {
        check_name(path, name, &names)?;
        check_length(path, name, column.len(), sites.len())?;
        names.push(name);
    }
    write_atomically(path, |writer| {
        let mut csv = csv::Writer::from_writer(writer);
        csv.write_record(&names)?;
        for (index, s) in sites.iter().enumerate() {
            let refinement = match s.refinement {
                Refinement::None => "none",
                Refinement::Converged => "converged",
                Refinement::Failed => "failed",
            };
            let numbers = [s.y, s.x, s.intensity, s.width, s.quality].map(|v| v.to_string());
            let row = std::iter::once(s.frame.to_string()).chain(numbers).chain([refinement.to_owned()]);
            csv.write_record(row.chain(extra.iter().map(|(_, column)| column[index].to_string())))?;
        }
        csv.flush()
    })
}

/// Reads sites from CSV, and the columns beside those of a site. `y` and `x` must be there.
///
/// Without a column, `frame`, `intensity` and `width` are 0, `quality` is 1, `refinement` is `none`.
///
/// # Errors
/// If the file cannot be read, lacks `y` or `x`, a row has another number of fields, a field is no number, or the
/// numbers make no site.
pub fn read_sites_csv(path: &Path) -> Result<(Sites, SiteColumns)> {
    let fail = |reason: String| Error::format(path, "CSV", reason);
    let bytes = files::read_bytes(path)?;
    let mut csv = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(bytes.as_slice());
    let names: Vec<String> = csv.headers().map_err(|e| fail(e.to_string()))?.iter().map(str::to_owned).collect();
    let place = |name: &str| names.iter().position(|n| n == name);
    let lacking = |name: &str| fail(format!("there is no column `{name}` in {}", names.join(",")));
    let [frame, y, x, intensity, width, quality, refinement] = COLUMNS.map(place);
    let (y, x) = (y.ok_or_else(|| lacking("y"))?, x.ok_or_else(|| lacking("x"))?);
    let others = names.iter().enumerate().filter(|(_, n)| !COLUMNS.contains(&n.as_str()));
    let mut extra: Vec<(usize, Vec<f64>)> = others.map(|(at, _)| (at, Vec::new())).collect();
    let mut sites = Vec::new();
    for (row, record) in csv.records().enumerate() {
        let record = record.map_err(|e| fail(e.to_string()))?;
        let field = |at: usize| record.get(at).unwrap_or_default();
        let bad = |at: usize, wanted: &str| {
            let name = names.get(at).map_or("", String::as_str);
            fail(format!("row {}: `{name}` is `{}`, expected {wanted}", row + 1, field(at)))
        };
        let number = |at: usize| field(at).parse::<f64>().map_err(|_| bad(at, "a number"));
        let or = |at: Option<usize>, default: f64| at.map_or(Ok(default), number);
        sites.push(Site {
            frame: frame.map_or(Ok(0), |at| field(at).parse().map_err(|_| bad(at, "a whole number from 0")))?,
            y: number(y)?,
            x: number(x)?,
            intensity: or(intensity, 0.0)?,
            width: or(width, 0.0)?,
            quality: or(quality, 1.0)?,
            refinement: match refinement.map_or("none", field) {
                "none" => Refinement::None,
                "converged" => Refinement::Converged,
                "failed" => Refinement::Failed,
                _ => return Err(bad(refinement.unwrap_or_default(), "none, converged or failed")),
            },
        });
        for (at, column) in &mut extra {
            column.push(number(*at)?);
        }
    }
    let sites = Sites::new(sites).map_err(|e| Error::data(path, e))?;
    let extra = extra.into_iter().filter_map(|(at, column)| Some((names.get(at)?.clone(), column)));
    Ok((sites, extra.collect()))
}
