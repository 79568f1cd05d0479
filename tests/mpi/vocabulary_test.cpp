// Embedding and head that are cut over all ranks, each with tokens of its own, against one rank
// that holds all of both and has the tokens of all.
#include "model/vocabulary.h"

#include <algorithm>
#include <cmath>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <memory>
#include <vector>

#include "core/cpu/cpu_device.h"
#include "model/loss_head.h"
#include "tests/array.h"
#include "tests/expect_error.h"
#include "tests/mpi/world.h"
#include "tests/numbers.h"
#include "tests/reference_ops/reference_device.h"

namespace dualpath {
namespace {

constexpr std::int64_t kTokens = 10, kWidth = 6;  // tokens of each rank
constexpr NumericTypes fp64 = NumericTypes::all(DType::f64);

std::unique_ptr<Device> device_for(const NumericTypes& types) {
  if (types.master == DType::f64) return std::make_unique<ReferenceDevice>();
  return make_cpu_device(1);
}

// Embedding and head in the hands of one rank of the axis.
class Vocabulary {
 public:
  Vocabulary(const NumericTypes& types, std::int64_t rows, std::int64_t chunk_tokens,
             std::int64_t tokens, const GridPlace& place, TensorAxis* tensor = nullptr)
      : device_(device_for(types)),
        store_(place),
        tensor_(tensor == nullptr ? alone_ : *tensor),
        tokens_(tokens),
        table_(declare("embedding", rows)),
        weight_(declare("head", rows)),
        embedding_(table_),
        head_(Norm(store_, "norm", kWidth, 1, 1e-5), weight_, chunk_tokens) {
    store_.seal();
    store_.allocate(*device_, {.types = types});
    store_.initialize(1, *device_, *stream_);
  }

  Context context() {
    return {*ops_, store_, stash_, scratch_, {}, {1, tokens_, 1, 1, 2, 0}, {}, tensor_};
  }
  Tensor allocate(DType type, Shape shape) { return memory_.allocate(type, shape, "test"); }

  const Embedding& embedding() const { return embedding_; }
  const LossHead& head() const { return head_; }
  Tensor table_gradient() const { return store_.gradient(table_); }
  Tensor weight_gradient() const { return store_.gradient(weight_); }
  Tensor norm_gradient() const { return store_.gradient({weight_.index + 1}); }
  Interval rows() const { return store_.local_rows(table_); }

 private:
  Parameter declare(const char* name, std::int64_t rows) {
    return store_.declare({.name = name,
                           .shape = {rows, kWidth},
                           .init = {ParameterInit::Law::normal, 1},
                           .decay = false,
                           .product = true,
                           .cut = Cut::rows});
  }

  std::unique_ptr<Device> device_;
  std::unique_ptr<Stream> stream_ = device_->make_stream();
  std::unique_ptr<Ops> ops_ = device_->make_ops(*stream_);
  ParameterStore store_;
  TensorAxis alone_;
  TensorAxis& tensor_;
  Arena stash_, scratch_{device_->allocate(1 << 20)}, memory_{device_->allocate(1 << 20)};
  std::int64_t tokens_;
  Parameter table_, weight_;
  Embedding embedding_;
  LossHead head_;
};

class CutVocabulary : public testing::Test {
 protected:
  std::int64_t ranks() const { return world().size(); }
  GridPlace place() const { return {world().rank(), {.tensor = world().size()}}; }
  // This rank's rows of what all ranks have.
  Tensor own(Tensor all) const { return axis_.own_part(all); }

  // All ranks' ids in [low, vocabulary): the same on every rank.
  IdArray ids(const char* name, std::int64_t low, std::int64_t vocabulary) const {
    IdArray ids{{}, {ranks() * kTokens}};
    const CounterRng rng(2, name);
    for (std::int64_t i = 0; i < ids.shape[0]; ++i) {
      const auto range = static_cast<std::uint64_t>(vocabulary - low);
      ids.values.push_back(
          static_cast<std::int32_t>(low + static_cast<std::int64_t>(rng.below(i, range))));
    }
    return ids;
  }

