//! Layers of images and of spectra, which are images of height 1: convolution, normalisation, pooling, up-sampling.

mod composed;
mod fused;
#[cfg(test)]
mod tests;

use dfdx::tensor::Tape;
use rand::Rng;

use crate::dense::{repeated, shape, uniform};
use crate::{Activation, Compute, Data, Error, Matrix, Parameters, Result, Rows};

pub(crate) use composed::{convolution, normalisation, pooling, upsampling};
pub(crate) use fused::{fused_convolution, fused_normalisation, fused_pooling, fused_upsampling};

/// Size of the images in the rows of a matrix: pixels row by row, channels fastest. A spectrum has height 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Pixels down.
    pub height: usize,
    /// Pixels across.
    pub width: usize,
    /// Numbers of a pixel.
    pub channels: usize,
}

impl Extent {
    /// Pixels.
    pub fn pixels(self) -> usize {
        self.height * self.width
    }

    /// Numbers of an image.
    pub fn numbers(self) -> usize {
        self.pixels() * self.channels
    }

    fn check<D: Compute, T>(self, what: &str, x: &Rows<D, T>) -> Result<()> {
        self.check_shape(what, shape(x))
    }

    fn check_shape(self, what: &str, (rows, columns): (usize, usize)) -> Result<()> {
        if columns == self.numbers() {
            return Ok(());
        }
        Err(Error::Shape {
            what: format!("input of {what}"),
            found: vec![rows, columns],
            expected: vec![rows, self.numbers()],
        })
    }
}

/// How a window moves over an image: its size, its step and the zeros around the image, each down and across.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Pixels of the window; 1 and more.
    pub size: (usize, usize),
    /// Pixels from one window to the next; 1 and more.
    pub stride: (usize, usize),
    /// Rows and columns of zeros at each side; fewer than pixels of the window.
    pub padding: (usize, usize),
}

impl Window {
    /// An odd square in steps of one pixel that keeps the size of the image; across only, for spectra.
    pub fn same(side: usize, input: Extent) -> Self {
        let down = if input.height == 1 { 1 } else { side };
        Self { size: (down, side), stride: (1, 1), padding: (down / 2, side / 2) }
    }

    /// Squares side by side; across only, for spectra.
    pub fn tiles(side: usize, input: Extent) -> Self {
        let down = if input.height == 1 { 1 } else { side };
        Self { size: (down, side), stride: (down, side), padding: (0, 0) }
    }

    /// Pixels down and across of what it makes of an image.
    ///
    /// # Errors
    /// If it has no pixels, no step, more zeros than pixels, or does not fit the image.
    pub fn over(self, input: Extent) -> Result<(usize, usize)> {
        let along = |size: usize, stride: usize, padding: usize, pixels: usize| {
            let sound = size > 0 && stride > 0 && padding < size && pixels + 2 * padding >= size;
            sound.then(|| (pixels + 2 * padding - size) / stride + 1)
        };
        let down = along(self.size.0, self.stride.0, self.padding.0, input.height);
        let across = along(self.size.1, self.stride.1, self.padding.1, input.width);
        down.zip(across).ok_or_else(|| Error::Parameter {
            what: "window",
            value: format!("{self:?} over {}×{} pixels", input.height, input.width),
            accepted: "windows of 1 pixel to those of the image, steps from 1, and fewer zeros than pixels",
        })
    }
}

/// A convolution, y = f(Σ x·W + b) over the window of each pixel.
///
/// # Shapes
/// x (rows, input), W (window pixels·channels in, channels out), b (1, channels out), y (rows, output).
#[derive(Debug, Clone)]
pub struct Convolution<D: Compute> {
    /// W: pixels of the window row by row, channels fastest.
    pub weight: Matrix<D>,
    /// b.
    pub bias: Matrix<D>,
    /// f.
    pub activation: Activation,
    input: Extent,
    output: Extent,
    window: Window,
}

