// The functions of NVIDIA's driver that frameloom-cuda calls. All work is done before a call returns, so streams have nothing to
// order and events have always happened; what a caller may do wrong with them is checked all the same.
#include "machine.h"
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

struct Stream {
    Gpu *gpu;
};
struct Event {
    Gpu *gpu;
};

static thread_local Gpu *current = nullptr;

using Lock = std::lock_guard<std::mutex>;

static Gpu *gpu_of(int ordinal) {
    auto &gpus = machine().gpus;
    return ordinal >= 0 && (size_t)ordinal < gpus.size() ? &gpus[ordinal] : nullptr;
}

// What needs a context: `work` gets its GPU.
template <typename Work> static CUresult in_context(Work work) {
    Lock lock(machine().lock);
    if (!current) return CUDA_ERROR_INVALID_CONTEXT;
    if (current->lost) return current->lost;
    return work(*current);
}

// What is asked of a stream, which must be the current context's.
template <typename Work> static CUresult in_stream(const Stream *stream, Work work) {
    return in_context([&](Gpu &gpu) {
        if (!stream || stream->gpu != &gpu) return CUDA_ERROR_INVALID_HANDLE;
        return work(gpu);
    });
}

static bool is_device_memory(uint64_t at, size_t bytes) { return machine().find(at, bytes) != nullptr; }

static CUresult to_device(uint64_t to, const void *from, size_t bytes) {
    if (!is_device_memory(to, bytes)) return CUDA_ERROR_INVALID_VALUE;
    memcpy((void *)to, from, bytes);
    return CUDA_SUCCESS;
}

static CUresult to_host(void *to, uint64_t from, size_t bytes) {
    if (!is_device_memory(from, bytes)) return CUDA_ERROR_INVALID_VALUE;
    memcpy(to, (const void *)from, bytes);
    return CUDA_SUCCESS;
}

static CUresult between(uint64_t to, uint64_t from, size_t bytes) {
    if (!is_device_memory(from, bytes)) return CUDA_ERROR_INVALID_VALUE;
    return to_device(to, (const void *)from, bytes);
}

