#include <algorithm>
#include <fmt/ranges.h>
#include <map>
#include <sstream>
#include <sys/stat.h>

#include "data/checkpoints/checkpoint_names.h"
#include "data/checkpoints/checkpoint_store.h"
#include "data/files/file_io.h"
#include "data/files/hdf5_file.h"
#include "parallel/run_together.h"

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
  const CheckpointTensor* tensor = checkpoint.find(wanted.name);
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
  const fs::path path = folder / shard.file;
  const FileDigest found = digest_file(path, ExitCode::checkpoint);
  if (found == FileDigest{shard.bytes, shard.xxh3}) return "";
  return fmt::format("{}: its content has changed since it was saved", path.string());
}

CheckpointManifest parse_manifest_of(const fs::path& folder, const std::string& text) {
  const fs::path path = folder / manifest_name;
  CheckpointManifest manifest = parse_manifest(text, path.string());
  CHECK_AS(ExitCode::checkpoint,
           step_of_name(folder.filename().string()).value_or(manifest.step) == manifest.step,
           "{}: is of step {}", path.string(), manifest.step);
  return manifest;
}

std::vector<CheckpointShard> parse_shards_of(const fs::path& folder, const ShardSummary& summary,
                                             const std::string& text) {
  const fs::path path = folder / shards_name;
  CHECK_AS(ExitCode::checkpoint, checksum_of(std::as_bytes(std::span(text))) == summary.xxh3,
           "{}: is damaged (truncated or changed since it was written)", path.string());
  return parse_shards(text, path.string());
}

std::string read_text(const fs::path& path) {
  return read_file(path.string(), ExitCode::checkpoint);
}

// The index of a shard as text, as it was saved.
std::string read_index(const fs::path& folder, const CheckpointShard& shard) {
  const std::string path = (folder / shard.file).string();
  std::string text = read_part(path, shard.index_offset, shard.index_bytes, ExitCode::checkpoint);
  CHECK_AS(ExitCode::checkpoint, checksum_of(std::as_bytes(std::span(text))) == shard.index_xxh3,
           "{}: its content has changed since it was saved (its index)", path);
  return text;
}

// What a rank finds in its share of the shards.
struct Share {
  std::string problems;  // a line each
  std::string indexes;   // one after another
};

enum class Reading { indexes, every_byte };

// A problem of each shard at the most.
Share read_share(const fs::path& folder, std::span<const CheckpointShard> shards, Reading reading,
                 const Communicator& ranks) {
  Share share;
  for (auto i = static_cast<std::size_t>(ranks.rank()); i < shards.size();
       i += static_cast<std::size_t>(ranks.size())) {
    try {
      std::string problem = size_problem(folder, shards[i]);
      if (problem.empty() && reading == Reading::every_byte) {
        problem = hash_problem(folder, shards[i]);
      }
      if (problem.empty()) {
        share.indexes += read_index(folder, shards[i]);
      } else {
        share.problems += problem + '\n';
      }
    } catch (const Error& error) {
      share.problems += std::string(error.what()) + '\n';
    }
  }
  return share;
}

// The tensors in all shards; shares[r] holds the indexes of every shares.size()-th shard from r on.
std::vector<CheckpointTensor> assemble(const fs::path& folder,
                                       std::span<const CheckpointShard> shards,
                                       std::span<const std::string> shares) {
  std::vector<std::size_t> read(shares.size());
  std::vector<std::vector<IndexedSlice>> slices;
  for (std::size_t i = 0; i < shards.size(); ++i) {
    const std::size_t rank = i % shares.size();
    const auto bytes = static_cast<std::size_t>(shards[i].index_bytes);
    slices.push_back(parse_index(std::string_view(shares[rank]).substr(read[rank], bytes),
                                 (folder / shards[i].file).string()));
    read[rank] += bytes;
  }
  try {
    return assemble_tensors(slices);
  } catch (const Error& error) {
    DUALPATH_FAIL(error.code(), "{}: {}", folder.string(), error.what());
  }
}

// The lines of all texts, each once.
std::string lines_of_all(std::span<const std::string> texts) {
  std::vector<std::string_view> lines;
  for (std::string_view text : texts) {
    while (!text.empty()) {
      const std::string_view line = text.substr(0, text.find('\n'));
      if (std::ranges::find(lines, line) == lines.end()) lines.push_back(line);
      text.remove_prefix(line.size() + 1);
    }
  }
  return fmt::format("{}", fmt::join(lines, "\n"));
}

