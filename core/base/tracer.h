// Tracer: is told of the phases of the work as the host goes through them.
#pragma once

#include <cstdint>
#include <fmt/format.h>
#include <string_view>

namespace dualpath {

// Any thread may call. The ranges of one thread nest.
class Tracer {
 public:
  virtual ~Tracer() = default;
  // "NAME DETAIL"; the name is a literal.
  virtual void begin(const char* name, std::string_view detail) = 0;
  virtual void end() = 0;
};

// A range from construction to destruction; nothing without a tracer.
class Phase {
 public:
  Phase(Tracer* tracer, const char* name, std::string_view detail = {}) : tracer_(tracer) {
    if (tracer_ != nullptr) tracer_->begin(name, detail);
  }
  Phase(Tracer* tracer, const char* name, std::int64_t number) : tracer_(tracer) {
    if (tracer_ != nullptr) tracer_->begin(name, std::string_view(fmt::format_int(number).c_str()));
  }
  ~Phase() {
    if (tracer_ != nullptr) tracer_->end();
  }
  Phase(const Phase&) = delete;
  Phase& operator=(const Phase&) = delete;

 private:
  Tracer* tracer_;
};

}  // namespace dualpath
