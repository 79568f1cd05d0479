#include "core/device/observed_device.h"

#include <array>

namespace dualpath {
namespace {

// The operands that are present.
class OperandList final : public Contract {
 public:
  std::span<const Operand> operands() const { return {operands_.data(), size_}; }
  bool has_bf16_operand() const { return has_bf16_operand_; }

 private:
  void operand(const Tensor& tensor, const OperandTerms& terms) override {
    operands_.at(size_++) = {tensor, terms.access};
    if (terms.type_class == TypeClass::operand && tensor.dtype == DType::bf16)
      has_bf16_operand_ = true;
  }

  std::array<Operand, 12> operands_{};
  std::size_t size_ = 0;
  bool has_bf16_operand_ = false;
};

class ObservedOps final : public Ops {
 public:
  ObservedOps(std::unique_ptr<Ops> ops, Stream& stream, KernelObserver* const& observer)
      : ops_(std::move(ops)), stream_(stream), observer_(observer) {}

  void run(const Operation& operation) override {
    if (observer_ == nullptr) {
      ops_->run(operation);
      return;
    }
    OperandList list;
    visit_operands(operation, list);
    const double flops = flops_of(operation);
    const auto work = [&] { ops_->run(operation); };
    observer_->on_call({.name = name_of(operation),
                        .operands = list.operands(),
                        .flops = flops,
                        .bytes = bytes_of(operation),
                        .is_bf16 = flops > 0 && list.has_bf16_operand(),
                        .issue = std::ref(work)},
                       stream_);
  }
  std::unique_ptr<KernelTuner> make_tuner() override { return ops_->make_tuner(); }
  void begin_packed_weights() override { ops_->begin_packed_weights(); }
  void end_packed_weights() override { ops_->end_packed_weights(); }

 private:
  std::unique_ptr<Ops> ops_;
  Stream& stream_;
  KernelObserver* const& observer_;  // the device's
};

class ObservedRecorder final : public WorkRecorder {
 public:
  ObservedRecorder(std::unique_ptr<WorkRecorder> recorder, KernelObserver* const& observer)
      : recorder_(std::move(recorder)), observer_(observer) {}

  bool record(std::size_t number, const Issue& issue) override {
    return observer_ == nullptr && recorder_->record(number, issue);
  }
  void replay(std::size_t number, const Issue& issue) override {
    observer_ == nullptr ? recorder_->replay(number, issue) : issue();
  }

 private:
  std::unique_ptr<WorkRecorder> recorder_;
  KernelObserver* const& observer_;  // the device's
};

}  // namespace

std::unique_ptr<WorkRecorder> ObservedDevice::make_recorder(Stream& stream) {
  std::unique_ptr<WorkRecorder> recorder = device_.make_recorder(stream);
  if (recorder == nullptr) return nullptr;
  return std::make_unique<ObservedRecorder>(std::move(recorder), observer_);
}

std::unique_ptr<Ops> ObservedDevice::make_ops(Stream& stream) {
  return std::make_unique<ObservedOps>(device_.make_ops(stream), stream, observer_);
}

}  // namespace dualpath
