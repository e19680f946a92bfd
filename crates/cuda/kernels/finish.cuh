// The end of a pass: four neighbouring pixels' components become the destination's, rounded, and are stored.
#pragma once
#include "device.cuh"

// `c[component][pixel]` of the source; `count` of the four pixels exist.
DEVICE void finish(const Pass &p, u64 to, u32 x, u32 y, const float (&c)[3][4], u32 count) {
    float v[3][4];
    UNROLL for (u32 i = 0; i < 3; i++) {
        if (i >= p.outs) continue;
        const Out &out = p.out[i];
        UNROLL for (u32 k = 0; k < 4; k++) {
            float inner = fused(out.m[1], c[1][k], fused(out.m[2], c[2][k], out.o));
            if (p.unit) {
                v[i][k] = fused(fused_unit(out.m[0], c[0][k], inner), out.gain, out.bias);
            } else {
                float value = fused(out.m[0], c[0][k], inner);
                value = value < 0.0f ? 0.0f : value;
                v[i][k] = (value > p.top ? p.top : value) + WHOLE;
            }
        }
    }
    if (p.kind == F32 || p.kind == F16) {
        UNROLL for (u32 i = 0; i < 3; i++) {
            if (i >= p.outs) continue;
            u64 row = to + p.out[i].offset + (u64)y * p.out[i].pitch;
            u32 bytes = p.kind == F32 ? 4 : 2;
            u64 at = row + (u64)x * p.out[i].step * bytes;
            if (p.kind == F32) {
                if (p.out[i].step == 1 && count == 4 && !(at & 15)) {
                    store<quadf>(at, (quadf){v[i][0], v[i][1], v[i][2], v[i][3]});
                } else {
                    UNROLL for (u32 k = 0; k < 4; k++)
                        if (k < count) store<float>(at + k * p.out[i].step * 4, v[i][k]);
                }
            } else {
                u32 h[4];
                UNROLL for (u32 k = 0; k < 4; k++) h[k] = half_of(v[i][k]);
                if (p.out[i].step == 1 && count == 4 && !(at & 7)) {
                    store<pair>(at, (pair){h[0] | h[1] << 16, h[2] | h[3] << 16});
                } else {
                    UNROLL for (u32 k = 0; k < 4; k++)
                        if (k < count) store<u16>(at + k * p.out[i].step * 2, h[k]);
                }
            }
        }
        return;
    }
    u32 q[3][4];
    UNROLL for (u32 i = 0; i < 3; i++) {
        UNROLL for (u32 k = 0; k < 4; k++) q[i][k] = i < p.outs ? (as_bits(v[i][k]) & 0xffff) << p.shift : 0;
    }
    u64 first = to + p.out[0].offset + (u64)y * p.out[0].pitch;
    if (p.interleaved == 3 && p.kind == U8 && count == 4 && !((first + x * 3) & 3)) {
        u64 at = first + x * 3;
        store<u32>(at, q[0][0] | q[1][0] << 8 | q[2][0] << 16 | q[0][1] << 24);
        store<u32>(at + 4, q[1][1] | q[2][1] << 8 | q[0][2] << 16 | q[1][2] << 24);
        store<u32>(at + 8, q[2][2] | q[0][3] << 8 | q[1][3] << 16 | q[2][3] << 24);
        return;
    }
    if (p.interleaved == 2 && p.kind == U8 && count == 4 && !((first + x * 2) & 7)) {
        store<pair>(first + x * 2, (pair){q[0][0] | q[1][0] << 8 | q[0][1] << 16 | q[1][1] << 24,
                                          q[0][2] | q[1][2] << 8 | q[0][3] << 16 | q[1][3] << 24});
        return;
    }
    if (p.interleaved == 2 && p.kind == U16 && count == 4 && !((first + x * 4) & 15)) {
        store<quad>(first + x * 4, (quad){q[0][0] | q[1][0] << 16, q[0][1] | q[1][1] << 16, q[0][2] | q[1][2] << 16,
                                          q[0][3] | q[1][3] << 16});
        return;
    }
    UNROLL for (u32 i = 0; i < 3; i++) {
        if (i >= p.outs) continue;
        u64 row = to + p.out[i].offset + (u64)y * p.out[i].pitch;
        u32 step = p.out[i].step;
        if (p.kind == U8) {
            u64 at = row + (u64)x * step;
            if (step == 1 && count == 4 && !(at & 3)) {
                store<u32>(at, q[i][0] | q[i][1] << 8 | q[i][2] << 16 | q[i][3] << 24);
            } else {
                UNROLL for (u32 k = 0; k < 4; k++)
                    if (k < count) store<u8>(at + k * step, q[i][k]);
            }
        } else {
            u64 at = row + (u64)x * step * 2;
            if (step == 1 && count == 4 && !(at & 7)) {
                store<pair>(at, (pair){q[i][0] | q[i][1] << 16, q[i][2] | q[i][3] << 16});
            } else {
                UNROLL for (u32 k = 0; k < 4; k++)
                    if (k < count) store<u16>(at + k * step * 2, q[i][k]);
            }
        }
    }
}
