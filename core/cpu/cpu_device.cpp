#include "core/cpu/cpu_device.h"

#include <atomic>
#include <cstring>
#include <fmt/ranges.h>
#include <sys/mman.h>

#include "core/base/host_memory.h"
#include "core/cpu/kernel_sets.h"
#include "core/cpu/parallel_for.h"
#include "core/cpu/scratch.h"
#include "core/device/threaded_stream.h"

namespace dualpath {
namespace {

constexpr std::int64_t page_bytes = 4096;

class CpuDevice final : public Device {
 public:
  CpuDevice(int num_threads, const KernelSet& kernels)
      : num_threads_(num_threads), kernels_(kernels) {}

  std::string name() const override {
    const std::string model = proc_value("/proc/cpuinfo", "model name");
    return fmt::format("cpu ({}{}{})", model, model.empty() ? "" : ", ", kernels_.name);
  }

  void require(const NumericTypes& types) const override;
  Buffer allocate(std::size_t bytes) override;
  std::size_t num_allocations() const override { return num_allocations_; }
  bool is_host_memory() const override { return true; }
  Buffer allocate_host(std::size_t bytes) override { return allocate(bytes); }

  std::unique_ptr<Stream> make_stream() override { return std::make_unique<InlineStream>(); }
  std::unique_ptr<Stream> make_threaded_stream() override {
    return std::make_unique<ThreadedStream>();
  }
  std::unique_ptr<Ops> make_ops(Stream&) override { return kernels_.make_ops(num_threads_); }

  void copy_to_device(Tensor dst, const void* host, Stream& stream) override {
    copy(dst.data, host, dst.bytes(), stream);
  }
  void copy_to_host(void* host, Tensor src, Stream& stream) override {
    copy(host, src.data, src.bytes(), stream);
  }

 private:
  static void copy(void* to, const void* from, std::size_t bytes, Stream& stream) {
    if (bytes > 0) stream.run([=] { std::memcpy(to, from, bytes); });
  }

  int num_threads_;
  const KernelSet& kernels_;
  std::atomic<std::size_t> num_allocations_ = 0;
};

void CpuDevice::require(const NumericTypes& types) const {
  CHECK(types.master == DType::f32, "the CPU kernels compute in f32, not {}",
        name_of(types.master));
  CHECK_AS(ExitCode::configuration, types.operand == DType::f32 || multiplies_bf16(),
           "precision bf16 needs a processor with AVX-512, and {} has none: use fp32", name());
}

// The system promises memory that it may not have: ask first, then touch every page, from the
// threads that will use it.
Buffer CpuDevice::allocate(std::size_t bytes) {
  const std::int64_t available = available_host_bytes();
  const auto refuse = [=] {
    DUALPATH_FAIL(ExitCode::configuration,
                  "out of memory: {:.3g} GB are asked for, {:.3g} GB are available on this host",
                  static_cast<double>(bytes) / 1e9, static_cast<double>(available) / 1e9);
  };
  if (bytes > static_cast<std::size_t>(available)) refuse();
  const std::int64_t mapped =
      std::max(round_up(static_cast<std::int64_t>(bytes), page_bytes), page_bytes);
  const auto length = static_cast<std::size_t>(mapped);
  void* memory = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) refuse();
  madvise(memory, length, MADV_HUGEPAGE);  // an advice: a kernel without them serves small pages
  auto* pages = static_cast<volatile std::byte*>(memory);
  parallel_for(num_threads_, {mapped / page_bytes, page_bytes}, [=](Piece piece) {
    for (std::int64_t page = piece.begin; page < piece.end; ++page)
      pages[page * page_bytes] = std::byte{0};
  });
  ++num_allocations_;
  return {memory, bytes, [length](void* data, std::size_t) { munmap(data, length); }};
}

}  // namespace

std::vector<std::string> cpu_kernels() {
  std::vector<std::string> names;
  for (const KernelSet& set : kernel_sets()) {
    if (set.runs_here()) names.emplace_back(set.name);
  }
  return names;
}

std::unique_ptr<Device> make_cpu_device(int num_threads, const std::string& kernels) {
  CHECK_AS(ExitCode::configuration, num_threads >= 1,
           "the CPU backend needs at least one thread, not {}", num_threads);
  for (const KernelSet& set : kernel_sets()) {
    if (set.runs_here() && (kernels.empty() || kernels == set.name))
      return std::make_unique<CpuDevice>(num_threads, set);
  }
  CHECK_AS(ExitCode::configuration, kernels.empty(), "no CPU kernels '{}' run here; there are {}",
           kernels, fmt::join(cpu_kernels(), ", "));
  DUALPATH_FAIL(ExitCode::configuration,
                "this processor has no AVX2, which the CPU backend needs at least");
}

}  // namespace dualpath
