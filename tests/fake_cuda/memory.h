// Memory of the GPUs, and pinned memory of the host. Device memory has two addresses a constant
// apart: a far one, which the program holds and which always faults, and a near one for work that
// runs. No address is used twice: what was freed faults too.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <type_traits>
#include <vector>

namespace dualpath::fake_cuda {

class Memory {
 public:
  explicit Memory(std::size_t bytes_of_device);
  ~Memory();

  // Full of rubbish. Null where there is no room.
  void* allocate(int device, std::size_t bytes);
  void* allocate_pinned(std::size_t bytes);
  // Whether there was such an allocation.
  bool free(void* address);
  bool free_pinned(void* address);
  std::size_t free_bytes(int device) const;
  std::size_t total_bytes() const { return bytes_of_device_; }

  static constexpr int pinned = -1, pageable = -2;
  // Whose memory this is: a device's, or the host's of either kind. Throws Refusal where the bytes
  // are not all in one allocation.
  int owner_of(const void* address, std::size_t bytes) const;

  // The near address of device memory; others stay as they are.
  template <class T>
  T* near(T* address) const {
    const auto far = reinterpret_cast<std::uintptr_t>(address);
    return far - far_ < range_bytes ? reinterpret_cast<T*>(far - far_ + near_) : address;
  }
  // A kernel's operands with every pointer to device memory made a near one.
  template <class Operands>
  Operands near_operands(Operands operands) const {
    static_assert(std::is_trivially_copyable_v<Operands>, "operands travel as bytes");
    near_words(&operands, sizeof operands);
    return operands;
  }

  std::vector<std::string> leaks() const;

 private:
  struct Block {
    int owner;
    std::size_t bytes;
  };
  static constexpr std::size_t range_bytes = std::size_t{1} << 40;

  std::size_t reserve(int owner, std::size_t bytes);
  bool release(std::size_t offset, bool is_pinned);
  void near_words(void* words, std::size_t bytes) const;
  std::size_t used_bytes(int owner) const;

  const std::size_t bytes_of_device_;
  std::uintptr_t far_ = 0, near_ = 0;  // where the two ranges begin
  mutable std::mutex mutex_;
  std::size_t unused_ = 0;               // pages from this offset on were never used
  std::map<std::size_t, Block> blocks_;  // by their offset
};

}  // namespace dualpath::fake_cuda
