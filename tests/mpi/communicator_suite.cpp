#include "tests/mpi/communicator_suite.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "tests/mpi/world.h"

namespace dualpath {
namespace {

template <class T>
constexpr std::int64_t sizes[] = {0, 1, 7, piece<T>, piece<T> + 1, 2 * piece<T> + 3};

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

// Rank `part` of `num_parts` of the values.
template <class T>
std::vector<T> part_of(const std::vector<T>& values, int part, int num_parts) {
  const std::int64_t size = static_cast<std::int64_t>(values.size()) / num_parts;
  return {values.begin() + part * size, values.begin() + (part + 1) * size};
}

Tensor part_of(Tensor whole, int part, int num_parts) {
  const std::int64_t size = whole.numel() / num_parts;
  return whole.slice(part * size, (part + 1) * size);
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
  for (const std::int64_t size : sizes<T>) {
    for (const Reduce reduce : {Reduce::sum, Reduce::max, Reduce::min}) {
      std::vector<T> values = values_of<T>(group.rank(), size);
      group.all_reduce(tensor_of(values), reduce, stream);
      stream.synchronize();
      EXPECT_TRUE(values == reduced<T>(group.size(), size, reduce))
          << size << " elements, reduction " << static_cast<int>(reduce);
    }
  }
}

TEST_P(CommunicatorTest, AllReduce) {
  expect_all_reduce_exact<float>(group(), stream());
  expect_all_reduce_exact<double>(group(), stream());
  expect_all_reduce_exact<std::int32_t>(group(), stream());
}

template <class T>
void expect_broadcast_exact(Communicator& group, Stream& stream) {
  for (int root = 0; root < group.size(); ++root) {
    for (const std::int64_t size : sizes<T>) {
      std::vector<T> values = values_of<T>(group.rank(), size);
      group.broadcast(tensor_of(values), root, stream);
      stream.synchronize();
      EXPECT_TRUE(values == values_of<T>(root, size)) << size << " elements from " << root;
    }
  }
}

TEST_P(CommunicatorTest, Broadcast) {
  expect_broadcast_exact<float>(group(), stream());
  expect_broadcast_exact<double>(group(), stream());
  expect_broadcast_exact<std::int32_t>(group(), stream());
  expect_broadcast_exact<bfloat16>(group(), stream());
}

// Of many pieces.
TEST_P(CommunicatorTest, LargeTensors) {
  constexpr std::int64_t size = 9 * piece<float> + 1;
  std::vector<float> values = values_of<float>(rank(), size);
  group().all_reduce(tensor_of(values), Reduce::sum, stream());
  stream().synchronize();
  EXPECT_TRUE(values == reduced<float>(this->size(), size, Reduce::sum));
  values = values_of<float>(rank(), size);
  group().broadcast(tensor_of(values), this->size() - 1, stream());
  stream().synchronize();
  EXPECT_TRUE(values == values_of<float>(this->size() - 1, size));
}

template <class T>
void expect_all_gather_exact(Communicator& group, Stream& stream) {
  for (const std::int64_t size : sizes<T>) {
    std::vector<T> expected;
    for (int rank = 0; rank < group.size(); ++rank) {
      const std::vector<T> values = values_of<T>(rank, size);
      expected.insert(expected.end(), values.begin(), values.end());
    }
    std::vector<T> part = values_of<T>(group.rank(), size), whole(expected.size());
    group.all_gather(tensor_of(whole), tensor_of(part), stream);
    stream.synchronize();
    EXPECT_TRUE(whole == expected) << size << " elements";

    whole.assign(expected.size(), T{});
    const Tensor place = part_of(tensor_of(whole), group.rank(), group.size());
    std::copy(part.begin(), part.end(), static_cast<T*>(place.data));
    group.all_gather(tensor_of(whole), place, stream);
    stream.synchronize();
    EXPECT_TRUE(whole == expected) << size << " elements, in place";
  }
}

TEST_P(CommunicatorTest, AllGather) {
  expect_all_gather_exact<float>(group(), stream());
  expect_all_gather_exact<double>(group(), stream());
  expect_all_gather_exact<std::int32_t>(group(), stream());
  expect_all_gather_exact<bfloat16>(group(), stream());
}

template <class T>
void expect_reduce_scatter_exact(Communicator& group, Stream& stream) {
  for (const std::int64_t size : sizes<T>) {
    const std::vector<T> expected = part_of(
        reduced<T>(group.size(), size * group.size(), Reduce::sum), group.rank(), group.size());
    std::vector<T> whole = values_of<T>(group.rank(), size * group.size());
    std::vector<T> part(static_cast<std::size_t>(size));
    group.reduce_scatter(tensor_of(part), tensor_of(whole), stream);
    stream.synchronize();
    EXPECT_TRUE(part == expected) << size << " elements";

    whole = values_of<T>(group.rank(), size * group.size());
    const Tensor place = part_of(tensor_of(whole), group.rank(), group.size());
    group.reduce_scatter(place, tensor_of(whole), stream);
    stream.synchronize();
    EXPECT_TRUE(part_of(whole, group.rank(), group.size()) == expected) << size << ", in place";
  }
}

TEST_P(CommunicatorTest, ReduceScatter) {
  expect_reduce_scatter_exact<float>(group(), stream());
  expect_reduce_scatter_exact<double>(group(), stream());
  expect_reduce_scatter_exact<std::int32_t>(group(), stream());
}

// Whichever rank comes last.
TEST_P(CommunicatorTest, AllReduceGivesTheSameBitsEachTime) {
  std::vector<float> own(piece<float> + 5);
  for (std::size_t i = 0; i < own.size(); ++i)
    own[i] = value_of_any_size(rank(), static_cast<std::int64_t>(i));
  const auto summed = [&](int last) {
    std::vector<float> values = own;
    if (rank() == last) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    group().all_reduce(tensor_of(values), Reduce::sum, stream());
    stream().synchronize();
    return values;
  };
  const std::vector<float> first = summed(0);
  for (int last = 1; last <= size(); ++last)
    EXPECT_TRUE(summed(last) == first) << "rank " << last << " was last";
}

// What `from` has for `to`.
template <class T>
std::vector<T> mail(int from, int to, std::int64_t size) {
  return values_of<T>(from * 17 + to, size);
}

// Letters to and from every other rank, in one exchange; each rank lists them in an order of its
// own.
template <class T>
void expect_exchange_with_all_exact(Communicator& group, Stream& stream) {
  const int me = group.rank();
  for (const std::int64_t size : sizes<T>) {
    std::vector<std::vector<T>> sent, received;
    for (int peer = 0; peer < group.size(); ++peer) {
      sent.push_back(mail<T>(me, peer, size + peer));
      received.emplace_back(static_cast<std::size_t>(size + me));
    }
    std::vector<Transfer> transfers;
    for (int peer = 0; peer < group.size(); ++peer) {
      if (peer == me) continue;
      const auto place = static_cast<std::size_t>(peer);
      transfers.push_back({tensor_of(sent[place]), peer, true});
      transfers.push_back({tensor_of(received[place]), peer, false});
    }
    if (me % 2 == 1) std::reverse(transfers.begin(), transfers.end());
    group.exchange(transfers, stream);
    transfers.assign(transfers.size(), {});  // the operation has copies
    stream.synchronize();
    for (int peer = 0; peer < group.size(); ++peer) {
      if (peer == me) continue;
      EXPECT_TRUE(received[static_cast<std::size_t>(peer)] == mail<T>(peer, me, size + me))
          << size << " elements from " << peer;
    }
  }
}

TEST_P(CommunicatorTest, ExchangeWithAll) {
  expect_exchange_with_all_exact<float>(group(), stream());
  expect_exchange_with_all_exact<bfloat16>(group(), stream());
}

// Around the ring forwards, then backwards, before the first is waited for.
TEST_P(CommunicatorTest, ExchangesInRingsMatchInOrder) {
  if (size() == 1) return;
  const int next = (rank() + 1) % size(), before = (rank() + size() - 1) % size();
  constexpr std::int64_t length = piece<float> + 1;
  std::vector<float> values = values_of<float>(rank(), length);
  std::vector<float> forwards(values.size()), backwards(values.size()), short_forwards(3);
  const Transfer there[] = {{tensor_of(forwards), before, false},
                            {tensor_of(values), next, true},
                            {tensor_of(values).slice(5, 8), next, true},
                            {tensor_of(short_forwards), before, false}};
  const Transfer back[] = {{tensor_of(values), before, true}, {tensor_of(backwards), next, false}};
  group().exchange(there, stream());
  group().exchange(back, stream());
  stream().synchronize();
  const std::vector<float> from_before = values_of<float>(before, length);
  EXPECT_TRUE(forwards == from_before);
  EXPECT_EQ(short_forwards, std::vector(from_before.begin() + 5, from_before.begin() + 8));
  EXPECT_TRUE(backwards == values_of<float>(next, length));
}

// As at a pipeline's edge the other ranks issue nothing. One exchange's messages may arrive in
// several.
TEST_P(CommunicatorTest, ExchangeOfTwoRanks) {
  if (size() == 1) return;
  const int last = size() - 1;
  constexpr std::int64_t length = piece<float> + 1;
  std::vector<std::int32_t> values = values_of<std::int32_t>(0, length), received(length + 3);
  const Tensor sent = tensor_of(values), place = tensor_of(received);
  if (rank() == 0) {
    const Transfer transfers[] = {{sent, last, true}, {sent.slice(0, 3), last, true}};
    group().exchange(transfers, stream());
  } else if (rank() == last) {
    const Transfer first[] = {{place.slice(0, length), 0, false}};
    const Transfer second[] = {{place.slice(length, length + 3), 0, false}};
    group().exchange(first, stream());
    group().exchange(second, stream());
  }
  stream().synchronize();
  if (rank() == last) {
    values.insert(values.end(), values.begin(), values.begin() + 3);
    EXPECT_TRUE(received == values);
  }
  group().exchange({}, stream());
}

TEST_P(CommunicatorTest, CountsTheBytesOfEveryKind) {
  const std::int64_t n = size();
  std::vector<float> part(7), whole(static_cast<std::size_t>(7 * n));
  std::vector<bfloat16> halves(5), halves_in(5);
  for (int time = 0; time < 2; ++time) {
    group().all_reduce(tensor_of(part), Reduce::sum, stream());
    group().all_gather(tensor_of(whole), tensor_of(part), stream());
    group().reduce_scatter(tensor_of(part), tensor_of(whole), stream());
    group().broadcast(tensor_of(part), 0, stream());
    if (n == 1) continue;
    const int next = (rank() + 1) % size(), before = (rank() + size() - 1) % size();
    const Transfer transfers[] = {{tensor_of(halves), next, true},
                                  {tensor_of(part), next, true},
                                  {tensor_of(halves_in), before, false},
                                  {tensor_of(whole).slice(0, 7), before, false}};
    group().exchange(transfers, stream());
  }
  stream().synchronize();
  const auto expect = [&](Collective kind, std::int64_t calls, std::int64_t bytes) {
    EXPECT_EQ(group().traffic()[kind], (Traffic::Count{calls, bytes})) << name_of(kind);
  };
  // 28 bytes of f32; 2/2, 4/3, 6/4 of them rounded up.
  const std::int64_t all_reduce_bytes[] = {0, 28, 38, 42};
  expect(Collective::all_reduce, 2, 2 * all_reduce_bytes[n - 1]);
  expect(Collective::all_gather, 2, 2 * 28 * (n - 1));
  expect(Collective::reduce_scatter, 2, 2 * 28 * (n - 1));
  expect(Collective::broadcast, 2, n == 1 ? 0 : 2 * 28);
  expect(Collective::exchange, n == 1 ? 0 : 2, n == 1 ? 0 : 2 * (10 + 28));
  EXPECT_TRUE(n == 1 || group().busy_ms() > 0);
}

TEST_P(CommunicatorTest, RefusesWhatDoesNotFit) {
  std::vector<float> part(2), whole(static_cast<std::size_t>(2 * size() + 1));
  std::vector<bfloat16> halves(static_cast<std::size_t>(size()));
  const Tensor right = tensor_of(whole).slice(0, 2 * size());
  const Tensor beside = tensor_of(whole).slice(2 * rank() + 1, 2 * rank() + 3);
  const auto refuses = [&](auto call) { EXPECT_THROW(call(), Error); };
  refuses([&] { group().all_reduce(tensor_of(halves), Reduce::sum, stream()); });
  refuses([&] { group().all_gather(tensor_of(whole), tensor_of(part), stream()); });
  refuses([&] { group().all_gather(right, tensor_of(part).slice(0, 1), stream()); });
  refuses([&] { group().all_gather(right, beside, stream()); });
  refuses([&] { group().all_gather(tensor_of(halves), right.slice(0, 1), stream()); });
  refuses([&] { group().reduce_scatter(tensor_of(part), tensor_of(whole), stream()); });
  refuses(
      [&] { group().reduce_scatter(tensor_of(halves).slice(0, 1), tensor_of(halves), stream()); });
  refuses([&] { group().broadcast(right, size(), stream()); });
  refuses([&] { group().broadcast(right, -1, stream()); });
  refuses([&] { group().broadcast("message", size()); });
  for (const int peer : {-1, rank(), size()}) {
    const Transfer transfer[] = {{right, peer, true}};
    refuses([&] { group().exchange(transfer, stream()); });
  }
  const std::vector<Transfer> many(Communicator::max_transfers + 1,
                                   {right, (rank() + 1) % size(), true});
  refuses([&] { group().exchange(many, stream()); });
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
  const auto part = group().split(rank / 2, -rank, "pair");
  const std::string me = std::to_string(rank);
  const std::vector<std::string> members = part->all_gather(me);
  const int first = rank / 2 * 2;
  std::vector<std::string> expected = {std::to_string(first)};
  if (first + 1 < group().size()) expected.insert(expected.begin(), std::to_string(first + 1));
  EXPECT_EQ(members, expected);
  EXPECT_EQ(part->size(), static_cast<int>(expected.size()));
  EXPECT_EQ(members[static_cast<std::size_t>(part->rank())], me);

  std::vector<std::int32_t> one = {1};
  part->all_reduce(tensor_of(one), Reduce::sum, stream());
  stream().synchronize();
  EXPECT_EQ(one[0], part->size());
  EXPECT_EQ(part->name(), "pair");
}

TEST_P(CommunicatorTest, EqualKeysKeepTheOrderOfRanks) {
  const auto same = group().split(0, 0, "same");
  EXPECT_EQ(same->rank(), group().rank());
  EXPECT_EQ(same->size(), group().size());
}

}  // namespace
}  // namespace dualpath
