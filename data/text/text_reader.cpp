#include "data/text/text_reader.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <sys/stat.h>
#include <system_error>
#include <utility>

#include "core/base/error.h"
#include "data/files/file_io.h"

namespace dualpath {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t part_bytes = std::size_t{1} << 20;
constexpr std::array<std::string_view, 5> text_kinds = {".txt", ".text", ".md", ".jsonl", ".dict"};

bool is_text_kind(const fs::path& path) {
  const std::string extension = without_compression(path).extension();
  return std::find(text_kinds.begin(), text_kinds.end(), extension) != text_kinds.end();
}

void add_file(const fs::path& file, TextFiles& found) {
  found.files.push_back(file);
  found.stored_bytes += static_cast<std::uint64_t>(file_bytes(file, ExitCode::data));
}

// What a folder holds, by name. Errors name the folder, or what in it cannot be looked at.
std::vector<fs::directory_entry> list_folder(const fs::path& folder) {
  std::vector<fs::directory_entry> entries;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    entries.push_back(*entry);
  }
  CHECK_AS(ExitCode::data, !error, "{}: cannot be listed: {}", folder.string(), error.message());
  std::sort(entries.begin(), entries.end());
  return entries;
}

// A folder by what it is, whatever links lead there.
using FolderId = std::pair<dev_t, ino_t>;
FolderId id_of(const fs::path& folder) {
  struct stat status {};
  CHECK_AS(ExitCode::data, ::stat(folder.c_str(), &status) == 0, "{}: {}", folder.string(),
           std::strerror(errno));
  return {status.st_dev, status.st_ino};
}

// Finds the text of a folder: first in what lies in it, then behind its symbolic links, so that
// files have their own names where they have one there.
class FolderSearch {
 public:
  FolderSearch(const fs::path& folder, TextFiles& found) : found_(found) {
    enter(folder);
    for (std::size_t i = 0; i < links_.size(); ++i) enter(fs::path(links_[i]));
    std::sort(files_.begin(), files_.end());
  }
  const std::vector<fs::path>& files() const { return files_; }

 private:
  void enter(const fs::path& folder) {
    if (!known_.insert(id_of(folder)).second) {
      found_.met_again.push_back(folder.string());
      return;
    }
    for (const fs::directory_entry& entry : list_folder(folder)) {
      std::error_code error;
      const bool is_link = entry.is_symlink(error);
      const fs::file_status status = entry.status(error);
      const bool leads_nowhere = status.type() == fs::file_type::not_found ||
                                 error == std::errc::too_many_symbolic_link_levels;
      if (is_link && leads_nowhere) {
        found_.dangling.push_back(entry.path().string());
        continue;
      }
      CHECK_AS(ExitCode::data, status.type() != fs::file_type::none, "{}: {}",
               entry.path().string(), error.message());
      if (fs::is_directory(status)) {
        is_link ? links_.push_back(entry.path()) : enter(entry.path());
      } else if (fs::is_regular_file(status) && is_text_kind(entry.path())) {
        files_.push_back(entry.path());
      } else if (fs::is_regular_file(status)) {
        found_.passed_over.push_back(entry.path().string());
      }
    }
  }

  TextFiles& found_;
  std::set<FolderId> known_;
  std::vector<fs::path> links_;  // to folders
  std::vector<fs::path> files_;
};

void find_in_folder(const std::string& folder, TextFiles& found) {
  const FolderSearch search(folder, found);
  CHECK_AS(ExitCode::data, !search.files().empty(),
           "{}: no file in this folder is {} (or those with {})", folder,
           fmt::join(text_kinds, ", "), ".gz, .dz, .zst");
  for (const fs::path& file : search.files()) add_file(file, found);
}

}  // namespace

bool is_json_lines(const fs::path& path) {
  return without_compression(path).extension() == ".jsonl";
}

