// What `../kernels/gpu.cuh` is for a GPU, in C++ for the processor: threads run one after the other, and every access is checked.
#pragma once

#define GLOBAL extern "C"
#define DEVICE static __attribute__((always_inline)) inline
#define SHARED static
#define BLOCKS(n)

// Which thread of which block runs now; set by `launch` in kernels.cpp.
struct Running {
    u32 block[3], thread[2], threads[2];
    bool met_barrier;
};
extern Running running;

// Throws `Fault` unless the running kernel may use those bytes, and they begin at a multiple of their number.
void check_access(u64 at, u64 bytes);

DEVICE u32 block_x() { return running.block[0]; }
DEVICE u32 block_y() { return running.block[1]; }
DEVICE u32 block_z() { return running.block[2]; }
DEVICE u32 thread_x() { return running.thread[0]; }
DEVICE u32 thread_y() { return running.thread[1]; }
DEVICE u32 threads_x() { return running.threads[0]; }
DEVICE u32 threads_y() { return running.threads[1]; }

// Nobody can wait here for threads that run later. `launch` runs the block again instead, and then all that the threads share is there.
DEVICE void barrier() { running.met_barrier = true; }

template <typename T> DEVICE T load(u64 at) {
    check_access(at, sizeof(T));
    return *(const T *)at;
}
template <typename T> DEVICE void store(u64 at, T value) {
    check_access(at, sizeof(T));
    *(T *)at = value;
}
DEVICE void load_three(u64 at, u32 (&w)[3]) {
    for (u32 i = 0; i < 3; i++) w[i] = load<u32>(at + i * 4);
}

// Each of four digits chooses one of eight bytes; with its upper bit, that byte's sign.
DEVICE u32 permute(u32 a, u32 b, u32 bytes) {
    u64 both = (u64)b << 32 | a;
    u32 r = 0;
    for (u32 i = 0; i < 4; i++) {
        u32 digit = bytes >> 4 * i & 15, byte = both >> 8 * (digit & 7) & 255;
        if (digit & 8) byte = byte & 128 ? 255 : 0;
        r |= byte << 8 * i;
    }
    return r;
}
DEVICE u32 shift_pair(u32 low, u32 high, u32 bits) { return (u32)(((u64)high << 32 | low) >> (bits & 31)); }
DEVICE u32 two_lower(u32 weights, u32 bytes, u32 sum) {
    return sum + (weights & 0xffff) * (bytes & 255) + (weights >> 16) * (bytes >> 8 & 255);
}
DEVICE u32 two_upper(u32 weights, u32 bytes, u32 sum) { return two_lower(weights, bytes >> 16, sum); }
DEVICE u32 four_bytes(u32 weights, u32 bytes, u32 sum) {
    for (u32 i = 0; i < 4; i++) sum += (weights >> 8 * i & 255) * (bytes >> 8 * i & 255);
    return sum;
}
DEVICE float fused_unit(float a, float b, float c) {
    float r = __builtin_fmaf(a, b, c);
    return r > 1.0f ? 1.0f : r > 0.0f ? r : 0.0f; // no number is 0, too
}

// IEEE 754's binary16: rounded to the nearest, ties to even.
DEVICE u16 half_of(float value) {
    u32 bits = __builtin_bit_cast(u32, value), sign = bits >> 16 & 0x8000;
    bits &= 0x7fffffff;
    if (bits > 0x7f800000) return 0x7fff;               // no number
    if (bits >= 0x477ff000) return sign | 0x7c00;       // 65520 and more
    if (bits < 0x38800000) {                            // below 2^-14: multiples of 2^-24, the last digit of 0.5f
        float sum = __builtin_bit_cast(float, bits) + 0.5f;
        return sign | (__builtin_bit_cast(u32, sum) - 0x3f000000);
    }
    u32 moved = bits - 0x38000000; // the exponent counts from another place
    return sign | (moved + 0xfff + (moved >> 13 & 1)) >> 13;
}
DEVICE float float_of_half(u16 half) {
    u32 sign = (u32)(half & 0x8000) << 16, bits = (u32)(half & 0x7fff) << 13;
    if (bits >= 0x0f800000) return __builtin_bit_cast(float, sign | bits | 0x7f800000);
    float value = __builtin_bit_cast(float, bits) * 0x1p112f;
    return __builtin_bit_cast(float, sign | __builtin_bit_cast(u32, value));
}
