// The machine that the stand-in pretends: GPUs, and whose memory lies where.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <vector>

// The driver's codes, by its names.
enum CUresult : int {
    CUDA_SUCCESS = 0,
    CUDA_ERROR_INVALID_VALUE = 1,
    CUDA_ERROR_OUT_OF_MEMORY = 2,
    CUDA_ERROR_NO_DEVICE = 100,
    CUDA_ERROR_INVALID_DEVICE = 101,
    CUDA_ERROR_INVALID_CONTEXT = 201,
    CUDA_ERROR_PEER_ACCESS_UNSUPPORTED = 217,
    CUDA_ERROR_INVALID_PTX = 218,
    CUDA_ERROR_INVALID_HANDLE = 400,
    CUDA_ERROR_NOT_FOUND = 500,
    CUDA_ERROR_ILLEGAL_ADDRESS = 700,
    CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED = 704,
    CUDA_ERROR_MISALIGNED_ADDRESS = 716,
    CUDA_ERROR_NOT_SUPPORTED = 801,
    CUDA_ERROR_UNKNOWN = 999,
};

// Thrown out of a kernel that goes wrong.
struct Fault {
    CUresult code;
};

// A GPU, which is also its primary context.
struct Gpu {
    int ordinal;
    size_t used = 0;
    std::set<const Gpu *> peers;    // whose memory it reaches
    CUresult lost = CUDA_SUCCESS;   // why its context is lost
};

struct Block {
    size_t bytes;
    Gpu *owner;
};

struct Machine {
    std::vector<Gpu> gpus;
    size_t memory; // bytes of each GPU
    bool peer;     // GPUs can reach each other's memory
    std::map<uint64_t, Block> blocks; // by address
    std::mutex lock; // of all of it: calls run one at a time

    Machine();

    // The block in which those bytes lie, or null.
    const std::pair<const uint64_t, Block> *find(uint64_t at, size_t bytes) const;
    CUresult allocate(Gpu &gpu, size_t bytes, uint64_t &at);
    CUresult release(uint64_t at);
};

// As the environment says: README.md has the names.
Machine &machine();

// Runs a kernel of kernels.cpp on a GPU; `blocks` and `threads` are the grid.
struct Kernel {
    const char *name;
    void (*run)(void **parameters);
};
const Kernel *find_kernel(const char *name);
CUresult launch(Gpu &gpu, const Kernel &kernel, const uint32_t (&blocks)[3], const uint32_t (&threads)[2], void **parameters);
