// The same samples in another layout or depth: planes copied, chroma taken apart or put together, values shifted.
#include "device.cuh"

enum Mode : u32 { STRAIGHT, SPLIT, JOIN };

// The host's `Job` is the same.
struct Job {
    u64 from[2], to[2]; // offsets
    u32 from_pitch[2], to_pitch[2];
    u32 mode;
    u32 width, height; // in samples of one component
    u32 aligned;       // rows begin at multiples of 16 bytes
};

struct Repack {
    u64 from[PICTURES], to[PICTURES];
    Job job[3];
    u32 pictures;
    u32 plain;                 // values stay as they are
    u32 add, right, top, left; // else: min((v + add) >> right, top) << left
};

template <u32 N> DEVICE void load_words(u64 at, u32 (&words)[N]) {
    UNROLL for (u32 i = 0; i < N / 4; i++) {
        quad q = load<quad>(at + i * 16);
        UNROLL for (u32 k = 0; k < 4; k++) words[i * 4 + k] = q[k];
    }
}
template <u32 N> DEVICE void store_words(u64 at, const u32 (&words)[N]) {
    UNROLL for (u32 i = 0; i < N / 4; i++)
        store<quad>(at + i * 16, (quad){words[i * 4], words[i * 4 + 1], words[i * 4 + 2], words[i * 4 + 3]});
}
DEVICE u32 converted(const Repack &p, u32 v) {
    if (p.plain) return v;
    v = (v + p.add) >> p.right;
    return (v < p.top ? v : p.top) << p.left;
}

// Samples of one type to as many of the other; `A` and `B` words hold them.
template <typename S, typename D, u32 A, u32 B> DEVICE void convert(const Repack &p, const u32 (&a)[A], u32 (&b)[B]) {
    if (sizeof(S) == 1 && sizeof(D) == 1) {
        UNROLL for (u32 i = 0; i < B; i++) b[i] = a[i];
    } else if (sizeof(S) == 1) {
        // Values of 8 bits only get more.
        UNROLL for (u32 i = 0; i < B; i++) b[i] = permute(a[i / 2], 0, i % 2 ? 0x4342 : 0x4140) << p.left;
    } else if (sizeof(D) == 1) {
        UNROLL for (u32 i = 0; i < B; i++) {
            u32 v[4];
            UNROLL for (u32 k = 0; k < 4; k++) {
                u32 word = a[i * 2 + k / 2];
                v[k] = converted(p, k % 2 ? word >> 16 : word & 0xffff);
            }
            b[i] = permute(permute(v[0], v[1], 0x0040), permute(v[2], v[3], 0x0040), 0x5410);
        }
    } else if (p.add == 0) {
        // No value gets fewer bits: two at once.
        u32 mask = (0xffff >> p.right) * 0x10001;
        UNROLL for (u32 i = 0; i < B; i++) b[i] = (a[i] >> p.right & mask) << p.left;
    } else {
        UNROLL for (u32 i = 0; i < B; i++) b[i] = converted(p, a[i] & 0xffff) | converted(p, a[i] >> 16) << 16;
    }
}

// One sample at a time, where rows are not aligned or at their end.
template <typename S, typename D>
DEVICE void slowly(const Repack &p, const Job &j, const u64 (&from)[2], const u64 (&to)[2], u32 x, u32 end) {
    u32 parts = j.mode == STRAIGHT ? 1 : 2;
    for (; x < end; x++) {
        UNROLL for (u32 c = 0; c < 2; c++) {
            if (c >= parts) continue;
            u64 a = j.mode == SPLIT ? from[0] + (x * 2 + c) * sizeof(S) : from[c] + x * sizeof(S);
            u64 b = j.mode == JOIN ? to[0] + (x * 2 + c) * sizeof(D) : to[c] + x * sizeof(D);
            store<D>(b, converted(p, load<S>(a)));
        }
    }
}

