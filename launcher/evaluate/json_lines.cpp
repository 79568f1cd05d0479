#include "launcher/evaluate/json_lines.h"

#include <nlohmann/json.hpp>

namespace dualpath {

Json parse_object(std::string_view text) {
  Json object;
  try {
    object = Json::parse(text);
  } catch (const Json::exception& error) {
    const std::string_view what = error.what();
    const bool encoding = what.find("UTF-8") != std::string_view::npos;
    DUALPATH_FAIL(ExitCode::data, "{}: {}", encoding ? "not UTF-8" : "not JSON",
                  what.substr(what.find("] ") + 2));
  }
  CHECK_AS(ExitCode::data, object.is_object(), "no JSON object, but {}", object.type_name());
  return object;
}

namespace {
const Json& field_of(const Json& object, const std::string& field) {
  const auto it = object.find(field);
  CHECK_AS(ExitCode::data, it != object.end(), "there is no \"{}\"", field);
  return *it;
}
}  // namespace

std::string text_of(const Json& object, const std::string& field) {
  const Json& value = field_of(object, field);
  CHECK_AS(ExitCode::data, value.is_string(), "\"{}\" is {}, not a text", field, value.type_name());
  return value.get<std::string>();
}

std::int64_t integer_of(const Json& object, const std::string& field) {
  const Json& value = field_of(object, field);
  CHECK_AS(ExitCode::data, value.is_number_integer(), "\"{}\" is {}, not a whole number", field,
           value.dump());
  return value.get<std::int64_t>();
}

JsonLines::JsonLines(std::string file) : file_(std::move(file)), input_(open_input_file(file_)) {}

std::optional<Json> JsonLines::next() {
  for (std::string text; read_line(text);) {
    ++line_;
    if (text.find_first_not_of(" \t\r") == std::string::npos) continue;
    std::optional<Json> object;
    locate([&] { object = parse_object(text); });
    return object;
  }
  return std::nullopt;
}

bool JsonLines::read_line(std::string& text) {
  std::size_t end = buffer_.find('\n', consumed_);
  while (end == std::string::npos) {
    buffer_.erase(0, consumed_);
    consumed_ = 0;
    const std::size_t before = buffer_.size();
    buffer_.resize(before + (1 << 16));
    const std::size_t count = input_->read(std::span(buffer_).subspan(before));
    buffer_.resize(before + count);
    if (count == 0) {
      if (buffer_.empty()) return false;
      text = std::exchange(buffer_, {});
      return true;
    }
    end = buffer_.find('\n', before);
  }
  text = buffer_.substr(consumed_, end - consumed_);
  consumed_ = end + 1;
  return true;
}

}  // namespace dualpath
