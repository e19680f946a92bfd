use super::*;
use proptest::prelude::*;
use std::fs;
use tempfile::TempDir;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Header {
    codec: String,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Trailer {
    frames: u64,
}

fn header() -> Header {
    Header { codec: "h264".into() }
}

fn packet(number: i64) -> StoredPacket {
    StoredPacket {
        pts: Some(number * 3),
        dts: (number % 2 == 0).then_some(-number),
        duration: 3,
        flags: u32::from(number == 0),
        stream: 1,
        side_data: vec![(7, vec![1, 2, 3]), (9, Vec::new())],
        data: vec![number as u8; 20 + number as usize],
    }
}

fn write_file(dir: &TempDir, packets: &[StoredPacket]) -> (PathBuf, Sealed) {
    let path = dir.path().join("000001.seg");
    let mut writer = SegmentWriter::create(&path, &header()).unwrap();
    packets.iter().for_each(|packet| writer.write(packet).unwrap());
    let sealed = writer.finish_unsynced(&Trailer { frames: 7 }).unwrap();
    (path, sealed)
}

fn read_all(path: &Path) -> Result<Vec<StoredPacket>, SegmentFileError> {
    let mut reader = SegmentReader::open(path)?;
    let mut packets = Vec::new();
    while let Some(packet) = reader.next_packet()? {
        packets.push(packet);
    }
    Ok(packets)
}

#[test]
fn what_was_written_is_read() {
    let dir = TempDir::new().unwrap();
    let packets: Vec<_> = (0..5).map(packet).collect();
    let path = dir.path().join("000001.seg");
    let mut writer = SegmentWriter::create(&path, &header()).unwrap();
    packets.iter().for_each(|packet| writer.write(packet).unwrap());
    assert!(!path.exists() && part_path(&path).exists());
    assert_eq!(writer.packets(), 5);
    let sealed_as = writer.finish(&Trailer { frames: 7 }).unwrap();
    assert!(path.exists() && !part_path(&path).exists());
    assert_eq!((sealed_as.packets, sealed_as.bytes), (5, fs::metadata(&path).unwrap().len()));
    assert_eq!(sealed(&path).unwrap(), sealed_as);
    verify(&path, &sealed_as.sha256).unwrap();

    let mut reader = SegmentReader::open(&path).unwrap();
    assert_eq!(reader.header::<Header>().unwrap(), header());
    assert_eq!(reader.next_packet().unwrap().as_ref(), Some(&packets[0]));
    assert_eq!(reader.trailer::<Trailer>().unwrap(), Trailer { frames: 7 });
    for expected in &packets[1..] {
        assert_eq!(reader.next_packet().unwrap().as_ref(), Some(expected));
    }
    assert!(reader.next_packet().unwrap().is_none());
    assert!(reader.next_packet().unwrap().is_none());
    assert_eq!(reader.trailer::<Trailer>().unwrap(), Trailer { frames: 7 });
}

#[test]
fn equal_packets_give_equal_files() {
    let (a, b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let packets: Vec<_> = (0..5).map(packet).collect();
    assert_eq!(write_file(&a, &packets), (a.path().join("000001.seg"), write_file(&b, &packets).1));
}

#[test]
fn an_unfinished_writer_leaves_nothing() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.seg");
    let mut writer = SegmentWriter::create(&path, &header()).unwrap();
    writer.write(&packet(0)).unwrap();
    drop(writer);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn what_an_earlier_try_left_is_replaced() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("000001.seg.part"), vec![b'x'; 9999]).unwrap();
    fs::write(dir.path().join("000001.seg"), "old").unwrap();
    let (path, sealed) = write_file(&dir, &[packet(0)]);
    verify(path, &sealed.sha256).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_failing_disk_is_an_error_and_stays_one() {
    let full = Path::new("/dev/full");
    if !full.exists() {
        eprintln!("skipped: no /dev/full on this system");
        return;
    }
    let file = fs::OpenOptions::new().write(true).open(full).unwrap();
    let dir = TempDir::new().unwrap();
    let mut writer = SegmentWriter::create(dir.path().join("a.seg"), &header()).unwrap();
    writer.replace_file(file);
    let large = StoredPacket { data: vec![0; 2 * BUFFER], ..packet(0) };
    assert!(matches!(writer.write(&large), Err(SegmentFileError::Io { action: "write", .. })));
    assert!(matches!(writer.write(&packet(1)), Err(SegmentFileError::Io { .. })));
    assert!(writer.finish(&Trailer { frames: 0 }).is_err());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn errors_name_the_file_the_place_and_the_damage() {
    let dir = TempDir::new().unwrap();
    let (path, sealed) = write_file(&dir, &[packet(0), packet(1)]);
    let whole = fs::read(&path).unwrap();
    let tag_at = |n: usize| whole.windows(4).enumerate().filter(|(_, w)| *w == b"PKT1").nth(n).unwrap().0;
    let message = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = whole.clone();
        change(&mut bytes);
        fs::write(&path, bytes).unwrap();
        let text = read_all(&path).unwrap_err().to_string();
        text.strip_prefix(path.to_str().unwrap()).expect("the error names the file").to_owned()
    };
    assert_eq!(message(&|b| b[0] = 0), ": not a segment file");
    assert_eq!(message(&|b| b.truncate(3)), ": not a segment file");
    assert_eq!(message(&|b| b[8] = 9), ": segment file version 9, this program reads 1");
    assert!(message(&|b| b[20] ^= 1).starts_with(": header: CRC-32 is "));
    assert!(message(&|b| b[tag_at(1) + 16] ^= 1).starts_with(": packet 1: CRC-32 is "));
    let huge = message(&|b| b[tag_at(1) + 8..tag_at(1) + 12].fill(0xff));
    assert!(huge.starts_with(": packet 1: needs 42949"), "{huge}");
    assert_eq!(message(&|b| b[tag_at(1)] = b'?'), ": packet 1: starts with an unknown tag");
    assert_eq!(message(&|b| b.truncate(tag_at(1))), ": packet 1: needs 8 bytes where 0 are left");
    let without_one = message(&|b| drop(b.drain(tag_at(0)..tag_at(1))));
    assert_eq!(without_one, ": footer: the number of packets is 1, recorded as 2");
    let longer = message(&|b| b.push(0));
    assert_eq!(longer, ": footer: the end is missing: the file was cut or never finished");

    fs::write(&path, &whole).unwrap();
    let other = verify(&path, &"0".repeat(64)).unwrap_err().to_string();
    assert!(
        other.ends_with(&format!("SHA-256 is {}, recorded as {}", sealed.sha256, "0".repeat(64))),
        "{other}"
    );
    let missing = SegmentReader::open(dir.path().join("none.seg")).unwrap_err();
    assert!(missing.to_string().ends_with("none.seg: cannot open"));
}

#[test]
fn a_header_of_another_type_is_an_error() {
    let dir = TempDir::new().unwrap();
    let (path, _) = write_file(&dir, &[]);
    let reader = SegmentReader::open(path).unwrap();
    assert!(matches!(reader.header::<Trailer>(), Err(SegmentFileError::Json { part: Part::Header, .. })));
}

#[test]
fn after_an_error_there_are_only_errors() {
    let dir = TempDir::new().unwrap();
    let (path, _) = write_file(&dir, &[packet(0), packet(1)]);
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(4).position(|w| w == b"PKT1").unwrap();
    bytes[at + 20] ^= 4;
    fs::write(&path, bytes).unwrap();
    let mut reader = SegmentReader::open(&path).unwrap();
    assert!(reader.next_packet().is_err());
    assert!(reader.next_packet().is_err());
}

/// Every place, not a sample of them: the file is small.
#[test]
fn every_flipped_byte_and_every_cut_is_found() {
    let dir = TempDir::new().unwrap();
    let (path, sealed) = write_file(&dir, &[packet(0), packet(1)]);
    let whole = fs::read(&path).unwrap();
    let in_sha = whole.len() - UNHASHED as usize..whole.len() - END_MAGIC.len();
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            fs::write(&path, &bytes).unwrap();
            assert!(verify(&path, &sealed.sha256).is_err(), "verify missed bit {bit} of byte {at}");
            // The reader does not compute the SHA-256, so it can't see damage to it.
            assert_eq!(read_all(&path).is_err(), !in_sha.contains(&at), "reader, bit {bit} of byte {at}");
        }
        fs::write(&path, &whole[..at]).unwrap();
        assert!(verify(&path, &sealed.sha256).is_err(), "verify missed a cut at {at}");
        assert!(read_all(&path).is_err(), "the reader missed a cut at {at}");
    }
}