TextFiles find_text_files(std::span<const std::string> inputs) {
  TextFiles found;
  for (const std::string& input : inputs) {
    if (is_folder(input, ExitCode::data)) {
      find_in_folder(input, found);
    } else {
      CHECK_AS(ExitCode::data, path_exists(input, ExitCode::data), "{}: no such file or folder",
               input);
      CHECK_AS(ExitCode::data, is_regular_file(input, ExitCode::data),
               "{}: neither a file nor a folder", input);
      add_file(input, found);
    }
  }
  return found;
}

TextReader::TextReader(std::vector<fs::path> files, std::string field, const Segmenter& segmenter,
                       std::string separator)
    : files_(std::move(files)),
      field_(std::move(field)),
      segmenter_(&segmenter),
      separator_(std::move(separator)) {}

std::uint64_t TextReader::stored_bytes_read() const {
  return closed_bytes_ + (file_ ? file_->stored_bytes_read() : 0);
}

void TextReader::open_file(const fs::path& path) {
  file_ = open_input_file(path);
  is_at_end_ = false;
  name_ = path.string();
  is_json_ = is_json_lines(path);
  line_ = 0;
  buffer_.clear();
  consumed_ = 0;
  pass_over_byte_order_mark();
}

void TextReader::pass_over_byte_order_mark() {
  constexpr std::string_view utf8 = "\xef\xbb\xbf", little = "\xff\xfe", big = "\xfe\xff";
  fill_up_to(utf8.size());
  const std::string_view text = buffer_;
  CHECK_AS(ExitCode::data, !text.starts_with(little) && !text.starts_with(big),
           "{}: begins with the byte order mark of UTF-16 or UTF-32; convert it first: iconv -f "
           "UTF-16 -t UTF-8",
           name_);
  if (text.starts_with(utf8)) consumed_ = utf8.size();
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
  if (is_at_end_) return false;
  const std::size_t before = buffer_.size();
  buffer_.resize(before + std::max(part_bytes, before));
  buffer_.resize(before + file_->read(std::span(buffer_).subspan(before)));
  const bool is_known = !files_with_zeros_.empty() && files_with_zeros_.back() == name_;
  if (!is_known && buffer_.find('\0', before) != buffer_.npos) files_with_zeros_.push_back(name_);
  is_at_end_ = buffer_.size() == before;
  return !is_at_end_;
}

bool TextReader::fill_up_to(std::size_t bytes) {
  while (buffer_.size() - consumed_ < bytes) {
    if (!fill()) return false;
  }
  return true;
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

void TextReader::pass_over_line_break() {
  fill_up_to(2);
  const std::string_view text = std::string_view(buffer_).substr(consumed_);
  if (text.starts_with("\r\n")) {
    consumed_ += 2;
  } else if (text.starts_with('\n')) {
    consumed_ += 1;
  }
}

bool TextReader::next_plain_text(TextPart& part) {
  std::size_t wanted = part_bytes;
  while (true) {
    const bool at_end = !fill_up_to(wanted);
    const std::string_view text = std::string_view(buffer_).substr(consumed_);
    if (text.empty()) return false;
    const std::size_t end = separator_.empty() ? text.npos : text.find(separator_);
    if (end != text.npos) {
      part = {.text = std::string(text.substr(0, end)), .ends_document = true};
      consumed_ += end + separator_.size();
      ++separators_found_;
      pass_over_line_break();
      if (!part.text.empty()) return true;
      continue;
    }
    if (at_end) {
      part = {.text = std::string(text), .ends_document = true};
      consumed_ = buffer_.size();
      return true;
    }
    // The last bytes may be the beginning of a separator.
    const std::size_t held_back = separator_.empty() ? 0 : separator_.size() - 1;
    const std::string_view certain = text.substr(0, text.size() - std::min(text.size(), held_back));
    const std::size_t cut = segmenter_->last_safe_cut(certain);
    if (cut == 0) {
      wanted = 2 * text.size();
      continue;
    }
    part = {.text = std::string(text.substr(0, cut)), .ends_document = false};
    consumed_ += cut;
    return true;
  }
}

}  // namespace dualpath
