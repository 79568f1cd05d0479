#include "core/cuda/cuda_device.h"

#include <atomic>
#include <cublasLt.h>
#include <unistd.h>

#include "core/cuda/cuda_ops.h"
#include "core/cuda/libraries/fused_attention.h"
#include "core/cuda/runtime/cuda_check.h"
#include "core/cuda/runtime/cuda_recorder.h"
#include "core/cuda/runtime/cuda_stopwatch.h"
#include "core/device/threaded_stream.h"

namespace dualpath {
namespace {

constexpr std::size_t alignment = 4096;

class CudaDevice final : public Device {
 public:
  explicit CudaDevice(int index);
  ~CudaDevice() override;

  int index() const { return index_; }
  std::string name() const override { return name_; }
  void require(const NumericTypes& types) const override {
    CHECK(types.master == DType::f32, "the GPU kernels compute in f32, not {}",
          name_of(types.master));
  }
  Buffer allocate(std::size_t bytes) override;
  std::size_t num_allocations() const override { return num_allocations_; }
  bool is_host_memory() const override { return false; }
  std::optional<DeviceMemory> memory() const override;
  Buffer allocate_host(std::size_t bytes) override;

  std::unique_ptr<Stream> make_stream() override { return std::make_unique<CudaStream>(index_); }
  std::unique_ptr<Stream> make_threaded_stream() override {
    return std::make_unique<ThreadedStream>();
  }
  std::unique_ptr<Ops> make_ops(Stream& stream) override {
    return make_cuda_ops(*this, of_kernels(stream), properties_);
  }
  std::unique_ptr<Stopwatch> make_stopwatch(Stream& stream) override {
    if (auto* own = dynamic_cast<CudaStream*>(&stream))
      return std::make_unique<CudaStopwatch>(index_, *own);
    return Device::make_stopwatch(stream);
  }
  std::unique_ptr<WorkRecorder> make_recorder(Stream& stream) override {
    return std::make_unique<CudaRecorder>(of_kernels(stream));
  }

  void copy_to_device(Tensor dst, const void* host, Stream& stream) override;
  void copy_to_host(void* host, Tensor src, Stream& stream) override;

 private:
  static CudaStream& of_kernels(Stream& stream) {
    auto* own = dynamic_cast<CudaStream*>(&stream);
    CHECK(own != nullptr, "kernels are issued on a stream of the GPU");
    return *own;
  }
  void use() const { CUDA_CHECK(cudaSetDevice(index_)); }  // on the calling thread
  // For threads of the host.
  void copy_and_wait(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                     cudaStream_t stream) const {
    use();
    CUDA_CHECK(cudaMemcpyAsync(to, from, bytes, kind, stream));
    CUDA_CHECK(cudaStreamSynchronize(stream));
  }

