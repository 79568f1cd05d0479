// What a kernel is handed on a GPU (core/cuda/kernels/block.h), and how it is launched. For nvcc.
#pragma once

#include <cuda_runtime.h>

#include "core/cuda/kernels/block.h"

namespace dualpath::gpu {

class CudaThread {
 public:
  __device__ std::int64_t block() const { return blockIdx.x; }
  __device__ std::int64_t num_blocks() const { return gridDim.x; }
  __device__ int index() const { return static_cast<int>(threadIdx.x); }
  __device__ int size() const { return static_cast<int>(blockDim.x); }
  __device__ void* shared() const {
    extern __shared__ double memory[];
    return memory;
  }
  __device__ void* reduction_memory() const {
    __shared__ double memory[max_warps];
    return memory;
  }
  __device__ void barrier() { __syncthreads(); }
  template <class T>
  __device__ T shuffle(T value, int lane) {
    return __shfl_sync(all_lanes, value, lane);
  }
  template <class T>
  __device__ T shuffle_xor(T value, int mask) {
    return __shfl_xor_sync(all_lanes, value, mask);
  }
  __device__ std::uint32_t ballot(bool flag) { return __ballot_sync(all_lanes, flag); }

 private:
  static constexpr unsigned all_lanes = 0xffffffffU;
};

template <class Kernel>
__global__ void run_kernel(const Kernel kernel) {
  CudaThread thread;
  kernel(thread);
}

}  // namespace dualpath::gpu