prop_compose! {
    fn any_packet()(
        pts in any::<Option<i64>>(),
        dts in any::<Option<i64>>(),
        duration in any::<i64>(),
        flags in any::<u32>(),
        stream in any::<u32>(),
        side_data in prop::collection::vec((any::<u32>(), prop::collection::vec(any::<u8>(), 0..9)), 0..4),
        data in prop::collection::vec(any::<u8>(), 0..300),
    ) -> StoredPacket {
        StoredPacket { pts, dts, duration, flags, stream, side_data, data }
    }
}

/// Whatever the bytes are, reading ends, with packets or an error.
fn read_without_panic(path: &Path, recorded: &str) {
    let _ = verify(path, recorded);
    let _ = sealed(path);
    if let Ok(mut reader) = SegmentReader::open(path) {
        let _ = reader.header::<serde_json::Value>();
        let _ = reader.trailer::<serde_json::Value>();
        while let Ok(Some(_)) = reader.next_packet() {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_packets_survive(packets in prop::collection::vec(any_packet(), 0..20)) {
        let dir = TempDir::new().unwrap();
        let (path, sealed) = write_file(&dir, &packets);
        prop_assert_eq!(read_all(&path).unwrap(), packets);
        verify(&path, &sealed.sha256).unwrap();
    }

    #[test]
    fn damage_never_panics_and_is_always_found(
        packets in prop::collection::vec(any_packet(), 0..8),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let dir = TempDir::new().unwrap();
        let (path, sealed) = write_file(&dir, &packets);
        let whole = fs::read(&path).unwrap();
        let mut bytes = whole.clone();
        for (at, value) in &damage {
            let at = at.index(bytes.len());
            bytes[at] = *value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        fs::write(&path, &bytes).unwrap();
        read_without_panic(&path, &sealed.sha256);
        prop_assert_eq!(verify(&path, &sealed.sha256).is_ok(), bytes == whole);
    }

    /// With right checksums around wrong content, so that the parser behind the checksums is reached.
    #[test]
    fn a_faulty_writer_never_panics_the_reader(
        meta in prop::collection::vec(any::<u8>(), 0..80),
        data in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let dir = TempDir::new().unwrap();
        let (path, _) = write_file(&dir, &[]);
        let mut bytes = fs::read(&path).unwrap();
        let trailer_at = bytes.windows(4).position(|w| w == TRAILER_TAG).unwrap();
        let mut packet = PACKET_TAG.to_vec();
        packet.extend((meta.len() as u32).to_le_bytes());
        packet.extend((data.len() as u32).to_le_bytes());
        let crc = crc32fast::hash(&[&packet[..], &meta, &data].concat());
        packet.extend(crc.to_le_bytes());
        packet.extend([meta, data].concat());
        bytes.splice(trailer_at..trailer_at, packet);
        fs::write(&path, bytes).unwrap();
        read_without_panic(&path, "");
    }
}
