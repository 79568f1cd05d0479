#include "launcher/bench/other_load.h"

#include <algorithm>
#include <fstream>
#include <sys/resource.h>
#include <unistd.h>

#include "launcher/bench/timing.h"

namespace dualpath {
namespace {

// All cores' time but that which they were idle or waited for disks.
double busy_seconds() {
  std::ifstream file("/proc/stat");
  std::string cpu;
  double user = 0, nice = 0, system = 0, idle = 0, disk = 0, interrupts = 0, soft = 0, stolen = 0;
  file >> cpu >> user >> nice >> system >> idle >> disk >> interrupts >> soft >> stolen;
  return (user + nice + system + interrupts + soft + stolen) /
         static_cast<double>(sysconf(_SC_CLK_TCK));
}

double own_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace

OtherLoad::Clocks OtherLoad::read() {
  return {now_seconds(), busy_seconds(), own_seconds()};
}

double OtherLoad::cores(Communicator& ranks) const {
  const Clocks now = read();
  double own = 0;
  for (const std::string& seconds : ranks.all_gather(fmt::format("{}", now.own - start_.own)))
    own += std::stod(seconds);
  return std::max(0.0, (now.busy - start_.busy - own) / (now.wall - start_.wall));
}

}  // namespace dualpath
