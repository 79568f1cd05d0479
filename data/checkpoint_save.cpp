#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "data/checkpoint_folder.h"
#include "data/checkpoint_names.h"
#include "data/checkpoint_store.h"
#include "data/file_io.h"
#include "data/hdf5_file.h"
#include "data/run_together.h"

namespace dualpath {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

CheckpointShard write_shard(const fs::path& path, std::span<const TensorSlice> slices,
                            const SliceAccess& memory) {
  Hdf5File shard = Hdf5File::create(path.string(), ExitCode::checkpoint);
  for (const TensorSlice& slice : slices) {
    if (slice.begin == slice.end) continue;
    const std::string name = dataset_name(slice.name, slice.begin, slice.end);
    shard.create_dataset(name, hdf5_type(slice.dtype),
                         static_cast<std::uint64_t>(slice.end - slice.begin));
    memory.read(slice, [&](std::int64_t first, std::int64_t count, const void* elements) {
      shard.write_elements(name, hdf5_type(slice.dtype), static_cast<std::uint64_t>(first),
                           static_cast<std::uint64_t>(count), elements);
    });
    shard.set_attribute<std::string>(name, "tensor", slice.name);
    shard.set_attribute<std::string>(name, "global_shape", slice.global_shape.str());
    shard.set_attribute<std::int64_t>(name, "begin", slice.begin);
    shard.set_attribute<std::int64_t>(name, "end", slice.end);
  }
  shard.close();
  sync_path(path, ExitCode::checkpoint);
  const FileDigest digest = digest_file(path, ExitCode::checkpoint);
  return {path.filename().string(), digest.bytes, digest.xxh3};
}

// What a rank tells the root: its shard, and the slices in it.
std::string print_report(const CheckpointShard& shard, std::span<const TensorSlice> slices) {
  json list = json::array();
  for (const TensorSlice& slice : slices) {
    std::vector<std::int64_t> dims;
    for (int dim = 0; dim < slice.global_shape.rank(); ++dim) {
      dims.push_back(slice.global_shape[dim]);
    }
    list.push_back({slice.name, static_cast<int>(slice.dtype), dims, slice.begin, slice.end});
  }
  return json({shard.file, shard.bytes, shard.xxh3, list}).dump();
}

// Puts all ranks' reports into the manifest.
void add_reports(std::span<const std::string> reports, CheckpointManifest& manifest) {
  manifest.shards.clear();
  std::vector<std::vector<TensorSlice>> slices_of_rank;
  for (const std::string& text : reports) {
    const json report = json::parse(text);
    manifest.shards.push_back({report[0], report[1], report[2]});
    std::vector<TensorSlice>& slices = slices_of_rank.emplace_back();
    for (const json& item : report[3]) {
      slices.push_back({item[0], static_cast<DType>(item[1].get<int>()),
                        Shape(item[2].get<std::vector<std::int64_t>>()), item[3], item[4],
                        nullptr});
    }
  }
  manifest.tensors = assemble_tensors(slices_of_rank);
}

// Gives the finished folder its final name, in place of an earlier save of the same step.
void commit(const fs::path& temporary, const fs::path& folder, const std::string& name) {
  const fs::path replaced = folder / (replaced_prefix + name);
  if (fs::exists(folder / name)) publish(folder / name, replaced, ExitCode::checkpoint);
  publish(temporary, folder / name, ExitCode::checkpoint);
  remove_tree(replaced, ExitCode::checkpoint);
}

// Brings the folder back to what it was, as far as the failure that is being reported allows.
void clean_up_after_failure(const fs::path& folder) {
  try {
    remove_unfinished(folder);
  } catch (const Error&) {
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
      return print_report(write_shard(shard, local, memory), local);
    });
    run_on_root(ranks, what, [&] {
      add_reports(reports, manifest);
      const std::string text = print_manifest(manifest);
      CHECK(parse_manifest(text, manifest_name) == manifest, "the manifest does not read back");
      write_file(temporary / manifest_name, text, ExitCode::checkpoint);
      commit(temporary, folder, name);
      return "";
    });
  } catch (const Error&) {
    if (ranks.rank() == 0) clean_up_after_failure(folder);
    throw;
  }
}

}  // namespace dualpath
