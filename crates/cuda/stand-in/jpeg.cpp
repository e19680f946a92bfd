// A stand-in for nvJPEG: the functions that frameloom-cuda calls, done by libavcodec's JPEG. Pictures lie in the memory of the driver's
// stand-in, which is the host's. It has no JPEG engines, decodes to the image's own planes alone, and writes gray as 4:2:0.
extern "C" {
#include <libavcodec/avcodec.h>
#include <libavutil/frame.h>
}
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

enum Status : int { SUCCESS = 0, INVALID_PARAMETER = 2, BAD_JPEG = 3, NOT_SUPPORTED = 4, FAILED = 6, NO_SUCH_GPU = 7 };
enum Sampling : int { S444 = 0, S422 = 1, S420 = 2, S440 = 3, GRAY = 6 };
enum Output : int { YUV = 1, Y = 2 };
const int HARDWARE = 3;

// As in the library's header.
struct Image {
    uint8_t *channel[4];
    size_t pitch[4];
};

struct FreeFrame {
    void operator()(AVFrame *frame) const { av_frame_free(&frame); }
};
struct FreePacket {
    void operator()(AVPacket *packet) const { av_packet_free(&packet); }
};
struct FreeContext {
    void operator()(AVCodecContext *context) const { avcodec_free_context(&context); }
};
using Frame = std::unique_ptr<AVFrame, FreeFrame>;
using Packet = std::unique_ptr<AVPacket, FreePacket>;
using Context = std::unique_ptr<AVCodecContext, FreeContext>;

// What the library hands out and takes back: each kind has what it needs.
struct Thing {
    virtual ~Thing() = default;
};
struct Parsed : Thing { // a "JPEG stream"
    const uint8_t *data = nullptr;
    size_t length = 0;
    unsigned width = 0, height = 0;
    int sampling = -1;
};
struct State : Thing { // a decoder's
    Frame frame;
};
struct Params : Thing { // a decoder's or an encoder's
    int output = YUV, quality = 90;
};
struct Encoded : Thing { // an encoder's state
    std::vector<uint8_t> file;
};

static int make(Thing *thing, void **out) {
    *out = thing;
    return SUCCESS;
}

// Size and sampling, from the frame's header.
static int parse(Parsed &jpeg) {
    const uint8_t *data = jpeg.data;
    size_t at = 2;
    while (at + 4 <= jpeg.length && data[at] == 0xff) {
        unsigned marker = data[at + 1], bytes = data[at + 2] << 8 | data[at + 3];
        bool frame = marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc;
        if (!frame) {
            at += 2 + bytes;
            continue;
        }
        if (at + 2 + bytes > jpeg.length || bytes < 11) return BAD_JPEG;
        const uint8_t *header = data + at + 4;
        jpeg.height = header[1] << 8 | header[2];
        jpeg.width = header[3] << 8 | header[4];
        unsigned components = header[5];
        if (components == 1) {
            jpeg.sampling = GRAY;
            return SUCCESS;
        }
        if (components != 3 || bytes < 17) return NOT_SUPPORTED;
        unsigned across = (header[7] >> 4) / (header[10] >> 4 ? header[10] >> 4 : 1);
        unsigned down = (header[7] & 15) / (header[10] & 15 ? header[10] & 15 : 1);
        jpeg.sampling = across == 2 ? (down == 2 ? S420 : S422) : down == 2 ? S440 : S444;
        return SUCCESS;
    }
    return BAD_JPEG;
}

static void copy_plane(uint8_t *to, size_t to_pitch, const uint8_t *from, size_t from_pitch, size_t width, size_t height) {
    for (size_t row = 0; row < height; row++) memcpy(to + row * to_pitch, from + row * from_pitch, width);
}

struct Planes {
    int count;
    size_t chroma_width, chroma_height;
};
static Planes planes(int sampling, size_t width, size_t height) {
    bool half_width = sampling == S420 || sampling == S422, half_height = sampling == S420 || sampling == S440;
    return {sampling == GRAY ? 1 : 3, half_width ? (width + 1) / 2 : width, half_height ? (height + 1) / 2 : height};
}

static Frame decode(const Parsed &jpeg) {
    Context context(avcodec_alloc_context3(avcodec_find_decoder(AV_CODEC_ID_MJPEG)));
    Packet packet(av_packet_alloc());
    Frame frame(av_frame_alloc());
    if (!context || !packet || !frame || av_new_packet(packet.get(), (int)jpeg.length) < 0) return nullptr;
    memcpy(packet->data, jpeg.data, jpeg.length);
    context->thread_count = 1;
    bool done = avcodec_open2(context.get(), nullptr, nullptr) >= 0 && avcodec_send_packet(context.get(), packet.get()) >= 0 &&
                avcodec_send_packet(context.get(), nullptr) >= 0 && avcodec_receive_frame(context.get(), frame.get()) >= 0;
    return done ? std::move(frame) : nullptr;
}

