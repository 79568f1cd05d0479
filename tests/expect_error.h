// error_of(code, action): the message of the Error with that exit code which the action throws.
#pragma once

#include <functional>
#include <gtest/gtest.h>
#include <string>

#include "core/base/error.h"

namespace dualpath {

inline std::string error_of(ExitCode code, const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return {};
}

}  // namespace dualpath
