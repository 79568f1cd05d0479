#include "tests/far_device/far_device.h"

#include <cstring>
#include <sys/mman.h>

namespace dualpath {
namespace {

// Changes the operands of the operation that it visits to where their elements really are.
class NearOperands final : public Contract {
 public:
  explicit NearOperands(const FarDevice& device) : device_(device) {}

 private:
  void operand(const Tensor& tensor, const OperandTerms&) override {
    // The operation that is visited is not const.
    const_cast<Tensor&>(tensor) = device_.near(tensor);
  }
  const FarDevice& device_;
};

class FarOps final : public Ops {
 public:
  FarOps(FarDevice& device, LazyStream& stream, std::unique_ptr<Ops> near)
      : device_(device), stream_(stream), near_(std::move(near)) {}
  ~FarOps() override { finish(stream_); }

  // As the destructor of what work still needs: waits, and leaves errors to the stream.
  static void finish(LazyStream& stream) {
    try {
      stream.synchronize();
    } catch (...) {
    }
  }

  void run(const Operation& operation) override {
    stream_.issue([=, this] {
      Operation near = operation;
      NearOperands operands(device_);
      visit_operands(near, operands);
      near_->run(near);
    });
  }
  void begin_packed_weights() override {
    stream_.issue([this] { near_->begin_packed_weights(); });
  }
  void end_packed_weights() override {
    stream_.issue([this] { near_->end_packed_weights(); });
  }

 private:
  FarDevice& device_;
  LazyStream& stream_;
  std::unique_ptr<Ops> near_;
};

}  // namespace

Buffer FarDevice::allocate(std::size_t bytes) {
  Buffer elements = near_->allocate(bytes);
  const std::size_t mapped = std::max<std::size_t>(bytes, 1);
  void* pages =
      mmap(nullptr, mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  CHECK(pages != MAP_FAILED, "no addresses for {} bytes", bytes);
  auto* far = static_cast<std::byte*>(pages);
  const std::lock_guard lock(mutex_);
  elements_[far] = std::move(elements);
  return {far, bytes,
          [this, mapped](void* data, std::size_t) { free(static_cast<std::byte*>(data), mapped); }};
}

void FarDevice::free(std::byte* far, std::size_t mapped) {
  std::set<LazyStream*> streams;
  {
    const std::lock_guard lock(mutex_);
    streams = streams_;
  }
  for (LazyStream* stream : streams) FarOps::finish(*stream);
  munmap(far, mapped);
  const std::lock_guard lock(mutex_);
  elements_.erase(far);
}

Tensor FarDevice::near(Tensor tensor) const {
  if (tensor.data == nullptr) return tensor;
  auto* far = static_cast<std::byte*>(tensor.data);
  const std::lock_guard lock(mutex_);
  auto range = elements_.upper_bound(far);
  CHECK(range != elements_.begin(), "a tensor {} that is not in this device's memory",
        tensor.shape.str());
  --range;
  const auto offset = static_cast<std::size_t>(far - range->first);
  CHECK(offset + tensor.bytes() <= range->second.bytes(),
        "a tensor {} that is not in this device's memory", tensor.shape.str());
  tensor.data = range->second.data() + offset;
  return tensor;
}

std::optional<DeviceMemory> FarDevice::memory() const {
  DeviceMemory memory{.total = 64 << 20, .used = 0, .cache = 1 << 20};
  const std::lock_guard lock(mutex_);
  for (const auto& [far, elements] : elements_) memory.used += elements.bytes();
  return memory;
}

class FarDevice::FarStream final : public LazyStream {
 public:
  explicit FarStream(FarDevice& device) : device_(device) {
    const std::lock_guard lock(device_.mutex_);
    device_.streams_.insert(this);
  }
  ~FarStream() override {
    const std::lock_guard lock(device_.mutex_);
    device_.streams_.erase(this);
  }

 private:
  FarDevice& device_;
};

std::unique_ptr<Stream> FarDevice::make_stream() {
  return std::make_unique<FarStream>(*this);
}

std::unique_ptr<Ops> FarDevice::make_ops(Stream& stream) {
  return std::make_unique<FarOps>(*this, dynamic_cast<LazyStream&>(stream),
                                  near_->make_ops(done_at_once_));
}

// On a stream of either kind.
void FarDevice::copy(Stream& stream, std::size_t bytes, HostTask task) {
  if (bytes == 0) return;
  if (auto* lazy = dynamic_cast<LazyStream*>(&stream)) {
    lazy->issue(task);
  } else {
    stream.run(task);
  }
}

void FarDevice::copy_to_device(Tensor dst, const void* host, Stream& stream) {
  copy(stream, dst.bytes(), [=, this] { std::memcpy(near(dst).data, host, dst.bytes()); });
}

void FarDevice::copy_to_host(void* host, Tensor src, Stream& stream) {
  copy(stream, src.bytes(), [=, this] { std::memcpy(host, near(src).data, src.bytes()); });
}

}  // namespace dualpath
