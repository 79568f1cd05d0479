#include <algorithm>
#include <fmt/ranges.h>
#include <map>

#include "data/checkpoint_names.h"
#include "data/checkpoint_store.h"
#include "data/file_io.h"
#include "data/hdf5_file.h"

namespace dualpath {

namespace fs = std::filesystem;

namespace {

// Elements [begin, end) of a tensor, to be copied from one stored slice to one wanted slice.
struct Piece {
  const TensorSlice* wanted;
  const StoredSlice* stored;
  std::int64_t begin;
  std::int64_t end;
};

const CheckpointTensor& find_tensor(const Checkpoint& checkpoint, const TensorSlice& wanted) {
  const CheckpointTensor* tensor = checkpoint.manifest.find(wanted.name);
  CHECK_AS(ExitCode::checkpoint, tensor != nullptr, "{}: holds no tensor '{}' ({} {} is wanted)",
           checkpoint.folder.string(), wanted.name, name_of(wanted.dtype),
           wanted.global_shape.str());
  CHECK_AS(ExitCode::checkpoint,
           tensor->dtype == wanted.dtype && tensor->global_shape == wanted.global_shape,
           "{}: tensor '{}' is {} {}, but {} {} is wanted", checkpoint.folder.string(), wanted.name,
           name_of(tensor->dtype), tensor->global_shape.str(), name_of(wanted.dtype),
           wanted.global_shape.str());
  CHECK(
      0 <= wanted.begin && wanted.begin <= wanted.end && wanted.end <= wanted.global_shape.numel(),
      "tensor '{}' {}: slice [{}, {})", wanted.name, wanted.global_shape.str(), wanted.begin,
      wanted.end);
  return *tensor;
}

// The pieces to be read, by shard.
std::map<int, std::vector<Piece>> plan_reading(const Checkpoint& checkpoint,
                                               std::span<const TensorSlice> wanted_slices) {
  std::map<int, std::vector<Piece>> pieces;
  for (const TensorSlice& wanted : wanted_slices) {
    const CheckpointTensor& tensor = find_tensor(checkpoint, wanted);
    // The first stored slice that ends after wanted.begin.
    auto stored = std::ranges::upper_bound(tensor.slices, wanted.begin, {}, &StoredSlice::end);
    for (; stored != tensor.slices.end() && stored->begin < wanted.end; ++stored) {
      pieces[stored->shard].push_back({&wanted, &*stored, std::max(stored->begin, wanted.begin),
                                       std::min(stored->end, wanted.end)});
    }
  }
  return pieces;
}

void read_piece(const Hdf5File& shard, const Piece& piece, const SliceAccess& memory) {
  const TensorSlice& wanted = *piece.wanted;
  const StoredSlice& stored = *piece.stored;
  const std::string name = dataset_name(wanted.name, stored.begin, stored.end);
  const std::string shape = shard.attribute<std::string>(name, "global_shape");
  CHECK_AS(ExitCode::checkpoint, shape == wanted.global_shape.str(),
           "{}: '{}' belongs to a tensor {}, not {}", shard.path(), name, shape,
           wanted.global_shape.str());
  const std::int64_t shift = wanted.begin - stored.begin;
  memory.write(wanted, piece.begin - wanted.begin, piece.end - wanted.begin,
               [&](std::int64_t first, std::int64_t count, void* elements) {
                 shard.read_elements(name, hdf5_type(wanted.dtype),
                                     static_cast<std::uint64_t>(shift + first),
                                     static_cast<std::uint64_t>(count), elements);
               });
}

// A shard's size is not what the manifest says: what is wrong, or nothing.
std::string size_problem(const fs::path& folder, const CheckpointShard& shard) {
  const fs::path path = folder / shard.file;
  std::error_code error;
  const std::uintmax_t bytes = fs::file_size(path, error);
  if (error) return fmt::format("{}: {}", path.string(), error.message());
  if (bytes == static_cast<std::uintmax_t>(shard.bytes)) return "";
  return fmt::format("{}: has {} bytes instead of {}", path.string(), bytes, shard.bytes);
}

std::string hash_problem(const fs::path& folder, const CheckpointShard& shard) {
  try {
    if (digest_file(folder / shard.file, ExitCode::checkpoint) ==
        FileDigest{shard.bytes, shard.xxh3})
      return "";
    return fmt::format("{}: its content has changed since it was saved",
                       (folder / shard.file).string());
  } catch (const Error& error) {
    return error.what();
  }
}

}  // namespace

Checkpoint open_checkpoint(const fs::path& folder) {
  const fs::path path = folder / manifest_name;
  Checkpoint checkpoint{folder,
                        parse_manifest(read_file(path, ExitCode::checkpoint), path.string())};
  const std::int64_t step = checkpoint.manifest.step;
  CHECK_AS(ExitCode::checkpoint, step_of_name(folder.filename().string()).value_or(step) == step,
           "{}: is of step {}", path.string(), step);
  std::vector<std::string> problems;
  for (const CheckpointShard& shard : checkpoint.manifest.shards) {
    std::string problem = size_problem(folder, shard);
    if (!problem.empty()) problems.push_back(std::move(problem));
  }
  CHECK_AS(ExitCode::checkpoint, problems.empty(), "{}", fmt::join(problems, "\n"));
  return checkpoint;
}

void load_slices(const Checkpoint& checkpoint, std::span<const TensorSlice> wanted,
                 const SliceAccess& memory) {
  for (const auto& [index, pieces] : plan_reading(checkpoint, wanted)) {
    const CheckpointShard& entry = checkpoint.manifest.shards[static_cast<std::size_t>(index)];
    const Hdf5File shard =
        Hdf5File::open((checkpoint.folder / entry.file).string(), ExitCode::checkpoint);
    for (const Piece& piece : pieces) read_piece(shard, piece, memory);
  }
}

std::vector<std::string> verify_checkpoint(const fs::path& folder, Communicator& ranks) {
  // A line a problem; this rank reads every size()-th shard.
  std::string problems;
  try {
    const Checkpoint checkpoint = open_checkpoint(folder);
    const auto& shards = checkpoint.manifest.shards;
    for (auto i = static_cast<std::size_t>(ranks.rank()); i < shards.size();
         i += static_cast<std::size_t>(ranks.size())) {
      const std::string problem = hash_problem(folder, shards[i]);
      if (!problem.empty()) problems += problem + '\n';
    }
  } catch (const Error& error) {
    problems = std::string(error.what()) + '\n';
  }
  std::vector<std::string> all;
  for (const std::string& of_rank : ranks.all_gather(problems)) {
    for (std::size_t begin = 0; begin < of_rank.size();) {
      const std::size_t end = of_rank.find('\n', begin);
      const std::string line = of_rank.substr(begin, end - begin);
      if (std::ranges::find(all, line) == all.end()) all.push_back(line);
      begin = end + 1;
    }
  }
  return all;
}

}  // namespace dualpath
