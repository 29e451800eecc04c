//! Pictures: which there are, what is done to one, and some to have if none are given.
//!
//! ```text
//!   file ──> decode ──> resize ──> sharpen ──> encode ──> thumbnail
//!            PNG, JPEG  to fit     unsharp     JPEG
//!                       256 x 256  mask
//! ```
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use image::imageops::FilterType;
use image::{DynamicImage, ImageFormat, RgbImage};

/// A thumbnail is no wider and no higher.
const THUMBNAIL: u32 = 256;
/// A file that is larger is not read.
const FILE_MAX: u64 = 256 << 20;
/// Of a folder no more are taken.
pub const PICTURES_MAX: usize = 1_000;

/// The pictures of a folder, by the ends of their names, in alphabetical order; not those of folders in it.
///
/// # Errors
/// The system's.
pub fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let is_picture = |path: &Path| {
        let end = path.extension().unwrap_or_default().to_ascii_lowercase();
        end == "png" || end == "jpg" || end == "jpeg"
    };
    let mut pictures = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if is_picture(&path) && path.is_file() {
            pictures.push(path);
        }
    }
    pictures.sort();
    pictures.truncate(PICTURES_MAX);
    Ok(pictures)
}

// excerpt: process
/// Makes the thumbnail of `picture` in the folder `output`.
///
/// # Errors
/// In words: the file cannot be read, is no picture, or is broken; the thumbnail cannot be written.
pub fn make_thumbnail(picture: &Path, output: &Path) -> Result<(), String> {
    let bytes = read(picture).map_err(|error| error.to_string())?;
    let decoded = image::load_from_memory(&bytes).map_err(|error| error.to_string())?;
    // One that is small stays as it is.
    let bounds = (
        decoded.width().min(THUMBNAIL),
        decoded.height().min(THUMBNAIL),
    );
    let small = decoded.resize(bounds.0, bounds.1, FilterType::CatmullRom);
    let sharp = small.unsharpen(1.0, 1);
    // JPEG knows no transparency.
    let flat = DynamicImage::ImageRgb8(sharp.into_rgb8());
    let path = output.join(thumbnail_name(picture));
    flat.save_with_format(&path, ImageFormat::Jpeg)
        .map_err(|error| format!("{}: {error}", path.display()))
}
// excerpt: end

fn read(picture: &Path) -> io::Result<Vec<u8>> {
    if fs::metadata(picture)?.len() > FILE_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    fs::read(picture)
}

/// The whole name with another end, so that `a.png` and `a.jpg` do not meet.
fn thumbnail_name(picture: &Path) -> PathBuf {
    let mut name = picture.file_name().unwrap_or_default().to_owned();
    name.push(".thumbnail.jpg");
    name.into()
}

/// Makes `count` pictures in `folder`, half of them PNG, half JPEG.
///
/// # Errors
/// The system's.
pub fn generate(folder: &Path, count: u32, width: u32, height: u32) -> io::Result<()> {
    for number in 0..count {
        let picture = DynamicImage::ImageRgb8(paint(number, width, height));
        let (end, format) = if number.is_multiple_of(2) {
            ("png", ImageFormat::Png)
        } else {
            ("jpg", ImageFormat::Jpeg)
        };
        let path = folder.join(format!("{number:03}.{end}"));
        picture
            .save_with_format(path, format)
            .map_err(io::Error::other)?;
    }
    Ok(())
}

/// Rings over a slope, with some grain, so that it is neither trivial nor hopeless to compress.
fn paint(number: u32, width: u32, height: u32) -> RgbImage {
    let mut grain = number.wrapping_mul(2_654_435_769) | 1;
    RgbImage::from_fn(width, height, |x, y| {
        // Marsaglia's xorshift.
        grain ^= grain << 13;
        grain ^= grain >> 17;
        grain ^= grain << 5;
        let (dx, dy) = (x.abs_diff(width / 2), y.abs_diff(height / 2));
        let ring = (dx * dx + dy * dy) / (50 + 10 * number);
        let slope = x * 200 / width.max(1);
        image::Rgb([
            (slope + grain % 16) as u8,
            ((ring & 127) + grain / 16 % 16) as u8,
            (y * 200 / height.max(1) + number % 32) as u8,
        ])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cleanup::Cleanup;

    #[test]
    fn pictures_of_either_kind_become_thumbnails_that_fit_and_broken_ones_a_sentence() {
        let scratch = Cleanup::default().scratch().unwrap();
        let folder = scratch.path();
        generate(folder, 2, 40, 600).unwrap();
        fs::write(folder.join("broken.png"), b"\x89PNG\r\n\x1a\n and no more").unwrap();
        fs::write(folder.join("notes.txt"), "no picture").unwrap();
        let pictures = list(folder).unwrap();
        assert_eq!(pictures.len(), 3);
        let outcomes: Vec<_> = pictures
            .iter()
            .map(|picture| make_thumbnail(picture, folder))
            .collect();
        assert!(outcomes[0].is_ok() && outcomes[1].is_ok(), "{outcomes:?}");
        assert!(outcomes[2].is_err());
        let thumbnail = fs::read(folder.join("000.png.thumbnail.jpg")).unwrap();
        let thumbnail = image::load_from_memory(&thumbnail).unwrap();
        assert_eq!((thumbnail.width(), thumbnail.height()), (17, THUMBNAIL));
    }
}
