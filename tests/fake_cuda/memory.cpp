#include "tests/fake_cuda/memory.h"

#include <cstring>
#include <fmt/format.h>
#include <sys/mman.h>

#include "core/base/error.h"
#include "tests/fake_cuda/calls.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, bytes) static_cast<void>(0)
#define ASAN_UNPOISON_MEMORY_REGION(address, bytes) static_cast<void>(0)
#endif

namespace dualpath::fake_cuda {
namespace {

constexpr std::size_t page = 4096;
constexpr std::size_t granularity = 256;  // of addresses, as CUDA promises
// No two numbers of a kernel's operands, side by side, look like addresses from here on; and to
// make one near changes its upper half only, so that a number beside what a pointer left in padding
// stays.
constexpr std::uintptr_t far_begin = 0x6b00'0000'0000, near_begin = 0x6d00'0000'0000;

constexpr std::size_t round_up(std::size_t bytes, std::size_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

std::uintptr_t map(std::uintptr_t address, std::size_t bytes, int flags) {
  void* range = mmap(reinterpret_cast<void*>(address), bytes, PROT_NONE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);
  CHECK(range != MAP_FAILED, "no addresses for the memory of a fake GPU");
  return reinterpret_cast<std::uintptr_t>(range);
}

}  // namespace

Memory::Memory(std::size_t bytes_of_device)
    : bytes_of_device_(bytes_of_device),
      far_(map(far_begin, range_bytes, MAP_FIXED_NOREPLACE)),
      near_(map(near_begin, range_bytes, MAP_FIXED_NOREPLACE)) {}

Memory::~Memory() {
  ASAN_UNPOISON_MEMORY_REGION(reinterpret_cast<void*>(near_), unused_);
  munmap(reinterpret_cast<void*>(far_), range_bytes);
  munmap(reinterpret_cast<void*>(near_), range_bytes);
}

// The offset. The block ends at the end of a page, behind which is one that faults.
std::size_t Memory::reserve(int owner, std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  const std::size_t pages = round_up(bytes, page);
  CHECK(unused_ + pages + page <= range_bytes, "a fake GPU has used up its addresses");
  const std::uintptr_t begin = near_ + unused_;
  CHECK(mprotect(reinterpret_cast<void*>(begin), pages, PROT_READ | PROT_WRITE) == 0,
        "no memory for a fake GPU");
  madvise(reinterpret_cast<void*>(begin), pages, MADV_HUGEPAGE);  // faster
  std::memset(reinterpret_cast<void*>(begin), 0xff, pages);
  const std::size_t skipped = pages - round_up(bytes, granularity);
  ASAN_POISON_MEMORY_REGION(reinterpret_cast<void*>(begin), skipped);
  ASAN_POISON_MEMORY_REGION(reinterpret_cast<void*>(begin + skipped + bytes),
                            pages - skipped - bytes);
  const std::size_t offset = unused_ + skipped;
  blocks_[offset] = {owner, bytes};
  unused_ += pages + page;
  return offset;
}

bool Memory::release(std::size_t offset, bool is_pinned) {
  const std::lock_guard lock(mutex_);
  const auto block = blocks_.find(offset);
  if (block == blocks_.end() || (block->second.owner == pinned) != is_pinned) return false;
  const std::size_t begin = offset / page * page;
  const std::size_t pages = round_up(offset + block->second.bytes, page) - begin;
  ASAN_UNPOISON_MEMORY_REGION(reinterpret_cast<void*>(near_ + begin), pages);
  map(near_ + begin, pages, MAP_FIXED);
  blocks_.erase(block);
  return true;
}

std::size_t Memory::used_bytes(int owner) const {
  std::size_t used = 0;
  for (const auto& [offset, block] : blocks_)
    if (block.owner == owner) used += block.bytes;
  return used;
}

std::size_t Memory::free_bytes(int device) const {
  const std::lock_guard lock(mutex_);
  return bytes_of_device_ - used_bytes(device);
}

void* Memory::allocate(int device, std::size_t bytes) {
  if (bytes > free_bytes(device)) return nullptr;
  return reinterpret_cast<void*>(far_ + reserve(device, bytes));
}

void* Memory::allocate_pinned(std::size_t bytes) {
  return reinterpret_cast<void*>(near_ + reserve(pinned, bytes));
}

bool Memory::free(void* address) {
  return release(reinterpret_cast<std::uintptr_t>(address) - far_, false);
}

bool Memory::free_pinned(void* address) {
  return release(reinterpret_cast<std::uintptr_t>(address) - near_, true);
}

int Memory::owner_of(const void* address, std::size_t bytes) const {
  const auto number = reinterpret_cast<std::uintptr_t>(address);
  const bool is_far = number - far_ < range_bytes;
  if (!is_far && number - near_ >= range_bytes) return pageable;
  const std::size_t offset = number - (is_far ? far_ : near_);
  const std::lock_guard lock(mutex_);
  auto block = blocks_.upper_bound(offset);
  require(block != blocks_.begin(), cudaErrorInvalidValue, "memory that was never allocated");
  --block;
  const auto& [begin, found] = *block;
  require(offset + bytes <= begin + found.bytes && (found.owner == pinned) != is_far,
          cudaErrorInvalidValue,
          fmt::format("{} bytes at {} that are not all in one allocation", bytes, address));
  return found.owner;
}

void Memory::near_words(void* words, std::size_t bytes) const {
  for (std::size_t at = 0; at + sizeof(void*) <= bytes; at += sizeof(void*)) {
    std::byte* word = static_cast<std::byte*>(words) + at;
    void* pointer;
    std::memcpy(&pointer, word, sizeof pointer);
    pointer = near(pointer);
    std::memcpy(word, &pointer, sizeof pointer);
  }
}

std::vector<std::string> Memory::leaks() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> found;
  for (const auto& [offset, block] : blocks_)
    found.push_back(fmt::format("{} bytes of {} memory", block.bytes,
                                block.owner == pinned ? "pinned" : "device"));
  return found;
}

}  // namespace dualpath::fake_cuda
