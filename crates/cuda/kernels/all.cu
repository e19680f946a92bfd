// All kernels in one module: `./dev kernels` compiles this file to frameloom.ptx.
#include "copy.cu"
