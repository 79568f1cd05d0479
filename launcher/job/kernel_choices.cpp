#include "launcher/job/kernel_choices.h"

#include <algorithm>
#include <chrono>
#include <fmt/ranges.h>
#include <set>
#include <sstream>
#include <yaml-cpp/yaml.h>

#include "data/files/file_io.h"
#include "parallel/run_together.h"

namespace dualpath {

namespace {

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

// Rank 0's file, if there is one and it holds here.
KernelChoices read_choices(const std::filesystem::path& file, const std::string& made_for,
                           Communicator& ranks, Log& log) {
  const std::string text = run_on_root(ranks, "kernel choices", [&] {
    if (file.empty() || !path_exists(file, ExitCode::checkpoint)) return std::string();
    return read_file(file, ExitCode::checkpoint);
  });
  if (text.empty()) return {made_for, {}};
  KernelChoices choices = run_alike([&] { return parse_kernel_choices(text, file); });
  if (choices.made_for == made_for) return choices;
  if (ranks.rank() == 0) {
    log.warning(
        "{} is of {}, this is {}: algorithms are chosen anew, results may differ in the "
        "last bits",
        file.string(), choices.made_for, made_for);
  }
  return {made_for, {}};
}

// The calls of all ranks, each with the first rank that issues it.
std::map<std::string, int> calls_of_all(const std::vector<std::string>& own, Communicator& ranks) {
  std::map<std::string, int> calls;
  const std::vector<std::string> all = ranks.all_gather(fmt::format("{}", fmt::join(own, "\n")));
  for (int rank = 0; rank < ranks.size(); ++rank) {
    for (const std::string& call : lines_of(all[static_cast<std::size_t>(rank)]))
      calls.try_emplace(call, rank);
  }
  return calls;
}

// Adds what is missing: every rank measures its own. Returns how many were.
std::size_t add_missing(KernelTuner::Choices& choices, const std::map<std::string, int>& calls,
                        KernelTuner& tuner, Communicator& ranks) {
  std::string measured;
  for (const auto& [call, rank] : calls) {
    if (rank == ranks.rank() && !choices.contains(call))
      measured += fmt::format("{}\n{}\n", call, tuner.choose(call));
  }
  const std::size_t before = choices.size();
  for (const std::string& text : ranks.all_gather(measured)) {
    const std::vector<std::string> lines = lines_of(text);
    for (std::size_t i = 0; i + 1 < lines.size(); i += 2) choices[lines[i]] = lines[i + 1];
  }
  return choices.size() - before;
}

std::string checksum_of_used(const KernelTuner::Choices& choices,
                             const std::map<std::string, int>& calls) {
  std::string text;
  for (const auto& [call, rank] : calls) text += fmt::format("{}\n{}\n", call, choices.at(call));
  return fmt::format("{:016x}", checksum_of(std::as_bytes(std::span(text))));
}

// A line for each. Our own kernels of it are many times slower.
std::vector<std::string> tell_of_attention(const KernelTuner::Choices& choices,
                                           const std::map<std::string, int>& calls,
                                           Communicator& ranks, Log& log) {
  std::vector<std::string> lines;
  for (const auto& [call, rank] : calls) {
    if (!call.starts_with("attention")) continue;
    const std::string& choice = choices.at(call);
    const std::string& line = lines.emplace_back(fmt::format("{}: {}", call, choice));
    if (!choice.starts_with(KernelTuner::own_kernel))
      log.info("{}", line);
    else if (ranks.rank() == 0)
      log.warning("{}; this is slow", line);
  }
  return lines;
}

}  // namespace

std::string print_kernel_choices(const KernelChoices& choices) {
  std::string text =
      "# The algorithms that this run takes for the calls it issues: the fastest when it first\n"
      "# started. Without this file they are measured anew, and results may differ in the last\n"
      "# bits.\n";
  text += fmt::format("made_for: \"{}\"\nalgorithms:\n", choices.made_for);
  for (const auto& [call, algorithm] : choices.algorithms)
    text += fmt::format("  \"{}\": \"{}\"\n", call, algorithm);
  return text;
}

KernelChoices parse_kernel_choices(const std::string& text, const std::filesystem::path& file) {
  try {
    const YAML::Node node = YAML::Load(text);
    return {node["made_for"].as<std::string>(), node["algorithms"].as<KernelTuner::Choices>()};
  } catch (const YAML::Exception& error) {
    DUALPATH_FAIL(ExitCode::checkpoint, "{}: {}; without this file algorithms are chosen anew",
                  file.string(), error.what());
  }
}

namespace {

struct Agreement {
  std::string checksum;                // of agree_on_kernels()
  std::vector<std::string> attention;  // of choose_kernels()
};

Agreement agree(KernelTuner* tuner, const std::filesystem::path& file, Communicator& ranks,
                Log& log) {
  const std::vector<std::string> made_for =
      ranks.all_gather(tuner == nullptr ? "kernels without a choice" : tuner->made_for());
  if (std::ranges::count(made_for, made_for.front()) != ranks.size()) {
    if (ranks.rank() == 0) {
      log.warning("the ranks have different devices or libraries ({}): no algorithms are measured",
                  fmt::join(std::set<std::string>(made_for.begin(), made_for.end()), "; "));
    }
    if (tuner != nullptr) tuner->keep_to({});
    return {"of the libraries", {}};
  }
  if (tuner == nullptr) return {};
  const auto start = std::chrono::steady_clock::now();
  const std::map<std::string, int> calls = calls_of_all(tuner->calls(), ranks);
  KernelChoices choices = read_choices(file, made_for.front(), ranks, log);
  const std::size_t num_measured = add_missing(choices.algorithms, calls, *tuner, ranks);
  if (num_measured > 0 && !file.empty()) {
    run_on_root(ranks, "kernel choices", [&] {
      write_file(file, print_kernel_choices(choices), ExitCode::checkpoint);
      return std::string();
    });
  }
  tuner->keep_to(choices.algorithms);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  log.info("{}: algorithms of {} calls, {} measured in {:.1f} s{}", choices.made_for, calls.size(),
           num_measured, seconds.count(),
           file.empty() ? "" : fmt::format(", the others as {} has them", file.string()));
  const std::vector<std::string> attention =
      tell_of_attention(choices.algorithms, calls, ranks, log);
  return {checksum_of_used(choices.algorithms, calls), attention};
}

Agreement agree(Model& model, const std::filesystem::path& file, Communicator& ranks, Log& log) {
  const auto tuner = model.ops().make_tuner();
  if (tuner != nullptr) model.issue_passes(tuner->recorder());
  return agree(tuner.get(), file, ranks, log);
}

}  // namespace

std::string agree_on_kernels(KernelTuner* tuner, const std::filesystem::path& file,
                             Communicator& ranks, Log& log) {
  return agree(tuner, file, ranks, log).checksum;
}

std::string agree_on_kernels(Model& model, const std::filesystem::path& file, Communicator& ranks,
                             Log& log) {
  return agree(model, file, ranks, log).checksum;
}

std::vector<std::string> choose_kernels(Model& model, Communicator& ranks, Log& log) {
  return agree(model, "", ranks, log).attention;
}

}  // namespace dualpath
