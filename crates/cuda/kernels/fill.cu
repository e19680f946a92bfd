// One value for a component wherever the picture is not: what pads it, and chroma where there was none.
#include "device.cuh"

// The host's `Filled` is the same.
struct Filled {
    u64 offset;
    u32 pitch, step;   // bytes; samples
    u32 width, height; // of the whole
    u32 left, top, right, bottom; // the picture's part, which is left alone
    u32 value;         // the sample's bits
    u32 bytes;         // of a sample
};

struct Fill {
    u64 to[PICTURES];
    Filled component[3];
    u32 pictures;
    u32 components;
};

GLOBAL void fill(Fill p) {
    Turn now = turn(p.pictures);
    const Filled &f = p.component[now.part];
    u32 x = (block_x() * threads_x() + thread_x()) * 4;
    u32 y = block_y() * threads_y() + thread_y();
    if (x >= f.width || y >= f.height) return;
    bool inside = y >= f.top && y < f.bottom;
    u64 row = p.to[now.picture] + f.offset + (u64)y * f.pitch;
    for (u32 end = x + 4 < f.width ? x + 4 : f.width; x < end; x++) {
        if (inside && x >= f.left && x < f.right) continue;
        u64 at = row + (u64)x * f.step * f.bytes;
        if (f.bytes == 1) store<u8>(at, f.value);
        else if (f.bytes == 2) store<u16>(at, f.value);
        else store<u32>(at, f.value);
    }
}
