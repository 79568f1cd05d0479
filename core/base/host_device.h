// Marks what is compiled for the GPU too.
#pragma once

#ifdef __CUDACC__
#define DUALPATH_HOST_DEVICE __host__ __device__
#else
#define DUALPATH_HOST_DEVICE
#endif
