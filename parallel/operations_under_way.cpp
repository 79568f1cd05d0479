#include "parallel/operations_under_way.h"

#include <utility>

namespace dualpath {

OperationsUnderWay::Operation::Operation(OperationsUnderWay& all, const std::string& group,
                                         const char* kind, std::int64_t bytes, bool is_phase)
    : all_(all),
      group_(group),
      kind_(kind),
      bytes_(bytes),
      phase_(is_phase ? all.tracer_ : nullptr, kind, group) {
  const std::lock_guard lock(all_.mutex_);
  number_ = ++all_.num_begun_;
  older_ = all_.newest_;
  (older_ ? older_->newer_ : all_.oldest_) = this;
  all_.newest_ = this;
}

OperationsUnderWay::Operation::~Operation() {
  const std::lock_guard lock(all_.mutex_);
  (older_ ? older_->newer_ : all_.oldest_) = newer_;
  (newer_ ? newer_->older_ : all_.newest_) = older_;
}

OperationsUnderWay::Lookout::Lookout(OperationsUnderWay& all, std::function<std::string()> look)
    : all_(all), look_(std::move(look)) {
  const std::lock_guard lock(all_.lookouts_mutex_);
  all_.lookouts_.push_back(this);
}

OperationsUnderWay::Lookout::~Lookout() {
  const std::lock_guard lock(all_.lookouts_mutex_);
  std::erase(all_.lookouts_, this);
}

std::string OperationsUnderWay::look() const {
  const std::lock_guard lock(lookouts_mutex_);
  std::string failure;
  for (const Lookout* lookout : lookouts_) {
    std::string found = lookout->look_();
    if (failure.empty()) failure = std::move(found);
  }
  return failure;
}

void OperationsUnderWay::at_step(std::int64_t step) {
  const std::lock_guard lock(mutex_);
  step_ = step;
}

std::optional<OperationDescription> OperationsUnderWay::oldest() const {
  const std::lock_guard lock(mutex_);
  if (oldest_ == nullptr) return {};
  return OperationDescription{.number = oldest_->number_,
                              .step = step_,
                              .group = oldest_->group_,
                              .kind = oldest_->kind_,
                              .bytes = oldest_->bytes_,
                              .failure = {}};
}

}  // namespace dualpath
