// The program computes the same on memory that the host cannot touch, with work that runs as late
// as it may: nothing reads, frees or changes what work under way still needs.
#include "tests/far_device/far_device.h"

#include <csignal>
#include <gmock/gmock.h>
#include <numeric>

#include "core/cpu/cpu_device.h"
#include "data/checkpoints/checkpoint_store.h"
#include "model/decoder.h"
#include "model/parameter_slices.h"
#include "tests/expect_error.h"
#include "tests/numbers.h"
#include "tests/small_training.h"
#include "tests/temporary_folder.h"

namespace dualpath {
namespace {

std::unique_ptr<Device> make_far_device() {
  return std::make_unique<FarDevice>(make_cpu_device(1));
}

struct Rig {
  Rig(std::unique_ptr<Device> on, const TrainerOptions& options)
      : device(std::move(on)),
        stream(device->make_stream()),
        trainer(options, *device, *stream, *ranks) {}

  std::vector<double> train(int steps) {
    std::vector<double> losses;
    for (int step = 0; step < steps; ++step) {
      const StepResult result = trainer.step({});
      losses.push_back(result.loss);
      losses.push_back(result.grad_norm);
      losses.insert(losses.end(), result.readouts.begin(), result.readouts.end());
    }
    return losses;
  }
  void save(const std::filesystem::path& folder) {
    CheckpointManifest manifest;
    manifest.step = trainer.progress().step;
    save_checkpoint(folder, manifest, trainer.state_to_save(), *ranks,
                    SliceAccess(*device, *stream));
  }
  void load(const std::filesystem::path& folder, const TrainingProgress& progress) {
    load_slices(open_checkpoint(folder), trainer.state(), SliceAccess(*device, *stream));
    trainer.start(source, progress);
  }

  std::unique_ptr<Communicator> ranks = make_self_communicator();
  std::unique_ptr<Device> device;
  std::unique_ptr<Stream> stream;
  CountingTokens source;
  Trainer trainer;
};

TEST(FarDevice, TheHostCannotTouchItsMemory) {
  const auto device = make_far_device();
  const Buffer buffer = device->allocate(4096);
  EXPECT_EXIT(std::exit(static_cast<int>(*buffer.data())), testing::KilledBySignal(SIGSEGV), "");
}

TEST(FarDevice, RunsWorkWhenItIsWaitedFor) {
  const auto device = make_far_device();
  const auto first = device->make_stream(), second = device->make_stream();
  const auto ops = device->make_ops(*first);
  const Buffer buffer = device->allocate(400);
  const Tensor tensor{buffer.data(), DType::f32, {100}};
  std::vector<float> host(100, 1);
  device->copy_to_device(tensor, host.data(), *first);
  ops->run(op::Sum{.out = tensor, .a = tensor, .b = tensor});
  std::iota(host.begin(), host.end(), 0.0F);  // too early: the copy takes what is there now
  second->wait_for(*first);
  std::vector<float> result(100);
  device->copy_to_host(result.data(), tensor, *second);
  EXPECT_EQ(result, std::vector<float>(100));
  second->synchronize();
  for (float& x : host) x *= 2;
  EXPECT_EQ(result, host);
}

TEST(FarDevice, RefusesMemoryOfTheHost) {
  const auto device = make_far_device();
  const auto stream = device->make_stream();
  const auto ops = device->make_ops(*stream);
  std::vector<float> host(4);
  ops->run(op::Fill{.out = {host.data(), DType::f32, {4}}, .value = 1});
  EXPECT_THAT(error_of(ExitCode::internal, [&] { stream->synchronize(); }),
              testing::HasSubstr("not in this device's memory"));
}

TEST(FarDevice, TrainsAndValidatesBitEqually) {
  for (const auto& [name, types] : cpu_numbers()) {
    SCOPED_TRACE(name);
    Rig near(make_cpu_device(1), small_options(types)),
        far(make_far_device(), small_options(types));
    for (Rig* rig : {&near, &far}) {
      rig->trainer.initialize();
      rig->trainer.start(rig->source, {});
    }
    EXPECT_EQ(far.train(5), near.train(5));
    EXPECT_EQ(far.trainer.validate(far.source, 7, {}).loss,
              near.trainer.validate(near.source, 7, {}).loss);
    EXPECT_EQ(far.train(1), near.train(1));
  }
}

// Each device goes on from the other's checkpoint.
TEST(FarDevice, CheckpointsGoFromDeviceToDevice) {
  const TemporaryFolder folder;
  Rig near(make_cpu_device(1), small_options()), far(make_far_device(), small_options());
  far.trainer.initialize();
  far.trainer.start(far.source, {});
  far.train(3);
  far.save(folder.path());
  const TrainingProgress progress = far.trainer.progress();
  const std::vector<double> expected = far.train(2);
  near.load(folder / "step-00000003", progress);
  EXPECT_EQ(near.train(2), expected);
  near.save(folder.path());
  const TrainingProgress later = near.trainer.progress();
  const std::vector<double> expected_later = near.train(2);
  far.load(folder / "step-00000005", later);
  EXPECT_EQ(far.train(2), expected_later);
}

TEST(FarDevice, DecodesBitEqually) {
  const auto text = [](std::unique_ptr<Device> device) {
    const auto stream = device->make_stream();
    Model model(small_options().model, {.training = false}, *device, *stream);
    model.parameters().initialize(7, *device, *stream);
    Decoder decoder(model, 16);
    std::vector<std::int32_t> tokens = {3, 14, 15};
    Tensor logits = decoder.append(tokens);
    tokens.reserve(64);
    while (tokens.size() < 40) {
      const float* row = logits.as<float>();
      tokens.push_back(static_cast<std::int32_t>(std::max_element(row, row + 64) - row));
      logits = decoder.append(std::span(tokens).last(1));
    }
    return tokens;
  };
  EXPECT_EQ(text(make_far_device()), text(make_cpu_device(1)));
}

}  // namespace
}  // namespace dualpath
