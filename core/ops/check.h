// The contract of a call, checked before it is carried out.
#pragma once

#include "core/ops/ops.h"

namespace dualpath {

// Throws Error(internal) where an operand has not the shape or type that the operation's contract
// asks for, shares memory that it must not share, or is missing or there without a meaning.
void check(const Operation& operation);

}  // namespace dualpath
