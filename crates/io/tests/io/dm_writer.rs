/// One image of a DM file, as its tags describe it.
pub struct Picture<'a> {
    /// DM's code of the type of the pixels.
    pub code: u32,
    /// Sizes, x first.
    pub sizes: &'a [u32],
    /// Scale, origin and unit of each dimension.
    pub calibrations: &'a [(f32, f32, &'a str)],
    /// `ImageTags.Meta Data.Format`.
    pub format: &'a str,
    /// Pixels in the byte order of the file.
    pub pixels: Vec<u8>,
}

/// A little DM3 or DM4 file: a tree of tags, sizes big-endian, values in the order asked for.
pub struct DmWriter {
    /// 3 or 4.
    pub version: u32,
    /// Byte order of the values.
    pub big_endian: bool,
}

impl DmWriter {
    /// The file; `thumbnails` are indices of `pictures`.
    pub fn file(&self, pictures: &[Picture<'_>], thumbnails: &[u32]) -> Vec<u8> {
        let list = pictures.iter().map(|p| self.picture(p)).collect::<Vec<_>>();
        let thumbs = thumbnails.iter().map(|&t| self.group("", &[self.int("ImageIndex", t)])).collect::<Vec<_>>();
        let entries = [self.group("ImageList", &list), self.group("Thumbnails", &thumbs)];
        let mut body = vec![1, 0];
        body.extend(self.count(entries.len()));
        entries.iter().for_each(|e| body.extend(e));
        let mut file = self.version.to_be_bytes().to_vec();
        // The length counts the root group and half of the eight zeros after it.
        file.extend(self.count(body.len() + 4));
        file.extend(u32::from(!self.big_endian).to_be_bytes());
        file.extend(body);
        file.extend([0; 8]);
        file
    }

    fn picture(&self, picture: &Picture<'_>) -> Vec<u8> {
        let sizes = picture.sizes.iter().map(|&s| self.int("", s)).collect::<Vec<_>>();
        let calibration = |&(scale, origin, unit): &(f32, f32, &str)| {
            self.group("", &[self.float("Scale", scale), self.float("Origin", origin), self.text("Units", unit)])
        };
        let calibrations = picture.calibrations.iter().map(calibration).collect::<Vec<_>>();
        let data = self.group(
            "ImageData",
            &[
                self.group("Calibrations", &[self.group("Dimension", &calibrations)]),
                self.data("Data", &[20, 10, picture.pixels.len() as u64], &picture.pixels),
                self.int("DataType", picture.code),
                self.group("Dimensions", &sizes),
            ],
        );
        let voltage = self.group("Microscope Info", &[self.float("Voltage", 60_000.0)]);
        let format = self.group("Meta Data", &[self.text("Format", picture.format)]);
        self.group("", &[data, self.group("ImageTags", &[format, voltage]), self.text("Name", "made")])
    }

    fn group(&self, name: &str, entries: &[Vec<u8>]) -> Vec<u8> {
        let mut body = vec![1, 0];
        body.extend(self.count(entries.len()));
        entries.iter().for_each(|e| body.extend(e));
        self.tag(20, name, body)
    }

    fn int(&self, name: &str, value: u32) -> Vec<u8> {
        self.data(name, &[5], &if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() })
    }

    fn float(&self, name: &str, value: f32) -> Vec<u8> {
        self.data(name, &[6], &if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() })
    }

    fn text(&self, name: &str, value: &str) -> Vec<u8> {
        let bytes = |c: u16| if self.big_endian { c.to_be_bytes() } else { c.to_le_bytes() };
        let value: Vec<u8> = value.encode_utf16().flat_map(bytes).collect();
        self.data(name, &[20, 4, value.len() as u64 / 2], &value)
    }

    /// A value: what it is made of, then its bytes.
    fn data(&self, name: &str, info: &[u64], value: &[u8]) -> Vec<u8> {
        let mut body = b"%%%%".to_vec();
        body.extend(self.count(info.len()));
        info.iter().for_each(|&word| body.extend(self.count(word as usize)));
        body.extend(value);
        self.tag(21, name, body)
    }

    fn tag(&self, kind: u8, name: &str, body: Vec<u8>) -> Vec<u8> {
        let mut tag = vec![kind];
        tag.extend((name.len() as u16).to_be_bytes());
        tag.extend(name.as_bytes());
        if self.version == 4 {
            tag.extend((body.len() as u64).to_be_bytes());
        }
        tag.extend(body);
        tag
    }

    fn count(&self, n: usize) -> Vec<u8> {
        if self.version == 4 { (n as u64).to_be_bytes().to_vec() } else { (n as u32).to_be_bytes().to_vec() }
    }
}
