// NV12 to RGB at the same size. A thread makes two rows of as many pixels as fill 16 bytes of the destination, and computes what
// `sample` computes, bit for bit: chroma is interpolated by whole sixteenths, which is exact.
#include "device.cuh"

// The host's `Nv12Rgb` is the same.
struct Nv12Rgb {
    u64 from[PICTURES], to[PICTURES];
    u64 luma, chroma; // offsets
    u32 luma_pitch, chroma_pitch;
    u32 width, height;            // width: a multiple of the pixels of a thread
    u32 last_pair, last_row;      // of chroma: byte in a row, and row
    // For an even and an odd row, an even and an odd pixel of it: sixteenths of four samples of chroma, the upper two first.
    u32 weights[2][2];
    Out out[3]; // m[1] and m[2] are for sixteenths
};

enum Target { BYTES, HALVES, FLOATS, PACKED };

template <u32 WORDS> DEVICE void words_at(u64 at, u32 *words) {
    if (WORDS == 4) {
        quad q = load<quad>(at);
        UNROLL for (u32 i = 0; i < 4; i++) words[i] = q[i];
    } else if (WORDS == 2) {
        pair q = load<pair>(at);
        UNROLL for (u32 i = 0; i < 2; i++) words[i] = q[i];
    } else {
        words[0] = load<u32>(at);
    }
}

// Four pixels of a row. `cbs` and `crs` hold chroma's samples around the first, around the second and third, and around the fourth.
template <Target T>
DEVICE void four(const Nv12Rgb &p, u32 luma, const u32 (&weights)[2], const u32 (&cbs)[3], const u32 (&crs)[3],
                 float (&f)[3][4], u32 (&bytes)[3]) {
    UNROLL for (u32 k = 0; k < 4; k++) {
        float y = as_float(permute(luma, WHOLE_BITS, 0x7650 + k)) - WHOLE;
        float cb = as_float(four_bytes(weights[k % 2], cbs[(k + 1) / 2], WHOLE_BITS)) - WHOLE;
        float cr = as_float(four_bytes(weights[k % 2], crs[(k + 1) / 2], WHOLE_BITS)) - WHOLE;
        f[0][k] = fused(p.out[0].m[2], cr, p.out[0].o);
        f[1][k] = fused(p.out[1].m[1], cb, fused(p.out[1].m[2], cr, p.out[1].o));
        f[2][k] = fused(p.out[2].m[1], cb, p.out[2].o);
        UNROLL for (u32 i = 0; i < 3; i++) f[i][k] = fused_unit(p.out[i].m[0], y, f[i][k]);
    }
    UNROLL for (u32 i = 0; i < 3; i++) {
        const Out &out = p.out[i];
        if (T == BYTES || T == PACKED) {
            u32 b[4];
            UNROLL for (u32 k = 0; k < 4; k++) b[k] = as_bits(fused(f[i][k], out.gain, out.bias));
            bytes[i] = permute(permute(b[0], b[1], 0x0040), permute(b[2], b[3], 0x0040), 0x5410);
        } else {
            UNROLL for (u32 k = 0; k < 4; k++) f[i][k] = fused(f[i][k], out.gain, out.bias);
        }
    }
}

