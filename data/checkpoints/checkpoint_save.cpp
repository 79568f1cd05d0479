#include <algorithm>
#include <fmt/format.h>
#include <utility>

#include "data/checkpoints/checkpoint_folder.h"
#include "data/checkpoints/checkpoint_names.h"
#include "data/checkpoints/checkpoint_store.h"
#include "data/files/file_io.h"
#include "data/files/hdf5_file.h"
#include "parallel/run_together.h"

namespace dualpath {

namespace fs = std::filesystem;

namespace {

// Writes the slices; the index tells where, and hashes what the source gave.
std::vector<IndexedSlice> write_slices(Hdf5File& shard, std::span<const TensorSlice> slices,
                                       const SliceSource& source) {
  std::vector<IndexedSlice> written;
  for (const TensorSlice& slice : slices) {
    IndexedSlice& entry = written.emplace_back(
        IndexedSlice{slice.name, slice.dtype, slice.global_shape, slice.begin, slice.end, 0, 0});
    if (slice.begin == slice.end) continue;
    const Hdf5Type type = hdf5_type(slice.dtype);
    const std::string name = dataset_name(slice.name, slice.begin, slice.end);
    shard.create_dataset(name, type, static_cast<std::uint64_t>(slice.end - slice.begin));
    Checksum checksum;
    source(slice, [&](std::int64_t first, std::int64_t count, const void* elements) {
      checksum.add({static_cast<const std::byte*>(elements),
                    static_cast<std::size_t>(count) * size_of(slice.dtype)});
      shard.write_elements(name, type, static_cast<std::uint64_t>(first),
                           static_cast<std::uint64_t>(count), elements);
    });
    shard.set_attribute<std::string>(name, "tensor", slice.name);
    shard.set_attribute<std::string>(name, "global_shape", slice.global_shape.str());
    shard.set_attribute<std::int64_t>(name, "begin", slice.begin);
    shard.set_attribute<std::int64_t>(name, "end", slice.end);
    entry.offset = static_cast<std::int64_t>(shard.dataset(name).file_offset);
    entry.xxh3 = checksum.value();
  }
  return written;
}

// A shard in the making and its index as text.
struct WrittenShard {
  CheckpointShard entry;
  std::vector<IndexedSlice> slices;
  std::string index;
};

WrittenShard write_shard(const fs::path& path, std::span<const TensorSlice> slices,
                         const SliceSource& source) {
  Hdf5File file = Hdf5File::create(path.string(), ExitCode::checkpoint);
  WrittenShard shard;
  shard.slices = write_slices(file, slices, source);
  shard.index = print_index(shard.slices);
  file.create_dataset(index_name, Hdf5Type::u8, shard.index.size());
  file.write<std::uint8_t>(
      index_name, 0,
      {reinterpret_cast<const std::uint8_t*>(shard.index.data()), shard.index.size()});
  shard.entry.file = path.filename().string();
  shard.entry.index_offset = static_cast<std::int64_t>(file.dataset(index_name).file_offset);
  shard.entry.index_bytes = std::ssize(shard.index);
  shard.entry.index_xxh3 = checksum_of(std::as_bytes(std::span(shard.index)));
  file.close();
  sync_path(path, ExitCode::checkpoint);
  return shard;
}

// Reads the shard's elements and index from the disk: they must be what was to be written. Fills in
// size and hash of the file, which the same pass takes.
void prove_content(const fs::path& path, WrittenShard& shard) {
  struct Expected {
    FilePart part;
    std::uint64_t xxh3;
    std::string what;
  };
  std::vector<Expected> all;
  for (const IndexedSlice& slice : shard.slices) {
    if (slice.begin == slice.end) continue;
    all.push_back({{slice.offset, slice.offset + slice.bytes()},
                   slice.xxh3,
                   dataset_name(std::string(slice.tensor), slice.begin, slice.end)});
  }
  CheckpointShard& entry = shard.entry;
  all.push_back(
      {{entry.index_offset, entry.index_offset + entry.index_bytes}, entry.index_xxh3, index_name});
  std::ranges::sort(all, {}, [](const Expected& expected) { return expected.part.begin; });
  std::vector<FilePart> parts;
  for (const Expected& expected : all) parts.push_back(expected.part);
  std::vector<std::uint64_t> checksums(parts.size());
  const FileDigest digest = digest_file(path, parts, checksums, ExitCode::checkpoint);
  for (std::size_t i = 0; i < all.size(); ++i) {
    CHECK_AS(ExitCode::checkpoint, checksums[i] == all[i].xxh3,
             "{}: dataset '{}' is on the disk with other content than was written", path.string(),
             all[i].what);
  }
  entry.bytes = digest.bytes;
  entry.xxh3 = digest.xxh3;
}

// HDF5 must find every dataset where the index says.
void prove_structure(const fs::path& path, const WrittenShard& shard) {
  const Hdf5File file = Hdf5File::open(path.string(), ExitCode::checkpoint);
  const auto check = [&](const std::string& name, Hdf5Type type, std::int64_t size,
                         std::int64_t offset) {
    const Hdf5Dataset found = file.dataset(name);
    CHECK_AS(ExitCode::checkpoint,
             found.type == type && std::cmp_equal(found.size, size) &&
                 std::cmp_equal(found.file_offset, offset),
             "{}: dataset '{}' is on the disk in another place than was written", path.string(),
             name);
  };
  for (const IndexedSlice& slice : shard.slices) {
    if (slice.begin == slice.end) continue;
    check(dataset_name(std::string(slice.tensor), slice.begin, slice.end), hdf5_type(slice.dtype),
          slice.end - slice.begin, slice.offset);
  }
  check(index_name, Hdf5Type::u8, shard.entry.index_bytes, shard.entry.index_offset);
}

// What a rank tells the root: its shard's line, and the shard's index.
std::string save_shard(const fs::path& path, std::span<const TensorSlice> slices,
                       const SliceSource& source) {
  WrittenShard shard = write_shard(path, slices, source);
  prove_content(path, shard);
  prove_structure(path, shard);
  return print_shards(std::span(&shard.entry, 1)) + shard.index;
}

// The list of all shards from the ranks' reports. Their slices must make up whole tensors.
std::string gather_shards(std::span<const std::string> reports) {
  std::string list;
  std::vector<std::vector<IndexedSlice>> slices;
  for (std::size_t rank = 0; rank < reports.size(); ++rank) {
    const std::string_view report = reports[rank];
    const std::size_t end_of_line = report.find('\n') + 1;
    list += report.substr(0, end_of_line);
    slices.push_back(parse_index(report.substr(end_of_line), fmt::format("rank {}", rank)));
  }
  assemble_tensors(slices);
  return list;
}

ShardSummary summarize(const std::string& list) {
  ShardSummary summary{.xxh3 = checksum_of(std::as_bytes(std::span(list)))};
  for (const CheckpointShard& shard : parse_shards(list, shards_name)) {
    ++summary.count;
    summary.bytes += shard.bytes;
  }
  return summary;
}

// Writes a file and makes sure that this is what is there.
void write_proven(const fs::path& path, const std::string& text) {
  write_file(path, text, ExitCode::checkpoint);
  CHECK_AS(ExitCode::checkpoint, read_file(path, ExitCode::checkpoint) == text,
           "{}: is on the disk with other content than was written", path.string());
}

// What lies beside the shards, which the reports tell of. The manifest is written last.
void write_head(const fs::path& folder, CheckpointManifest& manifest,
                std::span<const std::string> reports) {
  const std::string list = gather_shards(reports);
  manifest.shards = summarize(list);
  const std::string text = print_manifest(manifest);
  CHECK(parse_manifest(text, manifest_name) == manifest, "the manifest does not read back");
  write_proven(folder / shards_name, list);
  write_proven(folder / manifest_name, text);
}

// Gives the finished folder its final name, in place of an earlier save of the same step.
void commit(const fs::path& temporary, const fs::path& folder, const std::string& name) {
  const fs::path replaced = folder / (replaced_prefix + name);
  if (path_exists(folder / name, ExitCode::checkpoint))
    publish(folder / name, replaced, ExitCode::checkpoint);
  publish(temporary, folder / name, ExitCode::checkpoint);
  std::error_code left_for_the_next_save;
  fs::remove_all(replaced, left_for_the_next_save);
}

// Brings the folder back to what it was, as far as the failure that is being reported allows.
void clean_up_after_failure(const fs::path& folder) {
  try {
    remove_unfinished(folder);
  } catch (const std::exception&) {
    // The next save tries again.
  }
}

}  // namespace

void save_checkpoint(const fs::path& folder, CheckpointManifest manifest,
                     std::span<const TensorSlice> local, Communicator& ranks,
                     const SliceAccess& memory) {
  const std::string name = ranks.broadcast(checkpoint_name(manifest.step), 0);
  const std::string what = fmt::format("saving checkpoint {}", (folder / name).string());
  const fs::path temporary = folder / (temporary_prefix + name);
  try {
    run_on_root(ranks, what, [&] {
      remove_unfinished(folder);
      make_folder(temporary, ExitCode::checkpoint);
      return "";
    });
    const std::vector<std::string> reports = run_together(ranks, what, [&] {
      const fs::path shard = temporary / shard_name(ranks.rank(), ranks.size());
      return save_shard(shard, local,
                        [&](const TensorSlice& slice, const SliceAccess::Reader& reader) {
                          memory.read(slice, reader);
                        });
    });
    run_on_root(ranks, what, [&] {
      write_head(temporary, manifest, reports);
      commit(temporary, folder, name);
      return "";
    });
  } catch (const Error&) {
    if (ranks.rank() == 0) clean_up_after_failure(folder);
    throw;
  }
}

void write_checkpoint(const fs::path& folder, CheckpointManifest manifest,
                      std::span<const std::vector<TensorSlice>> shards, const SliceSource& source) {
  const int num_shards = static_cast<int>(shards.size());
  std::vector<std::string> reports;
  for (int i = 0; i < num_shards; ++i) {
    reports.push_back(save_shard(folder / shard_name(i, num_shards),
                                 shards[static_cast<std::size_t>(i)], source));
  }
  write_head(folder, manifest, reports);
}

}  // namespace dualpath
