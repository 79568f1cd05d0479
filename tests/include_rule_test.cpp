// Who may include whom. Every #include line of the repository is read and held against the table.
#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/temporary_folder.h"

namespace {

namespace fs = std::filesystem;
using Strings = std::vector<std::string>;

struct Room {
  std::string folder;
  Strings uses;  // folders that it may include beside itself; "data/": all folders in data/
};

// Each room uses rooms above it only, so there is no circle of folders. A file belongs to the
// innermost folder that is listed.
const std::vector<Room> kRooms = {
    {"core/base", {}},
    {"core/config", {"core/base"}},
    {"core/ops", {"core/base"}},
    {"core/device", {"core/base", "core/ops"}},
    {"core/cpu", {"core/base", "core/ops", "core/device"}},
    {"core/cuda/kernels", {"core/base", "core/ops"}},
    {"core/cuda/runtime", {"core/base", "core/ops", "core/device"}},
    {"core/cuda/libraries", {"core/base", "core/ops", "core/device", "core/cuda/runtime"}},
    {"core/cuda",
     {"core/base", "core/ops", "core/device", "core/cuda/kernels", "core/cuda/runtime",
      "core/cuda/libraries"}},
    {"parallel", {"core/"}},
    {"model", {"core/", "parallel"}},
    {"data/files", {"core/base"}},
    {"data/text", {"core/", "data/files"}},
    {"data/tokens", {"core/", "parallel", "data/files"}},
    {"data/checkpoints", {"core/", "parallel", "data/files"}},
    {"launcher/common", {"core/", "data/"}},
    {"launcher/config", {"core/", "parallel", "model", "data/", "launcher/common"}},
    {"launcher/job", {"core/", "parallel", "model", "data/", "launcher/common", "launcher/config"}},
    {"launcher/evaluate",
     {"core/", "parallel", "model", "data/", "launcher/common", "launcher/config", "launcher/job"}},
    {"launcher/export",
     {"core/", "parallel", "model", "data/", "launcher/common", "launcher/config", "launcher/job",
      "launcher/evaluate"}},
    {"launcher/train",
     {"core/", "parallel", "model", "data/", "launcher/common", "launcher/config", "launcher/job",
      "launcher/evaluate", "launcher/export"}},
    {"launcher/plan",
     {"core/", "parallel", "model", "data/", "launcher/common", "launcher/config", "launcher/job",
      "launcher/train"}},
    {"launcher/bench",
     {"core/", "parallel", "model", "data/", "launcher/common", "launcher/config", "launcher/job",
      "launcher/train", "launcher/plan"}},
    {"launcher/routes", {"core/", "model", "data/", "launcher/common", "launcher/evaluate"}},
    {"launcher/slurm", {"core/", "data/", "launcher/common", "launcher/config"}},
    {"launcher/sweep",
     {"core/", "model", "data/", "launcher/common", "launcher/config", "launcher/train",
      "launcher/plan", "launcher/slurm"}},
    {"launcher/tokenize", {"core/", "data/", "launcher/common"}},
    {"launcher", {"core/", "parallel", "model", "data/", "launcher/"}},  // the verbs
    {"tests", {"core/", "parallel", "model", "data/", "launcher/"}},
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

// The room of a file; null: its folder is not listed.
const Room* room_of(std::string_view path) {
  const Room* innermost = nullptr;
  for (const Room& room : kRooms) {
    const bool is_in = path.starts_with(room.folder + "/");
    const bool is_deeper = innermost == nullptr || room.folder.size() > innermost->folder.size();
    if (is_in && is_deeper) innermost = &room;
  }
  return innermost;
}

bool may_use(const Room& room, const Room& target) {
  return &room == &target || std::ranges::any_of(room.uses, [&](const std::string& folder) {
    return folder == target.folder ||
           (folder.ends_with('/') && (target.folder + "/").starts_with(folder));
  });
}

bool names_foreign_backend(const std::string& file, const std::string& header) {
  const std::string folder = top_folder(file);
  if (folder == "launcher" || folder == "tests") return false;
  return std::ranges::any_of(kBackends, [&](std::string_view backend) {
    const auto part = kPartOfBackend.find(file);
    const bool is_part = part != kPartOfBackend.end() && part->second == backend;
    return header.starts_with(backend) && !file.starts_with(backend) && !is_part;
  });
}

// What is wrong with `#include` of `header` in `file` (both from the repository's root), or "".
std::string breach(const std::string& file, const std::string& header, bool quoted) {
  if (quoted) {
    const Room *room = room_of(file), *target = room_of(header);
    if (room == nullptr) return "the file's folder is in no row of the table";
    if (target == nullptr) return "is not written from the repository's root";
    if (!may_use(*room, *target))
      return room->folder + "/ must not include " + target->folder + "/";
    return names_foreign_backend(file, header) ? "names a backend" : "";
  }
  if (top_folder(file) == "tests") return "";
  for (const auto& [prefix, home] : kLibraryHome) {
    if (header.starts_with(prefix) && !file.starts_with(home)) {
      return "belongs in " + std::string(home) + " only";
    }
  }
  return "";
}

// A header and the sources of its name are one unit: "core/a.h" and "core/a.cpp" are "core/a".
std::string unit_of(const fs::path& file) {
  return (file.parent_path() / file.stem()).string();
}

// Unit -> the units that it includes.
using Graph = std::map<std::string, std::set<std::string>>;

// Adds each circle that `path`, a way through the graph, comes back to.
void find_circles(const Graph& graph, Strings& path, std::set<std::string>& done,
                  Strings& circles) {
  const std::string unit = path.back();
  const auto next = graph.find(unit);
  if (next != graph.end() && !done.contains(unit)) {
    for (const std::string& other : next->second) {
      const auto begin = std::ranges::find(path, other);
      if (begin != path.end()) {
        circles.push_back(fmt::format("{} -> {}", fmt::join(begin, path.end(), " -> "), other));
        continue;
      }
      path.push_back(other);
      find_circles(graph, path, done, circles);
      path.pop_back();
    }
  }
  done.insert(unit);
}

Strings circles_of(const Graph& graph) {
  Strings circles;
  std::set<std::string> done;
  for (const auto& [unit, next] : graph) {
    Strings path{unit};
    find_circles(graph, path, done, circles);
  }
  return circles;
}

struct Scan {
  int num_includes = 0;
  Strings breaches;  // "core/a.h:3: model/b.h: core/ must not include model/"
  Graph graph;       // of the product
};

void scan_file(const fs::path& root, const std::string& file, Scan& scan) {
  static const std::regex include_line(R"(^\s*#\s*include\s*([<"])([^>"]+)[>"].*)");
  std::ifstream lines(root / file);
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    std::smatch match;
    if (!std::regex_match(line, match, include_line)) continue;
    ++scan.num_includes;
    const std::string header = match[2];
    const bool quoted = match[1] == "\"";
    const std::string why = breach(file, header, quoted);
    if (!why.empty())
      scan.breaches.push_back(fmt::format("{}:{}: {}: {}", file, number, header, why));
    const std::string unit = unit_of(file), other = unit_of(header);
    if (quoted && unit != other && top_folder(file) != "tests") scan.graph[unit].insert(other);
  }
}

