use super::*;

const PLAIN: &[u8] = include_bytes!("../../tests/jpeg/420.jpg");
const DESCRIBED: &[u8] = include_bytes!("../../tests/jpeg/described.jpg");

fn fixture(name: &str) -> Header {
    let path = format!("{}/tests/jpeg/{name}.jpg", env!("CARGO_MANIFEST_DIR"));
    read(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn headers_of_real_files() {
    let h = fixture("420");
    assert_eq!((h.width, h.height, h.bits), (96, 64, 8));
    assert_eq!((h.process, h.arithmetic, h.jfif), (Process::Baseline, false, true));
    assert_eq!((h.colours(), h.chroma_shift()), (Colours::Yuv, Some((1, 1))));
    assert!(h.tables && h.ended && h.scan_components == 3 && h.restart_interval == 0);
    assert_eq!((h.orientation, h.segments), (1, Segments::default()));
    assert_eq!(fixture("422").chroma_shift(), Some((1, 0)));
    assert_eq!(fixture("444").chroma_shift(), Some((0, 0)));
    assert_eq!((fixture("gray").colours(), fixture("gray").chroma_shift()), (Colours::Gray, None));
    let odd = fixture("odd420");
    assert_eq!((odd.width, odd.height), (67, 45));
    let progressive = fixture("progressive");
    assert_eq!(progressive.process, Process::Progressive);
    assert!(progressive.tables);
    assert_eq!(fixture("restart").restart_interval, 3);
    assert!(matches!(fixture("cmyk").colours(), Colours::Cmyk | Colours::Ycck));
    let described = fixture("described");
    assert_eq!(described.orientation, 6);
    assert_eq!(described.segments.icc.map(|icc| icc.len()), Some(132));
    assert!(described.segments.exif.is_some());
}

#[test]
fn segments_are_written_as_they_are_read() {
    let segments = read(DESCRIBED).unwrap().segments;
    let written = with_segments(PLAIN, &segments).unwrap();
    let again = read(&written).unwrap();
    assert_eq!(again.segments, segments);
    assert_eq!((again.orientation, again.jfif), (6, true));
    // JFIF stays first, and nothing else changes.
    assert_eq!(written[2..4], [0xff, 0xe0]);
    assert!(written.ends_with(&PLAIN[20..]));
    // What is there is replaced, not added.
    let replaced = with_segments(&written, &Segments { exif: None, icc: Some(vec![7; 200]) }).unwrap();
    let again = read(&replaced).unwrap();
    assert_eq!(again.segments.icc, Some(vec![7; 200]));
    assert_eq!(again.segments.exif, segments.exif);
    assert_eq!(with_segments(&replaced, &Segments::default()).unwrap(), replaced);
}

#[test]
fn profiles_of_many_segments_are_put_together_in_any_order() {
    let icc: Vec<u8> = (0..200_000u32).map(|i| ((i * 7) >> 3) as u8).collect();
    let written = with_segments(PLAIN, &Segments { exif: None, icc: Some(icc.clone()) }).unwrap();
    assert_eq!(read(&written).unwrap().segments.icc.as_deref(), Some(icc.as_slice()));
    // Behind SOI and JFIF there are four parts; the first two change places.
    let (at, full) = (20, 65_535 + 2);
    let mut turned = written.clone();
    let first = turned[at..at + full].to_vec();
    turned.copy_within(at + full..at + 2 * full, at);
    turned[at + full..at + 2 * full].copy_from_slice(&first);
    assert_ne!(turned, written);
    assert_eq!(read(&turned).unwrap().segments.icc, Some(icc));
    // A part is missing: there is no profile, and the picture is still there.
    let missing = [&written[..at], &written[at + full..]].concat();
    assert_eq!(read(&missing).unwrap().segments.icc, None);
    let too_large = Segments { exif: Some(vec![0; 65_536]), icc: None };
    assert_eq!(with_segments(PLAIN, &too_large).unwrap_err().kind, Kind::Data);
}

#[test]
fn colours_follow_adobe_and_identifiers() {
    // SOF0 with these identifiers; an Adobe segment with this transform, or none.
    let header = |ids: &[u8], transform: Option<u8>| {
        let mut file = vec![0xff, 0xd8];
        if let Some(transform) = transform {
            file.extend_from_slice(&[0xff, 0xee, 0, 14]);
            file.extend_from_slice(b"Adobe\0\x64\0\0\0\0");
            file.push(transform);
        }
        let count = ids.len() as u8;
        file.extend_from_slice(&[0xff, 0xc0, 0, 8 + 3 * count, 8, 0, 16, 0, 16, count]);
        ids.iter().for_each(|id| file.extend_from_slice(&[*id, 0x11, 0]));
        file.extend_from_slice(&[0xff, 0xda, 0, 6 + 2 * count, count]);
        ids.iter().for_each(|id| file.extend_from_slice(&[*id, 0]));
        file.extend_from_slice(&[0, 63, 0]);
        read(&file).unwrap()
    };
    assert_eq!(header(&[1, 2, 3], None).colours(), Colours::Yuv);
    assert_eq!(header(b"RGB", None).colours(), Colours::Rgb);
    assert_eq!(header(&[1, 2, 3], Some(0)).colours(), Colours::Rgb);
    assert_eq!(header(b"RGB", Some(1)).colours(), Colours::Yuv);
    assert_eq!(header(&[1, 2, 3, 4], Some(2)).colours(), Colours::Ycck);
    assert_eq!(header(&[1, 2, 3, 4], Some(0)).colours(), Colours::Cmyk);
    assert_eq!(header(&[1, 2], None).colours(), Colours::Other);
    let bare = header(&[1], None);
    assert!(!bare.tables && !bare.ended);
}

#[test]
fn damage_is_found_before_a_gpu_sees_it() {
    let position = |marker: u8| PLAIN.windows(2).position(|w| w == [0xff, marker]).unwrap();
    let kind = |data: &[u8]| read(data).map(|_| ()).unwrap_err().kind;
    assert_eq!(kind(b""), Kind::Data);
    assert_eq!(kind(b"\x89PNG\r\n"), Kind::Data);
    assert_eq!(kind(&PLAIN[..position(0xda)]), Kind::Data);
    // A Huffman table with more codes than fit.
    let mut bad = PLAIN.to_vec();
    bad[position(0xc4) + 5] = 3;
    assert_eq!(kind(&bad), Kind::Data);
    // A quantiser of zero.
    let mut bad = PLAIN.to_vec();
    bad[position(0xdb) + 5] = 0;
    assert_eq!(kind(&bad), Kind::Data);
    // No width.
    let mut bad = PLAIN.to_vec();
    bad[position(0xc0) + 7..position(0xc0) + 9].fill(0);
    assert_eq!(kind(&bad), Kind::Data);
    // The picture's end is missing: known, and the caller's to judge.
    assert!(!read(&PLAIN[..PLAIN.len() - 2]).unwrap().ended);
    let mut with_more = PLAIN.to_vec();
    with_more.extend_from_slice(&[7; 5000]);
    assert!(read(&with_more).unwrap().ended);
}

/// No bytes whatever may panic, nor take long.
#[test]
fn any_bytes_are_read_or_refused() {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..40_000 {
        let source = if round % 2 == 0 { PLAIN } else { DESCRIBED };
        let mut data = source[..source.len().min(900)].to_vec();
        for _ in 0..1 + random() % 6 {
            let at = random() as usize % data.len();
            match random() % 4 {
                0 => data[at] = random() as u8,
                1 => data[at] ^= 1 << (random() % 8),
                2 => data.truncate(at.max(2)),
                _ => data.insert(at, random() as u8),
            }
        }
        if let Ok(header) = read(&data) {
            assert!(header.width > 0 && header.height > 0 && !header.components.is_empty());
            let _ = (header.colours(), header.chroma_shift());
        }
        let _ = with_segments(&data, &Segments { exif: Some(vec![1]), icc: Some(vec![2]) });
    }
    for length in 0..64 {
        let tiff: Vec<u8> = (0..length).map(|_| random() as u8).collect();
        let _ = orientation(&tiff);
        let _ = orientation(&[b"II*\0".as_slice(), &tiff].concat());
        let _ = orientation(&[b"MM\0*".as_slice(), &[0xff; 4], &tiff].concat());
    }
}