impl<D: Compute> Convolution<D> {
    /// A layer with weights and biases drawn uniformly from ±√(3/numbers of a window), as those of [`Dense`](crate::Dense).
    ///
    /// # Errors
    /// If a size is zero or the window does not fit.
    pub fn new(
        device: &D,
        input: Extent,
        window: Window,
        channels: usize,
        activation: Activation,
        rng: &mut impl Rng,
    ) -> Result<Self> {
        let (height, width) = window.over(input)?;
        if channels * input.channels == 0 {
            let (what, value) = ("channels of a convolution", format!("{} to {channels}", input.channels));
            return Err(Error::Parameter { what, value, accepted: "1 and more" });
        }
        let numbers = window.size.0 * window.size.1 * input.channels;
        let limit = (3.0 / numbers as f32).sqrt();
        let weight = uniform(device, numbers, channels, limit, rng)?;
        let bias = uniform(device, 1, channels, limit, rng)?;
        Ok(Self { weight, bias, activation, input, output: Extent { height, width, channels }, window })
    }

    /// The same layer with this bias, which is repeated to the number of its channels.
    ///
    /// # Errors
    /// If its length does not divide that number.
    pub fn beginning_at(mut self, bias: &[f32]) -> Result<Self> {
        self.bias = repeated(&self.bias, bias)?;
        Ok(self)
    }

    /// Size of its images.
    pub fn output(&self) -> Extent {
        self.output
    }

    /// Applies the layer.
    ///
    /// # Errors
    /// If x has images of another size, or the device fails.
    pub fn forward<T: Tape<f32, D>>(&self, x: Rows<D, T>) -> Result<Rows<D, T>> {
        self.input.check("a convolution", &x)?;
        D::convolution(x, self)
    }

    /// Applies the layer to data, of which no gradient is wanted.
    ///
    /// # Errors
    /// As [`Convolution::forward`].
    pub fn forward_data<T: Tape<f32, D>>(&self, x: &Data<'_>) -> Result<Rows<D, T>> {
        self.input.check_shape("a convolution", x.shape())?;
        D::convolution_of_data(x, self)
    }
}

impl<D: Compute> Parameters<D> for Convolution<D> {
    fn visit(&self, prefix: &str, f: &mut dyn FnMut(String, &Matrix<D>)) {
        f(format!("{prefix}.weight"), &self.weight);
        f(format!("{prefix}.bias"), &self.bias);
    }

    fn visit_mut(&mut self, prefix: &str, f: &mut dyn FnMut(String, &mut Matrix<D>)) {
        f(format!("{prefix}.weight"), &mut self.weight);
        f(format!("{prefix}.bias"), &mut self.bias);
    }
}

/// Group normalisation, y = f(γ (x − μ)/√(σ² + 10⁻⁵) + β), with mean μ and variance σ² of a group of channels of one image,
/// so that, other than with batches, no row depends on another and there is nothing to remember between training and use.
///
/// # Shapes
/// x and y (rows, extent), γ and β (1, channels).
///
/// Reference: Wu & He 2018, arXiv 1803.08494.
#[derive(Debug, Clone)]
pub struct GroupNorm<D: Compute> {
    /// γ, ones at first.
    pub scale: Matrix<D>,
    /// β, zeros at first.
    pub shift: Matrix<D>,
    /// f.
    pub activation: Activation,
    extent: Extent,
    groups: usize,
}

/// Added to the variance.
pub(crate) const LEAST_VARIANCE: f32 = 1e-5;

impl<D: Compute> GroupNorm<D> {
    /// A layer that leaves its input normalised.
    ///
    /// # Errors
    /// If the groups do not divide the channels.
    pub fn new(device: &D, extent: Extent, groups: usize, activation: Activation) -> Result<Self> {
        let channels = extent.channels;
        if groups == 0 || extent.numbers() == 0 || !channels.is_multiple_of(groups) {
            let (what, value) = ("groups", format!("{groups} of {channels} channels"));
            return Err(Error::Parameter { what, value, accepted: "divisors of the number of channels" });
        }
        let row = |value: f32| crate::matrix(device, vec![value; channels], 1, channels);
        Ok(Self { scale: row(1.0)?, shift: row(0.0)?, activation, extent, groups })
    }

    /// Applies the layer.
    ///
    /// # Errors
    /// If x has images of another size, or the device fails.
    pub fn forward<T: Tape<f32, D>>(&self, x: Rows<D, T>) -> Result<Rows<D, T>> {
        self.extent.check("a normalisation", &x)?;
        D::normalisation(x, self)
    }
}

