#include "launcher/train/trace_recorder.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace dualpath {
namespace {

double microseconds(std::chrono::steady_clock::duration time) {
  return std::chrono::duration<double, std::micro>(time).count();
}

std::string quoted(const std::string& text) {
  return nlohmann::json(text).dump();
}

// What a viewer calls a process or a thread of it.
std::string name_event(const char* what, int process, std::size_t thread, const std::string& name) {
  return fmt::format(R"({{"name":"{}","ph":"M","pid":{},"tid":{},"args":{{"name":{}}}}})", what,
                     process, thread, quoted(name));
}

}  // namespace

TraceRecorder::Track& TraceRecorder::own_track() {
  const std::thread::id thread = std::this_thread::get_id();
  const auto known = std::ranges::find(tracks_, thread, &Track::thread);
  if (known != tracks_.end()) return *known;
  return tracks_.emplace_back(Track{thread, {}, {}});
}

void TraceRecorder::begin(const char* name, std::string_view detail) {
  if (!recording_) return;
  const std::lock_guard lock(mutex_);
  Range range{name, Clock::now(), {}};
  if (!detail.empty()) range.name.append(" ").append(detail);
  own_track().open.push_back(std::move(range));
}

// A range that began before start() ends when all that began later have: nothing is open then.
void TraceRecorder::end() {
  if (!recording_) return;
  const Clock::time_point now = Clock::now();
  const std::lock_guard lock(mutex_);
  Track& track = own_track();
  if (track.open.empty()) return;
  track.done.push_back(std::move(track.open.back()));
  track.done.back().end = now;
  track.open.pop_back();
}

void TraceRecorder::start() {
  const std::lock_guard lock(mutex_);
  tracks_.clear();
  own_track();
  recording_ = true;
}

void TraceRecorder::stop() {
  recording_ = false;
}

std::string TraceRecorder::json(int process, const std::string& process_name) const {
  const std::lock_guard lock(mutex_);
  std::string text = "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n";
  text += name_event("process_name", process, 0, process_name);
  for (std::size_t thread = 0; thread < tracks_.size(); ++thread) {
    text += ",\n" + name_event("thread_name", process, thread,
                               thread == 0 ? "computing" : fmt::format("beside it {}", thread));
    for (const Range& range : tracks_[thread].done) {
      text += fmt::format(R"(,{}{{"name":{},"ph":"X","pid":{},"tid":{},"ts":{:.3f},"dur":{:.3f}}})",
                          "\n", quoted(range.name), process, thread,
                          microseconds(range.begin.time_since_epoch()),
                          microseconds(range.end - range.begin));
    }
  }
  return text + "\n]}\n";
}

}  // namespace dualpath
