// Text documents from files and folders, streamed.
//   *.jsonl     one JSON object a line, the document in one of its fields
//   all others  the whole file is one document
// each of them also compressed (data/input_file.h). All errors are Error(data).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "data/input_file.h"
#include "data/segmenter.h"

namespace dualpath {

struct TextFiles {
  std::vector<std::filesystem::path> files;
  std::uint64_t stored_bytes = 0;        // of all files
  std::vector<std::string> passed_over;  // files of folders, of other kinds
};

// A file stands for itself; a folder for its files of the kinds .txt, .text, .md, .jsonl and .dict,
// compressed or not, sorted, subfolders included. Throws where an input is missing or a folder has
// no such file.
TextFiles find_text_files(std::span<const std::string> inputs);

// A document, or part of one. A long document comes in parts that fall into the same tokens as
// the whole (Segmenter::last_safe_cut).
struct TextPart {
  std::string text;  // not empty
  bool ends_document = false;
};

// Memory: a few MiB, or a line of JSON, or a stretch of text in which no safe cut is.
class TextReader {
 public:
  // field: of the JSON objects. REQUIRES: the segmenter outlives the reader.
  TextReader(std::vector<std::filesystem::path> files, std::string field,
             const Segmenter& segmenter);

  // False at the end. Empty documents are passed over. Errors in a line tell "file:line".
  bool next(TextPart& part);

  // How far reading has come in the files as they are stored.
  std::uint64_t stored_bytes_read() const;

 private:
  void open_file(const std::filesystem::path& path);
  bool fill();  // reads more into buffer_; false at the end of the file
  bool next_json_text(TextPart& part);
  bool next_plain_text(TextPart& part);
  std::string text_of_line(std::string_view line) const;

  std::vector<std::filesystem::path> files_;
  std::string field_;
  const Segmenter* segmenter_;
  std::size_t num_opened_ = 0;
  std::uint64_t closed_bytes_ = 0;  // stored, of the files behind

  // The file under way.
  std::unique_ptr<InputFile> file_;
  std::string name_;
  bool is_json_ = false;
  std::uint64_t line_ = 0;  // the last one read
  std::string buffer_;      // read, not yet given out: buffer_[consumed_..]
  std::size_t consumed_ = 0;
};

}  // namespace dualpath
