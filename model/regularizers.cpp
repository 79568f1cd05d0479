#include "model/regularizers.h"

namespace dualpath {

RegularizerScales make_regularizer_scales(const RegularizerConfig& config, const ModelConfig& model,
                                          double tokens, double sequences) {
  const auto more_iterations = static_cast<double>(model.deep.iterations - 1);
  double routers = 0, gates = 0;
  for (std::int64_t i = 0; i < model.layers; ++i) {
    const Architecture a = model.architecture_of(i);
    const bool deep = a == Architecture::looped || a == Architecture::dual_path;
    if (deep && model.deep.combine == LoopCombine::mixture && more_iterations > 0) routers += 1;
    if (a == Architecture::dual_path) gates += 1;
  }
  RegularizerScales scales;
  if (routers > 0) scales.ponder = config.ponder / (more_iterations * tokens * routers);
  if (gates > 0) {
    scales.entropy = config.gate_entropy / (tokens * gates);
    scales.balance = config.gate_balance / sequences;
  }
  return scales;
}

}  // namespace dualpath
