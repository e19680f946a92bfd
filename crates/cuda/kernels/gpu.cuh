// What a GPU's compiler knows: where code runs, where memory lies, which thread this is, and instructions that C++ has no words for.
// `../stand-in/kernel.h` is the same for the processor.
#pragma once

#define GLOBAL extern "C" __attribute__((global))
#define DEVICE static __attribute__((device)) __attribute__((always_inline)) inline
#define SHARED static __attribute__((shared))
// A kernel for blocks of 256 threads, so many of which are to fit a processor: that bounds its registers.
#define BLOCKS(n) __attribute__((launch_bounds(256, n)))
#define MEMORY __attribute__((address_space(1)))

DEVICE u32 block_x() { return __nvvm_read_ptx_sreg_ctaid_x(); }
DEVICE u32 block_y() { return __nvvm_read_ptx_sreg_ctaid_y(); }
DEVICE u32 block_z() { return __nvvm_read_ptx_sreg_ctaid_z(); }
DEVICE u32 thread_x() { return __nvvm_read_ptx_sreg_tid_x(); }
DEVICE u32 thread_y() { return __nvvm_read_ptx_sreg_tid_y(); }
DEVICE u32 threads_x() { return __nvvm_read_ptx_sreg_ntid_x(); }
DEVICE u32 threads_y() { return __nvvm_read_ptx_sreg_ntid_y(); }

// Waits until all threads of the block are here.
DEVICE void barrier() { __syncthreads(); }

template <typename T> DEVICE T load(u64 at) { return *(const MEMORY T *)at; }
template <typename T> DEVICE void store(u64 at, T value) { *(MEMORY T *)at = value; }

// Words at `at`, `at` + 4 and `at` + 8. Written so, the compiler neither splits nor joins them.
DEVICE void load_three(u64 at, u32 (&w)[3]) {
    asm volatile("ld.global.u32 %0, [%1];" : "=r"(w[0]) : "l"(at));
    asm volatile("ld.global.u32 %0, [%1+4];" : "=r"(w[1]) : "l"(at));
    asm volatile("ld.global.u32 %0, [%1+8];" : "=r"(w[2]) : "l"(at));
}

DEVICE u32 permute(u32 a, u32 b, u32 bytes) {
    u32 r;
    asm("prmt.b32 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(bytes));
    return r;
}
DEVICE u32 shift_pair(u32 low, u32 high, u32 bits) {
    u32 r;
    asm("shf.r.wrap.b32 %0, %1, %2, %3;" : "=r"(r) : "r"(low), "r"(high), "r"(bits));
    return r;
}
// Whole numbers: the two halves of `weights` by the lower (upper) two bytes of `bytes`, or four bytes by four, and `sum`.
DEVICE u32 two_lower(u32 weights, u32 bytes, u32 sum) {
    u32 r;
    asm("dp2a.lo.u32.u32 %0, %1, %2, %3;" : "=r"(r) : "r"(weights), "r"(bytes), "r"(sum));
    return r;
}
DEVICE u32 two_upper(u32 weights, u32 bytes, u32 sum) {
    u32 r;
    asm("dp2a.hi.u32.u32 %0, %1, %2, %3;" : "=r"(r) : "r"(weights), "r"(bytes), "r"(sum));
    return r;
}
DEVICE u32 four_bytes(u32 weights, u32 bytes, u32 sum) {
    u32 r;
    asm("dp4a.u32.u32 %0, %1, %2, %3;" : "=r"(r) : "r"(weights), "r"(bytes), "r"(sum));
    return r;
}
// As `fused`, then cut to 0 to 1.
DEVICE float fused_unit(float a, float b, float c) {
    float r;
    asm("fma.rn.sat.f32 %0, %1, %2, %3;" : "=f"(r) : "f"(a), "f"(b), "f"(c));
    return r;
}
DEVICE u16 half_of(float value) {
    u16 r;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(r) : "f"(value));
    return r;
}
DEVICE float float_of_half(u16 half) {
    float r;
    asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"(half));
    return r;
}
