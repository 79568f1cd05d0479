// NCCL for fake GPUs (tests/fake_cuda): the functions that parallel/nccl_communicator calls, among
// real ranks, through MPI. Operations begin when their stream comes to them, on memory that the
// host cannot touch. Refused, besides what NCCL refuses: operations of a group that ranks issue
// unlike one another, where NCCL hangs or writes rubbish, which fails the machine; and what
// nccl_communicator has no need of.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace dualpath::fake_nccl {

// After so many more operations of this process none ends...
void hang_after(std::int64_t operations);
// ... and the library finds out that a rank is gone.
void lose_a_rank_after(std::int64_t operations);
// What is issued from here on.
void work_again();

// Communicators that were made and neither destroyed nor aborted.
int num_communicators();

}  // namespace dualpath::fake_nccl
