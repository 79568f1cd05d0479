#include "model/parameter_store.h"

#include <gtest/gtest.h>
#include <vector>

#include "core/cpu/cpu_device.h"
#include "core/random.h"

namespace dualpath {
namespace {

// Large enough for every thread to draw several parts of it.
TEST(ParameterStore, DrawsTheNumbersOfOneStreamOnAllThreads) {
  ParameterStore store;
  const Parameter table = store.declare({.name = "table",
                                         .shape = {3001, 101},
                                         .init = {ParameterInit::Law::normal, 0.5},
                                         .decay = false});
  store.seal();
  const auto device = make_cpu_device(1);
  const auto stream = device->make_stream();
  store.allocate(*device, {});
  store.initialize(7, *device, *stream);

  std::vector<float> expected(3001 * 101);
  CounterRng(7, "table").normal(std::span<float>(expected), 0, 0, 0.5);
  const float* drawn = store.fused_value(table, 1).as<float>();
  for (std::size_t i = 0; i < expected.size(); ++i) ASSERT_EQ(drawn[i], expected[i]) << i;
}

}  // namespace
}  // namespace dualpath
