#include "launcher/train/tensorboard_writer.h"

#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstring>
#include <fmt/format.h>
#include <optional>
#include <string_view>
#include <unistd.h>
#include <vector>

#include "core/base/error.h"

namespace dualpath {

namespace {

static_assert(std::endian::native == std::endian::little);

// CRC-32C (Castagnoli), reflected polynomial 0x82f63b78, masked as TFRecord wants it.
std::uint32_t masked_crc(std::string_view bytes) {
  static constexpr auto table = [] {
    std::array<std::uint32_t, 256> entries{};
    for (std::uint32_t i = 0; i < 256; ++i) {
      std::uint32_t crc = i;
      for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) ? 0x82f63b78u : 0u);
      entries[i] = crc;
    }
    return entries;
  }();
  std::uint32_t crc = ~0u;
  for (const char byte : bytes)
    crc = table[(crc ^ static_cast<std::uint8_t>(byte)) & 255] ^ (crc >> 8);
  return std::rotr(~crc, 15) + 0xa282ead8u;
}

template <class T>
void append_raw(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

// A protocol buffer: per field a key, number << 3 | wire type, then the value. Numbers stay below
// 16, so that a key is one byte.
class Message {
 public:
  void add_integer(unsigned number, std::uint64_t value) {
    add_key(number, 0);
    add_varint(value);
  }
  void add_double(unsigned number, double value) {
    add_key(number, 1);
    append_raw(bytes_, value);
  }
  void add_bytes(unsigned number, std::string_view value) {
    add_key(number, 2);
    add_varint(value.size());
    bytes_ += value;
  }
  void add_float(unsigned number, float value) {
    add_key(number, 5);
    append_raw(bytes_, value);
  }
  const std::string& bytes() const { return bytes_; }

 private:
  void add_key(unsigned number, unsigned wire_type) {
    bytes_ += static_cast<char>(number << 3 | wire_type);
  }
  void add_varint(std::uint64_t value) {
    for (; value >= 128; value >>= 7) bytes_ += static_cast<char>(value | 128);
    bytes_ += static_cast<char>(value);
  }
  std::string bytes_;
};

// Event: double wall_time = 1; int64 step = 2; string file_version = 3; Summary summary = 5;
// SessionLog session_log = 7.
Message event(std::int64_t step, unsigned content_number, std::string_view content) {
  const Seconds now = std::chrono::system_clock::now().time_since_epoch();
  Message event;
  event.add_double(1, now.count());
  event.add_integer(2, static_cast<std::uint64_t>(step));
  event.add_bytes(content_number, content);
  return event;
}

// Summary: repeated Value value = 1; Value: string tag = 1; float simple_value = 2.
class Summary {
 public:
  template <class T>
  void field(const char* name, const T& value, const MetricInfo& info) {
    if (*info.group == '\0') return;
    add(fmt::format("{}/{}", info.group, name), static_cast<double>(value));
  }
  void field(const char*, Seconds, const MetricInfo&) {}
  void field(const char* name, const std::optional<double>& value, const MetricInfo& info) {
    if (value) field(name, *value, info);
  }
  void field(const char*, const std::vector<double>& layers, const MetricInfo& info) {
    for (std::size_t layer = 0; layer < layers.size(); ++layer) {
      if (std::isnan(layers[layer])) continue;
      add(fmt::format("{}/layer_{:02}", info.group, layer), layers[layer]);
    }
  }
  void field(const char*, const GridTraffic&, const MetricInfo&) {}
  const std::string& bytes() const { return summary_.bytes(); }

 private:
  void add(std::string_view tag, double number) {
    Message value;
    value.add_bytes(1, tag);
    value.add_float(2, static_cast<float>(number));
    summary_.add_bytes(1, value.bytes());
  }
  Message summary_;
};

template <class Metrics>
std::string summary_event(const Metrics& metrics) {
  Summary summary;
  visit_fields(summary, metrics);
  return event(metrics.step, 5, summary.bytes()).bytes();
}

// Never the name of a file that is there: TensorBoard reads them in the order of their names.
std::string new_file_name(const std::string& folder) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto nanoseconds = std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  return fmt::format("{}/events.out.tfevents.{:010}.{:09}.{}.{}", folder,
                     nanoseconds / 1'000'000'000, nanoseconds % 1'000'000'000, host.data(),
                     ::getpid());
}

}  // namespace

TensorBoardWriter::TensorBoardWriter(const std::string& folder, std::int64_t last_step)
    : path_(new_file_name(folder)), file_(path_, std::ios::binary) {
  CHECK_AS(ExitCode::checkpoint, file_.is_open(), "{}: cannot be opened: {}", path_,
           std::strerror(errno));
  write_event(event(0, 3, "brain.Event:2").bytes());
  // SessionLog: Status status = 1, START = 1: readers forget the events from this step on.
  Message session;
  session.add_integer(1, 1);
  write_event(event(last_step + 1, 7, session.bytes()).bytes());
}

void TensorBoardWriter::write(const StepMetrics& metrics) {
  write_event(summary_event(metrics));
}
void TensorBoardWriter::write(const ValidationMetrics& metrics) {
  write_event(summary_event(metrics));
}
void TensorBoardWriter::write(const SaveMetrics& metrics) {
  write_event(summary_event(metrics));
}

void TensorBoardWriter::write_event(const std::string& event) {
  std::string record;
  append_raw(record, static_cast<std::uint64_t>(event.size()));
  append_raw(record, masked_crc(record));
  record += event;
  append_raw(record, masked_crc(event));
  file_ << record << std::flush;
  CHECK_AS(ExitCode::checkpoint, file_.good(), "{}: cannot be written: {}", path_,
           std::strerror(errno));
}

}  // namespace dualpath