static int encode(Encoded &state, const Params &params, const Image &image, int sampling, int width, int height) {
    Context context(avcodec_alloc_context3(avcodec_find_encoder(AV_CODEC_ID_MJPEG)));
    Packet packet(av_packet_alloc());
    Frame frame(av_frame_alloc());
    if (!context || !packet || !frame || sampling == S440) return NOT_SUPPORTED;
    AVPixelFormat format = sampling == S444   ? AV_PIX_FMT_YUVJ444P
                           : sampling == S422 ? AV_PIX_FMT_YUVJ422P
                                              : AV_PIX_FMT_YUVJ420P;
    frame->format = context->pix_fmt = format;
    frame->width = context->width = width;
    frame->height = context->height = height;
    frame->color_range = context->color_range = AVCOL_RANGE_JPEG;
    context->time_base = AVRational{1, 25};
    context->thread_count = 1;
    context->flags |= AV_CODEC_FLAG_QSCALE | AV_CODEC_FLAG_BITEXACT;
    frame->quality = context->global_quality = FF_QP2LAMBDA * (1 + (100 - params.quality) / 4);
    if (avcodec_open2(context.get(), nullptr, nullptr) < 0 || av_frame_get_buffer(frame.get(), 0) < 0) return FAILED;
    Planes shape = planes(sampling == GRAY ? (int)S420 : sampling, (size_t)width, (size_t)height);
    copy_plane(frame->data[0], (size_t)frame->linesize[0], image.channel[0], image.pitch[0], (size_t)width, (size_t)height);
    for (int n = 1; n < 3; n++) {
        size_t pitch = (size_t)frame->linesize[n];
        if (sampling == GRAY) memset(frame->data[n], 128, pitch * shape.chroma_height);
        else copy_plane(frame->data[n], pitch, image.channel[n], image.pitch[n], shape.chroma_width, shape.chroma_height);
    }
    if (avcodec_send_frame(context.get(), frame.get()) < 0 || avcodec_send_frame(context.get(), nullptr) < 0 ||
        avcodec_receive_packet(context.get(), packet.get()) < 0)
        return FAILED;
    state.file.assign(packet->data, packet->data + packet->size);
    return SUCCESS;
}

