#include "launcher/routes/conllu.h"

#include <algorithm>
#include <charconv>

#include "data/files/file_io.h"

namespace dualpath {

namespace {

constexpr std::size_t num_columns = 10;

std::vector<std::string_view> columns_of(std::string_view line) {
  std::vector<std::string_view> columns;
  for (std::size_t begin = 0;;) {
    const std::size_t end = line.find('\t', begin);
    columns.push_back(line.substr(begin, end - begin));
    if (end == std::string_view::npos) return columns;
    begin = end + 1;
  }
}

// The first and last number of "7" or "3-4"; {0, 0} for an empty node ("8.1"), {-1, -1} for no id.
std::pair<int, int> id_range(std::string_view id) {
  int first = -1, last = -1;
  const char* const end = id.data() + id.size();
  const auto [at, error] = std::from_chars(id.data(), end, first);
  if (error != std::errc() || first < 0) return {-1, -1};
  if (at == end) return {first, first};
  if (*at == '.') return {0, 0};
  const auto [rest, problem] = std::from_chars(at + 1, end, last);
  if (*at != '-' || problem != std::errc() || rest != end) return {-1, -1};
  return {first, last};
}

class ConlluReader {
 public:
  explicit ConlluReader(const std::string& file) : file_(file) {}

  std::vector<TaggedSentence> read() {
    const std::string content = read_file(file_, ExitCode::data);
    for (std::size_t begin = 0; begin < content.size();) {
      const std::size_t end = std::min(content.find('\n', begin), content.size());
      std::string_view line = std::string_view(content).substr(begin, end - begin);
      if (line.ends_with('\r')) line.remove_suffix(1);
      ++line_;
      read_line(line);
      begin = end + 1;
    }
    finish_sentence();
    CHECK_AS(ExitCode::data, !sentences_.empty(), "{}: no sentences", file_);
    return std::move(sentences_);
  }

 private:
  void read_line(std::string_view line) {
    if (line.empty()) return finish_sentence();
    if (line[0] == '#') return;
    const std::vector<std::string_view> columns = columns_of(line);
    CHECK_AS(ExitCode::data, columns.size() == num_columns, "{}:{}: {} columns, CoNLL-U has {}",
             file_, line_, columns.size(), num_columns);
    const auto [first, last] = id_range(columns[0]);
    CHECK_AS(ExitCode::data, first >= 0, "{}:{}: \"{}\" is no word's number", file_, line_,
             columns[0]);
    if (first == 0) return;  // an empty node
    if (first <= last_of_range_) {
      // Within a range, whose text is there already.
      if (sentence_.words.back().tag == "_") sentence_.words.back().tag = columns[3];
      return;
    }
    last_of_range_ = last;
    const std::size_t begin = sentence_.text.size();
    sentence_.text += columns[1];
    sentence_.words.push_back({begin, sentence_.text.size(), std::string(columns[3])});
    if (columns[9].find("SpaceAfter=No") == std::string_view::npos) sentence_.text += ' ';
  }
  void finish_sentence() {
    if (!sentence_.words.empty()) sentences_.push_back(std::move(sentence_));
    sentence_ = {};
    last_of_range_ = 0;
  }

  std::string file_;
  std::size_t line_ = 0;
  int last_of_range_ = 0;  // words up to this number are there
  TaggedSentence sentence_;
  std::vector<TaggedSentence> sentences_;
};

}  // namespace

std::vector<TaggedSentence> read_conllu(const std::string& file) {
  return ConlluReader(file).read();
}

std::vector<std::string> tags_of_tokens(const TaggedSentence& sentence,
                                        std::span<const std::int32_t> tokens,
                                        const Tokenizer& tokenizer) {
  std::vector<std::string> tags;
  std::size_t begin = 0;
  auto word = sentence.words.begin();
  for (const std::int32_t token : tokens) {
    const auto id = static_cast<std::uint32_t>(token);
    if (id == tokenizer.end_of_text()) {
      tags.emplace_back("END");
      continue;
    }
    const std::size_t end = begin + tokenizer.tokens()[id].size();
    std::size_t first = begin;
    while (first < end && first < sentence.text.size() && sentence.text[first] == ' ') ++first;
    while (word != sentence.words.end() && word->end <= first) ++word;
    const bool is_in_word = word != sentence.words.end() && word->begin < end && first < end;
    tags.push_back(is_in_word ? word->tag : "SPACE");
    begin = end;
  }
  return tags;
}

}  // namespace dualpath
