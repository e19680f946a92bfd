//! Names of numbered images: "shots/%06d.jpg".

use crate::error::{Error, Result};
use crate::jobs::images::Kind;
use std::path::{Path, PathBuf};

/// A file's name with a place for a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    folder: PathBuf,
    before: String,
    after: String,
    digits: usize,
    kind: Kind,
}

impl Pattern {
    /// From a path whose last part has one "%d" or "%06d"; "%%" stands for a per cent sign.
    pub fn parse(path: &Path) -> Result<Self> {
        let shown = path.display().to_string();
        let wrong = |why: &str| {
            Error::usage(format!("-o {shown}: {why}"))
                .hint("a name with a place for the number: 'shots/%06d.jpg', for example")
        };
        let name = path.file_name().and_then(|n| n.to_str()).ok_or_else(|| wrong("it has no name"))?;
        let kind = Kind::of_ending(path)
            .ok_or_else(|| wrong("the ending says no kind of image (jpg, png, webp, bmp, tiff)"))?;
        let mut parts = vec![String::new()];
        let mut digits = None;
        let mut rest = name.chars();
        while let Some(c) = rest.next() {
            let into = parts.last_mut().ok_or_else(|| wrong("it has no name"))?;
            if c != '%' {
                into.push(c);
                continue;
            }
            let mut width = String::new();
            let end = loop {
                match rest.next() {
                    Some(d) if d.is_ascii_digit() => width.push(d),
                    other => break other,
                }
            };
            match (end, width.as_str()) {
                (Some('%'), "") => into.push('%'),
                (Some('d'), width) => {
                    if digits.is_some() {
                        return Err(wrong("it has places for two numbers"));
                    }
                    let width: usize = match width {
                        "" => 1,
                        _ => {
                            width.parse().ok().filter(|w| *w <= 18).ok_or_else(|| wrong("too many digits"))?
                        }
                    };
                    digits = Some(width.max(1));
                    parts.push(String::new());
                }
                _ => return Err(wrong("after % comes d, a width and d (%06d), or another %")),
            }
        }
        let digits = digits.ok_or_else(|| wrong("there is no place for a number in the name"))?;
        let after = parts.pop().unwrap_or_default();
        let before = parts.pop().unwrap_or_default();
        let folder = path.parent().map(Path::to_owned).unwrap_or_default();
        Ok(Self { folder, before, after, digits, kind })
    }

    /// The kind of the images.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The path of the image with that number.
    pub fn path(&self, number: u64) -> PathBuf {
        let (Self { folder, before, after, .. }, digits) = (self, self.digits);
        folder.join(format!("{before}{number:0digits$}{after}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(pattern: &str, number: u64) -> std::result::Result<String, String> {
        let pattern = Pattern::parse(Path::new(pattern)).map_err(|e| e.message)?;
        Ok(pattern.path(number).display().to_string())
    }

    #[test]
    fn numbers_stand_in_their_place() {
        assert_eq!(path("shots/%06d.jpg", 42), Ok("shots/000042.jpg".into()));
        assert_eq!(path("a-%d-b.png", 7), Ok("a-7-b.png".into()));
        assert_eq!(path("100%%-%3d.webp", 1234), Ok("100%-1234.webp".into()));
        assert_eq!(path("%04d.tiff", 5), Ok("0005.tiff".into()));
    }

    #[test]
    fn what_is_no_pattern_is_said() {
        for (pattern, why) in [
            ("shots.jpg", "no place for a number"),
            ("shots/%d-%d.jpg", "two numbers"),
            ("%06d.mp4", "no kind of image"),
            ("%x.jpg", "after % comes"),
            ("%.jpg", "after % comes"),
            ("%99d.jpg", "too many digits"),
        ] {
            let said = path(pattern, 1).unwrap_err();
            assert!(said.contains(why), "{pattern}: {said}");
        }
    }
}
