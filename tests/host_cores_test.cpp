#include "core/base/host_cores.h"

#include <gtest/gtest.h>
#include <sched.h>

#include "core/base/host_memory.h"

namespace dualpath {
namespace {

TEST(HostCores, ReadsAQuota) {
  EXPECT_EQ(cores_of_quota("200000 100000"), 2);
  EXPECT_EQ(cores_of_quota("250000 100000\n"), 3);
  EXPECT_EQ(cores_of_quota("1000 100000"), 1);
  EXPECT_EQ(cores_of_quota("max 100000"), std::nullopt);
  for (const char* other : {"", "200000", "200000 ", "200000 0", "-1 100000", "two 100000"})
    EXPECT_EQ(cores_of_quota(other), std::nullopt) << other;
}

TEST(HostMemory, ReadsALimit) {
  EXPECT_EQ(bytes_of_limit("1073741824\n"), 1 << 30);
  EXPECT_EQ(bytes_of_limit("1073741824"), 1 << 30);
  for (const char* none : {"max\n", "max", "", "0", "-1", "1G"})
    EXPECT_EQ(bytes_of_limit(none), INT64_MAX) << none;
  EXPECT_GT(total_host_bytes(), 1 << 20);
  EXPECT_LT(total_host_bytes(), INT64_MAX);
}

TEST(HostCores, KeepsToTheCoresThatTheProcessIsBoundTo) {
  cpu_set_t before, one;
  ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
  const int all = own_cores();
  EXPECT_LE(all, CPU_COUNT(&before));
  CPU_ZERO(&one);
  CPU_SET(sched_getcpu(), &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
  EXPECT_EQ(own_cores(), 1);
  EXPECT_GE(host_cores(), all);
  ASSERT_EQ(sched_setaffinity(0, sizeof before, &before), 0);
}

}  // namespace
}  // namespace dualpath
