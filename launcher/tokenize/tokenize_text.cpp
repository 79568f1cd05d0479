#include "launcher/tokenize/tokenize_text.h"

#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "core/base/worker_pool.h"
#include "data/text/added_tokens.h"
#include "data/text/bpe_trainer.h"
#include "data/text/encoder.h"
#include "launcher/common/progress.h"
#include "launcher/common/stop_request.h"

namespace dualpath {
namespace {

constexpr std::size_t batch_bytes = std::size_t{1} << 20;

// Work for one thread at a time.
struct TextBatch {
  std::vector<TextPart> parts;
  std::size_t num_training = 0;  // the parts from there on are held out
  std::uint64_t bytes = 0;
  std::uint64_t stored_bytes_read = 0;  // of the files, up to here
};

struct TokenBatch {
  struct Part {
    std::size_t ids_end;
    std::uint64_t text_bytes;
    bool ends_document;
  };
  std::vector<std::uint32_t> ids;
  std::vector<Part> parts;
  std::vector<std::uint64_t> spelt;  // [special token]: how often
  std::size_t num_training;
  std::uint64_t bytes;
  std::uint64_t stored_bytes_read;
};

void throw_if_stopped() {
  CHECK_AS(ExitCode::stopped, !stop_was_requested(), "interrupted; nothing was written");
}

std::optional<TextBatch> read_batch(SplitReader& reader) {
  throw_if_stopped();
  TextBatch batch;
  for (TextPart part; batch.bytes < batch_bytes && reader.next(part);) {
    batch.bytes += part.text.size();
    if (!reader.is_held_out()) ++batch.num_training;
    batch.parts.push_back(std::move(part));
  }
  batch.stored_bytes_read = reader.reader().stored_bytes_read();
  return batch.parts.empty() ? std::nullopt : std::optional(std::move(batch));
}

SplitReader open(const TextSource& source, const Segmenter& segmenter) {
  return SplitReader(TextReader(source.files.files, source.field, segmenter, source.separator),
                     source.extent, source.held_out);
}

// The line of one pass over the text.
class TextProgress {
 public:
  TextProgress(std::string task, const TextSource& source)
      : line_(std::move(task), static_cast<double>(source.files.stored_bytes)) {}

  void add(std::uint64_t text_bytes, std::uint64_t stored_bytes_read) {
    text_bytes_ += text_bytes;
    line_.update(static_cast<double>(stored_bytes_read), [&](double seconds) {
      const double megabytes = static_cast<double>(text_bytes_) / 1e6;
      return fmt::format("{:.1f} MB of text | {:.1f} MB/s", megabytes, megabytes / seconds);
    });
  }

 private:
  ProgressLine line_;
  std::uint64_t text_bytes_ = 0;
};

// A tokenizer's special tokens where text spells them: there they are text like any other.
class SpeltTokens {
 public:
  explicit SpeltTokens(const Tokenizer& tokenizer)
      : words_(special_tokens(tokenizer)), matcher_(words_) {}

  const std::vector<std::string>& words() const { return words_; }
  void count(std::string_view text, std::vector<std::uint64_t>& counts) const {
    std::size_t from = 0;
    while (const auto match = matcher_.find(text, from)) {
      ++counts[match->word];
      from = match->end;
    }
  }

 private:
  static std::vector<std::string> special_tokens(const Tokenizer& tokenizer) {
    std::set<std::string> words;  // each once
    for (const AddedToken& token : tokenizer.parts().added) {
      if (token.special) words.insert(token.content);
    }
    return {words.begin(), words.end()};
  }

