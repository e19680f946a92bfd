// Eight-bit planes to another size by two samples each way, steps of up to two: a thread makes four neighbouring bytes of four rows.
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
    u32 planes;
};

GLOBAL void bilinear_u8(Scale p) {
    u32 picture = block_z() / p.planes;
    const ScaledPlane &plane = p.plane[block_z() % p.planes];
    u32 x = (block_x() * threads_x() + thread_x()) * 4;
    u32 y = (block_y() * threads_y() + thread_y()) * 4;
    if (x >= plane.width || y >= plane.height) return;
    u64 from = p.from[picture] + plane.from;

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
        u64 at = plane.x.weights + (plane.x.stride + x / 2) * 4;
        float w[2] = {load<float>(at), load<float>(at + 4)};
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

    u32 words[4][2][3];
    float down[4];
    u64 below = (u64)plane.y.next * plane.from_pitch;
    u64 row[4];
    from += word * 4;
    UNROLL for (u32 r = 0; r < 4; r++) {
        u32 line = y + r < plane.height ? y + r : plane.height - 1;
        row[r] = from + (u64)load<u32>(plane.y.starts + line * 4) * plane.from_pitch;
        down[r] = load<float>(plane.y.weights + (plane.y.stride + line) * 4);
    }
    if (word + 2 <= plane.last_word) {
        UNROLL for (u32 r = 0; r < 4; r++) {
            UNROLL for (u32 i = 0; i < 3; i++) {
                words[r][0][i] = load<u32>(row[r] + i * 4);
                words[r][1][i] = load<u32>(row[r] + below + i * 4);
            }
        }
    } else {
        // At the end of a row what lies behind it is not needed.
        UNROLL for (u32 i = 0; i < 3; i++) {
            u32 at = (word + i < plane.last_word ? i : plane.last_word - word) * 4;
            UNROLL for (u32 r = 0; r < 4; r++) {
                words[r][0][i] = load<u32>(row[r] + at);
                words[r][1][i] = load<u32>(row[r] + below + at);
            }
        }
    }
    u64 to = p.to[picture] + plane.to + (u64)y * plane.to_pitch + x;
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
        if (y + r >= plane.height) return;
        u64 line = to + (u64)r * plane.to_pitch;
        if (x + 4 <= plane.width) {
            store<u32>(line, out);
        } else {
            for (u32 k = 0; x + k < plane.width; k++) store<u8>(line + k, out >> 8 * k);
        }
    }
}
