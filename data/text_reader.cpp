#include "data/text_reader.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "core/error.h"

namespace dualpath {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t part_bytes = std::size_t{1} << 20;
constexpr std::array<std::string_view, 5> text_kinds = {".txt", ".text", ".md", ".jsonl", ".dict"};

bool is_json_lines(const fs::path& path) {
  return without_compression(path).extension() == ".jsonl";
}

bool is_text_kind(const fs::path& path) {
  const std::string extension = without_compression(path).extension();
  return std::find(text_kinds.begin(), text_kinds.end(), extension) != text_kinds.end();
}

void add_file(const fs::path& file, TextFiles& found) {
  found.files.push_back(file);
  found.stored_bytes += fs::file_size(file);
}

void find_in_folder(const std::string& folder, TextFiles& found) {
  std::vector<fs::path> files;
  const auto options = fs::directory_options::follow_directory_symlink;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder, options)) {
    if (!entry.is_regular_file()) continue;
    if (is_text_kind(entry.path())) {
      files.push_back(entry.path());
    } else {
      found.passed_over.push_back(entry.path());
    }
  }
  CHECK_AS(ExitCode::data, !files.empty(), "{}: no file in this folder is {} (or those with {})",
           folder, fmt::join(text_kinds, ", "), ".gz, .dz, .zst");
  std::sort(files.begin(), files.end());
  for (const fs::path& file : files) add_file(file, found);
}

}  // namespace

TextFiles find_text_files(std::span<const std::string> inputs) {
  TextFiles found;
  for (const std::string& input : inputs) {
    try {
      if (fs::is_directory(input)) {
        find_in_folder(input, found);
      } else {
        CHECK_AS(ExitCode::data, fs::exists(input), "{}: no such file or folder", input);
        CHECK_AS(ExitCode::data, fs::is_regular_file(input), "{}: neither a file nor a folder",
                 input);
        add_file(input, found);
      }
    } catch (const fs::filesystem_error& error) {
      DUALPATH_FAIL(ExitCode::data, "{}: {}", input, error.code().message());
    }
  }
  return found;
}

TextReader::TextReader(std::vector<fs::path> files, std::string field, const Segmenter& segmenter)
    : files_(std::move(files)), field_(std::move(field)), segmenter_(&segmenter) {}

std::uint64_t TextReader::stored_bytes_read() const {
  return closed_bytes_ + (file_ ? file_->stored_bytes_read() : 0);
}

void TextReader::open_file(const fs::path& path) {
  file_ = open_input_file(path);
  name_ = path.string();
  is_json_ = is_json_lines(path);
  line_ = 0;
  buffer_.clear();
  consumed_ = 0;
}

bool TextReader::next(TextPart& part) {
  while (true) {
    if (file_) {
      if (is_json_ ? next_json_text(part) : next_plain_text(part)) return true;
      closed_bytes_ += file_->stored_bytes_read();
      file_.reset();
    }
    if (num_opened_ == files_.size()) return false;
    open_file(files_[num_opened_++]);
  }
}

bool TextReader::fill() {
  buffer_.erase(0, consumed_);
  consumed_ = 0;
  const std::size_t before = buffer_.size();
  buffer_.resize(before + std::max(part_bytes, before));
  buffer_.resize(before + file_->read(std::span(buffer_).subspan(before)));
  return buffer_.size() > before;
}

bool TextReader::next_json_text(TextPart& part) {
  std::size_t searched = consumed_;
  while (true) {
    std::size_t end = buffer_.find('\n', searched);
    if (end == buffer_.npos) {
      searched = buffer_.size() - consumed_;  // where the new bytes will begin
      if (fill()) continue;
      if (buffer_.empty()) return false;
      end = buffer_.size();  // the last line lacks its end
    }
    ++line_;
    const std::string_view line = std::string_view(buffer_).substr(consumed_, end - consumed_);
    consumed_ = std::min(end + 1, buffer_.size());
    searched = consumed_;
    if (line.find_first_not_of(" \t\r") == line.npos) continue;
    part = {.text = text_of_line(line), .ends_document = true};
    if (!part.text.empty()) return true;
  }
}

std::string TextReader::text_of_line(std::string_view line) const {
  try {
    nlohmann::json object = nlohmann::json::parse(line);
    CHECK_AS(ExitCode::data, object.is_object(), "{}:{}: {} where an object is expected", name_,
             line_, object.type_name());
    const auto field = object.find(field_);
    CHECK_AS(ExitCode::data, field != object.end(),
             "{}:{}: the object has no field '{}'; text_field= names another one", name_, line_,
             field_);
    CHECK_AS(ExitCode::data, field->is_string(), "{}:{}: the field '{}' is {}, not a string", name_,
             line_, field_, field->type_name());
    return std::move(field->get_ref<std::string&>());
  } catch (const nlohmann::json::exception& error) {
    // "[json.exception.parse_error.101] parse error at line 1, column 7: ...", with what was read.
    const std::string_view what = error.what();
    const std::size_t column = what.find("column");
    DUALPATH_FAIL(ExitCode::data, "{}:{}: {}", name_, line_,
                  what.substr(column == what.npos ? 0 : column, 200));
  }
}

bool TextReader::next_plain_text(TextPart& part) {
  std::size_t wanted = part_bytes;
  while (true) {
    while (buffer_.size() < wanted) {
      if (fill()) continue;
      if (buffer_.empty()) return false;
      part = {.text = std::move(buffer_), .ends_document = true};
      buffer_.clear();
      return true;
    }
    const std::size_t cut = segmenter_->last_safe_cut(buffer_);
    if (cut == 0) {
      wanted = 2 * buffer_.size();
      continue;
    }
    part = {.text = buffer_.substr(0, cut), .ends_document = false};
    buffer_.erase(0, cut);
    return true;
  }
}

}  // namespace dualpath
