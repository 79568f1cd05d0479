// Numbers as people read them.
#pragma once

#include <cstdint>
#include <fmt/format.h>
#include <string>

namespace dualpath {

// 1234567 as "1,234,567".
inline std::string grouped(std::uint64_t value) {
  std::string text = fmt::format("{}", value);
  for (auto end = static_cast<int>(text.size()) - 3; end > 0; end -= 3) {
    text.insert(static_cast<std::size_t>(end), 1, ',');
  }
  return text;
}

}  // namespace dualpath
