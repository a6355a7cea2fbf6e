//! What a comparison leaves in its directory.

use std::fmt::Write;

use anyhow::Result;
use clap::ValueEnum;

use super::Row;
use super::args::MethodName;
use super::data::Samples;
use crate::output::{Output, field};

const TABLE: &str = "table.csv";
const AXES: &str = "axes.csv";
const FACTORS: &str = "factors.npy";

/// Writes all files or none, removes what an earlier comparison has left of other methods, and says so.
pub fn write(out: &Output, table: &str, html: &str, samples: &Samples, rows: &[Row]) -> Result<()> {
    let factors = samples.factors()?;
    out.all_or_none(|out| {
        out.write(TABLE, table.as_bytes())?;
        for row in rows {
            out.latents(&format!("{}.npz", row.name.id()), &row.fitted.embedding)?;
            if let Some(patterns) = &row.fitted.patterns {
                let path = out.path(&patterns_file(row.name));
                parsimon_io::write_npy(&path, patterns.values.view().into_dyn())?;
            }
            if let Some(maps) = row.fitted.patterns.as_ref().and_then(|p| p.maps.as_ref()) {
                let maps = maps.mapv(|v| v as f32);
                parsimon_io::write_npy(&out.path(&maps_file(row.name)), maps.view().into_dyn())?;
            }
            if let Some(origin) = row.fitted.patterns.as_ref().and_then(|p| p.origin.as_ref()) {
                parsimon_io::write_npy(&out.path(&origin_file(row.name)), origin.view().into_dyn())?;
            }
            for figure in &row.figures {
                out.sub("figures").write(&format!("{}.png", figure.name), &figure.png()?)?;
            }
        }
        if let Some(factors) = &factors {
            let factors = factors.mapv(|v| v as f32);
            parsimon_io::write_npy(&out.path(FACTORS), factors.view().into_dyn())?;
        }
        if let Some(axes) = axes(samples) {
            out.write(AXES, axes.as_bytes())?;
        }
        out.write("index.html", html.as_bytes())
    })?;
    let (folder, removed) = (out.folder().display(), remove_stale(out, samples, rows)?);
    if !removed.is_empty() {
        println!("removed what an earlier comparison left in {folder}: {}", removed.join(", "));
    }
    let mut wrote: Vec<String> = vec!["index.html".into(), TABLE.into()];
    wrote.extend(rows.iter().map(|row| format!("{}.npz", row.name.id())));
    let any = |has: fn(&Row) -> bool, what: &str| rows.iter().any(has).then(|| what.to_owned());
    wrote.extend(any(|row| row.fitted.patterns.is_some(), "METHOD_patterns.npy (K, H, W, C)"));
    let maps = |row: &Row| row.fitted.patterns.as_ref().is_some_and(|p| p.maps.is_some());
    wrote.extend(any(maps, "METHOD_maps.npy (rows, columns, K)"));
    let origin = |row: &Row| row.fitted.patterns.as_ref().is_some_and(|p| p.origin.is_some());
    wrote.extend(any(origin, "METHOD_origin.npy (H, W, C)"));
    wrote.extend(factors.map(|_| format!("{FACTORS} (rows, columns)")));
    wrote.extend(axes(samples).map(|_| AXES.to_owned()));
    println!("wrote {folder}: {}, figures/", wrote.join(", "));
    Ok(())
}

/// Whether a comparison may write, or remove, a file of this name.
pub fn is_result(file: &str) -> bool {
    let of = |name: &MethodName| {
        [format!("{}.npz", name.id()), patterns_file(*name), maps_file(*name), origin_file(*name)]
            .iter()
            .any(|f| f == file)
    };
    ["index.html", TABLE, AXES, FACTORS].contains(&file) || MethodName::value_variants().iter().any(of)
}

fn origin_file(name: MethodName) -> String {
    format!("{}_origin.npy", name.id())
}

fn patterns_file(name: MethodName) -> String {
    format!("{}_patterns.npy", name.id())
}

fn maps_file(name: MethodName) -> String {
    format!("{}_maps.npy", name.id())
}

/// Axes of maps, and of patterns that are spectra: the value at i is offset + i·scale.
fn axes(samples: &Samples) -> Option<String> {
    let energy = samples.energy.as_ref().map(|energy| (energy, samples.patches.shape().1));
    let pixels = samples.scan.iter().flat_map(|(h, w, [y, x])| [(y, *h), (x, *w)]);
    let mut text = String::from("axis,unit,size,scale,offset\n");
    for (axis, size) in pixels.chain(energy) {
        // Writing into a string cannot fail.
        let _ = writeln!(text, "{},{},{size},{},{}", field(&axis.name), field(&axis.unit), axis.scale, axis.offset);
    }
    (text.lines().count() > 1).then_some(text)
}

/// Removes what an earlier comparison in the same directory has left of methods that are not in this one's table.
fn remove_stale(out: &Output, samples: &Samples, rows: &[Row]) -> Result<Vec<String>> {
    let mut stale = Vec::new();
    if axes(samples).is_none() {
        stale.push(AXES.to_owned());
    }
    if samples.factors()?.is_none() {
        stale.push(FACTORS.to_owned());
    }
    let drawn: Vec<String> = rows.iter().flat_map(|r| &r.figures).map(|f| format!("{}.png", f.name)).collect();
    let there = std::fs::read_dir(out.path("figures")).into_iter().flatten().flatten();
    let there: Vec<String> = there.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    for name in MethodName::value_variants() {
        let row = rows.iter().find(|row| row.name == *name);
        if row.is_none() {
            stale.push(format!("{}.npz", name.id()));
        }
        let patterns = row.and_then(|row| row.fitted.patterns.as_ref());
        if patterns.is_none() {
            stale.push(patterns_file(*name));
        }
        if patterns.is_none_or(|patterns| patterns.maps.is_none()) {
            stale.push(maps_file(*name));
        }
        if patterns.is_none_or(|patterns| patterns.origin.is_none()) {
            stale.push(origin_file(*name));
        }
        let [scatter, scree, patterns, map] =
            ["scatter.png", "scree.png", "patterns.png", "map_"].map(|end| format!("{}_{end}", name.id()));
        let single = [scatter, scree, patterns];
        let ours = |file: &str| single.iter().any(|s| s == file) || file.starts_with(&map) && file.ends_with(".png");
        let old = there.iter().filter(|file| ours(file) && !drawn.contains(file));
        stale.extend(old.map(|file| format!("figures/{file}")));
    }
    let mut removed = Vec::new();
    for name in stale {
        if out.remove(&name)? {
            removed.push(name);
        }
    }
    Ok(removed)
}
