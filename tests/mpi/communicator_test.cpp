// What every communicator must do. Values are small integers, so that a sum is exact in any order
// and one wrong, missing or doubled contribution shows.
#include "parallel/communicator.h"

#include <gtest/gtest.h>

#include "tests/mpi/world.h"

namespace dualpath {
namespace {

// Host work is done when the call returns.
class HostStream final : public Stream {
 public:
  void wait_for(Stream&) override {}
  void synchronize() override {}
};

enum class Group { self, world, half };

// `half`: the ranks that are even or odd as this one is.
std::unique_ptr<Communicator> make_group(Group which) {
  switch (which) {
    case Group::self:
      return make_self_communicator();
    case Group::world:
      return world().split(0, 0);
    case Group::half:
      return world().split(world().rank() % 2, 0);
  }
  return nullptr;
}

class CommunicatorTest : public testing::TestWithParam<Group> {
 protected:
  Communicator& group() { return *group_; }
  std::unique_ptr<Communicator> group_ = make_group(GetParam());
  HostStream stream_;
};

// Around the size of the pieces in which large tensors are sent.
constexpr std::int64_t sizes[] = {0, 1, 7, (1 << 19) - 1, 1 << 19, (1 << 19) + 1, (1 << 20) + 3};

// Differs between neighbours in rank and in index; below 1000, so that sums are exact in f32.
template <class T>
T value_at(int rank, std::int64_t i) {
  return static_cast<T>((i * 7 + rank * 101 + (i % 3) * rank) % 1000 - 500);
}

template <class T>
std::vector<T> values_of(int rank, std::int64_t size) {
  std::vector<T> values(static_cast<std::size_t>(size));
  for (std::int64_t i = 0; i < size; ++i) {
    values[static_cast<std::size_t>(i)] = value_at<T>(rank, i);
  }
  return values;
}

template <class T>
Tensor tensor_of(std::vector<T>& values) {
  return {values.data(), dtype_of<T>, Shape{static_cast<std::int64_t>(values.size())}};
}

template <class T>
std::vector<T> reduced(int num_ranks, std::int64_t size, Reduce reduce) {
  std::vector<T> result = values_of<T>(0, size);
  for (int rank = 1; rank < num_ranks; ++rank) {
    for (std::int64_t i = 0; i < size; ++i) {
      T& r = result[static_cast<std::size_t>(i)];
      const T x = value_at<T>(rank, i);
      r = reduce == Reduce::sum ? r + x : reduce == Reduce::max ? std::max(r, x) : std::min(r, x);
    }
  }
  return result;
}

template <class T>
void expect_all_reduce_exact(Communicator& group, Stream& stream) {
  for (const std::int64_t size : sizes) {
    for (const Reduce reduce : {Reduce::sum, Reduce::max, Reduce::min}) {
      std::vector<T> values = values_of<T>(group.rank(), size);
      group.all_reduce(tensor_of(values), reduce, stream);
      stream.synchronize();
      EXPECT_TRUE(values == reduced<T>(group.size(), size, reduce))
          << size << " elements, reduction " << static_cast<int>(reduce);
    }
  }
}

TEST_P(CommunicatorTest, AllReduceF32) {
  expect_all_reduce_exact<float>(group(), stream_);
}
TEST_P(CommunicatorTest, AllReduceF64) {
  expect_all_reduce_exact<double>(group(), stream_);
}
TEST_P(CommunicatorTest, AllReduceI32) {
  expect_all_reduce_exact<std::int32_t>(group(), stream_);
}

TEST_P(CommunicatorTest, BroadcastsTensorsFromEveryRoot) {
  for (int root = 0; root < group().size(); ++root) {
    for (const std::int64_t size : sizes) {
      std::vector<float> values = values_of<float>(group().rank(), size);
      group().broadcast(tensor_of(values), root, stream_);
      stream_.synchronize();
      EXPECT_TRUE(values == values_of<float>(root, size)) << size << " elements from " << root;
    }
  }
}

// Lengths 0, 1, 1000, 2001, … and a zero byte inside.
std::string message_of(int rank) {
  std::string message(static_cast<std::size_t>(rank < 2 ? rank : rank * 1000 - 1000 + rank),
                      static_cast<char>('a' + rank));
  if (message.size() > 3) message[3] = '\0';
  return message;
}

TEST_P(CommunicatorTest, BroadcastsMessagesFromEveryRoot) {
  for (int root = 0; root < group().size(); ++root) {
    EXPECT_EQ(group().broadcast(message_of(group().rank()), root), message_of(root));
  }
}

TEST_P(CommunicatorTest, GathersMessagesByRank) {
  const std::vector<std::string> messages = group().all_gather(message_of(group().rank()));
  ASSERT_EQ(static_cast<int>(messages.size()), group().size());
  for (int rank = 0; rank < group().size(); ++rank) {
    EXPECT_EQ(messages[static_cast<std::size_t>(rank)], message_of(rank));
  }
}

TEST_P(CommunicatorTest, SplitGroupsByColorOrdersByKey) {
  // Colors 0 0 1 1 2 …; falling keys reverse the order within a group.
  const int rank = group().rank();
  const auto part = group().split(rank / 2, -rank);
  const std::string me = std::to_string(rank);
  const std::vector<std::string> members = part->all_gather(me);
  const int first = rank / 2 * 2;
  std::vector<std::string> expected = {std::to_string(first)};
  if (first + 1 < group().size()) expected.insert(expected.begin(), std::to_string(first + 1));
  EXPECT_EQ(members, expected);
  EXPECT_EQ(part->size(), static_cast<int>(expected.size()));
  EXPECT_EQ(members[static_cast<std::size_t>(part->rank())], me);

  std::vector<std::int32_t> one = {1};
  part->all_reduce(tensor_of(one), Reduce::sum, stream_);
  EXPECT_EQ(one[0], part->size());
}

TEST_P(CommunicatorTest, EqualKeysKeepTheOrderOfRanks) {
  const auto same = group().split(0, 0);
  EXPECT_EQ(same->rank(), group().rank());
  EXPECT_EQ(same->size(), group().size());
}

INSTANTIATE_TEST_SUITE_P(Groups, CommunicatorTest,
                         testing::Values(Group::self, Group::world, Group::half),
                         [](const auto& info) {
                           return info.param == Group::self    ? "self"
                                  : info.param == Group::world ? "world"
                                                               : "half";
                         });

TEST(SelfCommunicator, RefusesOtherRoots) {
  EXPECT_THROW(make_self_communicator()->broadcast("message", 1), Error);
}

}  // namespace
}  // namespace dualpath
