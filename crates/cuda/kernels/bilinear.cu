// Eight-bit planes to another size by two samples each way, steps of up to two: a thread makes four neighbouring bytes of eight rows.
#include "device.cuh"

// A plane of one component, or of two in turn. The host's `Scale` is the same.
struct ScaledPlane {
    u64 from, to; // offsets
    u32 from_pitch, to_pitch;
    u32 components;
    u32 last_word;     // of a source row
    u32 width, height; // of the destination; width in bytes
    Table x, y;
};

struct Scale {
    u64 from[PICTURES], to[PICTURES];
    ScaledPlane plane[3];
    u32 pictures;
};

GLOBAL BLOCKS(4) void bilinear_u8(Scale p) {
    Turn now = turn(p.pictures);
    const ScaledPlane &plane = p.plane[now.part];
    u32 x = (block_x() * threads_x() + thread_x()) * 4;
    u32 first = (block_y() * threads_y() + thread_y()) * 8;
    if (x >= plane.width || first >= plane.height) return;

    // Which bytes of an aligned window of eight are the neighbours of each of the four.
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
    u32 word = starts[0] / 4, bits = starts[0] % 4 * 8;
    u32 next = plane.x.next * plane.components;
    // For two of them at once: which bytes are the first one's neighbours, and the second one's.
    u32 bytes[2];
    UNROLL for (u32 k = 0; k < 2; k++) {
        u32 a = starts[2 * k] - starts[0], b = starts[2 * k + 1] - starts[0];
        bytes[k] = a * 0x11 + b * 0x1100 + next * 0x1010;
    }
    u64 from = p.from[now.picture] + plane.from + word * 4;
    u64 to = p.to[now.picture] + plane.to + (u64)first * plane.to_pitch + x;
    u64 below = (u64)plane.y.next * plane.from_pitch;
    bool inside = word + 2 <= plane.last_word, whole = x + 4 <= plane.width;

    _Pragma("unroll 1") for (u32 y = first; y < first + 8 && y < plane.height; y += 4) {
        // Tables go on to a multiple of four: rows beyond the last are read as the last.
        quad rows = load<quad>(plane.y.starts + y * 4);
        quadf down = load<quadf>(plane.y.weights + (plane.y.stride + y) * 4);
        u32 words[4][2][3];
        if (inside) {
            UNROLL for (u32 r = 0; r < 4; r++) {
                u64 row = from + (u64)rows[r] * plane.from_pitch;
                load_three(row, words[r][0]);
                load_three(row + below, words[r][1]);
            }
        } else {
            // At the end of a row what lies behind it is not needed.
            UNROLL for (u32 r = 0; r < 4; r++) {
                u64 row = from + (u64)rows[r] * plane.from_pitch;
                UNROLL for (u32 i = 0; i < 3; i++) {
                    u32 at = (word + i < plane.last_word ? i : plane.last_word - word) * 4;
                    words[r][0][i] = load<u32>(row + at);
                    words[r][1][i] = load<u32>(row + below + at);
                }
            }
        }
        UNROLL for (u32 r = 0; r < 4; r++) {
            float lines[2][4];
            UNROLL for (u32 l = 0; l < 2; l++) {
                u32 low = shift_pair(words[r][l][0], words[r][l][1], bits);
                u32 high = shift_pair(words[r][l][1], words[r][l][2], bits);
                UNROLL for (u32 k = 0; k < 4; k++) {
                    u32 both = permute(low, high, bytes[k / 2]);
                    float a = as_float(permute(both, WHOLE_BITS, k % 2 ? 0x7652 : 0x7650));
                    float b = as_float(permute(both, WHOLE_BITS, k % 2 ? 0x7653 : 0x7651));
                    lines[l][k] = fused(weights[k], b - a, a - WHOLE);
                }
            }
            u32 v[4];
            UNROLL for (u32 k = 0; k < 4; k++)
                v[k] = as_bits(fused(down[r], lines[1][k] - lines[0][k], lines[0][k]) + WHOLE);
            u32 out = permute(permute(v[0], v[1], 0x0040), permute(v[2], v[3], 0x0040), 0x5410);
            if (y + r < plane.height) {
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
