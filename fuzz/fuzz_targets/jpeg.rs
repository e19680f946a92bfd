//! Headers of JPEG files: any bytes are read or refused, and what is written is read again.
#![no_main]

use frameloom_cuda::nvjpeg::header::{Segments, orientation, read, with_segments};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = orientation(data);
    let segments = Segments { exif: Some(vec![1, 2, 3]), icc: Some(vec![4; 70_000]) };
    if let (Ok(header), Ok(written)) = (read(data), with_segments(data, &segments)) {
        assert!(header.width > 0 && header.height > 0);
        let _ = (header.colours(), header.chroma_shift());
        // Bytes between segments are passed over by the one and end the beginning for the other.
        if let Ok(again) = read(&written) {
            assert_eq!((again.width, again.height), (header.width, header.height));
        }
    }
});
