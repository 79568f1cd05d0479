#include "parallel/operations_under_way.h"

namespace dualpath {

OperationsUnderWay::Operation::Operation(OperationsUnderWay& all, const std::string& group,
                                         const char* kind, std::int64_t bytes)
    : all_(all), group_(group), kind_(kind), bytes_(bytes), phase_(all.tracer_, kind, group) {
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

void OperationsUnderWay::at_step(std::int64_t step) {
  const std::lock_guard lock(mutex_);
  step_ = step;
}

std::optional<OperationDescription> OperationsUnderWay::oldest() const {
  const std::lock_guard lock(mutex_);
  if (oldest_ == nullptr) return {};
  return OperationDescription{oldest_->number_, step_, oldest_->group_, oldest_->kind_,
                              oldest_->bytes_};
}

}  // namespace dualpath