// The root's texts on all ranks; its error where it cannot read them.
std::pair<std::string, std::string> read_head(const fs::path& folder, Communicator& ranks) {
  enum Kind : char { read = '+', failed = '-' };
  std::string manifest, shards;
  if (ranks.rank() == 0) {
    try {
      manifest = char{read} + read_text(folder / manifest_name);
      // Without a good manifest the list tells nothing.
      (void)parse_manifest_of(folder, manifest.substr(1));
      shards = read_text(folder / shards_name);
    } catch (const Error& error) {
      manifest = char{failed} + std::string(error.what());
    }
  }
  manifest = ranks.broadcast(manifest, 0);
  CHECK_AS(ExitCode::checkpoint, manifest.front() == read, "{}", manifest.substr(1));
  return {manifest.substr(1), ranks.broadcast(shards, 0)};
}

// Collective. The ranks share the reading and return or throw the same.
Checkpoint open(const fs::path& folder, Reading reading, Communicator& ranks) {
  Checkpoint checkpoint;
  checkpoint.folder = folder;
  checkpoint.identity = identity_of(folder);
  const auto [manifest, list] = read_head(folder, ranks);
  checkpoint.manifest = parse_manifest_of(folder, manifest);
  checkpoint.shards = parse_shards_of(folder, checkpoint.manifest.shards, list);
  const Share share = read_share(folder, checkpoint.shards, reading, ranks);
  const std::string problems = lines_of_all(ranks.all_gather(share.problems));
  CHECK_AS(ExitCode::checkpoint, problems.empty(), "{}", problems);
  checkpoint.tensors = assemble(folder, checkpoint.shards, ranks.all_gather(share.indexes));
  return checkpoint;
}

}  // namespace

FolderIdentity identity_of(const fs::path& folder) {
  struct stat status {};
  if (::stat(folder.c_str(), &status) != 0) {
    // A link that leads nowhere is there: what it leads to may be on a disk that is not mounted.
    const bool is_nothing = (errno == ENOENT || errno == ENOTDIR) &&
                            ::lstat(folder.c_str(), &status) != 0 &&
                            (errno == ENOENT || errno == ENOTDIR);
    return is_nothing ? std::nullopt : unknown_folder;
  }
  const auto changed = static_cast<std::uint64_t>(status.st_mtim.tv_sec) * 1'000'000'000 +
                       static_cast<std::uint64_t>(status.st_mtim.tv_nsec);
  return std::array<std::uint64_t, 3>{status.st_dev, status.st_ino, changed};
}

bool is_gone(const fs::path& folder, const FolderIdentity& before) {
  const FolderIdentity now = identity_of(folder);
  if (!before || !now) return true;
  return before != unknown_folder && now != unknown_folder && now != before;
}

const CheckpointTensor* Checkpoint::find(std::string_view name) const {
  const auto found = std::ranges::lower_bound(tensors, name, {}, &CheckpointTensor::name);
  return found != tensors.end() && found->name == name ? &*found : nullptr;
}

Checkpoint open_checkpoint(const fs::path& folder) {
  return open(folder, Reading::indexes, *make_self_communicator());
}

Checkpoint open_whole_checkpoint(const fs::path& folder, Communicator& ranks) {
  return run_alike([&] { return open(folder, Reading::every_byte, ranks); });
}

CheckpointManifest read_manifest(const fs::path& folder) {
  CheckpointManifest manifest = parse_manifest_of(folder, read_text(folder / manifest_name));
  std::string problems;
  for (const CheckpointShard& shard :
       parse_shards_of(folder, manifest.shards, read_text(folder / shards_name))) {
    const std::string problem = size_problem(folder, shard);
    if (!problem.empty()) problems += (problems.empty() ? "" : "\n") + problem;
  }
  CHECK_AS(ExitCode::checkpoint, problems.empty(), "{}", problems);
  return manifest;
}

void load_slices(const Checkpoint& checkpoint, std::span<const TensorSlice> wanted,
                 const SliceAccess& memory) {
  for (const auto& [index, pieces] : plan_reading(checkpoint, wanted)) {
    const CheckpointShard& entry = checkpoint.shards[static_cast<std::size_t>(index)];
    const Hdf5File shard =
        Hdf5File::open((checkpoint.folder / entry.file).string(), ExitCode::checkpoint);
    for (const Piece& piece : pieces) read_piece(shard, piece, memory);
  }
}

std::vector<std::string> verify_checkpoint(const fs::path& folder, Communicator& ranks) {
  std::vector<std::string> problems;
  try {
    (void)open_whole_checkpoint(folder, ranks);
  } catch (const Error& error) {
    std::istringstream lines(error.what());
    for (std::string line; std::getline(lines, line);) problems.push_back(line);
  }
  return problems;
}

}  // namespace dualpath
