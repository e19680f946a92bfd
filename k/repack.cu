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
    u32 jobs;
    u32 plain;                  // values stay as they are
    u32 add, right, top, left;  // else: min((v + add) >> right, top) << left
};

template <typename T> DEVICE u32 get(const u32 *words, u32 i) {
    return sizeof(T) == 1 ? words[i / 4] >> i % 4 * 8 & 0xff : words[i / 2] >> i % 2 * 16 & 0xffff;
}
template <typename T> DEVICE void put(u32 *words, u32 i, u32 v) {
    if (sizeof(T) == 1) words[i / 4] |= v << i % 4 * 8;
    else words[i / 2] |= v << i % 2 * 16;
}
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

// Sixteen samples of each component, of two rows.
template <typename S, typename D> DEVICE void repack(const Repack &p) {
    const u32 N = 16, A = N * sizeof(S) / 4, B = N * sizeof(D) / 4;
    const Job &j = p.job[block_z() % p.jobs];
    u32 picture = block_z() / p.jobs;
    u32 x = (block_x() * threads_x() + thread_x()) * N;
    u32 y = (block_y() * threads_y() + thread_y()) * 2;
    if (x >= j.width || y >= j.height) return;
    u32 rows = j.height - y < 2 ? 1 : 2;
    u64 from[2][2], to[2][2];
    UNROLL for (u32 r = 0; r < 2; r++) {
        UNROLL for (u32 c = 0; c < 2; c++) {
            // A last single row is done twice, alike.
            u64 line = y + (r < rows ? r : 0);
            from[r][c] = p.from[picture] + j.from[c] + line * j.from_pitch[c];
            to[r][c] = p.to[picture] + j.to[c] + line * j.to_pitch[c];
        }
    }
    if (!j.aligned || x + N > j.width) {
        u32 end = x + N < j.width ? x + N : j.width;
        for (u32 r = 0; r < rows; r++) slowly<S, D>(p, j, from[r], to[r], x, end);
        return;
    }
    if (j.mode == STRAIGHT) {
        u32 a[2][A], b[2][B] = {};
        UNROLL for (u32 r = 0; r < 2; r++) load_words(from[r][0] + x * sizeof(S), a[r]);
        UNROLL for (u32 r = 0; r < 2; r++)
            UNROLL for (u32 i = 0; i < N; i++) put<D>(b[r], i, converted(p, get<S>(a[r], i)));
        UNROLL for (u32 r = 0; r < 2; r++) store_words(to[r][0] + x * sizeof(D), b[r]);
    } else if (j.mode == SPLIT) {
        u32 a[2][2 * A], b[2][2][B] = {};
        UNROLL for (u32 r = 0; r < 2; r++) load_words(from[r][0] + x * 2 * sizeof(S), a[r]);
        UNROLL for (u32 r = 0; r < 2; r++)
            UNROLL for (u32 i = 0; i < 2 * N; i++) put<D>(b[r][i % 2], i / 2, converted(p, get<S>(a[r], i)));
        UNROLL for (u32 r = 0; r < 2; r++)
            UNROLL for (u32 c = 0; c < 2; c++) store_words(to[r][c] + x * sizeof(D), b[r][c]);
    } else {
        u32 a[2][2][A], b[2][2 * B] = {};
        UNROLL for (u32 r = 0; r < 2; r++)
            UNROLL for (u32 c = 0; c < 2; c++) load_words(from[r][c] + x * sizeof(S), a[r][c]);
        UNROLL for (u32 r = 0; r < 2; r++)
            UNROLL for (u32 i = 0; i < 2 * N; i++) put<D>(b[r], i, converted(p, get<S>(a[r][i % 2], i / 2)));
        UNROLL for (u32 r = 0; r < 2; r++) store_words(to[r][0] + x * 2 * sizeof(D), b[r]);
    }
}

GLOBAL void repack_8_8(Repack p) { repack<u8, u8>(p); }
GLOBAL void repack_8_16(Repack p) { repack<u8, u16>(p); }
GLOBAL void repack_16_8(Repack p) { repack<u16, u8>(p); }
GLOBAL void repack_16_16(Repack p) { repack<u16, u16>(p); }
