#include "machine.h"
#include <cstdlib>
#include <cstring>

static size_t number(const char *name, size_t otherwise) {
    const char *text = getenv(name);
    return text && *text ? strtoull(text, nullptr, 10) : otherwise;
}

Machine::Machine()
    : memory(number("FRAMELOOM_STAND_IN_MEMORY", 1024) << 20), peer(number("FRAMELOOM_STAND_IN_PEER", 0) != 0) {
    int count = (int)number("FRAMELOOM_STAND_IN_GPUS", 1);
    for (int n = 0; n < count; n++) gpus.push_back(Gpu{n, 0, {}, CUDA_SUCCESS});
}

Machine &machine() {
    // Never destroyed: threads may call to the very end of the process.
    static Machine *one = new Machine;
    return *one;
}

const std::pair<const uint64_t, Block> *Machine::find(uint64_t at, size_t bytes) const {
    auto after = blocks.upper_bound(at);
    if (after == blocks.begin()) return nullptr;
    const auto &before = *--after;
    return at + bytes <= before.first + before.second.bytes ? &before : nullptr;
}

CUresult Machine::allocate(Gpu &gpu, size_t bytes, uint64_t &at) {
    if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
    void *memory_of_it = nullptr;
    if (bytes > memory - gpu.used || posix_memalign(&memory_of_it, 512, bytes)) return CUDA_ERROR_OUT_OF_MEMORY;
    // Whoever counts on what was there before is to be noticed.
    memset(memory_of_it, 0xEE, bytes);
    at = (uint64_t)memory_of_it;
    gpu.used += bytes;
    blocks[at] = Block{bytes, &gpu};
    return CUDA_SUCCESS;
}

CUresult Machine::release(uint64_t at) {
    auto found = blocks.find(at);
    if (found == blocks.end()) return CUDA_ERROR_INVALID_VALUE;
    found->second.owner->used -= found->second.bytes;
    blocks.erase(found);
    free((void *)at);
    return CUDA_SUCCESS;
}
