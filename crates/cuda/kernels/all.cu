// All kernels in one module: `./dev kernels` compiles this file to frameloom.ptx.
#include "repack.cu"
#include "fill.cu"
#include "sample.cu"
#include "separable.cu"
#include "bilinear.cu"
#include "nv12_rgb.cu"
