// What every kernel here needs, without CUDA's own headers: compiled by clang alone (`./dev kernels`).
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#ifdef FRAMELOOM_STAND_IN
#include "../stand-in/kernel.h"
#else
#include "gpu.cuh"
#endif
