#include "parallel/stage_balance.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>

#include "core/base/error.h"
#include "parallel/index.h"

namespace dualpath {

namespace {

class Partition {
 public:
  Partition(const LayerCosts& costs, int pieces)
      : costs_(costs), pieces_(pieces), layers_(static_cast<int>(costs.layers.size())) {
    before_.push_back(0);
    for (double cost : costs.layers) before_.push_back(before_.back() + cost);
  }

  std::vector<LayerRange> best() const {
    constexpr double none = std::numeric_limits<double>::infinity();
    const Table largest = solve(
        -none, none, [](double a, double b) { return std::max(a, b); }, std::less<>(), none);
    const Table smallest = solve(
        none, -none, [](double a, double b) { return std::min(a, b); }, std::greater<>(),
        largest.front().front().value);
    std::vector<LayerRange> ranges;
    for (int piece = 0, begin = 0; piece < pieces_; ++piece) {
      const int end = smallest[at(piece)][at(begin)].end;
      ranges.push_back({begin, end});
      begin = end;
    }
    return ranges;
  }

 private:
  // The best value of the pieces from one on, over the layers from one on; and where the first of
  // these pieces ends.
  struct Choice {
    double value;
    int end;
  };
  using Table = std::vector<std::vector<Choice>>;  // by piece, layer

  double cost(int begin, int end) const {
    return before_[at(end)] - before_[at(begin)] + (begin == 0 ? costs_.embedding : 0) +
           (end == layers_ ? costs_.head : 0);
  }

  // Dynamic programming: the best combination of the pieces' costs, none above `limit`. `nothing`
  // is the value of no pieces, `impossible` worse than any; among equals the first piece is short.
  template <class Combine, class Better>
  Table solve(double nothing, double impossible, Combine combine, Better better,
              double limit) const {
    Table table(at(pieces_ + 1), std::vector<Choice>(at(layers_ + 1), {impossible, layers_}));
    table[at(pieces_)][at(layers_)].value = nothing;
    for (int piece = pieces_ - 1; piece >= 0; --piece) {
      for (int begin = 0; begin < layers_; ++begin) {
        Choice& best = table[at(piece)][at(begin)];
        for (int end = begin + 1; end <= layers_ && cost(begin, end) <= limit; ++end) {
          const double rest = table[at(piece + 1)][at(end)].value;
          if (rest == impossible) continue;
          const double value = combine(cost(begin, end), rest);
          if (better(value, best.value)) best = {value, end};
        }
      }
    }
    return table;
  }

  const LayerCosts& costs_;
  int pieces_, layers_;
  std::vector<double> before_;  // of the layers before each
};

std::string pieces_text(const PipelineShape& shape) {
  return shape.chunks == 1 ? fmt::format("{} stages", shape.stages)
                           : fmt::format("{} stages of {} chunks", shape.stages, shape.chunks);
}

}  // namespace

std::string partition_problem(int layers, std::span<const std::int64_t> piece_layers,
                              const PipelineShape& shape) {
  if (layers < shape.pieces()) {
    return fmt::format("{} want at least {} layers, the model has {}", pieces_text(shape),
                       shape.pieces(), layers);
  }
  if (piece_layers.empty()) return "";
  if (piece_layers.size() != at(shape.pieces())) {
    return fmt::format("{} want {} numbers of layers, not {}", pieces_text(shape), shape.pieces(),
                       piece_layers.size());
  }
  const auto least = std::min_element(piece_layers.begin(), piece_layers.end());
  if (*least < 1) {
    return fmt::format("piece {} has {} layers, the least is 1", least - piece_layers.begin(),
                       *least);
  }
  const std::int64_t sum =
      std::accumulate(piece_layers.begin(), piece_layers.end(), std::int64_t{0});
  if (sum == layers) return "";
  return fmt::format("the pieces have {} layers together, the model {}", sum, layers);
}

std::vector<LayerRange> partition_layers(const LayerCosts& costs,
                                         std::span<const std::int64_t> piece_layers,
                                         const PipelineShape& shape) {
  const int layers = static_cast<int>(costs.layers.size());
  const std::string problem = partition_problem(layers, piece_layers, shape);
  CHECK_AS(ExitCode::configuration, problem.empty(), "{}", problem);
  if (piece_layers.empty()) return Partition(costs, shape.pieces()).best();
  std::vector<LayerRange> ranges;
  int begin = 0;
  for (std::int64_t count : piece_layers) {
    ranges.push_back({begin, begin + static_cast<int>(count)});
    begin = ranges.back().end;
  }
  return ranges;
}

double piece_cost(const LayerCosts& costs, const LayerRange& range) {
  const auto begin = costs.layers.begin();
  return std::accumulate(begin + range.begin, begin + range.end,
                         range.begin == 0 ? costs.embedding : 0.0) +
         (range.end == static_cast<int>(costs.layers.size()) ? costs.head : 0);
}

}  // namespace dualpath
