// Work that may fail on some ranks only.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "parallel/communicator.h"

namespace dualpath {

// An error that all ranks of a group throw, with one message and one code: one of them is enough to
// tell it.
class AgreedError : public Error {
 public:
  using Error::Error;
};

// Returns work(), which fails on all ranks or on none, with one message: its Error becomes an
// AgreedError. What reads a rank's own files goes through run_together. A peer's failure stays what
// it is: this rank may be alone with it.
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
