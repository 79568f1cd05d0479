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
}

void Scorer::score(const TextRows& rows, std::span<TokenScore> scores) {
  CHECK(0 < rows.num_rows() && rows.num_rows() <= max_rows_ && !rows.targets.empty() &&
            scores.size() == rows.targets.size(),
        "{} rows with {} targets for {} scores, at most {} rows", rows.num_rows(),
        rows.targets.size(), scores.size(), max_rows_);
  if (model_.parameters().types().master == DType::f64) {
    score_as<double>(rows, scores);
  } else {
    score_as<float>(rows, scores);
  }
}

template <class Real>
void Scorer::score_as(const TextRows& rows, std::span<TokenScore> scores) {
  const std::int64_t half = model_.config().head_size() / 2;
  const auto num_segments = static_cast<std::int64_t>(rows.segments.size());
  const auto num_scores = static_cast<std::int64_t>(scores.size());
  const Tensor segments_S3{segments_.data(), DType::i32, {num_segments, 3}};
  const Shape TR{rows.num_rows(), half};
  const RopeTables rope{{cosines_.data(), dtype_of<Real>, TR}, {sines_.data(), dtype_of<Real>, TR}};
  const Tensor statistics_RS3{statistics_.data(), dtype_of<Real>, {1, num_scores, 3}};
  const auto angles_of_rows = [&](const std::vector<double>& angles) {
    std::vector<Real> of_rows;
    for (const std::int32_t position : rows.positions) {
      const auto* first = angles.data() + position * half;
      of_rows.insert(of_rows.end(), first, first + half);
    }
    return of_rows;
  };
  const std::vector<Real> cosines = angles_of_rows(angles_.cosines);
  const std::vector<Real> sines = angles_of_rows(angles_.sines);
  Device& device = model_.device();
  Stream& stream = model_.stream();
  device.copy_to_device(segments_S3, rows.segments.data(), stream);
  device.copy_to_device(rope.cos_PR, cosines.data(), stream);
  device.copy_to_device(rope.sin_PR, sines.data(), stream);
  model_.score({.ids = rows.ids,
                .targets = rows.targets,
                .rope = rope,
                .segments = {segments_S3, rows.longest_segment(), rows.attended_pairs()},
                .statistics_RS3 = statistics_RS3});
  std::vector<Real> statistics(scores.size() * 3);
  device.copy_to_host(statistics.data(), statistics_RS3, stream);
  stream.synchronize();
  for (std::size_t i = 0; i < scores.size(); ++i)
    scores[i] = rows.targets[i] < 0 ? TokenScore{} : token_score(statistics.data() + i * 3);
}

}  // namespace dualpath
