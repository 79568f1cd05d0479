// Work that may fail on some ranks only.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "parallel/communicator.h"

namespace dualpath {

// An error that all ranks of a group throw, with the same message and code: one rank reports it.
class AgreedError : public Error {
 public:
  using Error::Error;
};

// Returns work(). It must fail on all ranks or on none, with the same message: its Error becomes an
// AgreedError. (Work on a rank's own files goes through run_together instead.) An error of a peer
// (ExitCode::peer) is passed on unchanged, since it may concern this rank alone.
template <class Work>
auto run_alike(Work work) {
  try {
    return work();
  } catch (const Error& error) {
    if (error.code() == ExitCode::peer) throw;
    throw AgreedError(error.code(), error.what(), error.file(), error.line());
  }
}

// Runs `part` on every rank and returns what each returned, by rank. When it throws on any rank,
// all ranks throw the first failing rank's message and exit code as an AgreedError: none is left
// waiting for another. `what` begins that message. Collective, blocking.
std::vector<std::string> run_together(Communicator& ranks, const std::string& what,
                                      const std::function<std::string()>& part);

// The same for a part that rank 0 alone runs; returns its result on all ranks.
std::string run_on_root(Communicator& ranks, const std::string& what,
                        const std::function<std::string()>& part);

}  // namespace dualpath