Scan scan_tree(const fs::path& root) {
  Scan scan;
  for (const char* folder : {"core", "parallel", "model", "data", "launcher", "tests"}) {
    if (!fs::exists(root / folder)) continue;
    for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
      const std::string extension = entry.path().extension();
      if (extension == ".h" || extension == ".cpp" || extension == ".cu" || extension == ".cuh")
        scan_file(root, entry.path().lexically_relative(root), scan);
    }
  }
  return scan;
}

TEST(IncludeRule, HoldsInTheRepository) {
  const Scan scan = scan_tree(DUALPATH_SOURCE_DIR);
  EXPECT_GT(scan.num_includes, 100);
  EXPECT_THAT(scan.breaches, testing::IsEmpty());
  EXPECT_THAT(circles_of(scan.graph), testing::IsEmpty());
}

class PlantedTree : public testing::Test {
 protected:
  void plant(const std::string& file, const std::string& text) {
    const fs::path path = folder_ / file;
    fs::create_directories(path.parent_path());
    std::ofstream(path) << text;
  }
  Scan scan() { return scan_tree(folder_.path()); }

 private:
  dualpath::TemporaryFolder folder_;
};

TEST_F(PlantedTree, LawfulIncludesPass) {
  plant("core/base/a.h", "#include <vector>\n#include \"core/base/b.h\"\n");
  plant("core/cpu/gemm.cpp", "#include <oneapi/dnnl/dnnl.h>\n#include \"core/cpu/gemm.h\"\n");
  plant("data/files/a.cpp", "#include <hdf5.h>\n#include \"core/base/error.h\"\n");
  plant("data/tokens/a.cpp",
        "#include \"core/config/field.h\"\n#include \"parallel/communicator.h\"\n");
  plant("parallel/a.cpp", "#include <mpi.h>\n");
  plant("launcher/train/a.cpp", "#include \"core/cpu/gemm.h\"\n#include \"model/layer.h\"\n");
  plant("launcher/a.cpp", "#include \"launcher/sweep/a.h\"\n#include \"data/tokens/a.h\"\n");
  plant("tests/mpi/a.cpp", "#include <hdf5.h>\n#include \"launcher/train/a.h\"\n");
  EXPECT_THAT(scan().breaches, testing::IsEmpty());
}

