// Operations that compute nothing. A dry run of the model with them and with measuring arenas finds
// how much memory a step takes and how many FLOPs its products are, before anything is allocated.
#pragma once

#include "core/ops/ops.h"

namespace dualpath {

class DryOps : public Ops {
 public:
  // 2·m·n·k summed over all matrix products issued, without the products of attention.
  double matmul_flops() const { return matmul_flops_; }
  // The same with the products of attention.
  double flops() const { return flops_; }

  void run(const Operation& operation) override {
    const double flops = flops_of(operation);
    flops_ += flops;
    if (std::holds_alternative<op::Matmul>(operation)) matmul_flops_ += flops;
  }

 private:
  double matmul_flops_ = 0;
  double flops_ = 0;
};

}  // namespace dualpath
