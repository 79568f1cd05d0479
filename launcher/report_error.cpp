#include "launcher/report_error.h"

#include <cstdio>
#include <new>
#include <sstream>

namespace dualpath {

ErrorReport describe(std::exception_ptr exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const Error& error) {
    if (error.code() != ExitCode::internal) return {error.code(), error.what()};
    return {error.code(),
            fmt::format("internal error at {}:{}: {}", error.file(), error.line(), error.what())};
  } catch (const std::bad_alloc&) {
    return {ExitCode::internal, "out of memory"};
  } catch (const std::exception& error) {
    return {ExitCode::internal, fmt::format("internal error: {}", error.what())};
  } catch (...) {
    return {ExitCode::internal, "internal error of an unknown type"};
  }
}

void print_error(const ErrorReport& report, std::string_view prefix) {
  std::string text;
  std::istringstream lines(report.message);
  for (std::string line; std::getline(lines, line);) text += fmt::format("{}{}\n", prefix, line);
  std::fputs(text.c_str(), stderr);
}

}  // namespace dualpath
