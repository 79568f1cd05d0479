#include "tests/fake_cuda/captures.h"

#include "tests/fake_cuda/refusal.h"

namespace dualpath::fake_cuda {

namespace {
constexpr const char* wanted = "refused, as the test wants it";
}

void Captures::begin(const Scheduler::Stream& stream, cudaStreamCaptureMode mode) {
  const std::lock_guard lock(mutex_);
  Capture capture{std::this_thread::get_id(), mode, {stream.device(), {}}};
  require(captures_.emplace(&stream, std::move(capture)).second, cudaErrorIllegalState,
          "the stream is being captured already");
}

std::shared_ptr<const Graph> Captures::end(const Scheduler::Stream& stream) {
  const std::lock_guard lock(mutex_);
  const auto found = captures_.find(&stream);
  require(found != captures_.end(), cudaErrorIllegalState, "the stream is not being captured");
  const bool own = found->second.thread == std::this_thread::get_id();
  require(own || found->second.mode == cudaStreamCaptureModeRelaxed,
          cudaErrorStreamCaptureWrongThread, "another thread has begun this capture");
  Capture capture = std::move(found->second);
  captures_.erase(found);
  require(!is_due(CaptureCall::end), cudaErrorStreamCaptureUnsupported, wanted);
  require(!capture.spoilt, cudaErrorStreamCaptureInvalidated,
          "the capture was spoilt by a call that was refused");
  return std::make_shared<const Graph>(std::move(capture.graph));
}

bool Captures::is_capturing(const Scheduler::Stream& stream) const {
  const std::lock_guard lock(mutex_);
  return captures_.contains(&stream);
}

void Captures::add(const Scheduler::Stream& stream, Graph::Piece piece) {
  const std::lock_guard lock(mutex_);
  Capture& capture = captures_.at(&stream);
  require(!capture.spoilt, cudaErrorStreamCaptureInvalidated,
          "work for a capture that is spoilt already");
  capture.spoilt = is_due(CaptureCall::work);
  require(!capture.spoilt, cudaErrorStreamCaptureUnsupported, wanted);
  capture.spoilt = is_due(CaptureCall::unseen_work);
  capture.graph.pieces.push_back(std::move(piece));
  ++num_pieces_;
}

void Captures::refuse(CaptureCall call, int before) {
  const std::lock_guard lock(mutex_);
  refused_.emplace(call, before);
}

void Captures::meet(CaptureCall call) {
  const std::lock_guard lock(mutex_);
  require(!is_due(call), cudaErrorMemoryAllocation, wanted);
}

// REQUIRES: mutex_ is held.
bool Captures::is_due(CaptureCall call) {
  if (!refused_ || refused_->first != call || refused_->second-- > 0) return false;
  refused_.reset();
  return true;
}

void Captures::refuse_in(const Scheduler::Stream& stream, cudaError_t error,
                         const std::string& why) {
  const std::lock_guard lock(mutex_);
  const auto found = captures_.find(&stream);
  if (found == captures_.end()) return;
  found->second.spoilt = true;
  throw Refusal(error, why);
}

void Captures::refuse_beside(const std::string& call) {
  const std::lock_guard lock(mutex_);
  bool refused = false;
  for (auto& [stream, capture] : captures_) {
    const bool own = capture.thread == std::this_thread::get_id();
    if (capture.mode == cudaStreamCaptureModeRelaxed ||
        (capture.mode == cudaStreamCaptureModeThreadLocal && !own))
      continue;
    capture.spoilt = refused = true;
  }
  require(!refused, cudaErrorStreamCaptureUnsupported, call + " while a stream is being captured");
}

}  // namespace dualpath::fake_cuda
