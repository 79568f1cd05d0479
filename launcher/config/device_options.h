// What a user can choose of the device that a rank computes on.
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

}  // namespace dualpath
