#include "data/tokens/data_resume.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "core/base/error.h"
#include "data/files/file_io.h"

namespace dualpath {

namespace {

using Report = std::function<void(const std::string&)>;

std::string absolute_folder(const Corpus& corpus) {
  const auto path = absolute_path(corpus.folder(), ExitCode::data).lexically_normal();
  return path.has_filename() ? path : path.parent_path();
}

// By name, or by whatever links lead to.
bool is_same_folder(const Corpus& corpus, const std::string& before) {
  std::error_code now_unknown, before_unknown;
  const auto now = std::filesystem::canonical(corpus.folder(), now_unknown);
  return absolute_folder(corpus) == before ||
         (std::filesystem::canonical(before, before_unknown) == now && !now_unknown &&
          !before_unknown);
}

// What a given corpus is to the state. same: its index there; none: it is new to the run. replaces:
// index of the corpus that its folder held before and that is given nowhere now.
struct Match {
  std::optional<std::size_t> same, replaces;
};

std::vector<Match> match_corpora(const DataState& state, std::span<const WeightedCorpus> corpora) {
  std::vector<Match> matches(corpora.size());
  std::vector<bool> taken(state.corpora.size());
  // A corpus that may have grown out of several goes on from the longest.
  std::vector<std::size_t> longest_first(state.corpora.size());
  std::iota(longest_first.begin(), longest_first.end(), std::size_t{0});
  std::ranges::stable_sort(longest_first, std::greater(),
                           [&](std::size_t i) { return state.corpora[i].content.num_tokens; });
  const auto match = [&](const auto& is_same) {
    for (const std::size_t i : longest_first) {
      for (std::size_t c = 0; c < corpora.size() && !taken[i]; ++c) {
        if (matches[c].same || !is_same(corpora[c].corpus, state.corpora[i])) continue;
        matches[c].same = i;
        taken[i] = true;
      }
    }
  };
  const auto same_folder = [](const Corpus& now, const CorpusProgress& before) {
    return is_same_folder(now, before.folder);
  };
  // The surest signs first, so that no corpus is taken for another one.
  match([&](const Corpus& now, const CorpusProgress& before) {
    return now.content() == before.content && same_folder(now, before);
  });
  match([](const Corpus& now, const CorpusProgress& before) {
    return now.content() == before.content;
  });
  match([&](const Corpus& now, const CorpusProgress& before) {
    return same_folder(now, before) && now.begins_with(before.content);
  });
  match([](const Corpus& now, const CorpusProgress& before) {
    return now.begins_with(before.content);
  });
  for (std::size_t c = 0; c < corpora.size(); ++c) {
    for (std::size_t i = 0; i < state.corpora.size() && !matches[c].same; ++i) {
      if (!taken[i] && same_folder(corpora[c].corpus, state.corpora[i])) matches[c].replaces = i;
    }
  }
  return matches;
}

void check_corpora(std::span<const WeightedCorpus> corpora, std::uint64_t sequence_length) {
  const Corpus& first = corpora.front().corpus;
  for (std::size_t i = 0; i < corpora.size(); ++i) {
    const Corpus& corpus = corpora[i].corpus;
    const CorpusInfo &info = corpus.manifest().info, &expected = first.manifest().info;
    CHECK_AS(
        ExitCode::data,
        info.tokenizer_hash == expected.tokenizer_hash && info.vocab_size == expected.vocab_size,
        "{} and {} were made with different tokenizers: {} with {} tokens, {} with {}",
        first.folder(), corpus.folder(), expected.tokenizer_hash, expected.vocab_size,
        info.tokenizer_hash, info.vocab_size);
    CHECK_AS(ExitCode::data, corpus.num_tokens() > sequence_length,
             "{}: {} tokens are too few for one sample of {} and its last target", corpus.folder(),
             corpus.num_tokens(), sequence_length);
    for (std::size_t j = 0; j < i; ++j) {
      CHECK_AS(ExitCode::data, corpora[j].corpus.content() != corpus.content(),
               "{} and {} hold the same tokens; give one of them, with the sum of the weights",
               corpora[j].corpus.folder(), corpus.folder());
    }
  }
}

std::size_t add_corpus(DataState& state, const Corpus& corpus) {
  state.corpora.push_back({.id = state.corpora.size() + 1,
                           .folder = absolute_folder(corpus),
                           .content = corpus.content(),
                           .consumed = 0,
                           .epoch = {.num_tokens = corpus.num_tokens()}});
  return state.corpora.size() - 1;
}

void update_corpus(CorpusProgress& progress, const Corpus& corpus, const Report& report) {
  const std::string folder = absolute_folder(corpus);
  if (progress.folder.empty()) {
    report(fmt::format("{} holds a corpus again that was replaced", folder));
  } else if (progress.folder != folder) {
    report(fmt::format("{} was {} before", folder, progress.folder));
  }
  if (progress.content != corpus.content()) {
    report(fmt::format("{} has grown from {} to {} tokens; the new ones count from its next epoch",
                       folder, progress.content.num_tokens, corpus.num_tokens()));
  }
  progress.folder = folder;
  progress.content = corpus.content();
}

void report_new(const DataState& state, const Corpus& corpus, const Match& match, bool replaced,
                const Report& report) {
  if (!match.replaces) {
    report(fmt::format("{} is new; it begins with its first sample", absolute_folder(corpus)));
    return;
  }
  CHECK_AS(ExitCode::data, replaced,
           "{} holds other tokens than at the checkpoint, or the same in other shards ({} tokens "
           "then, {} "
           "now). Put back what it held, or begin with what it holds now: data.replaced=true",
           corpus.folder(), state.corpora[*match.replaces].content.num_tokens, corpus.num_tokens());
  report(fmt::format("{} was replaced; it begins with its first sample", absolute_folder(corpus)));
}

// The same corpora in the same shares, whatever the weights' sum.
bool same_blend(const std::vector<BlendPart>& a, const std::vector<BlendPart>& b) {
  const auto sum = [](const std::vector<BlendPart>& blend) {
    return std::accumulate(blend.begin(), blend.end(), 0.0,
                           [](double s, const BlendPart& part) { return s + part.weight; });
  };
  const double sum_a = sum(a), sum_b = sum(b);
  return std::ranges::equal(a, b, [&](const BlendPart& x, const BlendPart& y) {
    const double share_x = x.weight / sum_a, share_y = y.weight / sum_b;
    return x.corpus == y.corpus && std::abs(share_x - share_y) <= 1e-14 * share_x;
  });
}

// Tells of corpora that the blend has no more.
void report_absent(const DataState& state, const std::vector<BlendPart>& before,
                   const Report& report) {
  for (const BlendPart& part : before) {
    if (std::ranges::find(state.blend, part.corpus, &BlendPart::corpus) == state.blend.end() &&
        !state.corpora[part.corpus].folder.empty())
      report(fmt::format("{} takes no part any more", state.corpora[part.corpus].folder));
  }
}

}  // namespace

DataState resume_data(DataState state, std::span<const WeightedCorpus> corpora, bool replaced,
                      const Report& report) {
  check_corpora(corpora, state.sequence_length);
  const bool is_start = state.corpora.empty();
  const std::vector<Match> matches = match_corpora(state, corpora);
  std::vector<BlendPart> blend;
  for (std::size_t c = 0; c < corpora.size(); ++c) {
    const Corpus& corpus = corpora[c].corpus;
    if (!matches[c].same && !is_start) report_new(state, corpus, matches[c], replaced, report);
    if (matches[c].replaces) state.corpora[*matches[c].replaces].folder.clear();
    if (matches[c].same) update_corpus(state.corpora[*matches[c].same], corpus, report);
    blend.push_back({.corpus = matches[c].same ? *matches[c].same : add_corpus(state, corpus),
                     .weight = corpora[c].weight,
                     .drawn = 0});
  }
  std::ranges::sort(blend, {}, &BlendPart::corpus);
  if (same_blend(blend, state.blend)) return state;  // with its weights, so that no bit moves
  std::swap(state.blend, blend);
  report_absent(state, blend, report);
  return state;
}

}  // namespace dualpath
