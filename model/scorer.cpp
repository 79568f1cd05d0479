#include "model/scorer.h"

#include <algorithm>
#include <cmath>

namespace dualpath {

void TextRows::clear() {
  segments.clear();
  ids.clear();
  positions.clear();
  targets.clear();
}

std::int64_t TextRows::longest_segment() const {
  std::int64_t longest = 0;
  for (const Segment& s : segments) longest = std::max<std::int64_t>(longest, s.end - s.begin);
  return longest;
}

// A row at position p attends to p+1 rows.
double TextRows::attended_pairs() const {
  double pairs = 0;
  for (const std::int32_t position : positions) pairs += position + 1;
  return pairs;
}

namespace {

// max, Σ exp(logit - max) and the target's logit, of a row.
template <class Real>
TokenScore token_score(const Real* statistics_3) {
  const double max = statistics_3[0], sum = statistics_3[1], target = statistics_3[2];
  return {.nats = std::log(sum) + max - target, .is_greedy = target >= max};
}

}  // namespace

Scorer::Scorer(Model& model, std::int64_t max_rows)
    : model_(model), max_rows_(max_rows), angles_(rope_angles<double>(model.config())) {
  const auto rows = static_cast<std::size_t>(max_rows);
  const std::size_t real = size_of(model.parameters().types().master);
  const auto pairs = static_cast<std::size_t>(model.config().head_size() / 2);
  Device& device = model.device();
  segments_ = device.allocate(rows * 3 * sizeof(std::int32_t));
  cosines_ = device.allocate(rows * pairs * real);
  sines_ = device.allocate(rows * pairs * real);
  statistics_ = device.allocate(rows * 3 * real);
  for (const Stage& stage : model.stages()) {
    for (const Layer& layer : stage.layers())
      iterations_ = std::max(iterations_, layer.iterations());
  }
}

void Scorer::score(const TextRows& rows, std::span<TokenScore> scores, const ForcedGates* gates,
                   RowReadouts* readouts) {
  CHECK(0 < rows.num_rows() && rows.num_rows() <= max_rows_ && !rows.targets.empty() &&
            scores.size() == rows.targets.size(),
        "{} rows with {} targets for {} scores, at most {} rows", rows.num_rows(),
        rows.targets.size(), scores.size(), max_rows_);
  if (model_.parameters().types().master == DType::f64) {
    CHECK(readouts == nullptr, "read-outs are those of models that compute in f32");
    score_as<double>(rows, scores, gates, readouts);
  } else {
    score_as<float>(rows, scores, gates, readouts);
  }
}

template <class Real>
RopeTables Scorer::upload_angles(const TextRows& rows) {
  const std::int64_t half = model_.config().head_size() / 2;
  const Shape TR{rows.num_rows(), half};
  const RopeTables rope{{cosines_.data(), dtype_of<Real>, TR}, {sines_.data(), dtype_of<Real>, TR}};
  const auto upload = [&](Tensor table_TR, const std::vector<double>& angles) {
    std::vector<Real> of_rows;
    for (const std::int32_t position : rows.positions) {
      const auto* first = angles.data() + position * half;
      of_rows.insert(of_rows.end(), first, first + half);
    }
    model_.device().copy_to_device(table_TR, of_rows.data(), model_.stream());
    model_.stream().synchronize();
  };
  upload(rope.cos_PR, angles_.cosines);
  upload(rope.sin_PR, angles_.sines);
  return rope;
}

template <class Real>
GateForcing Scorer::upload_gates(const ForcedGates& gates) {
  const auto rows = static_cast<std::int64_t>(gates.source.size());
  const auto pairs = static_cast<std::size_t>(max_rows_) * 2 * sizeof(Real);
  if (gates_.bytes() == 0)
    gates_ = model_.device().allocate(2 * pairs +
                                      static_cast<std::size_t>(max_rows_) * sizeof(std::int32_t));
  std::byte* memory = gates_.data();
  const GateForcing forcing{.forced_T2 = {memory, dtype_of<Real>, {rows, 2}},
                            .source_T = {memory + 2 * pairs, DType::i32, {rows}},
                            .own_T2 = {memory + pairs, dtype_of<Real>, {rows, 2}}};
  const std::vector<Real> forced(gates.forced.begin(), gates.forced.end());
  model_.device().copy_to_device(forcing.forced_T2, forced.data(), model_.stream());
  model_.device().copy_to_device(forcing.source_T, gates.source.data(), model_.stream());
  model_.stream().synchronize();
  return forcing;
}

// All are NaN until a layer writes them.
TokenReadouts Scorer::place_readouts(std::int64_t rows) {
  const std::int64_t L = model_.config().layers, K = iterations_, T = rows;
  const Shape shapes[] = {{L, T, op::PathReadout::num_columns},
                          {L, TokenReadouts::num_norms, T},
                          {L, K, T},
                          {L, K, T},
                          {L, K, T}};
  std::int64_t reals = 0;
  for (const Shape& shape : shapes) reals += shape.numel() / T;
  if (readouts_.bytes() == 0)
    readouts_ =
        model_.device().allocate(static_cast<std::size_t>(reals * max_rows_) * sizeof(float));
  auto* memory = reinterpret_cast<float*>(readouts_.data());
  model_.ops().run(op::Fill{.out = {memory, DType::f32, {reals * T}}, .value = std::nan("")});
  Tensor placed[std::size(shapes)];
  for (std::size_t i = 0; i < std::size(shapes); ++i) {
    placed[i] = Tensor{memory, DType::f32, shapes[i]};
    memory += shapes[i].numel();
  }
  return {placed[0], placed[1], placed[2], placed[3], placed[4]};
}

void Scorer::read(const TokenReadouts& readouts, RowReadouts& out) {
  out.layers = model_.config().layers;
  out.iterations = iterations_;
  out.rows = readouts.norms_L3T.shape[2];
  const auto fetch = [&](std::vector<float>& to, Tensor from) {
    to.resize(static_cast<std::size_t>(from.numel()));
    model_.device().copy_to_host(to.data(), from, model_.stream());
  };
  fetch(out.paths, readouts.paths_LTC);
  fetch(out.norms, readouts.norms_L3T);
  fetch(out.weights, readouts.weights_LKT);
  fetch(out.q, readouts.q_LKT);
  fetch(out.changes, readouts.changes_LKT);
  model_.stream().synchronize();
}

template <class Real>
void Scorer::read_scores(const TextRows& rows, Tensor statistics_RS3,
                         std::span<TokenScore> scores) {
  std::vector<Real> statistics(scores.size() * 3);
  model_.device().copy_to_host(statistics.data(), statistics_RS3, model_.stream());
  model_.stream().synchronize();
  for (std::size_t i = 0; i < scores.size(); ++i)
    scores[i] = rows.targets[i] < 0 ? TokenScore{} : token_score(statistics.data() + i * 3);
}

template <class Real>
void Scorer::score_as(const TextRows& rows, std::span<TokenScore> scores, const ForcedGates* gates,
                      RowReadouts* readouts) {
  const Tensor segments_S3{
      segments_.data(), DType::i32, {static_cast<std::int64_t>(rows.segments.size()), 3}};
  const Tensor statistics_RS3{
      statistics_.data(), dtype_of<Real>, {1, static_cast<std::int64_t>(scores.size()), 3}};
  model_.device().copy_to_device(segments_S3, rows.segments.data(), model_.stream());
  GateForcing forcing;
  if (gates != nullptr) forcing = upload_gates<Real>(*gates);
  TokenReadouts placed;
  if (readouts != nullptr) placed = place_readouts(rows.num_rows());
  model_.score({.ids = rows.ids,
                .targets = rows.targets,
                .rope = upload_angles<Real>(rows),
                .segments = {segments_S3, rows.longest_segment(), rows.attended_pairs()},
                .gates = gates == nullptr ? nullptr : &forcing,
                .token_readouts = readouts == nullptr ? nullptr : &placed,
                .statistics_RS3 = statistics_RS3});
  read_scores<Real>(rows, statistics_RS3, scores);
  if (readouts != nullptr) read(placed, *readouts);
}

}  // namespace dualpath
