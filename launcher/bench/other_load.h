// What other processes take of the processors while something is measured: the reason to distrust
// it.
#pragma once

#include "parallel/communicator.h"

namespace dualpath {

class OtherLoad {
 public:
  OtherLoad() : start_(read()) {}
  // Cores that were busy since then with other work than the ranks', which share one host.
  // Collective.
  double cores(Communicator& ranks) const;

 private:
  struct Clocks {  // seconds
    double wall, busy, own;
  };
  static Clocks read();
  Clocks start_;
};

}  // namespace dualpath
