// Who may include whom. Every #include line of the repository is read and held against the table.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>
#include <regex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/temporary_folder.h"

namespace {

namespace fs = std::filesystem;

// Folder -> the folders whose headers it may include.
const std::map<std::string, std::vector<std::string>> kMayInclude = {
    {"core", {"core"}},
    {"parallel", {"core", "parallel"}},
    {"model", {"core", "parallel", "model"}},
    {"data", {"core", "parallel", "data"}},
    {"launcher", {"core", "parallel", "model", "data", "launcher"}},
    {"tests", {"core", "parallel", "model", "data", "launcher", "tests"}},
};

// A library's headers, by how their names begin -> the one folder of the product that uses it.
const std::vector<std::pair<std::string_view, std::string_view>> kLibraryHome = {
    {"mpi", "parallel/"},       {"nccl", "parallel/"},
    {"hdf5", "data/"},          {"H5", "data/"},
    {"dnnl", "core/cpu/"},      {"oneapi/", "core/cpu/"},
    {"immintrin", "core/cpu/"}, {"cuda", "core/cuda/"},
    {"cub/", "core/cuda/"},     {"cublas", "core/cuda/"},
    {"cudnn", "core/cuda/"},
};

// Backends: only the launcher, the tests and the backend itself name them.
const std::vector<std::string_view> kBackends = {"core/cpu/", "core/cuda/"};
// A backend's part in another folder: communication among GPUs.
const std::map<std::string, std::string_view> kPartOfBackend = {
    {"parallel/gpu_operations.h", "core/cuda/"},
    {"parallel/gpu_operations.cpp", "core/cuda/"},
    {"parallel/lazy_nccl.cpp", "core/cuda/"},
    {"parallel/nccl_communicator.cpp", "core/cuda/"}};

std::string top_folder(std::string_view path) {
  return std::string(path.substr(0, path.find('/')));
}

// What is wrong with `#include` of `header` in `file` (both from the repository's root), or "".
std::string breach(const std::string& file, const std::string& header, bool quoted) {
  const std::string folder = top_folder(file);
  if (quoted) {
    const std::string target = top_folder(header);
    const auto& allowed = kMayInclude.at(folder);
    if (!kMayInclude.contains(target)) return "is not written from the repository's root";
    if (std::find(allowed.begin(), allowed.end(), target) == allowed.end()) {
      return folder + "/ must not include " + target + "/";
    }
    for (std::string_view backend : kBackends) {
      const auto part = kPartOfBackend.find(file);
      if (part != kPartOfBackend.end() && part->second == backend) continue;
      if (header.starts_with(backend) && !file.starts_with(backend) && folder != "launcher" &&
          folder != "tests") {
        return "names a backend";
      }
    }
    return "";
  }
  if (folder == "tests") return "";
  for (const auto& [prefix, home] : kLibraryHome) {
    if (header.starts_with(prefix) && !file.starts_with(home)) {
      return "belongs in " + std::string(home) + " only";
    }
  }
  return "";
}

struct Scan {
  int num_includes = 0;
  std::vector<std::string> breaches;  // "core/a.h:3: \"model/b.h\": core/ must not include model/"
};

Scan scan_tree(const fs::path& root) {
  static const std::regex include_line(R"(^\s*#\s*include\s*([<"])([^>"]+)[>"].*)");
  Scan scan;
  for (const auto& [folder, allowed] : kMayInclude) {
    if (!fs::exists(root / folder)) continue;
    for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
      const std::string extension = entry.path().extension();
      if (extension != ".h" && extension != ".cpp" && extension != ".cu" && extension != ".cuh") {
        continue;
      }
      const std::string file = entry.path().lexically_relative(root);
      std::ifstream lines(entry.path());
      std::string line;
      for (int number = 1; std::getline(lines, line); ++number) {
        std::smatch match;
        if (!std::regex_match(line, match, include_line)) continue;
        ++scan.num_includes;
        const std::string why = breach(file, match[2], match[1] == "\"");
        if (!why.empty()) {
          scan.breaches.push_back(file + ":" + std::to_string(number) + ": " + match[2].str() +
                                  ": " + why);
        }
      }
    }
  }
  return scan;
}

TEST(IncludeRule, HoldsInTheRepository) {
  const Scan scan = scan_tree(DUALPATH_SOURCE_DIR);
  EXPECT_GT(scan.num_includes, 100);
  EXPECT_THAT(scan.breaches, testing::IsEmpty());
}

class PlantedTree : public testing::Test {
 protected:
  void plant(const std::string& file, const std::string& text) {
    const fs::path path = folder_ / file;
    fs::create_directories(path.parent_path());
    std::ofstream(path) << text;
  }
  std::vector<std::string> breaches() { return scan_tree(folder_.path()).breaches; }

 private:
  dualpath::TemporaryFolder folder_;
};

TEST_F(PlantedTree, LawfulIncludesPass) {
  plant("core/a.h", "#include <vector>\n#include \"core/b.h\"\n");
  plant("core/cpu/gemm.cpp", "#include <oneapi/dnnl/dnnl.h>\n#include \"core/cpu/gemm.h\"\n");
  plant("data/a.cpp", "#include <hdf5.h>\n#include \"parallel/communicator.h\"\n");
  plant("parallel/a.cpp", "#include <mpi.h>\n");
  plant("launcher/a.cpp", "#include \"core/cpu/gemm.h\"\n#include \"model/layer.h\"\n");
  plant("tests/a.cpp", "#include <hdf5.h>\n#include \"launcher/a.h\"\n");
  EXPECT_THAT(breaches(), testing::IsEmpty());
}

TEST_F(PlantedTree, BreachesAreToldWithFileAndLine) {
  plant("core/a.h", "#pragma once\n  #  include \"model/b.h\"  // why not\n");
  plant("model/a.cpp", "#include \"data/b.h\"\n");
  plant("data/a.cpp", "#include \"model/b.h\"\n");
  plant("parallel/a.cpp", "#include \"launcher/b.h\"\n");
  plant("launcher/a.cpp", "#include \"tests/b.h\"\n#include <mpi.h>\n");
  plant("model/b.cpp", "#include \"sibling.h\"\n#include \"core/cpu/gemm.h\"\n");
  plant("core/deeper/a.cu", "#include <cuda_runtime.h>\n");
  plant("core/b.cpp", "#include <dnnl.hpp>\n#include <hdf5.h>\n");
  EXPECT_THAT(breaches(),
              testing::UnorderedElementsAre(
                  "core/a.h:2: model/b.h: core/ must not include model/",
                  "model/a.cpp:1: data/b.h: model/ must not include data/",
                  "data/a.cpp:1: model/b.h: data/ must not include model/",
                  "parallel/a.cpp:1: launcher/b.h: parallel/ must not include launcher/",
                  "launcher/a.cpp:1: tests/b.h: launcher/ must not include tests/",
                  "launcher/a.cpp:2: mpi.h: belongs in parallel/ only",
                  "model/b.cpp:1: sibling.h: is not written from the repository's root",
                  "model/b.cpp:2: core/cpu/gemm.h: names a backend",
                  "core/deeper/a.cu:1: cuda_runtime.h: belongs in core/cuda/ only",
                  "core/b.cpp:1: dnnl.hpp: belongs in core/cpu/ only",
                  "core/b.cpp:2: hdf5.h: belongs in data/ only"));
}

}  // namespace
