use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ndarray::Array2;
use parsimon_core::{Axis, Image, Metadata};
use roxmltree::{Document, Node};

use crate::sample::Sample;

/// Most channels: pixels number them with 16 bits.
const MAX_CHANNELS: usize = 1 << 16;

/// What the header says of a map.
pub(super) struct MapHeader {
    pub(super) channels: usize,
    /// Height and width of the images taken with the map, which are those of the map.
    pub(super) size: Option<(usize, usize)>,
    /// y, x and energy.
    pub(super) axes: [Axis; 3],
}

/// UTF-8, or else a character per byte: headers are Windows-1252, of which all but a few quotes and dashes are Latin-1.
pub(super) fn decode(bytes: Vec<u8>) -> String {
    let text = String::from_utf8(bytes);
    let text = text.unwrap_or_else(|e| e.as_bytes().iter().copied().map(char::from).collect());
    text.trim_matches(['\0', '\u{feff}']).to_owned()
}

/// The element that holds everything.
pub(super) fn database<'a>(document: &'a Document<'_>) -> Result<Node<'a, 'a>, String> {
    let found = class(document.root_element(), "TRTSpectrumDatabase");
    found.ok_or_else(|| "its header has no `TRTSpectrumDatabase`".to_owned())
}

/// Sizes and calibration of map `index`.
pub(super) fn map(database: Node<'_, '_>, index: usize) -> Result<MapHeader, String> {
    let spectrum = spectrum(database, index);
    let energy = spectrum.and_then(|s| class(s, "TRTSpectrumHeader"));
    let listed = spectrum.and_then(|s| text(s, "Channels")).map(|list| list.split(',').count());
    let channels = listed.or_else(|| energy.and_then(|e| text(e, "ChannelCount")?.parse().ok()));
    let channels = channels.ok_or_else(|| format!("its header does not say how many channels map {index} has"))?;
    if !(1..=MAX_CHANNELS).contains(&channels) {
        return Err(format!("its spectra claim {channels} channels, accepted are 1 to {MAX_CHANNELS}"));
    }
    let energy = |tag| energy.and_then(|e| number(e, tag));
    let scale = energy("CalibLin").unwrap_or(f64::NAN);
    let energy = Axis::new("energy", scale, energy("CalibAbs").unwrap_or(0.0), "keV");
    let [y, x] = pixel(database);
    let size = pictures(database).and_then(|p| Some((whole(p, "Height")?, whole(p, "Width")?)));
    Ok(MapHeader { channels, size, axes: [y, x, energy] })
}

/// What else the header says, with map `index` if there is one.
pub(super) fn describe(database: Node<'_, '_>, index: Option<usize>, metadata: &mut Metadata) {
    if let Some(name) = database.attribute("Name").map(str::trim).filter(|n| !n.is_empty()) {
        metadata.title = name.to_owned();
    }
    let spectrum = index.and_then(|k| spectrum(database, k));
    let part = |kind| spectrum.and_then(|s| class(child(s, "TRTHeaderedClass")?, kind));
    let (hardware, detector) = (part("TRTSpectrumHardwareHeader"), part("TRTDetectorHeader"));
    let (esma, xrf) = (part("TRTESMAHeader"), part("TRTXrfHeader"));
    let microscope = class(database, "TRTSEMData");
    let of = |node: Option<Node<'_, '_>>, tag| node.and_then(|n| number(n, tag));
    let above_zero = |v: &f64| *v > 0.0;
    let kilovolts = of(microscope, "HV").filter(above_zero).or_else(|| of(esma, "PrimaryEnergy"));
    let kilovolts = kilovolts.or_else(|| of(xrf, "Voltage")).filter(above_zero);
    let seconds = |tag| of(hardware, tag).map(|milliseconds| milliseconds / 1e3);
    let numbers = [
        ("voltage_v", kilovolts.map(|kv| kv * 1e3)),
        ("magnification", of(microscope, "Mag")),
        ("working_distance_mm", of(microscope, "WD")),
        ("elevation_angle_deg", of(esma, "ElevationAngle").or_else(|| of(xrf, "ExcitationAngle"))),
        ("azimuth_angle_deg", of(esma, "AzimutAngle")),
        ("live_time_s", seconds("LifeTime")),
        ("real_time_s", seconds("RealTime").or_else(|| real_time(database))),
    ];
    // More than one list of regions may name an element.
    let list = |names: Vec<String>| {
        let first = names.iter().enumerate().filter(|(k, name)| !names[..*k].contains(name));
        let first: Vec<&str> = first.map(|(_, name)| name.as_str()).collect();
        Some(first.join(", ")).filter(|text| !text.is_empty())
    };
    let regions = || database.descendants().filter(|n| n.attribute("Type") == Some("TRTSpectrumRegion"));
    let line = |n: Node<'_, '_>| Some(format!("{}-{}", n.attribute("Name")?, text(n, "Line")?));
    let texts = [
        ("acquired_at", child(database, "Header").and_then(date)),
        ("detector", detector.and_then(|d| text(d, "Type")).map(str::to_owned)),
        ("elements", list(regions().filter_map(|n| n.attribute("Name")).map(str::to_owned).collect())),
        ("xray_lines", list(regions().filter_map(line).collect())),
    ];
    let numbers = numbers.into_iter().filter_map(|(key, value)| Some((key, format!("{:?}", value?))));
    let texts = texts.into_iter().filter_map(|(key, value)| Some((key, value?)));
    metadata.extra.extend(numbers.chain(texts).map(|(key, value)| (key.to_owned(), value)));
}

