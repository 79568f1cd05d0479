// Reading a mapped file where it has been cut short, or where its disk fails, is a bus error. This
// makes it an end of the process that tells which file.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "core/base/error.h"

namespace dualpath {

// From here on a bus error within the mapping prints "PREFIXdualpath: PATH: ..." to standard error
// and ends the process with `code`, at once. Other bus errors end it as ever.
void guard_mapping(std::span<const std::byte> mapping, const std::string& path, ExitCode code);
// Before the mapping goes.
void unguard_mapping(std::span<const std::byte> mapping);

// "" at first; "[rank 3 t1 p0 d1] " tells this rank from the others.
void set_mapping_message_prefix(std::string_view prefix);

}  // namespace dualpath
