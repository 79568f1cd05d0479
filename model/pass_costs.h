// What the passes of one micro-batch cost on one stage, recomputation included, in any unit.
#pragma once

namespace dualpath {

struct PassCosts {
  double forward = 0;
  double backward = 0;  // without what it leaves to backward_weights
  double backward_weights = 0;
};

}  // namespace dualpath
