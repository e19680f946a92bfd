// Wide filters, first across, then down with colours and layout. What lies in between is float: sixteen bits would lose some of
// deep samples, and the host sees to it that it stays in the second-level cache.
#include "finish.cuh"

template <typename S> DEVICE void across(const Pass &p) {
    typedef typename Sample<S>::Bits Bits;
    u32 x = block_x() * threads_x() + thread_x();
    u32 y = (block_y() * threads_y() + thread_y()) * 4;
    u32 i = block_z() % 3, picture = block_z() / 3;
    if (!(p.uses >> i & 1) || x >= p.width || y >= p.rows[i]) return;
    const In &in = p.in[i];
    const Table &table = p.x[p.table[i]];
    u32 last = p.rows[i] - 1;
    u64 row[4];
    UNROLL for (u32 r = 0; r < 4; r++) {
        u32 at = y + r < last ? y + r : last;
        row[r] = p.from[picture] + in.offset + (u64)(p.row0[i] + at) * in.pitch;
    }
    u32 start = load<u32>(table.starts + x * 4);
    float sum[4] = {};
    for (u32 t = 0; t < table.taps; t++) {
        float weight = load<float>(table.weights + (t * table.stride + x) * 4);
        u32 at = (start + t * table.next) * in.step * sizeof(Bits);
        UNROLL for (u32 r = 0; r < 4; r++) sum[r] = fused(weight, Sample<S>::value(load<Bits>(row[r] + at)), sum[r]);
    }
    u64 to = p.between + picture * p.between_size + p.between_at[i];
    UNROLL for (u32 r = 0; r < 4; r++)
        if (y + r <= last) store<float>(to + ((u64)(y + r) * p.between_pitch + x) * 4, sum[r]);
}

GLOBAL void across_u8(Pass p) { across<u8>(p); }
GLOBAL void across_u16(Pass p) { across<u16>(p); }
GLOBAL void across_f16(Pass p) { across<Half>(p); }
GLOBAL void across_f32(Pass p) { across<float>(p); }

GLOBAL void down(Pass p) {
    u32 x = (block_x() * threads_x() + thread_x()) * 4;
    u32 y = block_y() * threads_y() + thread_y();
    if (x >= p.width || y >= p.height) return;
    float c[3][4] = {};
    UNROLL for (u32 i = 0; i < 3; i++) {
        if (!(p.uses >> i & 1)) continue;
        const Table &table = p.y[p.table[i]];
        u64 from = p.between + block_z() * p.between_size + p.between_at[i];
        u32 start = load<u32>(table.starts + y * 4) - p.row0[i];
        for (u32 t = 0; t < table.taps; t++) {
            float weight = load<float>(table.weights + (t * table.stride + y) * 4);
            quadf row = load<quadf>(from + ((u64)(start + t * table.next) * p.between_pitch + x) * 4);
            UNROLL for (u32 k = 0; k < 4; k++) c[i][k] = fused(weight, row[k], c[i][k]);
        }
    }
    u32 left = p.width - x;
    finish(p, p.to[block_z()], x, y, c, left < 4 ? left : 4);
}
