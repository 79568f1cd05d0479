#include "launcher/sweep/run_history.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/base/error.h"
#include "data/files/file_io.h"

namespace dualpath {

namespace {

using Json = nlohmann::json;

// A number, or NaN where it was not finite.
double number(const Json& value) {
  return value.is_number() ? value.get<double>() : std::nan("");
}

std::optional<double> if_finite(double value) {
  return std::isfinite(value) ? std::optional(value) : std::nullopt;
}

void add(TokenCurve& curve, const Json& row, const char* name) {
  const double tokens = number(row.value("tokens", Json()));
  const double value = number(row[name]);
  if (!std::isfinite(tokens) || !std::isfinite(value)) return;
  curve.tokens.push_back(tokens);
  curve.values.push_back(value);
}

// A mean over the rows for each layer; {} where a row does not have them.
std::vector<double> layer_means(const std::deque<Json>& rows, const char* name) {
  std::vector<double> means;
  for (const Json& row : rows) {
    const auto values = row.find(name);
    if (values == row.end() || !values->is_array()) return {};
    if (means.empty()) means.assign(values->size(), 0);
    if (values->size() != means.size()) return {};
    for (std::size_t i = 0; i < means.size(); ++i)
      means[i] += number((*values)[i]) / static_cast<double>(rows.size());
  }
  return means;
}

std::optional<double> mean_loss(const std::deque<Json>& rows) {
  double mean = 0;
  for (const Json& row : rows) mean += number(row["loss"]) / static_cast<double>(rows.size());
  return rows.empty() ? std::nullopt : if_finite(mean);
}

}  // namespace

RunHistory read_history(const std::filesystem::path& metrics) {
  RunHistory history;
  if (!path_exists(metrics, ExitCode::checkpoint)) return history;
  std::deque<Json> last_steps;
  std::istringstream text(
      read_file(metrics.string(), ExitCode::checkpoint, std::numeric_limits<std::int64_t>::max()));
  for (std::string line; std::getline(text, line);) {
    Json row = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!row.is_object() || !row.value("step", Json()).is_number_integer()) continue;
    if (row.contains("validation_loss")) {
      add(history.validation, row, "validation_loss");
      history.validation_loss = if_finite(number(row["validation_loss"]));
      history.bits_per_byte = if_finite(number(row.value("bits_per_byte", Json())));
    } else if (row.contains("loss")) {
      add(history.training, row, "loss");
      history.last_step = row["step"];
      last_steps.push_back(std::move(row));
      if (last_steps.size() > last_steps_averaged) last_steps.pop_front();
    }
  }
  history.training_loss = mean_loss(last_steps);
  for (std::size_t i = 0; i < readouts.size(); ++i)
    history.layers[i] = layer_means(last_steps, readouts[i].name);
  return history;
}

TokenCurve thinned(const TokenCurve& curve, std::size_t points) {
  CHECK(points > 0, "no points wanted");
  if (curve.tokens.size() <= points) return curve;
  const double first = std::log(curve.tokens.front());
  const double width = (std::log(curve.tokens.back()) - first) / static_cast<double>(points);
  const auto stretch_of = [&](double tokens) {
    return std::min(points - 1, static_cast<std::size_t>((std::log(tokens) - first) / width));
  };
  TokenCurve result;
  for (std::size_t begin = 0, end = 0; begin < curve.tokens.size(); begin = end) {
    double tokens = 0, value = 0;
    const std::size_t stretch = stretch_of(curve.tokens[begin]);
    for (; end < curve.tokens.size() && stretch_of(curve.tokens[end]) == stretch; ++end) {
      tokens += curve.tokens[end];
      value += curve.values[end];
    }
    const auto count = static_cast<double>(end - begin);
    result.tokens.push_back(tokens / count);
    result.values.push_back(value / count);
  }
  return result;
}

}  // namespace dualpath
