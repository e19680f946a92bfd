//! Boxes of ISO/IEC 14496-12: writing some, and finding some in what libavformat wrote.

use std::ops::Range;

/// A box whose content `fill` writes.
pub fn write(out: &mut Vec<u8>, kind: [u8; 4], fill: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend([0; 4]);
    out.extend(kind);
    fill(out);
    // No box that is written here comes near 4 GiB: the media data's header is written apart.
    let size = u32::try_from(out.len() - at).unwrap_or(u32::MAX);
    out[at..at + 4].copy_from_slice(&size.to_be_bytes());
}

/// The boxes that `data` consists of: kind, whole, content. Ends where something is no box.
pub fn iter(data: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8], &[u8])> {
    let mut rest = data;
    std::iter::from_fn(move || {
        let kind = rest.get(4..8)?.try_into().ok()?;
        let small = u32::from_be_bytes(rest.get(..4)?.try_into().ok()?) as usize;
        let (header, size) = match small {
            1 => (16, usize::try_from(u64::from_be_bytes(rest.get(8..16)?.try_into().ok()?)).ok()?),
            size => (8, size),
        };
        let whole = rest.get(..size).filter(|_| size >= header)?;
        rest = &rest[size..];
        Some((kind, whole, &whole[header..]))
    })
}

/// Where the content of the first box along a path is.
pub fn place(data: &[u8], path: &[&[u8; 4]]) -> Option<Range<usize>> {
    let (first, rest) = path.split_first()?;
    let mut at = 0;
    for (kind, whole, content) in iter(data) {
        let start = at + whole.len() - content.len();
        at += whole.len();
        if kind != **first {
            continue;
        }
        if rest.is_empty() {
            return Some(start..at);
        }
        let inner = place(content, rest)?;
        return Some(start + inner.start..start + inner.end);
    }
    None
}

/// The content of the first box along a path.
pub fn find<'a>(data: &'a [u8], path: &[&[u8; 4]]) -> Option<&'a [u8]> {
    data.get(place(data, path)?)
}

/// Puts a box behind the one of kind `after`, within the boxes along `path`, and mends their sizes.
pub fn insert_after(data: &[u8], path: &[&[u8; 4]], after: &[u8; 4], new: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + new.len());
    for (kind, whole, content) in iter(data) {
        match path.split_first() {
            Some((first, rest)) if kind == **first => {
                write(&mut out, kind, |out| out.extend(insert_after(content, rest, after, new)));
            }
            _ => out.extend(whole),
        }
        if path.is_empty() && kind == *after {
            out.extend(new);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_are_found_and_put_between_others() {
        let mut data = Vec::new();
        write(&mut data, *b"moov", |out| {
            write(out, *b"mvhd", |out| out.extend([1, 2]));
            write(out, *b"trak", |out| write(out, *b"tkhd", |out| out.push(3)));
        });
        assert_eq!(find(&data, &[b"moov", b"trak", b"tkhd"]), Some(&[3][..]));
        assert_eq!(find(&data, &[b"moov", b"mdia"]), None);
        let mut new = Vec::new();
        write(&mut new, *b"edts", |out| out.push(9));
        let longer = insert_after(&data, &[b"moov", b"trak"], b"tkhd", &new);
        assert_eq!(longer.len(), data.len() + new.len());
        assert_eq!(find(&longer, &[b"moov", b"trak", b"edts"]), Some(&[9][..]));
        assert_eq!(iter(&longer).count(), 1);
    }

    #[test]
    fn what_is_no_box_ends_the_list() {
        assert_eq!(iter(&[]).count(), 0);
        assert_eq!(iter(&[0, 0, 0, 4, 1, 2, 3, 4]).count(), 0, "shorter than its header");
        assert_eq!(iter(&[0, 0, 0, 9, 1, 2, 3, 4]).count(), 0, "longer than what is there");
        assert_eq!(iter(&[0, 0, 0, 1, 1, 2, 3, 4, 255, 255, 255, 255, 255, 255, 255, 255]).count(), 0);
    }
}
