// For functions of a library that is loaded when the first of them is called: each is defined here
// under its own name, and passes its arguments on.
#pragma once

#include <dlfcn.h>

#include "core/base/error.h"

#define DUALPATH_TEXT_OF(number) #number
// name and major version: "libx.so." and 3 make libx.so.3.
#define DUALPATH_SONAME(name, major) name DUALPATH_TEXT_OF(major)

// Defines `name` to call the function of LazyLibrary library(); parameters and arguments are in
// parentheses. Throws Error(configuration) where the library or the function is missing.
#define DUALPATH_PASS_ON(result, name, parameters, arguments)                                 \
  result name parameters {                                                                    \
    static const auto function = reinterpret_cast<decltype(&name)>(library().address(#name)); \
    return function arguments;                                                                \
  }

namespace dualpath {

// Stays loaded until the process ends.
class LazyLibrary {
 public:
  // Throws Error(configuration). `use` is what it is needed for, for people.
  LazyLibrary(const char* name, const char* use)
      : name_(name), handle_(dlopen(name, RTLD_NOW | RTLD_LOCAL)) {
    CHECK_AS(ExitCode::configuration, handle_ != nullptr,
             "{} is needed for {} and cannot be loaded: {}", name, use, dlerror());
  }
  void* address(const char* function) const {
    void* found = dlsym(handle_, function);
    CHECK_AS(ExitCode::configuration, found != nullptr, "{} has no {}: {}", name_, function,
             dlerror());
    return found;
  }

 private:
  const char* name_;
  void* handle_;
};

}  // namespace dualpath
