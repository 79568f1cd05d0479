// The scores of packed texts are those of each text alone: for every variant of the model, with
// shared beginnings of every kind, whatever the size of a pass.
#include "model/scorer.h"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <memory>
#include <numeric>
#include <vector>

#include "core/base/random.h"
#include "core/cpu/cpu_device.h"
#include "launcher/evaluate/text_packing.h"
#include "launcher/evaluate/text_scorer.h"
#include "model/resolve_config.h"
#include "parallel/mpi_communicator.h"
#include "tests/model_variants.h"
#include "tests/reference_ops/reference_device.h"

namespace dualpath {
namespace {

using Tokens = std::vector<std::int32_t>;

// Texts over 19 tokens, at most `length` + 1 long: some equal, some that go on another, several
// continuations of one context, contexts that differ in their last token.
std::vector<ScoredText> texts_of(std::int64_t length) {
  const CounterRng rng(3, "texts");
  std::uint64_t drawn = 0;
  const auto draw = [&](std::int64_t count) {
    Tokens tokens;
    for (std::int64_t i = 0; i < count; ++i)
      tokens.push_back(static_cast<std::int32_t>(rng.below(drawn++, 19)));
    return tokens;
  };
  std::vector<ScoredText> texts;
  for (int question = 0; question < 4; ++question) {
    const Tokens context = draw(1 + question * (length - 2) / 3);
    for (int choice = 0; choice < 3; ++choice) {
      Tokens text = context;
      if (choice == 2 && question > 0) text.back() = (text.back() + 1) % 19;
      const auto room = length + 1 - static_cast<std::int64_t>(text.size());
      const Tokens more = draw(std::min<std::int64_t>(room, 1 + choice));
      const std::size_t first = text.size();
      text.insert(text.end(), more.begin(), more.end());
      texts.push_back({text, first});
    }
  }
  texts.push_back(texts[4]);
  texts.push_back({draw(length + 1), 1});
  texts.push_back({draw(2), 1});
  return texts;
}

struct Rig {
  Rig(ModelConfig config, std::int64_t length, DType type, std::int64_t sequences,
      std::int64_t forced_iterations = 0)
      : device(type == DType::f64 ? std::make_unique<ReferenceDevice>() : make_cpu_device(2)),
        stream(device->make_stream()),
        model(
            [&] {
              config.sequence_length = length;
              return resolve(config);
            }(),
            {.types = NumericTypes::all(type),
             .micro_batch_size = sequences,
             .loss_chunk_tokens = 5,
             .forced_iterations = forced_iterations,
             .training = false},
            *device, *stream) {
    model.parameters().initialize(11, *device, *stream);
  }

  // By the logits of the text alone.
  std::vector<TokenScore> alone(const ScoredText& text) {
    const auto inputs = std::span(text.tokens).first(text.tokens.size() - 1);
    const Tensor logits = model.logits(inputs, false);
    std::vector<TokenScore> scores;
    for (std::size_t t = text.first_scored; t < text.tokens.size(); ++t) {
      const Tensor row = logits.row(static_cast<std::int64_t>(t) - 1);
      std::vector<double> values;
      for (std::int64_t v = 0; v < row.numel(); ++v)
        values.push_back(row.dtype == DType::f64 ? row.as<double>()[v] : row.as<float>()[v]);
      const double max = *std::ranges::max_element(values);
      double sum = 0;
      for (const double value : values) sum += std::exp(value - max);
      const double target = values[static_cast<std::size_t>(text.tokens[t])];
      scores.push_back({std::log(sum) + max - target, target == max});
    }
    return scores;
  }

  std::unique_ptr<Device> device;
  std::unique_ptr<Stream> stream;
  Model model;
};

void expect_alone_equals_packed(const Variant& variant, std::int64_t length, DType dtype,
                                double tolerance) {
  Rig rig(variant.config, length, dtype, 4);
  const std::vector<ScoredText> texts = texts_of(length);
  const auto self = make_self_communicator();
  for (const std::int64_t max_rows : {length, 2 * length + 1, 4 * length}) {
    Scorer scorer(rig.model, max_rows);
    const std::vector<TextScore> found = TextScorer(scorer, *self).score(texts);
    ASSERT_EQ(found.size(), texts.size());
    for (std::size_t i = 0; i < texts.size(); ++i) {
      TextScore expected;
      for (const TokenScore& token : rig.alone(texts[i])) {
        expected.log_likelihood -= token.nats;
        expected.is_greedy &= token.is_greedy;
      }
      EXPECT_NEAR(found[i].log_likelihood, expected.log_likelihood,
                  tolerance * static_cast<double>(texts[i].num_scored()))
          << "text " << i << ", " << max_rows << " rows";
      EXPECT_EQ(found[i].is_greedy, expected.is_greedy) << "text " << i;
    }
  }
}

class Scoring : public testing::TestWithParam<Variant> {};

TEST_P(Scoring, PackedTextsHaveTheScoresOfEachAlone) {
  expect_alone_equals_packed(GetParam(), 7, DType::f64,
                             1e4 * std::numeric_limits<double>::epsilon());
}

TEST_P(Scoring, OnTheCpuInSinglePrecision) {
  expect_alone_equals_packed(GetParam(), 150, DType::f32, 1e-5);
}

INSTANTIATE_TEST_SUITE_P(Variants, Scoring, testing::ValuesIn(variants()),
                         [](const auto& info) { return info.param.name; });

// One text of all positions, every token scored.
TextRows whole_text(std::int64_t length) {
  const std::vector<ScoredText> texts = {texts_of(length)[13]};
  return separate_rows(texts, {0});
}

struct Scored {
  std::vector<TokenScore> tokens;
  RowReadouts readouts;
};

ModelConfig dual_model(GateMode mode = GateMode::two_sigmoid) {
  ModelConfig config = tiny(Architecture::dual_path);
  config.gate.mode = mode;
  return config;
}

class Intervening : public testing::Test {
 protected:
  static constexpr std::int64_t length = 60;