  std::vector<std::string> words_;
  WordMatcher matcher_;
};

TokenBatch encode(const TextBatch& text, Encoder& encoder, const SpeltTokens& special) {
  TokenBatch tokens{.ids = {},
                    .parts = {},
                    .spelt = std::vector<std::uint64_t>(special.words().size()),
                    .num_training = text.num_training,
                    .bytes = text.bytes,
                    .stored_bytes_read = text.stored_bytes_read};
  for (const TextPart& part : text.parts) {
    encoder.encode(part.text, tokens.ids);
    special.count(part.text, tokens.spelt);
    tokens.parts.push_back({tokens.ids.size(), part.text.size(), part.ends_document});
  }
  return tokens;
}

void write(const TokenBatch& tokens, CorpusWriter& training, CorpusWriter& held_out) {
  std::size_t begin = 0;
  for (std::size_t i = 0; i < tokens.parts.size(); ++i) {
    const TokenBatch::Part& part = tokens.parts[i];
    CorpusWriter& writer = i < tokens.num_training ? training : held_out;
    writer.add_tokens(std::span(tokens.ids).subspan(begin, part.ids_end - begin), part.text_bytes);
    if (part.ends_document) writer.end_document();
    begin = part.ids_end;
  }
}

// Counts pieces in the first max_bytes that are not held out, give or take a batch. One thread
// counts a batch; batches are added in the order of the text, so that threads make no difference.
PieceCounts count_pieces(const TextSource& source, std::uint64_t max_bytes,
                         const Segmenter& segmenter) {
  struct Counted {
    PieceCounts pieces;
    std::uint64_t bytes, stored_bytes_read;
  };
  TextProgress progress("counting words", source);
  SplitReader reader = open(source, segmenter);
  PieceCounts pieces;
  std::uint64_t bytes = 0;
  ordered_map(
      source.num_threads,
      [&] {
        std::optional<TextBatch> batch;
        if (bytes < max_bytes && !reader.is_held_out()) batch = read_batch(reader);
        if (batch) bytes += batch->bytes;
        return batch;
      },
      [&](std::size_t, const TextBatch& batch) {
        Counted counted{PieceCounts(), batch.bytes, batch.stored_bytes_read};
        for (std::size_t i = 0; i < batch.num_training; ++i) {
          counted.pieces.add_text(segmenter, batch.parts[i].text);
        }
        return counted;
      },
      [&](const Counted& counted) {
        pieces.add(counted.pieces);
        progress.add(counted.bytes, counted.stored_bytes_read);
      });
  return pieces;
}

}  // namespace

TextExtent measure_text(const TextSource& source) {
  TextProgress progress("measuring", source);
  const Segmenter segmenter(SplitRule::gpt2);
  SplitReader reader(TextReader(source.files.files, source.field, segmenter, source.separator), {},
                     0);
  TextExtent extent;
  while (const std::optional<TextBatch> batch = read_batch(reader)) {
    for (const TextPart& part : batch->parts) extent.add(part);
    progress.add(batch->bytes, batch->stored_bytes_read);
  }
  return extent;
}

Tokenizer train_tokenizer(const TextSource& source, SplitRule split, std::uint32_t vocab_size,
                          std::uint64_t train_bytes) {
  const PieceCounts pieces = count_pieces(source, train_bytes, Segmenter(split));
  if (pieces.max_error() > 0) {
    fmt::print(stderr,
               "warning: so many different words: those that occur up to {} times were not all "
               "counted\n",
               pieces.max_error());
  }
  ProgressLine progress("training the tokenizer", vocab_size);
  return train_bpe(pieces, split, vocab_size, [&](std::uint32_t num_tokens) {
    throw_if_stopped();
    progress.update(num_tokens, [&](double) { return fmt::format("{} tokens", num_tokens); });
  });
}

TextFindings write_tokens(const TextSource& source, const Tokenizer& tokenizer,
                          CorpusWriter& training, CorpusWriter& held_out) {
  TextProgress progress("tokenising", source);
  SplitReader reader = open(source, tokenizer.segmenter());
  std::vector<Encoder> encoders(source.num_threads, Encoder(tokenizer));
  const SpeltTokens special(tokenizer);
  std::vector<std::uint64_t> spelt(special.words().size());
  ordered_map(
      source.num_threads, [&] { return read_batch(reader); },
      [&](std::size_t worker, const TextBatch& batch) {
        return encode(batch, encoders[worker], special);
      },
      [&](const TokenBatch& tokens) {
        write(tokens, training, held_out);
        for (std::size_t i = 0; i < spelt.size(); ++i) spelt[i] += tokens.spelt[i];
        progress.add(tokens.bytes, tokens.stored_bytes_read);
      });
  TextFindings findings{.special_tokens = {},
                        .files_with_zeros = reader.reader().files_with_zeros(),
                        .separators = reader.reader().separators_found()};
  for (std::size_t i = 0; i < spelt.size(); ++i) {
    if (spelt[i] > 0) findings.special_tokens.emplace_back(special.words()[i], spelt[i]);
  }
  return findings;
}

}  // namespace dualpath
