#include "launcher/export/import_model.h"

#include <fmt/ranges.h>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "data/checkpoints/checkpoint_names.h"
#include "data/checkpoints/checkpoint_store.h"
#include "data/files/file_io.h"
#include "data/text/tokenizer_files.h"
#include "launcher/config/run_config.h"
#include "launcher/export/checkpoint_reader.h"
#include "launcher/export/hf_layout.h"
#include "launcher/export/new_folder.h"
#include "launcher/export/safetensors.h"
#include "launcher/job/version.h"

namespace dualpath {

namespace {

namespace fs = std::filesystem;

constexpr const char* origin_key = "imported";
constexpr std::int64_t read_bytes = 16 << 20;

struct ForeignTensor {
  fs::path file;
  SafetensorsEntry entry;
};
using ForeignTensors = std::map<std::string, ForeignTensor>;

bool is_file_name(const std::string& name) {
  return fs::path(name).filename().string() == name;
}

// The files of weights: one, or those that the index names.
std::vector<std::string> weight_files(const fs::path& folder) {
  const fs::path path = folder / hf_index_name;
  if (!path_exists(path, ExitCode::checkpoint)) return {hf_weights_name};
  const nlohmann::json index = nlohmann::json::parse(read_file(path, ExitCode::checkpoint), nullptr,
                                                     /*allow_exceptions=*/false);
  CHECK_AS(ExitCode::checkpoint,
           index.is_object() && index.contains("weight_map") && index["weight_map"].is_object(),
           "{}: has no weight_map", path.string());
  std::set<std::string> names;
  for (const auto& [tensor, file] : index["weight_map"].items()) {
    CHECK_AS(ExitCode::checkpoint, file.is_string() && is_file_name(file.get<std::string>()),
             "{}: the file of tensor {} is no name of a file in its folder", path.string(), tensor);
    names.insert(file.get<std::string>());
  }
  return {names.begin(), names.end()};
}

ForeignTensors find_tensors(const fs::path& folder) {
  ForeignTensors tensors;
  for (const std::string& name : weight_files(folder)) {
    for (SafetensorsEntry& entry : read_safetensors_header(folder / name)) {
      const auto [known, is_new] =
          tensors.try_emplace(entry.name, ForeignTensor{folder / name, entry});
      CHECK_AS(ExitCode::checkpoint, is_new, "tensor {} is in {} and in {}", entry.name,
               known->second.file.string(), (folder / name).string());
    }
  }
  return tensors;
}

void check_tensor(const ForeignTensor& tensor, const ParameterSpec& spec) {
  const SafetensorsEntry& entry = tensor.entry;
  CHECK_AS(ExitCode::checkpoint, entry.dtype == "F32",
           "{}: tensor {} is {}; only fp32 weights (F32) can be imported, because what is imported "
           "must be the weights bit by bit; export with export.dtype=fp32",
           tensor.file.string(), entry.name, entry.dtype);
  std::vector<std::int64_t> shape;
  for (int dim = 0; dim < spec.shape.rank(); ++dim) shape.push_back(spec.shape[dim]);
  CHECK_AS(ExitCode::checkpoint, entry.shape == shape,
           "{}: tensor {} has the shape [{}], but the model of {} needs {}", tensor.file.string(),
           entry.name, fmt::join(entry.shape, ", "), hf_config_name, spec.shape.str());
}

// The tensors by our names; the folder must have these and no others.
ForeignTensors tensors_by_parameter(const fs::path& folder, const ResolvedModelConfig& model) {
  ForeignTensors found = find_tensors(folder);
  ForeignTensors tensors;
  for (const ParameterSpec& spec : parameters_of(model)) {
    const auto tensor = found.find(hf_tensor_name(spec.name));
    CHECK_AS(ExitCode::checkpoint, tensor != found.end(),
             "{}: there is no tensor {}, which the model of {} has", folder.string(),
             hf_tensor_name(spec.name), hf_config_name);
    check_tensor(tensor->second, spec);
    tensors.emplace(parameter_prefix + spec.name, tensor->second);
    found.erase(tensor);
  }
  CHECK_AS(ExitCode::checkpoint, found.empty(), "{}: tensor {} is none of the model of {}",
           folder.string(), found.begin()->first, hf_config_name);
  return tensors;
}

std::optional<Tokenizer> load_foreign_tokenizer(const fs::path& folder,
                                                const ResolvedModelConfig& model) {
  if (!has_tokenizer(folder)) return std::nullopt;
  Tokenizer tokenizer = load_tokenizer(folder);
  CHECK_AS(ExitCode::data, tokenizer.vocab_size() <= model.vocab_size,
           "{}: its tokenizer has {} tokens, but the vocab_size of {} is {}", folder.string(),
           tokenizer.vocab_size(), hf_config_name, model.vocab_size);
  return tokenizer;
}

std::vector<TensorSlice> whole_slices(const ResolvedModelConfig& model) {
  std::vector<TensorSlice> slices;
  for (const ParameterSpec& spec : parameters_of(model)) {
    slices.push_back(
        {parameter_prefix + spec.name, DType::f32, spec.shape, 0, spec.shape.numel(), nullptr});
  }
  return slices;
}

// All elements of a tensor, some MiB at a time.
void read_foreign(const ForeignTensor& tensor, const SliceAccess::Reader& reader) {
  constexpr std::int64_t element = sizeof(float);
  for (std::int64_t at = tensor.entry.begin; at < tensor.entry.end; at += read_bytes) {
    const std::int64_t bytes = std::min(read_bytes, tensor.entry.end - at);
    const std::string piece = read_part(tensor.file, at, bytes, ExitCode::checkpoint);
    reader((at - tensor.entry.begin) / element, bytes / element, piece.data());
  }
}

}  // namespace

void import_model(const fs::path& folder, const fs::path& run) {
  CHECK_AS(ExitCode::checkpoint, is_folder(folder, ExitCode::checkpoint), "{}: no such folder",
           folder.string());
  NewFolder target(run);
  const fs::path config_file = folder / hf_config_name;
  CHECK_AS(ExitCode::checkpoint, path_exists(config_file, ExitCode::checkpoint),
           "{}: there is no {}", folder.string(), hf_config_name);
  const ResolvedModelConfig model =
      parse_hf_config(read_file(config_file, ExitCode::checkpoint), config_file.string());
  const ForeignTensors tensors = tensors_by_parameter(folder, model);
  const std::optional<Tokenizer> tokenizer = load_foreign_tokenizer(folder, model);
  CheckpointManifest manifest;
  manifest.model = print_config(model);
  manifest.layout = {{"ranks", "1"}};
  manifest.environment = {{"program", version_line()}};
  manifest.state = {{origin_key, "weights only"}};
  if (tokenizer) {
    manifest.tokenizer_hash = tokenizer->hash();
    make_folder(target.partial() / "tokenizer", ExitCode::checkpoint);
    save_tokenizer(*tokenizer, target.partial() / "tokenizer", ExitCode::checkpoint);
  }
  const fs::path checkpoint = target.partial() / "checkpoints" / checkpoint_name(manifest.step);
  make_folder(checkpoint, ExitCode::checkpoint);
  const std::vector<std::vector<TensorSlice>> shards = {whole_slices(model)};
  write_checkpoint(checkpoint, manifest, shards,
                   [&](const TensorSlice& slice, const SliceAccess::Reader& reader) {
                     read_foreign(tensors.at(slice.name), reader);
                   });
  sync_path(checkpoint, ExitCode::checkpoint);
  sync_path(checkpoint.parent_path(), ExitCode::checkpoint);
  target.publish();
}

bool is_imported(const CheckpointManifest& manifest) {
  return manifest.state.contains(origin_key);
}

}  // namespace dualpath
