// The device that a rank computes on, and what a user can choose of it.
#pragma once

#include "core/config/config.h"

namespace dualpath {

enum class DeviceChoice { automatic, cpu, cuda };

template <>
struct EnumNames<DeviceChoice> {
  static constexpr std::pair<DeviceChoice, const char*> values[] = {
      {DeviceChoice::automatic, "auto"}, {DeviceChoice::cpu, "cpu"}, {DeviceChoice::cuda, "cuda"}};
};

enum class CudaGraphs { automatic, on, off };

template <>
struct EnumNames<CudaGraphs> {
  static constexpr std::pair<CudaGraphs, const char*> values[] = {
      {CudaGraphs::automatic, "auto"}, {CudaGraphs::on, "on"}, {CudaGraphs::off, "off"}};
};

// What a rank computes on.
enum class Processor { unknown, cpu, gpu };

template <>
struct EnumNames<Processor> {
  static constexpr std::pair<Processor, const char*> values[] = {
      {Processor::unknown, "unknown"}, {Processor::cpu, "cpu"}, {Processor::gpu, "gpu"}};
};

}  // namespace dualpath