  InlineStream compute_;
  std::unique_ptr<Stream> communication_ = ReferenceDevice().make_threaded_stream();
  TensorAxis axis_{world(), compute_, *communication_};
};

std::vector<double> values_of(Tensor tensor) {
  std::vector<double> values;
  for (std::int64_t i = 0; i < tensor.numel(); ++i) {
    values.push_back(tensor.dtype == DType::f64   ? tensor.as<double>()[i]
                     : tensor.dtype == DType::f32 ? tensor.as<float>()[i]
                                                  : tensor.as<bfloat16>()[i]);
  }
  return values;
}

void expect_near(Tensor actual, Tensor expected, const char* what) {
  const std::vector<double> a = values_of(actual), b = values_of(expected);
  ASSERT_EQ(a.size(), b.size()) << what;
  // Sums of less than 100 terms of size 10 at most, in another order.
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-12) << what << ' ' << i;
}

// 31 does not divide by 2, 3, 4; of 4 a rank may have one row.
constexpr std::int64_t kVocabularies[] = {31, 8, 4};

TEST_F(CutVocabulary, EmbeddingIsExact) {
  for (const auto& [name, types] : cpu_numbers()) {
    for (const std::int64_t V : kVocabularies) {
      SCOPED_TRACE(name + ' ' + std::to_string(V));
      Vocabulary whole(types, V, 1, ranks() * kTokens, {});
      Vocabulary part(types, V, 1, kTokens, place(), &axis_);
      IdArray all_ids = ids("ids", 0, V);
      const Tensor all_SD = whole.allocate(types.stream, {ranks() * kTokens, kWidth});
      const Tensor x_TD = part.allocate(types.stream, {kTokens, kWidth});
      whole.embedding().forward(whole.context(), all_SD, all_ids);
      part.embedding().forward(part.context(), x_TD, own(all_ids));
      EXPECT_EQ(values_of(x_TD), values_of(own(all_SD)));
    }
  }
}

TEST_F(CutVocabulary, EmbeddingBackward) {
  for (const std::int64_t V : kVocabularies) {
    Vocabulary whole(fp64, V, 1, ranks() * kTokens, {});
    Vocabulary part(fp64, V, 1, kTokens, place(), &axis_);
    IdArray all_ids = ids("ids", 0, V);
    Array d_SD = uniform("d", {ranks() * kTokens, kWidth});
    whole.embedding().backward(whole.context(), all_ids, d_SD);
    part.embedding().backward(part.context(), own(all_ids), own(d_SD));
    const Interval rows = part.rows();
    expect_near(part.table_gradient(), whole.table_gradient().slice(rows.begin, rows.end),
                "gradient");
  }
}

TEST_F(CutVocabulary, LossAndGradient) {
  constexpr double grad_scale = 0.25;
  for (const std::int64_t V : kVocabularies) {
    for (const std::int64_t chunk_tokens :
         {7, 1000}) {  // 7: chunks that end within a rank's tokens
      SCOPED_TRACE(std::to_string(V) + ", chunks of " + std::to_string(chunk_tokens));
      Vocabulary whole(fp64, V, 1000, ranks() * kTokens, {});
      Vocabulary part(fp64, V, chunk_tokens, kTokens, place(), &axis_);
      IdArray targets = ids("targets", -1, V);
      Array x_SD = uniform("x", {ranks() * kTokens, kWidth});
      Array loss_S = poisoned({ranks() * kTokens}), dx_SD = poisoned(x_SD.shape);
      Array loss_T = poisoned({kTokens}), dx_TD = poisoned({kTokens, kWidth});
      whole.head().loss_and_gradient(whole.context(), loss_S, dx_SD, x_SD, targets, grad_scale);
      part.head().loss_and_gradient(part.context(), loss_T, dx_TD, own(x_SD), own(targets),
                                    grad_scale);
      expect_near(loss_T, own(loss_S), "loss");
      expect_near(dx_TD, own(dx_SD), "dx");
      const Interval rows = part.rows();
      expect_near(part.weight_gradient(), whole.weight_gradient().slice(rows.begin, rows.end),
                  "weight");
      world().all_reduce(part.norm_gradient(), Reduce::sum, compute_);
      expect_near(part.norm_gradient(), whole.norm_gradient(), "norm");

      Array loss_alone_T = poisoned({kTokens});
      part.head().loss(part.context(), loss_alone_T, own(x_SD), own(targets));
      EXPECT_EQ(loss_alone_T.values, loss_T.values);
    }
  }
}

TEST_F(CutVocabulary, LogitsNeedAllRows) {
  if (ranks() == 1) return;
  Vocabulary part(fp64, 31, 7, kTokens, place(), &axis_);
  Array logits = poisoned({1, 31}), x = uniform("x", {1, kWidth});
  EXPECT_THROW(part.head().logits(part.context(), logits, x), Error);
}

TEST_F(CutVocabulary, EveryRankNeedsARow) {
  const std::string problem = error_of(
      ExitCode::configuration, [&] { Vocabulary(fp64, ranks() - 1, 7, kTokens, place(), &axis_); });
  EXPECT_THAT(problem, testing::HasSubstr("embedding has"));
}

}  // namespace
}  // namespace dualpath
