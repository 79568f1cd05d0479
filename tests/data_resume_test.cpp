// What becomes of the order of the data when a run goes on with other corpora, weights or batches:
// S2.
#include "data/tokens/data_resume.h"

#include <algorithm>
#include <filesystem>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>
#include <set>

#include "core/base/random.h"
#include "data/tokens/batch_loader.h"
#include "data/tokens/token_stream.h"
#include "tests/expect_error.h"
#include "tests/temporary_folder.h"

namespace dualpath {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr std::int64_t length = 8;

// Tokens first, first + 1, ...; growing it leaves the shards before the last one as they are.
Corpus write_corpus(const std::string& folder, std::uint32_t first, std::uint32_t num_tokens) {
  fs::remove_all(folder);
  CorpusWriter writer(folder, {"abc", 1 << 20, -1}, 100);
  for (std::uint32_t begin = 0; begin < num_tokens; begin += 10) {
    std::vector<std::uint32_t> document;
    for (std::uint32_t i = begin; i < std::min(begin + 10, num_tokens); ++i)
      document.push_back(first + i);
    writer.add_document(document);
  }
  writer.finish();
  return Corpus::open(folder);
}

struct Given {
  std::string folder;
  double weight = 1;
};

std::vector<WeightedCorpus> open_all(const std::vector<Given>& given) {
  std::vector<WeightedCorpus> corpora;
  for (const Given& g : given) corpora.push_back({Corpus::open(g.folder), g.weight});
  return corpora;
}

// A run in one process: a stream and how far it has come.
class SmallRun {
 public:
  explicit SmallRun(const std::vector<Given>& given) : stream_(open_all(given), 7, length) {}
  // Goes on from a checkpoint's text.
  SmallRun(const std::vector<Given>& given, const std::string& checkpoint, bool replaced = false)
      : stream_(open_all(given), 7, length) {
    DataState state = parse_data_state(checkpoint, "checkpoint");
    consumed_ = state.consumed_samples;
    stream_.resume(std::move(state), replaced,
                   [this](const std::string& line) { told_.push_back(line); });
  }

  // The inputs of the next samples, through the loaders of all ranks.
  std::vector<std::int32_t> train(const BatchLayout& layout, int steps) {
    std::vector<std::int32_t> inputs;
    for (BatchLayout rank = layout; rank.data_rank < rank.data_size; ++rank.data_rank) {
      BatchLoader loader(stream_, rank, consumed_, 1);
      for (int step = 0; step < steps; ++step) {
        const Batch& batch = loader.next();
        for (std::int64_t m = 0; m < rank.accumulation; ++m)
          inputs.insert(inputs.end(), batch.inputs(m).begin(), batch.inputs(m).end());
      }
    }
    consumed_ += static_cast<std::uint64_t>(layout.global_batch_size() * steps);
    return inputs;
  }
  std::vector<std::int32_t> train(int samples) { return train({}, samples); }

  std::string save() const { return print_data_state(stream_.state_at(consumed_)); }
  DataState state() const { return stream_.state_at(consumed_); }
  const std::vector<std::string>& told() const { return told_; }

