// Text documents from files and folders, streamed.
//   *.jsonl     one JSON object a line, the document in one of its fields
//   all others  the whole file is one document, or several with a separator between
// each of them also compressed (data/text/input_file.h). All errors are Error(data).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "data/text/input_file.h"
#include "data/text/segmenter.h"

namespace dualpath {

struct TextFiles {
  std::vector<std::filesystem::path> files;
  std::uint64_t stored_bytes = 0;        // of all files
  std::vector<std::string> passed_over;  // files of folders, of other kinds
  std::vector<std::string> met_again;    // folders met before, by another path
  std::vector<std::string> dangling;     // symbolic links to nothing
};

// A file stands for itself; a folder for its files of the kinds .txt, .text, .md, .jsonl and .dict,
// compressed or not, sorted, subfolders and symbolic links included; a folder that links lead to
// more than once, as loops do, counts once. Throws where an input is missing or cannot be looked
// at, or a folder has no such file.
TextFiles find_text_files(std::span<const std::string> inputs);

// By the name.
bool is_json_lines(const std::filesystem::path& path);

// A document, or part of one. A long document comes in parts that fall into the same tokens as
// the whole (Segmenter::last_safe_cut).
struct TextPart {
  std::string text;  // not empty
  bool ends_document = false;
};

// Memory: a few MiB, or a line of JSON, or a stretch of text in which no safe cut is.
class TextReader {
 public:
  // field: of the JSON objects. separator: stands between the documents of a file that is not JSON
  // lines, and belongs to none of them; nor does the line break behind it. Empty: there is none.
  // REQUIRES: the segmenter outlives the reader.
  TextReader(std::vector<std::filesystem::path> files, std::string field,
             const Segmenter& segmenter, std::string separator = {});

  // False at the end. Empty documents are passed over, and so is a byte order mark of UTF-8; a file
  // of UTF-16 or UTF-32 is refused. Errors in a line tell "file:line".
  bool next(TextPart& part);

  // How far reading has come in the files as they are stored.
  std::uint64_t stored_bytes_read() const;

  // The files so far that hold a byte 0; the separators found so far.
  const std::vector<std::string>& files_with_zeros() const { return files_with_zeros_; }
  std::uint64_t separators_found() const { return separators_found_; }

 private:
  void open_file(const std::filesystem::path& path);
  void pass_over_byte_order_mark();
  void pass_over_line_break();
  bool fill();                         // reads more into buffer_; false at the end of the file
  bool fill_up_to(std::size_t bytes);  // what is not yet given out; false at the end of the file
  bool next_json_text(TextPart& part);
  bool next_plain_text(TextPart& part);
  std::string text_of_line(std::string_view line) const;

  std::vector<std::filesystem::path> files_;
  std::string field_;
  const Segmenter* segmenter_;
  std::string separator_;
  std::vector<std::string> files_with_zeros_;
  std::uint64_t separators_found_ = 0;
  std::size_t num_opened_ = 0;
  std::uint64_t closed_bytes_ = 0;  // stored, of the files behind

  // The file under way.
  std::unique_ptr<InputFile> file_;
  std::string name_;
  bool is_json_ = false;
  std::uint64_t line_ = 0;  // the last one read
  std::string buffer_;      // read, not yet given out: buffer_[consumed_..]
  std::size_t consumed_ = 0;
  bool is_at_end_ = false;  // of the file: nothing more can be read
};

}  // namespace dualpath
