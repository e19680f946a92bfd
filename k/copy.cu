// Moves the rows of a plane, or the surface of a decoder, to another place.
#include "common.cuh"

// Rows of `row` bytes; 16 bytes a thread where addresses and pitches allow it.
GLOBAL void copy_rows(const u8 *from, u64 from_pitch, u8 *to, u64 to_pitch, u32 row, u32 rows) {
    u32 x = (block_x() * threads_x() + thread_x()) * 16;
    u32 y = block_y() * threads_y() + thread_y();
    if (x >= row || y >= rows) return;
    const u8 *a = from + y * from_pitch + x;
    u8 *b = to + y * to_pitch + x;
    typedef u32 quad __attribute__((ext_vector_type(4)));
    if (x + 16 <= row && !((((u64)a) | ((u64)b)) & 15)) {
        *(quad *)b = *(const quad *)a;
    } else {
        for (u32 i = 0; i < 16 && x + i < row; i++) b[i] = a[i];
    }
}
