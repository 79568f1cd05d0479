// JSON lines from a file or a stream, with messages that tell the line.
#pragma once

#include <cstdint>
#include <istream>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "core/base/error.h"
#include "data/text/input_file.h"
#include "launcher/common/table.h"

namespace dualpath {

// One JSON object. Throws Error(data), without the place: not UTF-8, no JSON, no object.
Json parse_object(std::string_view text);

// A field of an object. Throws Error(data), without the place, where it is missing or of another
// type.
std::string text_of(const Json& object, const std::string& field);
std::int64_t integer_of(const Json& object, const std::string& field);

// The objects of a file, one a line; empty lines are passed over. Compressed files as in
// data/text/input_file.h. All errors are Error(data) and begin with "file:line: ".
class JsonLines {
 public:
  explicit JsonLines(std::string file);
  std::optional<Json> next();
  std::size_t line() const { return line_; }  // of the last object, counted from 1

  // Runs work(); an Error of it gets the place of the last object.
  template <class Work>
  void locate(const Work& work) const {
    try {
      work();
    } catch (const Error& error) {
      DUALPATH_FAIL(error.code(), "{}:{}: {}", file_, line_, error.what());
    }
  }

 private:
  bool read_line(std::string& text);

  std::string file_;
  std::unique_ptr<InputFile> input_;
  std::string buffer_;
  std::size_t consumed_ = 0;
  std::size_t line_ = 0;
};

}  // namespace dualpath
