#include "launcher/plan/machine.h"

#include <algorithm>
#include <bit>
#include <fmt/format.h>

#include "core/base/error.h"
#include "core/config/nearest.h"
#include "data/files/file_io.h"
#include "parallel/communicator.h"

namespace dualpath {

namespace {

void validate_kernels(const Machine& machine, ConfigProblems& problems) {
  if (std::ranges::find(machine.kernels, "", &KernelRate::kernel) == machine.kernels.end())
    problems.add("kernels", "one is wanted for those that are not named: kernel: \"\"");
  for (std::size_t i = 0; i < machine.kernels.size(); ++i) {
    const KernelRate& rate = machine.kernels[i];
    if (rate.kernel.empty() && rate.overhead_us == 0 && rate.gflops == 0 && rate.gbytes == 0) {
      problems.add(fmt::format("kernels[{}]", i),
                   "calls would take no time: give overhead_us, gflops or gbytes");
    }
    const auto is_same = [&](const KernelRate& other) {
      return other.kernel == rate.kernel && other.precision == rate.precision;
    };
    if (std::ranges::find_if(machine.kernels, is_same) - machine.kernels.begin() <
        static_cast<std::ptrdiff_t>(i)) {
      problems.add(
          fmt::format("kernels[{}]", i),
          fmt::format("a second rate of {} for \"{}\"", enum_name(rate.precision), rate.kernel));
    }
  }
}

void validate_links(const Machine& machine, ConfigProblems& problems) {
  std::vector<std::string> known{""};
  for (int i = 0; i < num_collectives; ++i) known.emplace_back(name_of(static_cast<Collective>(i)));
  for (std::size_t i = 0; i < machine.links.size(); ++i) {
    const LinkRate& rate = machine.links[i];
    const std::string key = fmt::format("links[{}]", i);
    if (std::ranges::find(known, rate.collective) == known.end()) {
      const std::string near = nearest(rate.collective, known);
      problems.add(key + ".collective",
                   fmt::format("\"{}\" is none{}", rate.collective,
                               near.empty() ? "" : fmt::format(", did you mean {}?", near)));
    }
    const auto is_same = [&](const LinkRate& other) {
      return other.collective == rate.collective && other.scope == rate.scope;
    };
    if (std::ranges::find_if(machine.links, is_same) - machine.links.begin() <
        static_cast<std::ptrdiff_t>(i)) {
      problems.add(key, fmt::format("a second rate in the {} for \"{}\"", enum_name(rate.scope),
                                    rate.collective));
    }
  }
}

// 0 a second: no time.
double time_for(double amount, double giga_a_second) {
  return giga_a_second == 0 ? 0 : amount / (1e9 * giga_a_second);
}

}  // namespace

void validate(const Machine& machine, ConfigProblems& problems) {
  if (machine.name.empty()) problems.add("name", "which machine is it? give it a name");
  validate_kernels(machine, problems);
  validate_links(machine, problems);
}

Machine load_machine(const std::filesystem::path& file) {
  ConfigSource source;
  source.add_file(file);
  ConfigProblems problems;
  const auto machine = read_config<Machine>(source, problems);
  if (problems.empty()) validate(machine, problems);
  throw_if_any(problems, source);
  return machine;
}

void save_machine(const std::filesystem::path& file, const Machine& machine) {
  write_file(file, print_config(machine), ExitCode::configuration);
}

double seconds_of(const KernelRate& rate, double flops, double bytes) {
  return 1e-6 * rate.overhead_us + time_for(flops, rate.gflops) + time_for(bytes, rate.gbytes);
}

double seconds_of(const LinkRate& rate, std::int64_t ranks, double calls, double bytes) {
  const auto rounds = static_cast<double>(std::bit_width(static_cast<std::uint64_t>(ranks - 1)));
  return 1e-6 * rate.latency_us * rounds * calls + time_for(bytes, rate.gbytes);
}

Machine counting_flops() {
  constexpr double one_a_second = 1e-9;
  Machine machine{.name = "FLOPs", .ranks_per_node = std::int64_t{1} << 32};
  for (const auto& [precision, name] : EnumNames<Precision>::values)
    machine.kernels.push_back({.precision = precision, .gflops = one_a_second});
  machine.links = {{.scope = LinkScope::node}};
  return machine;
}

}  // namespace dualpath