impl<D: Compute> Parameters<D> for GroupNorm<D> {
    fn visit(&self, prefix: &str, f: &mut dyn FnMut(String, &Matrix<D>)) {
        f(format!("{prefix}.scale"), &self.scale);
        f(format!("{prefix}.shift"), &self.shift);
    }

    fn visit_mut(&mut self, prefix: &str, f: &mut dyn FnMut(String, &mut Matrix<D>)) {
        f(format!("{prefix}.scale"), &mut self.scale);
        f(format!("{prefix}.shift"), &mut self.shift);
    }
}

/// What becomes of the pixels of a window, channel by channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// The largest.
    Max,
    /// The mean; zeros around the image count.
    Mean,
}

/// A layer that makes one pixel of each window.
#[derive(Debug, Clone, Copy)]
pub struct Pool {
    kind: Pooling,
    input: Extent,
    output: Extent,
    window: Window,
}

impl Pool {
    /// Pools windows of images of this size.
    ///
    /// # Errors
    /// If the window does not fit, or has zeros around the image where the largest pixel is asked for.
    pub fn new(kind: Pooling, input: Extent, window: Window) -> Result<Self> {
        let (height, width) = window.over(input)?;
        if kind == Pooling::Max && window.padding != (0, 0) {
            let (what, value) = ("padding of the largest", format!("{:?}", window.padding));
            return Err(Error::Parameter { what, value, accepted: "none" });
        }
        Ok(Self { kind, input, output: Extent { height, width, ..input }, window })
    }

    /// Size of its images.
    pub fn output(&self) -> Extent {
        self.output
    }

    /// Applies the layer.
    ///
    /// # Errors
    /// If x has images of another size, or the device fails.
    pub fn forward<D: Compute, T: Tape<f32, D>>(&self, x: Rows<D, T>) -> Result<Rows<D, T>> {
        self.input.check("a pooling", &x)?;
        D::pooling(x, self)
    }
}

/// A layer that repeats pixels, down and across.
#[derive(Debug, Clone, Copy)]
pub struct Upsample {
    input: Extent,
    output: Extent,
}

impl Upsample {
    /// Repeats the pixels of images of this size.
    ///
    /// # Errors
    /// If a factor is 0.
    pub fn new(input: Extent, factor: (usize, usize)) -> Result<Self> {
        if factor.0 * factor.1 == 0 {
            let (what, value) = ("factor of an up-sampling", format!("{factor:?}"));
            return Err(Error::Parameter { what, value, accepted: "1 and more" });
        }
        Self::to(input, (input.height * factor.0, input.width * factor.1))
    }

    /// Brings images of one size to a larger one, (down, across): each pixel becomes the one at its share of the way.
    ///
    /// # Errors
    /// If it is smaller.
    pub fn to(input: Extent, (height, width): (usize, usize)) -> Result<Self> {
        if height < input.height || width < input.width {
            let (what, value) = ("size of an up-sampling", format!("{height}×{width}"));
            return Err(Error::Parameter { what, value, accepted: "not smaller than the images" });
        }
        Ok(Self { input, output: Extent { height, width, ..input } })
    }

    /// Size of its images.
    pub fn output(&self) -> Extent {
        self.output
    }

    /// Applies the layer.
    ///
    /// # Errors
    /// If x has images of another size, or the device fails.
    pub fn forward<D: Compute, T: Tape<f32, D>>(&self, x: Rows<D, T>) -> Result<Rows<D, T>> {
        self.input.check("an up-sampling", &x)?;
        D::upsampling(x, self)
    }

    /// Number of the input from which each number of the output comes.
    pub(crate) fn sources(&self) -> Vec<usize> {
        let Self { input, output } = *self;
        let channels = input.channels;
        let source = |i: usize| {
            let (pixel, channel) = (i / channels, i % channels);
            let y = pixel / output.width * input.height / output.height;
            let x = pixel % output.width * input.width / output.width;
            (y * input.width + x) * channels + channel
        };
        (0..output.numbers()).map(source).collect()
    }
}
