#include "launcher/evaluate/requests.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>
#include <variant>

#include "launcher/evaluate/greedy_text.h"
#include "launcher/evaluate/json_lines.h"
#include "parallel/run_together.h"

namespace dualpath {

namespace {

constexpr std::int64_t default_max_tokens = 256;

struct ScoreRequest {
  std::size_t first_text, num_texts;  // of all texts to score
  std::uint64_t tokens, bytes;
};
struct Request {
  Json id;
  std::variant<ScoreRequest, GenerateRequest> what;
};

std::vector<std::string> stop_texts(const Json& object) {
  if (!object.contains("until")) return {};
  const Json& until = object["until"];
  std::vector<std::string> texts;
  for (const Json& text : until.is_array() ? until : Json::array({until})) {
    CHECK_AS(ExitCode::data, text.is_string() && !text.get_ref<const std::string&>().empty(),
             "\"until\" is {}, neither a text nor a list of texts", until.dump());
    texts.push_back(text.get<std::string>());
  }
  return texts;
}

// Turns requests into texts to score.
class RequestEncoder {
 public:
  explicit RequestEncoder(const EvaluatedModel& model) : model_(model) {}

  Request encode(const Json& object) {
    const std::string type = text_of(object, "type");
    Request request{object.value("id", Json()), {}};
    if (type == "loglikelihood") {
      request.what = pair(text_of(object, "context"), text_of(object, "continuation"));
    } else if (type == "rolling") {
      request.what = rolling(text_of(object, object.contains("text") ? "text" : "context"));
    } else if (type == "generate") {
      request.what = generate(object);
    } else {
      DUALPATH_FAIL(ExitCode::data, "\"type\" is \"{}\", not loglikelihood, rolling or generate",
                    type);
    }
    return request;
  }
  std::span<const ScoredText> texts() const { return texts_; }

 private:
  ScoreRequest pair(const std::string& context, const std::string& continuation) {
    texts_.push_back(
        encode_pair(model_.tokenizer, context, continuation, model_.sequence_length).text);
    return {texts_.size() - 1, 1, texts_.back().num_scored(), continuation.size()};
  }
  ScoreRequest rolling(const std::string& text) {
    const std::size_t first = texts_.size();
    std::vector<std::uint32_t> ids;
    model_.tokenizer.encode(text, ids);
    RollingWindows windows(static_cast<std::int32_t>(model_.tokenizer.end_of_text()),
                           model_.sequence_length);
    windows.append(ids, texts_);
    windows.finish(texts_);
    return {first, texts_.size() - first, ids.size(), text.size()};
  }
  static GenerateRequest generate(const Json& object) {
    const std::int64_t max_tokens =
        object.contains("max_tokens") ? integer_of(object, "max_tokens") : default_max_tokens;
    CHECK_AS(ExitCode::data, 0 < max_tokens && max_tokens <= 1'000'000'000,
             "\"max_tokens\" is {}, not between 1 and 1000000000", max_tokens);
    return {text_of(object, "context"), stop_texts(object), max_tokens};
  }

  const EvaluatedModel& model_;
  std::vector<ScoredText> texts_;
};

Json score_answer(const ScoreRequest& request, std::span<const TextScore> scores) {
  TextScore sum;
  for (const TextScore& score : scores.subspan(request.first_text, request.num_texts)) sum += score;
  return {{"log_likelihood", sum.log_likelihood},
          {"is_greedy", sum.is_greedy},
          {"tokens", request.tokens},
          {"bytes", request.bytes}};
}

std::string line_of(const Json& answer) {
  return answer.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

std::vector<std::string> RequestAnswerer::answer(const std::vector<std::string>& lines,
                                                 std::size_t first_line) {
  RequestEncoder encoder(evaluated_);
  std::vector<Request> requests;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    try {
      requests.push_back(encoder.encode(parse_object(lines[i])));
    } catch (const Error& error) {
      DUALPATH_FAIL(error.code(), "request {}: {}", first_line + i, error.what());
    }
  }
  const std::vector<TextScore> scores = evaluated_.scorer.score(encoder.texts());
  // Texts are written by the ranks in turn; each tells the others its own.
  GreedyWriter writer(model_, evaluated_.tokenizer);
  std::string own;
  std::size_t turn = 0;
  std::vector<std::string> answers;
  for (const Request& request : requests) {
    Json answer = {{"id", request.id}};
    if (const auto* score = std::get_if<ScoreRequest>(&request.what)) {
      answer.update(score_answer(*score, scores));
    } else if (turn++ % static_cast<std::size_t>(ranks_.size()) ==
               static_cast<std::size_t>(ranks_.rank())) {
      answer["text"] = writer.write(std::get<GenerateRequest>(request.what));
      own += line_of(answer) + "\n";
    }
    answers.push_back(line_of(answer));
  }
  if (turn == 0) return answers;
  std::vector<std::string> written = ranks_.all_gather(own);
  turn = 0;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    if (!std::holds_alternative<GenerateRequest>(requests[i].what)) continue;
    std::string& lines_of_rank = written[turn++ % written.size()];
    const std::size_t end = lines_of_rank.find('\n');
    answers[i] = lines_of_rank.substr(0, end);
    lines_of_rank.erase(0, end + 1);
  }
  return answers;
}

namespace {

// Lines of a file or of standard input, as many at a time as are there.
class RequestReader {
 public:
  explicit RequestReader(const std::string& file)
      : file_(file == "-" ? "standard input" : file),
        input_(file == "-" ? STDIN_FILENO : ::open(file.c_str(), O_RDONLY | O_CLOEXEC)) {
    CHECK_AS(ExitCode::data, input_ >= 0, "{} cannot be opened: {}", file, std::strerror(errno));
  }
  ~RequestReader() {
    if (input_ != STDIN_FILENO) ::close(input_);
  }
  RequestReader(const RequestReader&) = delete;
  RequestReader& operator=(const RequestReader&) = delete;

