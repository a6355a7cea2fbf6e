//! throw-away
#![allow(clippy::print_stdout, missing_docs)]
use ndarray::Array2;
use parsimon_core::Image;
use parsimon_detect::*;
use std::time::Instant;
fn main() {
    let file = std::env::args().nth(1).unwrap();
    let b = std::fs::read(&file).unwrap();
    let hl = u16::from_le_bytes([b[8], b[9]]) as usize;
    let head = String::from_utf8_lossy(&b[10..10 + hl]).into_owned();
    let sh: Vec<usize> = head
        .split("'shape': (")
        .nth(1)
        .unwrap()
        .split(')')
        .next()
        .unwrap()
        .split(',')
        .filter_map(|s| s.trim().parse().ok())
        .collect();
    let v: Vec<f64> = b[10 + hl..].chunks_exact(8).map(|c| f64::from_le_bytes(c.try_into().unwrap())).collect();
    let image = Image::new(Array2::from_shape_vec((sh[0], sh[1]), v).unwrap()).unwrap();
    let mut p = Params::default();
    for a in std::env::args().skip(3) {
        match a.as_str() {
            "maxima" => p.method = Method::Maxima,
            "norefine" => p.refine = false,
            "bright" => p.polarity = Polarity::Bright,
            "dark" => p.polarity = Polarity::Dark,
            t => p.threshold = t.parse().ok(),
        }
    }
    let mut best = f64::INFINITY;
    let mut r = detect(&image, &p);
    for _ in 0..5 {
        let t = Instant::now();
        r = detect(&image, &p);
        best = best.min(t.elapsed().as_secs_f64());
    }
    println!("{file} {best:.3} s");
    match r {
        Err(e) => println!("ERR {e}"),
        Ok(d) => {
            println!("n {} failed {} {:?}\n{:?}", d.sites.len(), d.failed, d.notes, d.used);
            if let Some(c) = &d.classes {
                println!("classes {:?} {:?} {}", c.counts, c.intensity, c.separation)
            }
            let mut nn = nearest_neighbour_distances(&d.sites);
            nn.sort_by(f64::total_cmp);
            if nn.len() > 2 {
                println!(
                    "nn min {} 1% {} med {} 99% {} max {}",
                    nn[0],
                    nn[nn.len() / 100],
                    nn[nn.len() / 2],
                    nn[nn.len() * 99 / 100],
                    nn[nn.len() - 1]
                );
            }
            let mut q: Vec<f64> = d.sites.iter().map(|s| s.quality).collect();
            q.sort_by(f64::total_cmp);
            let mut w: Vec<f64> = d.sites.iter().map(|s| s.width).collect();
            w.sort_by(f64::total_cmp);
            println!(
                "quality 5% {:.3} med {:.3}; width 5% {:.2} med {:.2} 95% {:.2}",
                q[q.len() / 20],
                q[q.len() / 2],
                w[w.len() / 20],
                w[w.len() / 2],
                w[w.len() * 19 / 20]
            );
            if let Some(out) = std::env::args().nth(2) {
                let mut s = String::new();
                for (i, t) in d.sites.iter().enumerate() {
                    s += &format!(
                        "{},{},{},{},{},{},{}\n",
                        t.y,
                        t.x,
                        t.intensity,
                        t.width,
                        t.quality,
                        t.refinement as u8,
                        d.classes.as_ref().map_or(0, |c| c.class[i])
                    );
                }
                std::fs::write(out, s).unwrap();
            }
        }
    }
}
