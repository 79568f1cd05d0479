#include "launcher/common/progress.h"

#include <algorithm>
#include <fmt/format.h>
#include <unistd.h>

#include "launcher/common/text_format.h"

namespace dualpath {

std::string progress_text(std::string_view task, double done, double total, double seconds,
                          std::string_view details) {
  if (total <= 0) return fmt::format("{} | {}", task, details);
  const double share = std::clamp(done / total, 0.0, 1.0);
  std::string text = fmt::format("{} {:5.1f} % | {}", task, 100 * share, details);
  if (share > 0) text += " | ETA " + duration_text(seconds * (1 - share) / share);
  return text;
}

ProgressLine::ProgressLine(std::string task, double total, std::FILE* out)
    : task_(std::move(task)),
      total_(total),
      out_(out),
      is_terminal_(::isatty(::fileno(out)) == 1),
      start_(Clock::now()),
      next_(start_ + interval()) {}

ProgressLine::~ProgressLine() {
  if (!is_terminal_ || !shown_) return;
  std::fputs("\r\x1b[K", out_);
  std::fflush(out_);
}

ProgressLine::Clock::duration ProgressLine::interval() const {
  return is_terminal_ ? Clock::duration(std::chrono::milliseconds(100)) : std::chrono::minutes(1);
}

void ProgressLine::show(double done, double seconds, std::string_view details) {
  const std::string text = progress_text(task_, done, total_, seconds, details);
  if (is_terminal_) {
    fmt::print(out_, "\r{}\x1b[K", text);
  } else {
    fmt::print(out_, "{}\n", text);
  }
  std::fflush(out_);
  shown_ = true;
}

}  // namespace dualpath