  // Waits for one line, then takes all that are there, up to max_lines. None: the end.
  std::vector<std::string> next() {
    std::vector<std::string> lines;
    while (lines.size() < max_lines) {
      if (take_line(lines)) continue;
      if (is_at_end_ || (!lines.empty() && !is_readable())) break;
      read_more();
    }
    if (is_at_end_ && lines.size() < max_lines && !buffer_.empty())
      lines.push_back(std::exchange(buffer_, {}));
    std::erase_if(lines, [](const std::string& line) {
      return line.find_first_not_of(" \t\r") == std::string::npos;
    });
    return lines.empty() && !is_at_end_ ? next() : lines;
  }

 private:
  static constexpr std::size_t max_lines = 2048;

  bool take_line(std::vector<std::string>& lines) {
    const std::size_t end = buffer_.find('\n', consumed_);
    if (end == std::string::npos) {
      buffer_.erase(0, consumed_);
      consumed_ = 0;
      return false;
    }
    lines.push_back(buffer_.substr(consumed_, end - consumed_));
    consumed_ = end + 1;
    return true;
  }
  bool is_readable() const {
    pollfd descriptor{input_, POLLIN, 0};
    return ::poll(&descriptor, 1, 0) > 0;
  }
  void read_more() {
    char block[1 << 16];
    const ssize_t count = ::read(input_, block, sizeof block);
    if (count < 0 && errno == EINTR) return;
    CHECK_AS(ExitCode::data, count >= 0, "{} cannot be read: {}", file_, std::strerror(errno));
    if (count == 0) is_at_end_ = true;
    buffer_.append(block, static_cast<std::size_t>(count));
  }

  std::string file_;
  int input_;
  std::string buffer_;
  std::size_t consumed_ = 0;
  bool is_at_end_ = false;
};

void print_lines(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  const std::size_t written = std::fwrite(text.data(), 1, text.size(), stdout);
  CHECK_AS(ExitCode::data, written == text.size() && std::fflush(stdout) == 0,
           "standard output cannot be written: {}", std::strerror(errno));
}

}  // namespace

std::size_t answer_requests(RequestAnswerer& answerer, const std::string& file,
                            Communicator& ranks) {
  const bool is_root = ranks.rank() == 0;
  std::optional<RequestReader> reader;
  const auto read = [&] {
    if (!reader) reader.emplace(file);
    std::string lines;
    for (const std::string& line : reader->next()) lines += line + "\n";
    return lines;
  };
  for (std::size_t done = 0;;) {
    const std::string block =
        ranks.size() == 1 ? read() : run_on_root(ranks, "reading requests", read);
    std::vector<std::string> lines;
    for (std::size_t begin = 0, end = 0; (end = block.find('\n', begin)) != std::string::npos;
         begin = end + 1)
      lines.push_back(block.substr(begin, end - begin));
    if (lines.empty()) return done;
    const std::vector<std::string> answers =
        run_alike([&] { return answerer.answer(lines, done + 1); });
    done += lines.size();
    if (is_root) print_lines(answers);
  }
}

}  // namespace dualpath
