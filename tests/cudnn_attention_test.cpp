// cuDNN takes our attention, forward and deterministic backward: it makes plans and compiles their
// kernels for an H200 that is only described to it. What they compute is for cuda_device_test.
#include "core/cuda/libraries/cudnn_attention.h"

#include <gmock/gmock.h>
#include <string_view>

#include "core/cuda/libraries/workspaces.h"
#include "tests/expect_error.h"

namespace dualpath {
namespace {

constexpr std::string_view h200 = R"({"deviceVer": 900, "driverVer": 13000, "cudaDeviceId": 0,
  "totalGlobalMem": 150754820096, "maxGridSize": [2147483647, 65535, 65535],
  "maxBlockSize": [1024, 1024, 64], "regsPerBlock": 65536, "multiProcessorCount": 132,
  "smCountOrigin": 0, "warpSize": 32, "maxSharedMemoryPerBlock": 49152,
  "maxSharedMemoryPerBlockOptin": 232448, "oversizedSharedMemoryPerBlock": 0,
  "reservedSharedMemoryPerBlock": 1024, "maxRegistersPerSM": 65536, "maxCtasPerSM": 32,
  "maxThreadsPerBlock": 1024, "maxThreadsPerSM": 2048, "pciDeviceId": 0, "isTccDriver": 0,
  "supportCoopLaunch": 1, "smClockRateKHz": 1980000, "memClockRateKHz": 3201000,
  "memoryBusWidth": 6144,
  "l2CacheSize": 62914560, "deviceName": "NVIDIA H200"})";

class CudnnPlans : public testing::Test {
 protected:
  void SetUp() override {
    gpu_.set_all(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, h200);
    ASSERT_EQ(cudnnBackendFinalize(gpu_.get()), CUDNN_STATUS_SUCCESS)
        << "cuDNN " << cudnnGetVersion() << " describes GPUs in other words";
  }
  CudnnDescriptor gpu_{CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR};
};

TEST_F(CudnnPlans, AreThereForEveryShapeOfOurs) {
  for (const AttentionShape& shape : {AttentionShape{8, 1024, 16, 16, 64},
                                      {8, 1024, 16, 4, 64},
                                      {1, 4096, 32, 8, 128},
                                      {4, 256, 12, 12, 64},
                                      {2, 250, 8, 8, 64},
                                      {2, 256, 8, 2, 80},
                                      {1, 12, 2, 2, 8}}) {
    SCOPED_TRACE(fmt::format("{} x {} positions, {}/{} heads of {}", shape.sequences,
                             shape.positions, shape.heads, shape.kv_heads, shape.head_size));
    const CudnnAttention attention(shape, shape, {nullptr, &gpu_});
    // Plans count log_sum in the library's layout beside it.
    EXPECT_EQ(gpu::row_floats_bytes(shape) + attention.workspace_bytes(),
              gpu::attention_workspace_bytes(shape));
  }
}

// Sequences, and heads where one sequence is too much: 19 GB and 18 GB if taken whole.
TEST_F(CudnnPlans, AreThereForPartsOfAnAttention) {
  for (const auto& [shape, most] :
       {std::pair{AttentionShape{16, 4096, 32, 32, 128}, gpu::most_attention_bytes},
        {{1, 16384, 32, 8, 128}, gpu::most_attention_bytes},
        {{2, 250, 8, 8, 64}, 1}}) {
    SCOPED_TRACE(fmt::format("{} x {} positions, {}/{} heads of {}", shape.sequences,
                             shape.positions, shape.heads, shape.kv_heads, shape.head_size));
    const AttentionShape part = gpu::attention_part(shape, most);
    EXPECT_LT(part.sequences * part.heads, shape.sequences * shape.heads);
    const CudnnAttention attention(shape, part, {nullptr, &gpu_});
    EXPECT_EQ(gpu::row_floats_bytes(shape) + attention.workspace_bytes(),
              gpu::attention_workspace_bytes(shape, most));
  }
}

TEST_F(CudnnPlans, AreRefusedWithAReason) {
  EXPECT_THAT(error_of(ExitCode::internal,
                       [&] {
                         CudnnAttention({2, 12, 2, 2, 4}, {2, 12, 2, 2, 4}, {nullptr, &gpu_});
                       }),
              testing::HasSubstr("cuDNN has no plan"));
}

}  // namespace
}  // namespace dualpath