#pragma GCC visibility push(default)
extern "C" {

// ---- the driver and its GPUs

CUresult cuInit(unsigned) { return machine().gpus.empty() ? CUDA_ERROR_NO_DEVICE : CUDA_SUCCESS; }

CUresult cuDriverGetVersion(int *version) {
    *version = 12000;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int *count) {
    *count = (int)machine().gpus.size();
    return CUDA_SUCCESS;
}

CUresult cuDeviceGet(int *device, int ordinal) {
    if (!gpu_of(ordinal)) return CUDA_ERROR_INVALID_DEVICE;
    *device = ordinal;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetName(char *text, int size, int) {
    snprintf(text, size, "stand-in for a GPU");
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetPCIBusId(char *text, int size, int device) {
    snprintf(text, size, "ffff:%02x:00.0", device);
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetUuid_v2(void *uuid, int device) {
    memset(uuid, device + 1, 16);
    return CUDA_SUCCESS;
}

CUresult cuDeviceTotalMem_v2(size_t *bytes, int) {
    *bytes = machine().memory;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetAttribute(int *value, int attribute, int) {
    enum { TEXTURE_ALIGNMENT = 14, PROCESSORS = 16, COPY_ENGINES = 40, CAPABILITY_MAJOR = 75, CAPABILITY_MINOR = 76 };
    switch (attribute) {
    case PROCESSORS:
    case COPY_ENGINES: *value = 1; break;
    case TEXTURE_ALIGNMENT: *value = 512; break;
    case CAPABILITY_MAJOR: *value = 6; break;
    case CAPABILITY_MINOR: *value = 1; break;
    default: return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}

CUresult cuDeviceCanAccessPeer(int *can, int device, int other) {
    *can = machine().peer && device != other;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetP2PAttribute(int *value, int, int, int) {
    *value = 0;
    return CUDA_SUCCESS;
}

CUresult cuGetErrorName(CUresult code, const char **text) {
    switch (code) {
#define NAME(code) case code: *text = #code; return CUDA_SUCCESS;
        NAME(CUDA_SUCCESS)
        NAME(CUDA_ERROR_INVALID_VALUE)
        NAME(CUDA_ERROR_OUT_OF_MEMORY)
        NAME(CUDA_ERROR_NO_DEVICE)
        NAME(CUDA_ERROR_INVALID_DEVICE)
        NAME(CUDA_ERROR_INVALID_CONTEXT)
        NAME(CUDA_ERROR_INVALID_PTX)
        NAME(CUDA_ERROR_INVALID_HANDLE)
        NAME(CUDA_ERROR_NOT_FOUND)
        NAME(CUDA_ERROR_ILLEGAL_ADDRESS)
        NAME(CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED)
        NAME(CUDA_ERROR_MISALIGNED_ADDRESS)
        NAME(CUDA_ERROR_NOT_SUPPORTED)
        NAME(CUDA_ERROR_PEER_ACCESS_UNSUPPORTED)
        NAME(CUDA_ERROR_UNKNOWN)
#undef NAME
    }
    return CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGetErrorString(CUresult code, const char **text) {
    *text = code == CUDA_ERROR_OUT_OF_MEMORY ? "out of memory" : "an error of the stand-in";
    return CUDA_SUCCESS;
}

// ---- contexts: each GPU's primary one

CUresult cuDevicePrimaryCtxSetFlags_v2(int, unsigned) { return CUDA_SUCCESS; }

CUresult cuDevicePrimaryCtxRetain(Gpu **context, int device) {
    *context = gpu_of(device);
    return *context ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

CUresult cuCtxSetCurrent(Gpu *context) {
    current = context;
    return CUDA_SUCCESS;
}

// FFmpeg makes a context current for a few calls and then goes back to the one before.
static thread_local std::vector<Gpu *> before;

CUresult cuCtxPushCurrent_v2(Gpu *context) {
    before.push_back(current);
    current = context;
    return CUDA_SUCCESS;
}

CUresult cuCtxPopCurrent_v2(Gpu **context) {
    if (before.empty()) return CUDA_ERROR_INVALID_CONTEXT;
    if (context) *context = current;
    current = before.back();
    before.pop_back();
    return CUDA_SUCCESS;
}

CUresult cuCtxSynchronize() {
    return in_context([](Gpu &) { return CUDA_SUCCESS; });
}

CUresult cuCtxEnablePeerAccess(Gpu *other, unsigned) {
    return in_context([&](Gpu &gpu) {
        if (!machine().peer) return CUDA_ERROR_PEER_ACCESS_UNSUPPORTED;
        return gpu.peers.insert(other).second ? CUDA_SUCCESS : CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED;
    });
}

// ---- memory

CUresult cuMemGetInfo_v2(size_t *free, size_t *total) {
    return in_context([&](Gpu &gpu) {
        *total = machine().memory;
        *free = machine().memory - gpu.used;
        return CUDA_SUCCESS;
    });
}

CUresult cuMemAlloc_v2(uint64_t *at, size_t bytes) {
    return in_context([&](Gpu &gpu) { return machine().allocate(gpu, bytes, *at); });
}

CUresult cuMemFree_v2(uint64_t at) {
    return in_context([&](Gpu &) { return machine().release(at); });
}

CUresult cuMemHostAlloc(void **at, size_t bytes, unsigned) {
    return in_context([&](Gpu &) { return posix_memalign(at, 512, bytes) ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS; });
}

CUresult cuMemFreeHost(void *at) {
    return in_context([&](Gpu &) {
        free(at);
        return CUDA_SUCCESS;
    });
}

// ---- copies

CUresult cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, Stream *stream) {
    return in_stream(stream, [&](Gpu &) { return to_device(to, from, bytes); });
}

CUresult cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, Stream *stream) {
    return in_stream(stream, [&](Gpu &) { return to_host(to, from, bytes); });
}

CUresult cuMemcpyDtoH_v2(void *to, uint64_t from, size_t bytes) {
    return in_context([&](Gpu &) { return to_host(to, from, bytes); });
}

CUresult cuMemcpyPeerAsync(uint64_t to, Gpu *, uint64_t from, Gpu *, size_t bytes, Stream *stream) {
    return in_stream(stream, [&](Gpu &) { return between(to, from, bytes); });
}

// As in the driver's header; only planes of device memory are copied here.
struct Place {
    size_t x, y, z, level;
    int type;
    const void *host;
    uint64_t device;
    void *array;
    Gpu *context;
    size_t pitch, height;
};
struct PeerCopy {
    Place from, to;
    size_t width, height, depth;
};

CUresult cuMemcpy3DPeerAsync(const PeerCopy *copy, Stream *stream) {
    return in_stream(stream, [&](Gpu &) {
        CUresult code = CUDA_SUCCESS;
        for (size_t row = 0; row < copy->height && code == CUDA_SUCCESS; row++)
            code = between(copy->to.device + row * copy->to.pitch, copy->from.device + row * copy->from.pitch, copy->width);
        return code;
    });
}

// As in the driver's header; arrays are not copied here.
enum { HOST = 1, DEVICE = 2 };
struct Side {
    size_t x, y;
    int type;
    void *host;
    uint64_t device;
    void *array;
    size_t pitch;
};
struct Copy2D {
    Side from, to;
    size_t width, height;
};

// The default stream, a null pointer, is any context's.
CUresult cuMemcpy2DAsync_v2(const Copy2D *copy, Stream *stream) {
    return in_context([&](Gpu &gpu) {
        if (stream && stream->gpu != &gpu) return CUDA_ERROR_INVALID_HANDLE;
        CUresult code = CUDA_SUCCESS;
        for (size_t row = 0; row < copy->height && code == CUDA_SUCCESS; row++) {
            auto at = [&](const Side &side) {
                uint64_t base = side.type == HOST ? (uint64_t)side.host : side.device;
                return base + (side.y + row) * side.pitch + side.x;
            };
            uint64_t from = at(copy->from), to = at(copy->to);
            if (copy->to.type == HOST)
                code = to_host((void *)to, from, copy->width);
            else if (copy->from.type == HOST)
                code = to_device(to, (const void *)from, copy->width);
            else
                code = between(to, from, copy->width);
        }
        return code;
    });
}

CUresult cuMemsetD8Async(uint64_t to, unsigned char value, size_t bytes, Stream *stream) {
    return in_stream(stream, [&](Gpu &) {
        if (!is_device_memory(to, bytes)) return CUDA_ERROR_INVALID_VALUE;
        memset((void *)to, value, bytes);
        return CUDA_SUCCESS;
    });
}

// ---- streams and events

CUresult cuStreamCreate(Stream **stream, unsigned) {
    return in_context([&](Gpu &gpu) {
        *stream = new Stream{&gpu};
        return CUDA_SUCCESS;
    });
}

CUresult cuStreamDestroy_v2(Stream *stream) {
    delete stream;
    return CUDA_SUCCESS;
}

CUresult cuStreamSynchronize(Stream *stream) {
    if (!stream) return cuCtxSynchronize();
    return in_stream(stream, [](Gpu &) { return CUDA_SUCCESS; });
}

CUresult cuStreamWaitEvent(Stream *stream, Event *, unsigned) {
    return in_stream(stream, [](Gpu &) { return CUDA_SUCCESS; });
}

CUresult cuEventCreate(Event **event, unsigned) {
    return in_context([&](Gpu &gpu) {
        *event = new Event{&gpu};
        return CUDA_SUCCESS;
    });
}

CUresult cuEventDestroy_v2(Event *event) {
    delete event;
    return CUDA_SUCCESS;
}

CUresult cuEventRecord(Event *event, Stream *stream) {
    return in_stream(stream, [&](Gpu &gpu) { return event->gpu == &gpu ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE; });
}

CUresult cuEventQuery(Event *) {
    return in_context([](Gpu &) { return CUDA_SUCCESS; });
}

CUresult cuEventSynchronize(Event *) {
    return in_context([](Gpu &) { return CUDA_SUCCESS; });
}

// ---- kernels

// Every kernel of the PTX must be in the stand-in's table.
CUresult cuModuleLoadData(const void **module, const void *ptx) {
    return in_context([&](Gpu &) {
        static const char entry[] = "\n.visible .entry ";
        for (const char *at = strstr((const char *)ptx, entry); at; at = strstr(at, entry)) {
            at += strlen(entry);
            std::string name(at, strcspn(at, "("));
            if (find_kernel(name.c_str())) continue;
            fprintf(stderr, "stand-in: kernel %s is missing from kernels.cpp\n", name.c_str());
            return CUDA_ERROR_INVALID_PTX;
        }
        *module = ptx;
        return CUDA_SUCCESS;
    });
}

CUresult cuModuleGetFunction(const Kernel **function, const void *, const char *name) {
    *function = find_kernel(name);
    return *function ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

CUresult cuLaunchKernel(const Kernel *function, unsigned blocks_x, unsigned blocks_y, unsigned blocks_z, unsigned threads_x,
                        unsigned threads_y, unsigned, unsigned, Stream *stream, void **parameters, void **) {
    return in_stream(stream, [&](Gpu &gpu) {
        return launch(gpu, *function, {blocks_x, blocks_y, blocks_z}, {threads_x, threads_y}, parameters);
    });
}

} // extern "C"
#pragma GCC visibility pop
