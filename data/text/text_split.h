// Keeps the end of a text apart, for validation.
#pragma once

#include <cstdint>

#include "data/text/text_reader.h"

namespace dualpath {

// How much text there is; found by reading all of it.
struct TextExtent {
  std::uint64_t bytes = 0;
  std::uint64_t last_document_begin = 0;  // bytes before it

  void add(const TextPart& part);

 private:
  std::uint64_t document_begin_ = 0;
};

// Reads a text of which the last `fraction` (of the bytes) is held out: the documents that begin
// there, or, where none does, the last document from the first line on that begins there.
class SplitReader {
 public:
  // extent: of all that the reader gives. fraction 0: nothing is held out.
  SplitReader(TextReader reader, const TextExtent& extent, double fraction);

  // As TextReader::next. Afterwards is_held_out() tells of which side the part is.
  bool next(TextPart& part);
  bool is_held_out() const { return held_out_; }
  const TextReader& reader() const { return reader_; }

 private:
  TextReader reader_;
  std::uint64_t begin_;   // the split lies at or after this byte
  bool within_document_;  // at the begin of a line of the last document, not at a document's
  std::uint64_t position_ = 0;
  bool at_document_begin_ = true;
  bool held_out_ = false;
  TextPart rest_;  // the second half of the part that was cut
};

}  // namespace dualpath