  int index_;
  std::string name_;
  GpuProperties properties_;
  cudaStream_t to_device_ = nullptr, to_host_ = nullptr;  // of copies by threads of the host
  std::atomic<std::size_t> num_allocations_ = 0;
};

CudaDevice::CudaDevice(int index) : index_(index) {
  use();
  cudaDeviceProp properties{};
  CUDA_CHECK(cudaGetDeviceProperties(&properties, index_));
  CHECK_AS(ExitCode::configuration, properties.major >= 8,
           "GPU {} ({}) has compute capability {}.{}; 8.0 is the least that is supported", index_,
           properties.name, properties.major, properties.minor);
  name_ = fmt::format("cuda {} ({}, compute capability {}.{})", index_, properties.name,
                      properties.major, properties.minor);
  properties_ = {.model = properties.name,
                 .multiprocessors = properties.multiProcessorCount,
                 .shared_bytes = properties.sharedMemPerBlockOptin,
                 .cache_bytes = static_cast<std::size_t>(properties.l2CacheSize)};
  CUDA_CHECK(cudaStreamCreateWithFlags(&to_device_, cudaStreamNonBlocking));
  CUDA_CHECK(cudaStreamCreateWithFlags(&to_host_, cudaStreamNonBlocking));
}

CudaDevice::~CudaDevice() {
  cudaStreamDestroy(to_device_);
  cudaStreamDestroy(to_host_);
}

Buffer CudaDevice::allocate(std::size_t bytes) {
  use();
  const std::size_t reserved = bytes + alignment;
  void* memory = nullptr;
  if (cudaMalloc(&memory, reserved) != cudaSuccess) {
    const std::string reason = cudaGetErrorString(cudaGetLastError());
    std::size_t free = 0, total = 0;
    CUDA_CHECK(cudaMemGetInfo(&free, &total));
    DUALPATH_FAIL(
        ExitCode::configuration,
        "out of memory on {}: {:.3g} GB are asked for, {:.3g} of {:.3g} GB are free ({}); "
        "`dualpath plan` tells what takes how much",
        name_, static_cast<double>(bytes) / 1e9, static_cast<double>(free) / 1e9,
        static_cast<double>(total) / 1e9, reason);
  }
  CUDA_CHECK(cudaMemset(memory, 0, reserved));
  CUDA_CHECK(cudaDeviceSynchronize());  // other streams do not wait for the memory to be zeroed
  ++num_allocations_;
  const auto address = reinterpret_cast<std::uintptr_t>(memory);
  const std::size_t skipped = (alignment - address % alignment) % alignment;
  // cudaFree waits for all work under way.
  return {static_cast<std::byte*>(memory) + skipped, bytes,
          [memory](void*, std::size_t) { cudaFree(memory); }};
}

std::optional<DeviceMemory> CudaDevice::memory() const {
  use();
  std::size_t free = 0, total = 0;
  CUDA_CHECK(cudaMemGetInfo(&free, &total));
  return DeviceMemory{.total = total, .used = total - free, .cache = properties_.cache_bytes};
}

Buffer CudaDevice::allocate_host(std::size_t bytes) {
  use();
  void* memory = nullptr;
  const cudaError_t status = cudaHostAlloc(&memory, std::max<std::size_t>(bytes, 1), 0);
  CHECK_AS(ExitCode::configuration, status == cudaSuccess,
           "{} bytes of the host's memory cannot be pinned for {}: {}", bytes, name_,
           cudaGetErrorString(status));
  return {memory, bytes, [](void* data, std::size_t) { cudaFreeHost(data); }};
}

void CudaDevice::copy_to_device(Tensor dst, const void* host, Stream& stream) {
  if (dst.bytes() == 0) return;
  if (auto* own = dynamic_cast<CudaStream*>(&stream)) {
    own->upload(dst.data, host, dst.bytes());
    return;
  }
  stream.run([=, this] {
    copy_and_wait(dst.data, host, dst.bytes(), cudaMemcpyHostToDevice, to_device_);
  });
}

void CudaDevice::copy_to_host(void* host, Tensor src, Stream& stream) {
  if (src.bytes() == 0) return;
  if (auto* own = dynamic_cast<CudaStream*>(&stream)) {
    CUDA_CHECK(cudaMemcpyAsync(host, src.data, src.bytes(), cudaMemcpyDeviceToHost, own->handle()));
    return;
  }
  stream.run(
      [=, this] { copy_and_wait(host, src.data, src.bytes(), cudaMemcpyDeviceToHost, to_host_); });
}

std::string version(std::size_t number, std::size_t unit) {
  return fmt::format("{}.{}", number / unit, number % unit / (unit / 100));
}

bool driver_is_here() {
  const auto is_here = [](const char* file) { return ::access(file, F_OK) == 0; };
  return is_here("/proc/driver/nvidia") || is_here("/dev/nvidiactl") || is_here("/dev/dxg") ||
         is_here("/dev/nvhost-ctrl");
}

}  // namespace

CudaDevices find_cuda_devices() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  // What the runtime says where there is no driver, too.
  if (status == cudaErrorInsufficientDriver && !driver_is_here())
    return {0, "there is no GPU here, nor a driver of one"};
  if (status != cudaSuccess)
    return {0, fmt::format("no GPU can be used: {}", cudaGetErrorString(status))};
  return {count, count == 0 ? "there is no GPU" : ""};
}

std::unique_ptr<Device> make_cuda_device(int index) {
  return std::make_unique<CudaDevice>(index);
}

std::optional<int> cuda_index(const Device& device) {
  const auto* gpu = dynamic_cast<const CudaDevice*>(&device);
  return gpu == nullptr ? std::optional<int>() : gpu->index();
}

std::string cuda_libraries() {
  return fmt::format("CUDA {}, cuBLASLt {}, {}", version(CUDART_VERSION, 1000),
                     version(CUBLAS_VERSION, 10000), cudnn_text());
}

}  // namespace dualpath