  static Scored score(Rig& rig, const ForcedGates* gates = nullptr) {
    const TextRows rows = whole_text(length);
    Scorer scorer(rig.model, length);
    Scored scored;
    scored.tokens.resize(rows.targets.size());
    scorer.score(rows, scored.tokens, gates, &scored.readouts);
    return scored;
  }
  static ForcedGates forced(float deep, float wide) {
    ForcedGates gates;
    for (std::int32_t t = 0; t < length; ++t) {
      gates.forced.insert(gates.forced.end(), {deep, wide});
      gates.source.push_back(t);
    }
    return gates;
  }
  static void expect_same(const Scored& a, const Scored& b, double tolerance) {
    for (std::size_t i = 0; i < a.tokens.size(); ++i)
      EXPECT_NEAR(a.tokens[i].nats, b.tokens[i].nats, tolerance) << "token " << i;
  }
  static float path(const RowReadouts& r, std::int64_t layer, std::int64_t t, int column) {
    return r.paths[static_cast<std::size_t>((layer * r.rows + t) * op::PathReadout::num_columns +
                                            column)];
  }
};

TEST_F(Intervening, GatesThatAreNotForcedAreTheModels) {
  Rig rig(dual_model(), length, DType::f32, 1);
  const ForcedGates none = forced(-1, -1);
  expect_same(score(rig), score(rig, &none), 0);
}

TEST_F(Intervening, ConstantGatesAreThoseOfAModelWithFixedOnes) {
  Rig rig(dual_model(), length, DType::f32, 1);
  Rig fixed(dual_model(GateMode::fixed), length, DType::f32, 1);
  const ForcedGates half = forced(0.5, 0.5);
  expect_same(score(fixed), score(rig, &half), 1e-6);
}

TEST_F(Intervening, APathThatIsOffTakesNoPart) {
  Rig rig(dual_model(), length, DType::f32, 1);
  ModelConfig looped = tiny(Architecture::looped);
  Rig deep_only(looped, length, DType::f32, 1);
  const ForcedGates off = forced(1, 0);
  expect_same(score(deep_only), score(rig, &off), 1e-6);
}

TEST_F(Intervening, ARowGetsTheGatesOfItsSource) {
  ModelConfig config = dual_model();
  config.layers = 1;
  Rig rig(config, length, DType::f32, 1);
  // The gates' weights begin at 0: all rows would have the same.
  const Tensor flat = rig.model.parameters().flat_values();
  const CounterRng noise(4, "noise");
  for (std::int64_t i = 0; i < flat.numel(); ++i)
    flat.as<float>()[i] +=
        static_cast<float>(noise.uniform(static_cast<std::uint64_t>(i)) - 0.5) / 5;
  ForcedGates reversed = forced(-1, -1);
  std::ranges::reverse(reversed.source);
  const Scored own = score(rig), swapped = score(rig, &reversed);
  EXPECT_NE(path(own.readouts, 0, 0, op::PathReadout::gate_deep),
            path(own.readouts, 0, length - 1, op::PathReadout::gate_deep));
  for (std::int64_t t = 0; t < length; ++t) {
    for (const int gate : {op::PathReadout::gate_deep, op::PathReadout::gate_wide})
      EXPECT_EQ(path(swapped.readouts, 0, t, gate), path(own.readouts, 0, length - 1 - t, gate));
  }
}

TEST_F(Intervening, ForcedIterationsAreThoseOfAModelThatHasThem) {
  for (const LoopCombine combine : {LoopCombine::final, LoopCombine::mean}) {
    for (const std::int64_t iterations : {1, 2, 5}) {
      ModelConfig config = dual_model();  // K = 3, all gains alike
      config.deep.combine = combine;
      Rig rig(config, length, DType::f32, 1, iterations);
      config.deep.iterations = iterations;
      Rig other(config, length, DType::f32, 1);
      expect_same(score(other), score(rig), 0);
    }
  }
}

TEST_F(Intervening, TheStepFeatureOfForcedIterationsIsTrainings) {
  const auto feature = [](std::int64_t index, std::int64_t iterations, std::int64_t trained) {
    return LoopStep{LoopCombine::mixture, index, iterations, trained}.feature();
  };
  EXPECT_EQ(feature(1, 2, 5), 0.25);
  EXPECT_EQ(feature(4, 8, 5), 1);
  EXPECT_EQ(feature(7, 8, 5), 1);
  EXPECT_EQ(feature(0, 3, 1), 0);
  EXPECT_EQ(feature(2, 3, 1), 1);
}

// Read-outs by row are the terms of the sums that training logs.
TEST_F(Intervening, ReadoutsSumUpToThoseOfTheModel) {
  for (const Variant& variant : variants()) {
    SCOPED_TRACE(variant.name);
    Rig rig(variant.config, length, DType::f32, 1);
    const TextRows rows = whole_text(length);
    const RowReadouts r = score(rig).readouts;
    rig.model.zero_sums();
    rig.model.evaluate(rows.ids, rows.targets, true);
    const Tensor sums = rig.model.sums();
    const std::vector<Layer>& layers = rig.model.stages()[0].layers();
    for (std::int64_t layer = 0; layer < r.layers; ++layer) {
      const double* expected = sums.as<double>() + StepSums::first_readout + layer * num_readouts;
      const bool both = layers[static_cast<std::size_t>(layer)].has_both_paths();
      for (int column = 0; column < op::PathReadout::num_columns; ++column) {
        double sum = 0;
        for (std::int64_t t = 0; t < r.rows; ++t) sum += path(r, layer, t, column);
        if (both) {
          EXPECT_NEAR(sum, expected[column], 1e-4) << "column " << column;
        } else {
          EXPECT_TRUE(std::isnan(sum));
        }
      }
      double iterations = 0;
      for (std::int64_t k = 0; k < r.iterations; ++k) {
        for (std::int64_t t = 0; t < r.rows; ++t) {
          const float weight =
              r.weights[static_cast<std::size_t>((layer * r.iterations + k) * r.rows + t)];
          iterations += static_cast<double>(k + 1) * static_cast<double>(weight);
        }
      }
      if (std::isnan(iterations)) iterations = 0;  // a layer without a deep path
      EXPECT_NEAR(iterations, expected[readout_expected_iterations], 1e-3);
    }
  }
}

// No two rows of a pass hold the same token, scored alike, after the same text.
TEST(TextPacking, BeginningsAreThereOnce) {
  const std::vector<ScoredText> texts = {
      {{1, 2, 3, 4, 5}, 3}, {{1, 2, 3, 4, 6}, 3}, {{1, 2, 3, 7}, 3},    {{1, 2, 9, 9, 7}, 4},
      {{8, 8}, 1},          {{1, 2, 3, 4, 5}, 4}, {{1, 2, 3, 4, 5}, 3}, {{1, 2, 3, 4}, 3}};
  const std::vector<TextPack> packs = pack_texts(texts, 100);
  ASSERT_EQ(packs.size(), 1U);
  const PackRows packed = rows_of_pack(texts, packs[0]);
  // Not scored: 1 2 | 9 | 3. Scored: 3>4 | 4>5 | 4>6 | 3>7 | 9>7 | 8>8 | behind the 3 not scored
  // 4>5
  EXPECT_EQ(packed.rows.num_rows(), 4 + 7);
  EXPECT_EQ(packed.rows.targets.size(), 7U);
  std::int32_t end = 0;
  for (const TextRows::Segment& s : packed.rows.segments) {
    EXPECT_EQ(s.begin, end);
    EXPECT_LT(s.begin, s.end);
    EXPECT_LT(s.parent, &s - packed.rows.segments.data());
    end = s.end;
  }
  EXPECT_EQ(end, packed.rows.num_rows());
  // A text's pieces have its targets.
  for (std::size_t i = 0; i < texts.size(); ++i) {
    Tokens found;
    for (std::int32_t p = packed.last_piece[i]; p >= 0;) {
      const PackRows::Piece& piece = packed.pieces[static_cast<std::size_t>(p)];
      const auto first =
          packed.rows.targets.begin() + static_cast<std::ptrdiff_t>(piece.first_target);
      found.insert(found.begin(), first, first + static_cast<std::ptrdiff_t>(piece.num_targets));
      p = piece.parent;
    }
    const ScoredText& text = texts[packs[0][i]];
    EXPECT_EQ(found, Tokens(text.tokens.begin() + static_cast<std::ptrdiff_t>(text.first_scored),
                            text.tokens.end()));
  }
}

TEST(TextPacking, EveryTextIsInOnePackAndNoPackIsTooLong) {
  const std::vector<ScoredText> texts = texts_of(30);
  for (const std::int64_t max_rows : {30, 31, 64, 1000}) {
    std::vector<int> times(texts.size(), 0);
    for (const TextPack& pack : pack_texts(texts, max_rows)) {
      EXPECT_LE(rows_of_pack(texts, pack).rows.num_rows(), max_rows);
      for (const std::size_t text : pack) ++times[text];
    }
    EXPECT_EQ(times, std::vector<int>(texts.size(), 1));
  }
}

}  // namespace
}  // namespace dualpath