/// Images of the electron detectors that recorded something; `metadata` is what they share.
pub(super) fn images(database: Node<'_, '_>, metadata: &Metadata) -> Result<Vec<Image>, String> {
    let Some(pictures) = pictures(database) else { return Ok(Vec::new()) };
    let field = |tag| whole(pictures, tag).ok_or_else(|| format!("its images do not say their `{tag}`"));
    let (height, width, size) = (field("Height")?, field("Width")?, field("ItemSize")?);
    let sample = Sample::from_kind('u', size).ok_or_else(|| format!("its images have pixels of {size} bytes"))?;
    let planes = pictures.children().filter(|n| n.is_element() && n.tag_name().name().starts_with("Plane"));
    let mut images = Vec::new();
    for plane in planes {
        let Some(data) = text(plane, "Data") else { continue };
        let title = text(plane, "Description").unwrap_or("image");
        let data: Vec<u8> = data.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
        let data = STANDARD.decode(data).map_err(|e| format!("image `{title}`: {e}"))?;
        let values = sample.to_f64(false, &data);
        let found = values.len();
        if values.iter().all(|&v| v == 0.0) {
            continue;
        }
        let values = Array2::from_shape_vec((height, width), values)
            .map_err(|_| format!("image `{title}` claims {height}×{width} pixels and holds {found}"))?;
        let [y, x] = pixel(database);
        let image = Image::calibrated(values, y, x).map_err(|e| e.to_string())?;
        let stored_as = sample.name().to_owned();
        images.push(image.with_metadata(Metadata { title: title.to_owned(), stored_as, ..metadata.clone() }));
    }
    Ok(images)
}

/// Axes y and x.
fn pixel(database: Node<'_, '_>) -> [Axis; 2] {
    let microscope = class(database, "TRTSEMData");
    let step = |tag| microscope.and_then(|m| number(m, tag)).unwrap_or(f64::NAN);
    [Axis::new("y", step("DY"), 0.0, "µm"), Axis::new("x", step("DX"), 0.0, "µm")]
}

/// Images taken with the map have no name; pixel times, counters and overviews have one.
fn pictures<'a>(database: Node<'a, 'a>) -> Option<Node<'a, 'a>> {
    classes(database, "TRTImageData").find(|n| n.attribute("Name").is_none_or(str::is_empty))
}

fn spectrum<'a>(database: Node<'a, 'a>, index: usize) -> Option<Node<'a, 'a>> {
    class(child(database, &format!("SpectrumData{index}"))?, "TRTSpectrum")
}

/// Seconds: how often each line was scanned, times the pixels of a line, times the microseconds of a pixel.
fn real_time(database: Node<'_, '_>) -> Option<f64> {
    let lines: f64 = text(database, "LineCounter")?.split(',').filter_map(|n| n.trim().parse::<f64>().ok()).sum();
    let scan = class(database, "TRTDSPConfiguration")?;
    let averages = number(scan, "LineAverage")? * number(scan, "PixelAverage")?;
    Some(lines * averages * number(scan, "PixelTime")? * 1e-6 * whole(pictures(database)?, "Width")? as f64)
}

/// `4.10.2018` and `13:2:7` as ISO 8601 has it.
fn date(node: Node<'_, '_>) -> Option<String> {
    let three = |tag, separator| {
        let mut parts = text(node, tag)?.split(separator).map(|n: &str| n.trim().parse::<u32>().ok());
        Some((parts.next()??, parts.next()??, parts.next()??))
    };
    let ((day, month, year), (hour, minute, second)) = (three("Date", '.')?, three("Time", ':')?);
    Some(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"))
}

fn child<'a>(node: Node<'a, 'a>, tag: &str) -> Option<Node<'a, 'a>> {
    node.children().find(|n| n.has_tag_name(tag))
}

fn classes<'a>(node: Node<'a, 'a>, kind: &str) -> impl Iterator<Item = Node<'a, 'a>> {
    node.children().filter(move |n| n.has_tag_name("ClassInstance") && n.attribute("Type") == Some(kind))
}

fn class<'a>(node: Node<'a, 'a>, kind: &str) -> Option<Node<'a, 'a>> {
    classes(node, kind).next()
}

fn text<'a>(node: Node<'a, 'a>, tag: &str) -> Option<&'a str> {
    child(node, tag)?.text().map(str::trim).filter(|t| !t.is_empty())
}

/// A finite number; its decimals follow a point or a comma.
fn number(node: Node<'_, '_>, tag: &str) -> Option<f64> {
    text(node, tag)?.replace(',', ".").parse().ok().filter(|v: &f64| v.is_finite())
}

fn whole(node: Node<'_, '_>, tag: &str) -> Option<usize> {
    text(node, tag)?.parse().ok()
}
