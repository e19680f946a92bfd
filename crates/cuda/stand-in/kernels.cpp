// The kernels' own source, compiled for the processor, and running them.
#include "machine.h"
#include "../kernels/all.cu"
#include <cstdio>
#include <cstring>
#include <utility>

Running running;

// The GPU on which the kernel runs, and the block of memory that it used last.
static const Gpu *running_on;
static uint64_t last_begin, last_end;

void check_access(u64 at, u64 bytes) {
    if (at % bytes) throw Fault{CUDA_ERROR_MISALIGNED_ADDRESS};
    if (at >= last_begin && at + bytes <= last_end) return;
    const auto *block = machine().find(at, bytes);
    if (!block) throw Fault{CUDA_ERROR_ILLEGAL_ADDRESS};
    const Gpu *owner = block->second.owner;
    if (owner != running_on && !running_on->peers.count(owner)) throw Fault{CUDA_ERROR_ILLEGAL_ADDRESS};
    last_begin = block->first;
    last_end = block->first + block->second.bytes;
}

// Calls a kernel with the parameters that a launch points to.
template <typename... P, size_t... I>
static void call(void (*kernel)(P...), void **parameters, std::index_sequence<I...>) {
    kernel(*(P *)parameters[I]...);
}
template <auto kernel> struct Caller;
template <typename... P, void (*kernel)(P...)> struct Caller<kernel> {
    static void run(void **parameters) { call(kernel, parameters, std::index_sequence_for<P...>()); }
};

#define KERNEL(name) Kernel{#name, Caller<name>::run}

static const Kernel all_kernels[] = {
    KERNEL(fill),          KERNEL(bilinear_u8),  KERNEL(down),
    KERNEL(repack_8_8),    KERNEL(repack_8_16),  KERNEL(repack_16_8),  KERNEL(repack_16_16),
    KERNEL(sample_u8),     KERNEL(sample_u16),   KERNEL(sample_f16),   KERNEL(sample_f32),
    KERNEL(across_u8),     KERNEL(across_u16),   KERNEL(across_f16),   KERNEL(across_f32),
    KERNEL(nv12_rgb_u8),   KERNEL(nv12_rgb_f16), KERNEL(nv12_rgb_f32), KERNEL(nv12_rgb_packed),
};

const Kernel *find_kernel(const char *name) {
    for (const Kernel &kernel : all_kernels)
        if (!strcmp(kernel.name, name)) return &kernel;
    return nullptr;
}

static void run_block(const Kernel &kernel, void **parameters) {
    for (running.thread[1] = 0; running.thread[1] < running.threads[1]; running.thread[1]++)
        for (running.thread[0] = 0; running.thread[0] < running.threads[0]; running.thread[0]++) kernel.run(parameters);
}

CUresult launch(Gpu &gpu, const Kernel &kernel, const uint32_t (&blocks)[3], const uint32_t (&threads)[2],
                void **parameters) {
    running_on = &gpu;
    last_begin = last_end = 0;
    running.threads[0] = threads[0];
    running.threads[1] = threads[1];
    try {
        for (running.block[2] = 0; running.block[2] < blocks[2]; running.block[2]++)
            for (running.block[1] = 0; running.block[1] < blocks[1]; running.block[1]++)
                for (running.block[0] = 0; running.block[0] < blocks[0]; running.block[0]++) {
                    running.met_barrier = false;
                    run_block(kernel, parameters);
                    if (running.met_barrier) run_block(kernel, parameters);
                }
    } catch (Fault fault) {
        fprintf(stderr, "stand-in: kernel %s, block %u %u %u, thread %u %u: %s\n", kernel.name, running.block[0],
                running.block[1], running.block[2], running.thread[0], running.thread[1],
                fault.code == CUDA_ERROR_MISALIGNED_ADDRESS ? "misaligned access" : "access outside of memory");
        gpu.lost = fault.code;
    }
    return gpu.lost;
}
