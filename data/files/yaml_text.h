// Scalars of the YAML files that this folder writes.
#pragma once

#include <charconv>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace dualpath {

// A double-quoted YAML scalar, which a JSON string is. Bytes that are no UTF-8 are replaced by
// U+FFFD.
inline std::string quoted(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

// A number in hexadecimal digits; none where the text is anything else.
inline std::optional<std::uint64_t> parse_hex(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.begin(), text.end(), value, 16);
  return error == std::errc{} && end == text.end() ? std::optional(value) : std::nullopt;
}

}  // namespace dualpath
