use image::codecs::gif::{GifEncoder, Repeat};
use image::{Delay, DynamicImage, Frame, RgbImage};

use crate::{Error, Figure, Result};

/// Figures one after the other, over and over, as GIF and APNG; a smaller one is set on white at the upper left.
#[derive(Debug, Clone, PartialEq)]
pub struct Animation {
    frames: Vec<RgbImage>,
    milliseconds: u16,
}

/// How hard the colours of a GIF are sought: 1 best to 30 fastest.
const SPEED: i32 = 1;

impl Animation {
    /// An animation of at least one figure, each shown so long.
    ///
    /// # Errors
    /// If there is no figure.
    pub fn new(figures: &[Figure], milliseconds: u16) -> Result<Self> {
        let width = figures.iter().map(|f| f.image.width()).max().ok_or(Error::Empty { what: "list of frames" })?;
        let height = figures.iter().map(|f| f.image.height()).max().unwrap_or(0);
        let frame = |figure: &Figure| {
            let mut frame = RgbImage::from_pixel(width, height, image::Rgb([255; 3]));
            image::imageops::replace(&mut frame, &figure.image, 0, 0);
            frame
        };
        Ok(Self { frames: figures.iter().map(frame).collect(), milliseconds })
    }

    /// As GIF, of 256 colours in each frame.
    ///
    /// # Errors
    /// If the encoder fails.
    pub fn gif(&self) -> Result<Vec<u8>> {
        let failed = |source| Error::Animation { kind: "GIF", reason: image::ImageError::to_string(&source) };
        let mut bytes = Vec::new();
        let mut encoder = GifEncoder::new_with_speed(&mut bytes, SPEED);
        encoder.set_repeat(Repeat::Infinite).map_err(failed)?;
        let delay = Delay::from_numer_denom_ms(self.milliseconds.into(), 1);
        for frame in &self.frames {
            let frame = DynamicImage::ImageRgb8(frame.clone()).into_rgba8();
            encoder.encode_frame(Frame::from_parts(frame, 0, 0, delay)).map_err(failed)?;
        }
        drop(encoder);
        Ok(bytes)
    }

    /// As animated PNG, of all colours.
    ///
    /// # Errors
    /// If the encoder fails.
    pub fn apng(&self) -> Result<Vec<u8>> {
        let failed = |source: png::EncodingError| Error::Animation { kind: "APNG", reason: source.to_string() };
        let (width, height) = self.frames.first().map_or((1, 1), RgbImage::dimensions);
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, width, height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_animated(self.frames.len() as u32, 0).map_err(failed)?;
        encoder.set_frame_delay(self.milliseconds, 1000).map_err(failed)?;
        let mut writer = encoder.write_header().map_err(failed)?;
        for frame in &self.frames {
            writer.write_image_data(frame.as_raw()).map_err(failed)?;
        }
        writer.finish().map_err(failed)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use image::AnimationDecoder;

    use super::*;

    fn figure(width: u32, colour: [u8; 3]) -> Figure {
        let image = RgbImage::from_pixel(width, 4, image::Rgb(colour));
        Figure { name: "frame".into(), title: String::new(), caption: String::new(), image }
    }

    #[test]
    fn every_frame_comes_back_in_both_formats() {
        let animation = Animation::new(&[figure(6, [255, 0, 0]), figure(3, [0, 0, 255])], 200).unwrap();
        let gif = animation.gif().unwrap();
        let decoder = image::codecs::gif::GifDecoder::new(std::io::Cursor::new(&gif)).unwrap();
        let of_gif = decoder.into_frames().collect_frames().unwrap();
        let apng = animation.apng().unwrap();
        let decoder = image::codecs::png::PngDecoder::new(std::io::Cursor::new(&apng)).unwrap();
        let of_apng = decoder.apng().unwrap().into_frames().collect_frames().unwrap();
        for frames in [of_gif, of_apng] {
            assert_eq!(frames.len(), 2);
            let at = |frame: usize, x: u32| frames[frame].buffer().get_pixel(x, 1).0;
            assert_eq!([at(0, 1), at(0, 5), at(1, 1)], [[255, 0, 0, 255], [255, 0, 0, 255], [0, 0, 255, 255]]);
            assert_eq!(at(1, 5), [255; 4], "what a smaller frame leaves is white");
            assert_eq!(frames[0].delay().numer_denom_ms(), (200, 1));
        }
        assert!(matches!(Animation::new(&[], 100), Err(Error::Empty { .. })));
    }
}
