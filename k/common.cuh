// What every kernel here needs, without CUDA's own headers: compiled by clang alone (`./dev kernels`).
#pragma once

#define GLOBAL extern "C"
#define DEVICE static inline

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

extern u32 g_block_x; DEVICE u32 block_x() { return g_block_x; }
extern u32 g_block_y; DEVICE u32 block_y() { return g_block_y; }
extern u32 g_block_z; DEVICE u32 block_z() { return g_block_z; }
extern u32 g_thread_x; DEVICE u32 thread_x() { return g_thread_x; }
extern u32 g_thread_y; DEVICE u32 thread_y() { return g_thread_y; }
extern u32 g_threads_x; DEVICE u32 threads_x() { return g_threads_x; }
extern u32 g_threads_y; DEVICE u32 threads_y() { return g_threads_y; }