 private:
  TokenStream stream_;
  std::uint64_t consumed_ = 0;
  std::vector<std::string> told_;
};

// The first token of every sample that comes from the range, in order.
std::vector<std::int32_t> samples_of(const std::vector<std::int32_t>& inputs, std::int32_t begin,
                                     std::int32_t end) {
  std::vector<std::int32_t> first;
  for (std::size_t i = 0; i < inputs.size(); i += length)
    if (inputs[i] >= begin && inputs[i] < end) first.push_back(inputs[i]);
  return first;
}

std::vector<std::int32_t> joined(std::vector<std::int32_t> a, const std::vector<std::int32_t>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

class DataResume : public testing::Test {
 protected:
  DataResume() {
    write_corpus(a_, 0, 512);
    write_corpus(b_, 1000, 512);
  }
  TemporaryFolder folder_;
  std::string a_ = folder_ / "a", b_ = folder_ / "b", c_ = folder_ / "c";
};

TEST_F(DataResume, NothingChanged) {
  SmallRun whole({{a_}, {b_}}), before({{a_}, {b_}});
  const auto expected = whole.train(200);
  const auto first = before.train(77);
  SmallRun after({{a_}, {b_}}, before.save());
  EXPECT_EQ(joined(first, after.train(123)), expected);
  EXPECT_EQ(after.save(), whole.save());
  EXPECT_THAT(after.told(), IsEmpty());
}

// Each corpus's own samples come in the same order whatever becomes of the others.
TEST_F(DataResume, NeitherWeightsNorNeighboursMoveAnything) {
  SmallRun alone({{a_}});
  const auto expected = samples_of(alone.train(300), 0, 512);
  write_corpus(c_, 2000, 512);
  SmallRun one({{a_}, {b_}});
  auto inputs = one.train(64);
  SmallRun two({{b_, 3}, {a_}}, one.save());  // other weights, another order
  inputs = joined(inputs, two.train(100));
  SmallRun three({{c_}, {a_, 2}}, two.save());  // one leaves, one joins
  EXPECT_THAT(three.told(), ElementsAre(HasSubstr("/c is new"), HasSubstr("/b takes no part")));
  inputs = joined(inputs, three.train(50));
  SmallRun four({{a_}, {b_}, {c_}}, three.save());  // it comes back
  inputs = joined(inputs, four.train(50));
  const auto of_a = samples_of(inputs, 0, 512);
  ASSERT_GT(of_a.size(), 100u);
  EXPECT_TRUE(std::equal(of_a.begin(), of_a.end(), expected.begin()));
  const auto of_b = samples_of(inputs, 1000, 1512);
  // Corpus 2's shuffles are other ones than corpus 1's; it only has to be without repetition.
  const auto pass = std::vector<std::int32_t>(of_b.begin(), of_b.begin() + 64);
  EXPECT_EQ(std::set<std::int32_t>(pass.begin(), pass.end()).size(), 64u);
}

TEST_F(DataResume, RenamedMovedOrGrown) {
  SmallRun whole({{a_}});
  const auto expected = whole.train(64);
  SmallRun before({{a_}});
  auto inputs = before.train(20);
  fs::create_directories(folder_ / "elsewhere");
  const std::string moved = folder_ / "elsewhere/other_name";
  fs::rename(a_, moved);
  SmallRun renamed({{moved}}, before.save());
  EXPECT_THAT(renamed.told(), ElementsAre(AllOf(HasSubstr("other_name"), HasSubstr("was "))));
  inputs = joined(inputs, renamed.train(20));
  write_corpus(moved, 0, 812);  // its last shard goes on, and new ones follow
  SmallRun grown({{moved}}, renamed.save());
  EXPECT_THAT(grown.told(), ElementsAre(HasSubstr("has grown from 512 to 812 tokens")));
  inputs = joined(inputs, grown.train(24));
  EXPECT_EQ(inputs, expected) << "growth counts from the next epoch";
  auto next = grown.train(101);  // 808 of 812 tokens
  std::ranges::sort(next);
  EXPECT_EQ(next.front(), 0);
  EXPECT_EQ(next.back(), 807);
  EXPECT_EQ(std::ranges::adjacent_find(next), next.end());
}

TEST_F(DataResume, AReplacedCorpusIsRefusedUnlessToldSo) {
  SmallRun before({{a_}, {b_}});
  const auto first = before.train(30);
  write_corpus(b_, 3000, 512);  // of the same size
  EXPECT_THAT(error_of(ExitCode::data,
                       [&] {
                         SmallRun({{a_}, {b_}}, before.save());
                       }),
              AllOf(HasSubstr("/b holds other tokens"), HasSubstr("data.replaced=true")));
  SmallRun after({{a_}, {b_}}, before.save(), true);
  EXPECT_THAT(after.told(), ElementsAre(HasSubstr("/b was replaced")));
  const auto then = after.train(200);
  EXPECT_THAT(samples_of(then, 1000, 1512), IsEmpty());
  // All of the new one before any of it comes again.
  const auto of_new = samples_of(then, 3000, 3512);
  EXPECT_EQ(std::set<std::int32_t>(of_new.begin(), of_new.begin() + 64).size(), 64u);
  // A shorter one is no earlier state of the corpus.
  write_corpus(a_, 0, 256);
  EXPECT_THAT(error_of(ExitCode::data,
                       [&] {
                         SmallRun({{a_}, {b_}}, after.save());
                       }),
              HasSubstr("512 tokens then, 256 now"));
}

// A corpus may have grown out of several: it goes on from the longest of them.
TEST_F(DataResume, GrowthOutOfTheLongest) {
  write_corpus(c_, 0, 100);  // the beginning of a
  SmallRun before({{c_}, {a_}});
  before.train(40);
  write_corpus(folder_ / "grown", 0, 600);
  SmallRun after({{folder_ / "grown"}}, before.save());
  EXPECT_THAT(after.told(), Contains(AllOf(HasSubstr("/grown was "), HasSubstr("/a before"))));
}

TEST_F(DataResume, TheSameBlendInOtherWords) {
  SmallRun before({{a_, 1}, {b_, 3}});
  before.train(13);
  SmallRun after({{a_, 2}, {b_, 6}}, before.save());
  EXPECT_EQ(after.save(), before.save());
}

TEST_F(DataResume, AReplacementIsSeenThroughLinks) {
  SmallRun before({{a_}, {b_}});
  before.train(30);
  fs::create_directory_symlink(b_, c_);
  write_corpus(b_, 3000, 512);
  EXPECT_THAT(error_of(ExitCode::data,
                       [&] {
                         SmallRun({{a_}, {c_}}, before.save());
                       }),
              HasSubstr("/c holds other tokens"));
}

TEST_F(DataResume, TextThatMakesNoSense) {
  SmallRun run({{a_}, {b_}});
  run.train(10);
  const std::string text = run.save();
  EXPECT_EQ(parse_data_state(text, "x"), run.state());
  const auto problem = [&](const std::string& from, const std::string& to) {
    std::string changed = text;
    const std::size_t at = changed.find(from);
    EXPECT_NE(at, changed.npos) << from;
    changed.replace(at, from.size(), to);
    return error_of(ExitCode::checkpoint, [&] { parse_data_state(changed, "step-7"); });
  };
  EXPECT_THAT(problem("token_order: 2", "token_order: 1"),
              AllOf(HasSubstr("step-7"), HasSubstr("token order 1")));
  EXPECT_THAT(problem("sequence_length: 8", "sequence_length: 0"), HasSubstr("sequence_length"));
  EXPECT_THAT(problem("drawn: 5", "drawn: 65"), HasSubstr("epoch"));
  EXPECT_THAT(problem("- {id: 2", "- {id: 3"), HasSubstr("blend"));
}

// Random changes of ranks, batches, weights and corpora, checkpoints and kills; then, of every
// corpus, each pass holds each token once, but for those that are carried over to the next one.
class RandomChanges : public DataResume, public testing::WithParamInterface<int> {
 protected:
  struct Source {
    std::string folder;
    std::uint32_t first, num_tokens;
    bool is_given = true;
    double weight = 1;
  };

  std::uint64_t below(std::uint64_t bound) { return rng_.below(next_++, bound); }

  void change() {
    Source& source = sources_[below(sources_.size())];
    switch (below(6)) {
      case 0:
        source.weight = 1 + static_cast<double>(below(5));
        break;
      case 1: {  // renamed
        const std::string name = folder_ / fmt::format("name-{}", next_);
        fs::rename(source.folder, name);
        source.folder = name;
        break;
      }
      case 2:  // grown
        source.num_tokens += 1 + static_cast<std::uint32_t>(below(150));
        write_corpus(source.folder, source.first, source.num_tokens);
        break;
      case 3:  // added
        if (sources_.size() == 5) break;
        add_source(100 + static_cast<std::uint32_t>(below(100)));
        break;
      case 4:  // left out, or back again; one always stays
        if (&source != &sources_.front()) source.is_given = !source.is_given;
        break;
      default:
        break;
    }
  }

  void add_source(std::uint32_t num_tokens) {
    const auto first = static_cast<std::uint32_t>(sources_.size() * 10'000);
    sources_.push_back({folder_ / fmt::format("source-{}", sources_.size()), first, num_tokens});
    write_corpus(sources_.back().folder, first, num_tokens);
  }

  std::vector<Given> given() const {
    std::vector<Given> given;
    for (const Source& source : sources_)
      if (source.is_given) given.push_back({source.folder, source.weight});
    return given;
  }

  void check(const DataState& state, const std::map<std::int32_t, std::uint64_t>& times) const {
    for (const Source& source : sources_) {
      std::uint64_t inputs = 0, least = ~std::uint64_t{0};
      const CorpusProgress* progress = nullptr;
      for (const CorpusProgress& p : state.corpora)
        if (p.folder == source.folder) progress = &p;
      if (progress == nullptr) continue;  // not part of the run yet
      for (std::uint32_t i = 0; i < source.num_tokens; ++i) {
        const auto found = times.find(static_cast<std::int32_t>(source.first + i));
        const std::uint64_t count = found == times.end() ? 0 : found->second;
        inputs += count;
        if (i < 100)
          least = std::min(least, count);  // of the tokens that were there from the start
        // This pass, and whatever was carried over or is still to be carried over.
        EXPECT_LE(count, progress->epoch.number + 1) << source.folder << " token " << i;
      }
      EXPECT_GE(least + 1, progress->epoch.number) << source.folder;
      EXPECT_EQ(inputs, progress->consumed * length) << source.folder;
    }
  }

  CounterRng rng_{static_cast<std::uint64_t>(GetParam()), "changes"};
  std::uint64_t next_ = 0;
  std::vector<Source> sources_;
};

TEST_P(RandomChanges, NoTokenIsRepeatedOrSkipped) {
  add_source(100 + static_cast<std::uint32_t>(below(100)));
  add_source(100 + static_cast<std::uint32_t>(below(100)));
  std::string checkpoint = SmallRun(given()).save();
  std::map<std::int32_t, std::uint64_t> times;
  for (int start = 0; start < 12; ++start) {
    SmallRun run(given(), checkpoint);
    const BatchLayout layout{.data_size = 1 << below(3),
                             .micro_batch_size = 1 + static_cast<std::int64_t>(below(2)),
                             .accumulation = 1 + static_cast<std::int64_t>(below(2))};
    for (const std::int32_t token : run.train(layout, 1 + static_cast<int>(below(8))))
      ++times[token];
    checkpoint = run.save();
    run.train(layout, static_cast<int>(below(3)));  // lost: killed before the next checkpoint
    check(parse_data_state(checkpoint, "checkpoint"), times);
    for (int i = 0; i < 2; ++i) change();
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomChanges, testing::Range(0, 6));

}  // namespace
}  // namespace dualpath
