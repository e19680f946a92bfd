// Any format to any other, at any size, by filters of up to two samples each way: crop, scale, colours and layout in one pass.
#include "finish.cuh"

template <typename S> DEVICE void sample(const Pass &p) {
    typedef typename Sample<S>::Bits Bits;
    u32 x = (block_x() * threads_x() + thread_x()) * 4;
    u32 y = block_y() * threads_y() + thread_y();
    if (x >= p.width || y >= p.height) return;
    u64 from = p.from[block_z()];
    u32 starts[2][4];
    float weights[2][4];
    u32 top[2];
    float down[2];
    // Tables go on to a multiple of four.
    UNROLL for (u32 t = 0; t < 2; t++) {
        quad s = load<quad>(p.x[t].starts + x * 4);
        quadf w = load<quadf>(p.x[t].weights + (p.x[t].stride + x) * 4);
        UNROLL for (u32 k = 0; k < 4; k++) {
            starts[t][k] = s[k];
            weights[t][k] = w[k];
        }
        top[t] = load<u32>(p.y[t].starts + y * 4);
        down[t] = load<float>(p.y[t].weights + (p.y[t].stride + y) * 4);
    }
    float c[3][4] = {};
    UNROLL for (u32 i = 0; i < 3; i++) {
        if (!(p.uses >> i & 1)) continue;
        const In &in = p.in[i];
        u32 t = i == 0 ? 0 : p.table[i];
        u32 next = p.x[t].next * in.step;
        u64 row = from + in.offset + (u64)(t ? top[1] : top[0]) * in.pitch;
        u64 below = row + (u64)p.y[t].next * in.pitch;
        float dy = t ? down[1] : down[0];
        Bits a[4], b[4], d[4], e[4];
        UNROLL for (u32 k = 0; k < 4; k++) {
            u32 at = (t ? starts[1][k] : starts[0][k]) * in.step;
            a[k] = load<Bits>(row + at * sizeof(Bits));
            b[k] = next ? load<Bits>(row + (at + next) * sizeof(Bits)) : a[k];
            d[k] = p.y[t].next ? load<Bits>(below + at * sizeof(Bits)) : a[k];
            e[k] = !p.y[t].next ? b[k] : next ? load<Bits>(below + (at + next) * sizeof(Bits)) : d[k];
        }
        UNROLL for (u32 k = 0; k < 4; k++) {
            float dx = t ? weights[1][k] : weights[0][k];
            float upper = fused(dx, Sample<S>::value(b[k]) - Sample<S>::value(a[k]), Sample<S>::value(a[k]));
            float lower = fused(dx, Sample<S>::value(e[k]) - Sample<S>::value(d[k]), Sample<S>::value(d[k]));
            c[i][k] = fused(dy, lower - upper, upper);
        }
    }
    u32 left = p.width - x;
    finish(p, p.to[block_z()], x, y, c, left < 4 ? left : 4);
}

GLOBAL void sample_u8(Pass p) { sample<u8>(p); }
GLOBAL void sample_u16(Pass p) { sample<u16>(p); }
GLOBAL void sample_f16(Pass p) { sample<Half>(p); }
GLOBAL void sample_f32(Pass p) { sample<float>(p); }
