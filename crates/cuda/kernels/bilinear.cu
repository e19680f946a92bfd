// Eight-bit planes to another size by two samples each way, steps of up to two: a thread makes four neighbouring bytes of eight rows.
// It computes what `sample` computes, bit for bit: weights across are 32768ths, so that sums across are whole and exact.
#include "device.cuh"

// A plane of one component, or of two in turn. The host's `Scale` is the same.
struct ScaledPlane {
    u64 from, to; // offsets
    u32 from_pitch, to_pitch;
    u32 components;
    u32 unused;
    u32 width, height; // of the destination; width in bytes
    Table x, y;
};

struct Scale {
    u64 from[PICTURES], to[PICTURES];
    ScaledPlane plane[3];
    u32 pictures;
};

// What every row of a thread needs to know.
struct Columns {
    u32 shares[4]; // 32768ths of both neighbours, the first one's in the lower half
    u32 bytes[2];  // for two bytes at once: which of an aligned window of eight are the first one's neighbours, and the second one's
    u32 bits;      // where the window begins in its first word
};

DEVICE u32 four_of(const Columns &c, const u32 (&words)[2][3], float down) {
    // 2^23 and 32768 times the values.
    float lines[2][4];
    UNROLL for (u32 l = 0; l < 2; l++) {
        u32 low = shift_pair(words[l][0], words[l][1], c.bits);
        u32 high = shift_pair(words[l][1], words[l][2], c.bits);
        UNROLL for (u32 k = 0; k < 4; k += 2) {
            u32 both = permute(low, high, c.bytes[k / 2]);
            lines[l][k] = as_float(two_lower(c.shares[k], both, WHOLE_BITS));
            lines[l][k + 1] = as_float(two_upper(c.shares[k + 1], both, WHOLE_BITS));
        }
    }
    u32 v[4];
    UNROLL for (u32 k = 0; k < 4; k++) {
        float value = fused(down, lines[1][k] - lines[0][k], lines[0][k] - WHOLE);
        v[k] = as_bits(fused(value, 1.0f / 32768.0f, WHOLE));
    }
    return permute(permute(v[0], v[1], 0x0040), permute(v[2], v[3], 0x0040), 0x5410);
}

GLOBAL BLOCKS(4) void bilinear_u8(Scale p) {
    const u32 ROWS = 8, GROUP = 4;
    Turn now = turn(p.pictures);
    const ScaledPlane &plane = p.plane[now.part];
    u32 x = (block_x() * threads_x() + thread_x()) * 4;
    u32 y = (block_y() * threads_y() + thread_y()) * ROWS;
    if (x >= plane.width || y >= plane.height) return;

    // Tables go on to a multiple of eight: rows beyond the last are read as the last.
    u32 rows[ROWS];
    float down[ROWS];
    UNROLL for (u32 r = 0; r < ROWS; r += 4) {
        quad s = load<quad>(plane.y.starts + (y + r) * 4);
        quadf w = load<quadf>(plane.y.weights + (plane.y.stride + y + r) * 4);
        UNROLL for (u32 k = 0; k < 4; k++) {
            rows[r + k] = s[k];
            down[r + k] = w[k];
        }
    }
    u32 starts[4];
    float weights[4];
    if (plane.components == 1) {
        quad s = load<quad>(plane.x.starts + x * 4);
        quadf w = load<quadf>(plane.x.weights + (plane.x.stride + x) * 4);
        UNROLL for (u32 k = 0; k < 4; k++) {
            starts[k] = s[k];
            weights[k] = w[k];
        }
    } else {
        pair s = load<pair>(plane.x.starts + x * 2);
        pairf w = load<pairf>(plane.x.weights + (plane.x.stride + x / 2) * 4);
        UNROLL for (u32 k = 0; k < 4; k++) {
            starts[k] = s[k / 2] * 2 + k % 2;
            weights[k] = w[k / 2];
        }
    }
    Columns c;
    u32 word = starts[0] / 4, next = plane.x.next * plane.components;
    c.bits = starts[0] % 4 * 8;
    UNROLL for (u32 k = 0; k < 4; k++)
        c.shares[k] = 32768 + (as_bits(fused(weights[k], 32768.0f, WHOLE)) & 0xffff) * 0xffff;
    UNROLL for (u32 k = 0; k < 2; k++) {
        u32 a = starts[2 * k] - starts[0], b = starts[2 * k + 1] - starts[0];
        c.bytes[k] = a * 0x11 + b * 0x1100 + next * 0x1010;
    }
    u64 from = p.from[now.picture] + plane.from + word * 4;
    u64 to = p.to[now.picture] + plane.to + (u64)y * plane.to_pitch + x;
    u64 below = (u64)plane.y.next * plane.from_pitch;
    bool whole = x + 4 <= plane.width;

    // Up to eight bytes behind a row are read, which memory has behind every picture.
    UNROLL for (u32 r = 0; r < ROWS; r += GROUP) {
        u32 words[GROUP][2][3];
        UNROLL for (u32 i = 0; i < GROUP; i++) {
            u64 row = from + (u64)rows[r + i] * plane.from_pitch;
            load_three(row, words[i][0]);
            load_three(row + below, words[i][1]);
        }
        UNROLL for (u32 i = 0; i < GROUP; i++) {
            u32 out = four_of(c, words[i], down[r + i]);
            if (y + r + i < plane.height) {
                if (whole) {
                    store<u32>(to, out);
                } else {
                    for (u32 k = 0; x + k < plane.width; k++) store<u8>(to + k, out >> 8 * k);
                }
            }
            to += plane.to_pitch;
        }
    }
}
