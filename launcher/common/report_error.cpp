#include "launcher/common/report_error.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <new>
#include <sstream>
#include <system_error>

namespace dualpath {

namespace {

ErrorReport unwritten(const std::string& reason) {
  return {ExitCode::data, fmt::format("standard output cannot be written: {}", reason)};
}

}  // namespace

ErrorReport describe(const std::exception_ptr& exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const Error& error) {
    if (error.code() != ExitCode::internal) return {error.code(), error.what()};
    return {error.code(),
            fmt::format("internal error at {}:{}: {}", error.file(), error.line(), error.what())};
  } catch (const std::bad_alloc&) {
    return {ExitCode::internal, "out of memory"};
  } catch (const std::filesystem::filesystem_error& error) {
    return {ExitCode::internal,
            fmt::format("{}: {}", error.path1().string(), error.code().message())};
  } catch (const std::system_error& error) {
    if (std::ferror(stdout) != 0) return unwritten(error.code().message());
    return {ExitCode::internal, fmt::format("internal error: {}", error.what())};
  } catch (const std::exception& error) {
    return {ExitCode::internal, fmt::format("internal error: {}", error.what())};
  } catch (...) {
    return {ExitCode::internal, "internal error of an unknown type"};
  }
}

std::optional<ErrorReport> flush_standard_output() {
  const bool failed_before = std::ferror(stdout) != 0;
  if (std::fflush(stdout) != 0) return unwritten(std::strerror(errno));
  if (failed_before) return unwritten("a part of the output is lost");
  return std::nullopt;
}

void print_error(const ErrorReport& report, std::string_view prefix) {
  std::string text;
  std::istringstream lines(report.message);
  for (std::string line; std::getline(lines, line);) text += fmt::format("{}{}\n", prefix, line);
  (void)std::fputs(text.c_str(), stderr);  // there is nowhere else to tell
}

}  // namespace dualpath
