// WorkRecorder: keeps work instead of doing it, so that one call issues all of it on a stream.
#pragma once

#include <cstddef>
#include <functional>

namespace dualpath {

class WorkRecorder {
 public:
  // Issues work on the stream. Whenever it is called, and as long as no memory has moved, these are
  // the same kernels on the same operands, those given by value included. It waits for nothing,
  // has nothing to do with other streams, and neither copies from or to the host's memory nor
  // allocates.
  using Issue = std::function<void()>;

  virtual ~WorkRecorder() = default;
  // Keeps issue()'s work as `number`, in place of what was that before, and does none of it. False,
  // without a call: not now. Throws Error where it cannot be kept: `number` is not to be replayed.
  virtual bool record(std::size_t number, const Issue& issue) = 0;
  // What was recorded as `number` once more, without a call of issue(), but where every kernel's
  // call has to be seen.
  virtual void replay(std::size_t number, const Issue& issue) = 0;
};

}  // namespace dualpath
