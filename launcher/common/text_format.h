// Numbers as people read them.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <fmt/format.h>
#include <iterator>
#include <string>
#include <string_view>

namespace dualpath {

// 1234567 as "1,234,567".
inline std::string grouped(std::uint64_t value) {
  std::string text = fmt::format("{}", value);
  for (auto end = static_cast<int>(text.size()) - 3; end > 0; end -= 3) {
    text.insert(static_cast<std::size_t>(end), 1, ',');
  }
  return text;
}

// 483156880 as "483.2M"; from 10^15 on as "2.2e+20".
inline std::string scaled(double value) {
  constexpr const char* units[] = {"", "k", "M", "G", "T"};
  if (!(value < 1e15)) return fmt::format("{:.3g}", value);
  std::size_t unit = 0;
  for (; value >= 999.95 && unit + 1 < std::size(units); ++unit) value /= 1000;
  return fmt::format("{:.4g}{}", value, units[unit]);
}

// "1 run", "2 runs"
inline std::string plural(std::size_t count, std::string_view what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

// Seconds as "1:02:03".
inline std::string duration_text(double seconds) {
  const auto whole = std::lround(seconds);
  return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

// Seconds with the digits that tell something: "42 ms", "3.1 s", "1:02:03".
inline std::string elapsed_text(double seconds) {
  if (seconds < 1) return fmt::format("{:.0f} ms", std::ceil(seconds * 1e3));
  return seconds < 100 ? fmt::format("{:.1f} s", seconds) : duration_text(seconds);
}

// 1234 bytes as "1.2 kB"
inline std::string bytes_text(double bytes) {
  if (bytes < 1e3) return plural(static_cast<std::size_t>(bytes), "byte");
  if (bytes < 1e6) return fmt::format("{:.1f} kB", bytes / 1e3);
  return bytes < 1e9 ? fmt::format("{:.1f} MB", bytes / 1e6)
                     : fmt::format("{:.2f} GB", bytes / 1e9);
}

// Bytes of memory as "139 MB", "35.2 TB".
inline std::string size_text(double bytes) {
  constexpr const char* units[] = {"MB", "GB", "TB", "PB", "EB"};
  std::size_t unit = 0;
  double size = bytes / 1e6;
  for (; size >= 999.5 && unit + 1 < std::size(units); ++unit) size /= 1000;
  return fmt::format("{:.3g} {}", size, units[unit]);
}

}  // namespace dualpath
