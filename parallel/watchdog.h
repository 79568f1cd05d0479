// Watchdog: a thread that tells when an operation among ranks does not end, because another rank
// hangs or is gone, or has failed while no thread waited for it.
#pragma once

#include <chrono>
#include <functional>
#include <thread>

#include "parallel/operations_under_way.h"

namespace dualpath {

class Watchdog {
 public:
  // Called once, on the watchdog's thread, with the oldest operation. Where one has failed, with
  // its `failure`; then perhaps none is under way any more.
  using Alarm = std::function<void(const OperationDescription& operation)>;

  // How long an operation may be the oldest; time during which this process itself was stopped does
  // not count. 0: for ever. The operations outlive this.
  Watchdog(const OperationsUnderWay& operations, std::chrono::duration<double> timeout,
           Alarm alarm);

 private:
  void watch(const std::stop_token& stop) const;

  const OperationsUnderWay& operations_;
  const std::chrono::duration<double> timeout_;
  const Alarm alarm_;
  std::jthread thread_;
};

}  // namespace dualpath
