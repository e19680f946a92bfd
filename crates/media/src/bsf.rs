//! Bitstream filters: packets rewritten without decoding.

use crate::encoder::EncodedPacket;
use crate::error::{MediaError, Result, check};
use crate::ffi_util::c_string;
use crate::packet::Packet;
use crate::params::CodecParams;
use crate::rational::Rational;
use ffmpeg_sys_the_third as ff;

/// An open bitstream filter.
pub struct BitstreamFilter {
    context: *mut ff::AVBSFContext,
    name: String,
}

// SAFETY: the context has one owner; libavcodec allows use from one thread at a time, whichever.
unsafe impl Send for BitstreamFilter {}

impl BitstreamFilter {
    /// Opens FFmpeg's filter `name` for packets of a stream.
    pub fn open(name: &str, params: &CodecParams, time_base: Rational) -> Result<Self> {
        let what = || format!("open the bitstream filter {name}");
        let c_name = c_string(name, "open a bitstream filter")?;
        // SAFETY: the context is freed by Drop once it is in `Self`; its parameters are freshly allocated.
        unsafe {
            let filter = ff::av_bsf_get_by_name(c_name.as_ptr());
            if filter.is_null() {
                return Err(MediaError::ours(what(), "this build of FFmpeg doesn't have it"));
            }
            let mut context = std::ptr::null_mut();
            check(ff::av_bsf_alloc(filter, &mut context), what)?;
            let new = Self { context, name: name.to_owned() };
            params.fill((*context).par_in)?;
            (*context).time_base_in = time_base.raw();
            check(ff::av_bsf_init(context), what).map_err(MediaError::with_log)?;
            Ok(new)
        }
    }

    /// What a decoder of its packets must know before the first.
    pub fn extradata(&self) -> Vec<u8> {
        // SAFETY: an initialised filter has parameters of its output, whose extradata has that size.
        unsafe {
            let params = &*(*self.context).par_out;
            match usize::try_from(params.extradata_size) {
                Ok(size) if size > 0 && !params.extradata.is_null() => {
                    std::slice::from_raw_parts(params.extradata, size).to_vec()
                }
                _ => Vec::new(),
            }
        }
    }

    /// Takes a packet (`None`: the end) and appends what comes out. A new configuration of the decoder comes as side data of a packet, see [`EncodedPacket::new_extradata`].
    pub fn push(&mut self, packet: Option<&Packet>, out: &mut Vec<EncodedPacket>) -> Result<()> {
        let what = || format!("apply the bitstream filter {}", self.name);
        let mut result = Packet::new();
        // SAFETY: valid context; the filter takes the reference of a copy, and fills a valid packet.
        unsafe {
            let code = match packet {
                None => ff::av_bsf_send_packet(self.context, std::ptr::null_mut()),
                Some(packet) => {
                    let copy = Packet::new();
                    check(ff::av_packet_ref(copy.0, packet.0), what)?;
                    ff::av_bsf_send_packet(self.context, copy.0)
                }
            };
            check(code, what)?;
            loop {
                let code = ff::av_bsf_receive_packet(self.context, result.0);
                if code == ff::AVERROR(libc::EAGAIN) || code == ff::AVERROR_EOF {
                    return Ok(());
                }
                check(code, what)?;
                out.push(EncodedPacket::take(&mut result));
            }
        }
    }
}

impl Drop for BitstreamFilter {
    fn drop(&mut self) {
        // SAFETY: ours; the call clears the pointer.
        unsafe { ff::av_bsf_free(&mut self.context) }
    }
}
