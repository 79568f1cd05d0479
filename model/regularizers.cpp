#include "model/regularizers.h"

namespace dualpath {

RegularizerScales make_regularizer_scales(const RegularizerConfig& config, const Stage& stage,
                                          double tokens, double sequences) {
  double routers = 0, gates = 0, more_iterations = 0;
  for (const Layer& layer : stage.layers()) {
    if (layer.has_router() && layer.iterations() > 1) {
      routers += 1;
      more_iterations = static_cast<double>(layer.iterations() - 1);
    }
    if (layer.has_both_paths()) gates += 1;
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