template <Target T> DEVICE void nv12_rgb(const Nv12Rgb &p) {
    const u32 PIXELS = T == FLOATS ? 4 : T == HALVES ? 8 : 16, WORDS = PIXELS / 4;
    u32 x = (block_x() * threads_x() + thread_x()) * PIXELS;
    u32 y = (block_y() * threads_y() + thread_y()) * 2;
    SHARED quad staged[8][2][96];
    bool there = x < p.width && y < p.height;
    if (T != PACKED && !there) return;
    u64 from = p.from[block_z()], to = p.to[block_z()];
    if (there) {
        u32 row = y / 2;
        u32 rows[3] = {row ? row - 1 : 0, row, row < p.last_row ? row + 1 : p.last_row};
        bool second = y + 1 < p.height;
        u32 luma[2][WORDS];
        u64 at = from + p.luma + (u64)y * p.luma_pitch + x;
        words_at<WORDS>(at, luma[0]);
        words_at<WORDS>(second ? at + p.luma_pitch : at, luma[1]);
        // Chroma as it lies, pixels 0 to 3 of a word, and with the pair before and half of it: pixels -2 to 1.
        u32 chroma[3][WORDS], between[3][WORDS + 1];
        u32 left = x ? x - 2 : 0, right = x + PIXELS <= p.last_pair ? x + PIXELS : p.last_pair;
        UNROLL for (u32 r = 0; r < 3; r++) {
            u64 line = from + p.chroma + (u64)rows[r] * p.chroma_pitch;
            words_at<WORDS>(line + x, chroma[r]);
            between[r][0] = (u32)load<u16>(line + left) << 16;
            between[r][WORDS] = load<u16>(line + right);
        }
        UNROLL for (u32 r = 0; r < 3; r++) {
            between[r][0] = permute(between[r][0], chroma[r][0], 0x5432);
            UNROLL for (u32 i = 1; i < WORDS; i++) between[r][i] = permute(chroma[r][i - 1], chroma[r][i], 0x5432);
            between[r][WORDS] = permute(chroma[r][WORDS - 1], between[r][WORDS], 0x5432);
        }
        UNROLL for (u32 r = 0; r < 2; r++) {
            u32 bytes[3][4];
            float f[3][4];
            UNROLL for (u32 i = 0; i < WORDS; i++) {
                u32 around[3][2] = {{between[r][i], between[r + 1][i]},
                                    {chroma[r][i], chroma[r + 1][i]},
                                    {between[r][i + 1], between[r + 1][i + 1]}};
                u32 cb[3], cr[3], made[3];
                UNROLL for (u32 k = 0; k < 3; k++) {
                    cb[k] = permute(around[k][0], around[k][1], 0x6420);
                    cr[k] = permute(around[k][0], around[k][1], 0x7531);
                }
                four<T>(p, luma[r][i], p.weights[r], cb, cr, f, made);
                UNROLL for (u32 c = 0; c < 3; c++) {
                    if (T == BYTES || T == PACKED) {
                        bytes[c][i] = made[c];
                    } else if (T == HALVES) {
                        u32 h[4];
                        UNROLL for (u32 k = 0; k < 4; k++) h[k] = half_of(f[c][k]);
                        bytes[c][i * 2] = h[0] | h[1] << 16;
                        bytes[c][i * 2 + 1] = h[2] | h[3] << 16;
                    } else {
                        UNROLL for (u32 k = 0; k < 4; k++) bytes[c][k] = as_bits(f[c][k]);
                    }
                }
            }
            if (T == PACKED) {
                UNROLL for (u32 q = 0; q < 3; q++) {
                    quad out;
                    // Twelve bytes of four pixels are three words; four times that are three times 16 bytes.
                    UNROLL for (u32 k = 0; k < 4; k++) {
                        u32 word = q * 4 + k, i = word / 3;
                        u32 red = bytes[0][i], green = bytes[1][i], blue = bytes[2][i];
                        if (word % 3 == 0) out[k] = permute(permute(red, green, 0x1040), blue, 0x3410);
                        else if (word % 3 == 1) out[k] = permute(permute(green, blue, 0x2051), red, 0x3610);
                        else out[k] = permute(permute(blue, red, 0x3072), green, 0x3710);
                    }
                    staged[thread_y()][r][thread_x() * 3 + q] = out;
                }
            } else if (!r || second) {
                UNROLL for (u32 c = 0; c < 3; c++) {
                    u64 line = to + p.out[c].offset + (u64)(y + r) * p.out[c].pitch;
                    store<quad>(line + x * (16 / PIXELS), (quad){bytes[c][0], bytes[c][1], bytes[c][2], bytes[c][3]});
                }
            }
        }
    }
    if (T == PACKED) {
        barrier();
        u32 first = block_x() * threads_x() * PIXELS * 3, end = p.width * 3;
        UNROLL for (u32 r = 0; r < 2; r++) {
            if (y + r >= p.height) break;
            u64 line = to + p.out[0].offset + (u64)(y + r) * p.out[0].pitch;
            UNROLL for (u32 q = 0; q < 3; q++) {
                u32 at = q * 32 + thread_x();
                if (first + at * 16 < end) store<quad>(line + first + at * 16, staged[thread_y()][r][at]);
            }
        }
    }
}

GLOBAL BLOCKS(4) void nv12_rgb_u8(Nv12Rgb p) { nv12_rgb<BYTES>(p); }
GLOBAL BLOCKS(4) void nv12_rgb_f16(Nv12Rgb p) { nv12_rgb<HALVES>(p); }
GLOBAL BLOCKS(5) void nv12_rgb_f32(Nv12Rgb p) { nv12_rgb<FLOATS>(p); }
GLOBAL BLOCKS(4) void nv12_rgb_packed(Nv12Rgb p) { nv12_rgb<PACKED>(p); }
