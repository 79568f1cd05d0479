// What the program holds by a handle: made, not yet destroyed. No handle is used twice.
#pragma once

#include <cstdint>
#include <fmt/format.h>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "tests/fake_cuda/refusal.h"

namespace dualpath::fake_cuda {

template <class Object>
class Handles {
 public:
  explicit Handles(std::string name) : name_(std::move(name)) {}

  template <class Handle>
  Handle add(Object object) {
    const std::lock_guard lock(mutex_);
    const std::uintptr_t number = ++num_made_;
    objects_.emplace(number, std::move(object));
    return reinterpret_cast<Handle>(number);
  }
  // These throw Refusal where there is none.
  Object at(const void* handle) const {
    const std::lock_guard lock(mutex_);
    return find(*this, handle)->second;
  }
  void set(const void* handle, Object object) {
    const std::lock_guard lock(mutex_);
    find(*this, handle)->second = std::move(object);
  }
  void remove(const void* handle) {
    const std::lock_guard lock(mutex_);
    objects_.erase(find(*this, handle));
  }

  void append_leaks(std::vector<std::string>& leaks) const {
    const std::lock_guard lock(mutex_);
    for (const auto& [number, object] : objects_)
      leaks.push_back(fmt::format("{} {}", name_, number));
  }

 private:
  static auto find(auto& self, const void* handle) {
    const auto found = self.objects_.find(reinterpret_cast<std::uintptr_t>(handle));
    require(found != self.objects_.end(), cudaErrorInvalidResourceHandle,
            "there is no such " + self.name_);
    return found;
  }

  const std::string name_;
  mutable std::mutex mutex_;
  std::uintptr_t num_made_ = 0xffff;  // no address, and no special handle
  std::map<std::uintptr_t, Object> objects_;
};

}  // namespace dualpath::fake_cuda