TEST_F(PlantedTree, BreachesAreToldWithFileAndLine) {
  plant("core/base/a.h", "#pragma once\n  #  include \"model/b.h\"  // why not\n");
  plant("core/base/b.h", "#include \"core/config/field.h\"\n");
  plant("model/a.cpp", "#include \"data/tokens/b.h\"\n");
  plant("data/tokens/a.cpp", "#include \"model/b.h\"\n#include \"data/text/b.h\"\n");
  plant("data/a.cpp", "#include \"core/base/error.h\"\n");
  plant("parallel/a.cpp", "#include \"launcher/b.h\"\n");
  plant("launcher/a.cpp", "#include \"tests/b.h\"\n#include <mpi.h>\n");
  plant("launcher/train/a.cpp", "#include \"launcher/plan/b.h\"\n#include \"launcher/b.h\"\n");
  plant("model/b.cpp", "#include \"sibling.h\"\n#include \"core/cpu/gemm.h\"\n");
  plant("core/base/deeper/a.cu", "#include <cuda_runtime.h>\n");
  plant("core/base/b.cpp", "#include <dnnl.hpp>\n#include <hdf5.h>\n");
  EXPECT_THAT(
      scan().breaches,
      testing::UnorderedElementsAre(
          "core/base/a.h:2: model/b.h: core/base/ must not include model/",
          "core/base/b.h:1: core/config/field.h: core/base/ must not include core/config/",
          "model/a.cpp:1: data/tokens/b.h: model/ must not include data/tokens/",
          "data/tokens/a.cpp:1: model/b.h: data/tokens/ must not include model/",
          "data/tokens/a.cpp:2: data/text/b.h: data/tokens/ must not include data/text/",
          "data/a.cpp:1: core/base/error.h: the file's folder is in no row of the table",
          "parallel/a.cpp:1: launcher/b.h: parallel/ must not include launcher/",
          "launcher/a.cpp:1: tests/b.h: launcher/ must not include tests/",
          "launcher/a.cpp:2: mpi.h: belongs in parallel/ only",
          "launcher/train/a.cpp:1: launcher/plan/b.h: launcher/train/ must not include "
          "launcher/plan/",
          "launcher/train/a.cpp:2: launcher/b.h: launcher/train/ must not include launcher/",
          "model/b.cpp:1: sibling.h: is not written from the repository's root",
          "model/b.cpp:2: core/cpu/gemm.h: names a backend",
          "core/base/deeper/a.cu:1: cuda_runtime.h: belongs in core/cuda/ only",
          "core/base/b.cpp:1: dnnl.hpp: belongs in core/cpu/ only",
          "core/base/b.cpp:2: hdf5.h: belongs in data/ only"));
}

TEST_F(PlantedTree, CirclesAreTold) {
  plant("core/base/a.h", "#include \"core/base/b.h\"\n");
  plant("core/base/b.cpp", "#include \"core/base/b.h\"\n#include \"core/base/c.h\"\n");
  plant("core/base/c.h", "#include \"core/base/a.h\"\n");
  plant("core/base/d.h", "#include \"core/base/a.h\"\n");
  EXPECT_THAT(scan().breaches, testing::IsEmpty());
  EXPECT_THAT(circles_of(scan().graph),
              testing::ElementsAre("core/base/a -> core/base/b -> core/base/c -> core/base/a"));
}

// The order of the table is the order of the rooms.
TEST(IncludeRule, RoomsUseRoomsAboveThem) {
  for (auto room = kRooms.begin(); room != kRooms.end(); ++room) {
    for (auto below = room + 1; below != kRooms.end(); ++below)
      EXPECT_FALSE(may_use(*room, *below)) << room->folder << " uses " << below->folder;
  }
}

}  // namespace