// Sixteen samples of each component, of some rows.
template <typename S, typename D, u32 ROWS> DEVICE void repack(const Repack &p) {
    const u32 N = 16, A = N * sizeof(S) / 4, B = N * sizeof(D) / 4;
    Turn now = turn(p.pictures);
    const Job &j = p.job[now.part];
    u32 x = (block_x() * threads_x() + thread_x()) * N;
    u32 y = (block_y() * threads_y() + thread_y()) * ROWS;
    if (x >= j.width || y >= j.height) return;
    u64 from[ROWS][2], to[ROWS][2];
    UNROLL for (u32 r = 0; r < ROWS; r++) {
        UNROLL for (u32 c = 0; c < 2; c++) {
            // The last row may be done more than once, alike.
            u64 line = y + r < j.height ? y + r : j.height - 1;
            from[r][c] = p.from[now.picture] + j.from[c] + line * j.from_pitch[c];
            to[r][c] = p.to[now.picture] + j.to[c] + line * j.to_pitch[c];
        }
    }
    if (!j.aligned || x + N > j.width) {
        u32 end = x + N < j.width ? x + N : j.width;
        UNROLL for (u32 r = 0; r < ROWS; r++)
            if (y + r < j.height) slowly<S, D>(p, j, from[r], to[r], x, end);
        return;
    }
    if (j.mode == STRAIGHT) {
        u32 a[ROWS][A];
        UNROLL for (u32 r = 0; r < ROWS; r++) load_words(from[r][0] + x * sizeof(S), a[r]);
        UNROLL for (u32 r = 0; r < ROWS; r++) {
            u32 b[B];
            convert<S, D>(p, a[r], b);
            store_words(to[r][0] + x * sizeof(D), b);
        }
    } else if (j.mode == SPLIT) {
        u32 a[ROWS][2 * A];
        UNROLL for (u32 r = 0; r < ROWS; r++) load_words(from[r][0] + x * 2 * sizeof(S), a[r]);
        UNROLL for (u32 r = 0; r < ROWS; r++) {
            u32 b[2 * B], u[B], v[B];
            convert<S, D>(p, a[r], b);
            UNROLL for (u32 i = 0; i < B; i++) {
                u[i] = permute(b[2 * i], b[2 * i + 1], sizeof(D) == 1 ? 0x6420 : 0x5410);
                v[i] = permute(b[2 * i], b[2 * i + 1], sizeof(D) == 1 ? 0x7531 : 0x7632);
            }
            store_words(to[r][0] + x * sizeof(D), u);
            store_words(to[r][1] + x * sizeof(D), v);
        }
    } else {
        u32 a[ROWS][2][A];
        UNROLL for (u32 r = 0; r < ROWS; r++)
            UNROLL for (u32 c = 0; c < 2; c++) load_words(from[r][c] + x * sizeof(S), a[r][c]);
        UNROLL for (u32 r = 0; r < ROWS; r++) {
            u32 u[B], v[B], b[2 * B];
            convert<S, D>(p, a[r][0], u);
            convert<S, D>(p, a[r][1], v);
            UNROLL for (u32 i = 0; i < B; i++) {
                b[2 * i] = permute(u[i], v[i], sizeof(D) == 1 ? 0x5140 : 0x5410);
                b[2 * i + 1] = permute(u[i], v[i], sizeof(D) == 1 ? 0x7362 : 0x7632);
            }
            store_words(to[r][0] + x * 2 * sizeof(D), b);
        }
    }
}

// The host's `rows` are the same.
GLOBAL BLOCKS(4) void repack_8_8(Repack p) { repack<u8, u8, 4>(p); }
GLOBAL BLOCKS(4) void repack_8_16(Repack p) { repack<u8, u16, 2>(p); }
GLOBAL BLOCKS(4) void repack_16_8(Repack p) { repack<u16, u8, 2>(p); }
GLOBAL BLOCKS(4) void repack_16_16(Repack p) { repack<u16, u16, 2>(p); }