#pragma GCC visibility push(default)
extern "C" {

int nvjpegGetProperty(int which, int *value) {
    *value = which == 0 ? 12 : 0;
    return SUCCESS;
}
// GPUs without JPEG engines.
int nvjpegCreateEx(int backend, const void *, const void *, unsigned, void **out) {
    return backend == HARDWARE ? (int)NO_SUCH_GPU : make(new Thing, out);
}

#define DESTROYS(name) \
    int name(Thing *thing) { \
        delete thing; \
        return SUCCESS; \
    }
DESTROYS(nvjpegDestroy)
DESTROYS(nvjpegJpegStateDestroy)
DESTROYS(nvjpegDecoderDestroy)
DESTROYS(nvjpegDecodeParamsDestroy)
DESTROYS(nvjpegBufferPinnedDestroy)
DESTROYS(nvjpegBufferDeviceDestroy)
DESTROYS(nvjpegJpegStreamDestroy)
DESTROYS(nvjpegEncoderStateDestroy)
DESTROYS(nvjpegEncoderParamsDestroy)

// ---- decoding

int nvjpegJpegStateCreate(void *, void **out) { return make(new State, out); }
int nvjpegDecodeBatchedInitialize(void *, void *, int, int, int) { return NOT_SUPPORTED; }
int nvjpegDecodeBatched(void *, void *, const void *, const void *, void *, void *) { return NOT_SUPPORTED; }
int nvjpegDecodeBatchedSupported(void *, void *, int *not_supported) {
    *not_supported = 1;
    return SUCCESS;
}
int nvjpegDecoderCreate(void *, int, void **out) { return make(new Thing, out); }
int nvjpegDecoderJpegSupported(void *, void *, void *, int *not_supported) {
    *not_supported = 0;
    return SUCCESS;
}
int nvjpegDecoderStateCreate(void *, void *, void **out) { return make(new State, out); }
int nvjpegDecodeParamsCreate(void *, void **out) { return make(new Params, out); }
int nvjpegDecodeParamsSetOutputFormat(Params *params, int output) {
    params->output = output;
    return output == YUV || output == Y ? SUCCESS : NOT_SUPPORTED;
}
int nvjpegBufferPinnedCreate(void *, const void *, void **out) { return make(new Thing, out); }
int nvjpegBufferDeviceCreate(void *, const void *, void **out) { return make(new Thing, out); }
int nvjpegStateAttachPinnedBuffer(void *, void *) { return SUCCESS; }
int nvjpegStateAttachDeviceBuffer(void *, void *) { return SUCCESS; }
int nvjpegJpegStreamCreate(void *, void **out) { return make(new Parsed, out); }
int nvjpegJpegStreamParseHeader(void *, const uint8_t *data, size_t length, Parsed *jpeg) {
    jpeg->data = data;
    jpeg->length = length;
    return parse(*jpeg);
}
int nvjpegJpegStreamParse(void *handle, const uint8_t *data, size_t length, int, int, Parsed *jpeg) {
    return nvjpegJpegStreamParseHeader(handle, data, length, jpeg);
}
int nvjpegJpegStreamGetChromaSubsampling(const Parsed *jpeg, int *sampling) {
    *sampling = jpeg->sampling;
    return SUCCESS;
}
int nvjpegJpegStreamGetFrameDimensions(const Parsed *jpeg, unsigned *width, unsigned *height) {
    *width = jpeg->width;
    *height = jpeg->height;
    return SUCCESS;
}
int nvjpegDecodeJpegHost(void *, void *, State *state, void *, const Parsed *jpeg) {
    state->frame = decode(*jpeg);
    return state->frame ? SUCCESS : BAD_JPEG;
}
int nvjpegDecodeJpegTransferToDevice(void *, void *, State *, void *, void *) { return SUCCESS; }
int nvjpegDecodeJpegDevice(void *, void *, State *state, Image *image, void *) {
    const AVFrame *frame = state->frame.get();
    if (!frame) return INVALID_PARAMETER;
    size_t width = (size_t)frame->width, height = (size_t)frame->height;
    int sampling;
    switch (frame->format) {
    case AV_PIX_FMT_GRAY8: sampling = GRAY; break;
    case AV_PIX_FMT_YUVJ420P: sampling = S420; break;
    case AV_PIX_FMT_YUVJ422P: sampling = S422; break;
    case AV_PIX_FMT_YUVJ440P: sampling = S440; break;
    case AV_PIX_FMT_YUVJ444P: sampling = S444; break;
    default: return NOT_SUPPORTED;
    }
    Planes shape = planes(sampling, width, height);
    copy_plane(image->channel[0], image->pitch[0], frame->data[0], (size_t)frame->linesize[0], width, height);
    for (int n = 1; n < shape.count; n++)
        copy_plane(image->channel[n], image->pitch[n], frame->data[n], (size_t)frame->linesize[n], shape.chroma_width,
                   shape.chroma_height);
    return SUCCESS;
}

// ---- encoding

int nvjpegEncoderStateCreate(void *, void **out, void *) { return make(new Encoded, out); }
int nvjpegEncoderParamsCreate(void *, void **out, void *) { return make(new Params, out); }
int nvjpegEncoderParamsSetQuality(Params *params, int quality, void *) {
    params->quality = quality;
    return SUCCESS;
}
int nvjpegEncoderParamsSetEncoding(void *, int, void *) { return SUCCESS; }
int nvjpegEncoderParamsSetOptimizedHuffman(void *, int, void *) { return SUCCESS; }
int nvjpegEncoderParamsSetSamplingFactors(void *, int, void *) { return SUCCESS; }
int nvjpegEncodeGetBufferSize(void *, void *, int width, int height, size_t *bytes) {
    *bytes = (size_t)width * (size_t)height * 4 + (1 << 16);
    return SUCCESS;
}
int nvjpegEncodeYUV(void *, Encoded *state, const Params *params, const Image *image, int sampling, int width, int height, void *) {
    return encode(*state, *params, *image, sampling, width, height);
}
int nvjpegEncodeImage(void *, void *, const void *, const Image *, int, int, int, void *) { return NOT_SUPPORTED; }
int nvjpegEncodeRetrieveBitstream(void *, const Encoded *state, uint8_t *data, size_t *length, void *) {
    if (data) {
        if (*length < state->file.size()) return INVALID_PARAMETER;
        memcpy(data, state->file.data(), state->file.size());
    }
    *length = state->file.size();
    return SUCCESS;
}

} // extern "C"
#pragma GCC visibility pop
