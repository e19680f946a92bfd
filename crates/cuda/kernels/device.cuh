// What the kernels that change pictures share: memory, conversions, and the parameters of a pass.
#pragma once
#include "common.cuh"

#define UNROLL _Pragma("unroll")

typedef u32 quad __attribute__((ext_vector_type(4)));
typedef u32 pair __attribute__((ext_vector_type(2)));
typedef float pairf __attribute__((ext_vector_type(2)));
typedef float quadf __attribute__((ext_vector_type(4)));

// Pictures of one launch. The host's `PICTURES` is the same number.
#define PICTURES 64

DEVICE float fused(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
DEVICE float as_float(u32 bits) { return __builtin_bit_cast(float, bits); }
DEVICE u32 as_bits(float value) { return __builtin_bit_cast(u32, value); }

// 2^23: a float this large has no fraction, and its low bits are the whole number that was added.
#define WHOLE 8388608.0f
#define WHOLE_BITS 0x4B000000u

// Whole numbers below 2^23, exactly.
DEVICE float float_of(u32 whole) { return as_float(whole | WHOLE_BITS) - WHOLE; }

// Pictures by parts: all pictures' first part, then all pictures' second.
struct Turn { u32 picture, part; };
DEVICE Turn turn(u32 pictures) {
    u32 z = block_z(), part = (z >= pictures) + (z >= 2 * pictures);
    return {z - part * pictures, part};
}

// What a sample says, as a float; halves are loaded as their bits.
struct Half;
template <typename S> struct Sample {
    typedef S Bits;
    DEVICE float value(S s) { return float_of(s); }
};
template <> struct Sample<Half> {
    typedef u16 Bits;
    DEVICE float value(u16 s) { return float_of_half(s); }
};
template <> struct Sample<float> {
    typedef float Bits;
    DEVICE float value(float s) { return s; }
};

// Where a component lies in every source picture.
struct In {
    u64 offset;
    u32 pitch; // bytes from row to row
    u32 step;  // samples from one to the next
};

// Where a component goes in every destination, and what it is: m . (source components) + o.
struct Out {
    u64 offset;
    u32 pitch;
    u32 step;
    float m[3], o;
    float gain, bias; // then, of what was cut to 0 to 1; the bias of whole numbers is WHOLE
};

// For every sample across (or down): the first source sample, and the weights of `taps` from there on.
struct Table {
    u64 starts, weights; // u32 each; f32, `stride` for each tap
    u32 stride, taps;
    u32 next; // 1, or 0 where one sample each is all that counts
    u32 unused;
};

// Samples of the destination.
enum Kind : u32 { U8, U16, F16, F32 };

// One pass over one grid of destination samples: luma's, or chroma's. The host's `Pass` is the same.
struct Pass {
    u64 from[PICTURES], to[PICTURES];
    In in[3];
    Out out[3];
    Table x[2], y[2]; // of the source's first component, and of the others where they lie otherwise
    u64 between;      // of two passes: float rows in between
    u64 between_size; // bytes of them for a picture
    u64 between_at[3];
    u32 between_pitch; // floats
    u32 row0[3], rows[3];
    u32 table[3]; // of each source component
    u32 uses;     // a bit for each source component that counts
    u32 outs;
    u32 width, height;
    u32 kind, shift; // of the destination's samples
    u32 unit;        // results are 0 to 1, else they are the samples' values
    u32 interleaved; // components that lie side by side, or 0
    float top;       // the largest value of a sample
};
