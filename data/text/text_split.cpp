#include "data/text/text_split.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace dualpath {

void TextExtent::add(const TextPart& part) {
  last_document_begin = document_begin_;
  bytes += part.text.size();
  if (part.ends_document) document_begin_ = bytes;
}

SplitReader::SplitReader(TextReader reader, const TextExtent& extent, double fraction)
    : reader_(std::move(reader)), begin_(std::numeric_limits<std::uint64_t>::max()) {
  if (fraction > 0) {
    begin_ =
        extent.bytes - static_cast<std::uint64_t>(fraction * static_cast<double>(extent.bytes));
  }
  within_document_ = extent.last_document_begin < begin_;
}

bool SplitReader::next(TextPart& part) {
  if (!rest_.text.empty()) {
    part = std::exchange(rest_, {});
    held_out_ = true;
    return true;
  }
  if (!reader_.next(part)) return false;
  const std::uint64_t part_begin = position_;
  position_ += part.text.size();
  const bool begins_document = std::exchange(at_document_begin_, part.ends_document);
  if (held_out_ || position_ < begin_) return true;

  if (!within_document_) {
    held_out_ = begins_document && part_begin >= begin_;
    return true;
  }
  // The line's first byte is at begin_ or after. No part of a document ends with a line's end.
  const std::size_t from = begin_ > part_begin ? begin_ - part_begin - 1 : 0;
  const std::size_t line = part.text.find('\n', from) + 1;  // 0: none
  if (line > 0 && line < part.text.size()) {
    rest_ = {.text = part.text.substr(line), .ends_document = part.ends_document};
    part.text.resize(line);
    part.ends_document = true;
  }
  return true;
}

}  // namespace dualpath
