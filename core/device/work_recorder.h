// WorkRecorder: records work of a stream, so that one call can issue all of it again (CUDA graphs).
#pragma once

#include <cstddef>
#include <functional>

namespace dualpath {

class WorkRecorder {
 public:
  // Issues work on the stream. Every call issues the same kernels with the same operands, those
  // given by value included, as long as no memory has moved. It must not wait, use another stream,
  // copy from or to host memory, or allocate.
  using Issue = std::function<void()>;

  virtual ~WorkRecorder() = default;
  // Records issue()'s work as `number`, replacing an earlier recording; none of it runs. Returns
  // false, without calling issue(), where nothing can be recorded now. Throws Error where recording
  // fails; `number` must not be replayed then.
  virtual bool record(std::size_t number, const Issue& issue) = 0;
  // Issues what was recorded as `number` again. issue() is called instead where an observer must
  // see every kernel.
  virtual void replay(std::size_t number, const Issue& issue) = 0;
};

}  // namespace dualpath
