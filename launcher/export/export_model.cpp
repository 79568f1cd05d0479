#include "launcher/export/export_model.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/base/bfloat16.h"
#include "data/files/file_io.h"
#include "data/text/tokenizer_files.h"
#include "data/text/tokenizer_json.h"
#include "launcher/common/embedded_text.h"
#include "launcher/config/run_config.h"
#include "launcher/evaluate/load_model.h"
#include "launcher/export/model_card.h"
#include "launcher/export/new_folder.h"
#include "launcher/export/safetensors.h"
#include "model/resolve_config.h"

namespace dualpath {

namespace {

namespace fs = std::filesystem;

// A tensor on its way from a checkpoint to a file.
struct ExportedTensor {
  const CheckpointTensor* from;
  DType dtype;
  SafetensorsTensor to;
};

std::vector<ExportedTensor> plan_tensors(const Checkpoint& checkpoint,
                                         const ResolvedModelConfig& model, ExportType type) {
  std::vector<ExportedTensor> tensors;
  for (const ParameterSpec& spec : parameters_of(model)) {
    const std::string name = parameter_prefix + spec.name;
    const CheckpointTensor* found = checkpoint.find(name);
    CHECK_AS(ExitCode::checkpoint, found != nullptr, "{}: holds no tensor '{}'",
             checkpoint.folder.string(), name);
    CHECK_AS(ExitCode::checkpoint, found->dtype == DType::f32 && found->global_shape == spec.shape,
             "{}: tensor '{}' is {} {}, but f32 {} is wanted", checkpoint.folder.string(), name,
             name_of(found->dtype), found->global_shape.str(), spec.shape.str());
    const bool is_matrix = spec.product || spec.looked_up;
    const DType dtype = type == ExportType::bf16 && is_matrix ? DType::bf16 : DType::f32;
    SafetensorsTensor to{hf_tensor_name(spec.name), dtype == DType::bf16 ? "BF16" : "F32", {}};
    for (int dim = 0; dim < spec.shape.rank(); ++dim) to.shape.push_back(spec.shape[dim]);
    to.bytes = spec.shape.numel() * static_cast<std::int64_t>(size_of(dtype));
    tensors.push_back({found, dtype, std::move(to)});
  }
  return tensors;
}

using Shards = std::vector<std::vector<ExportedTensor>>;

// In the model's order, as many in a file as fit.
Shards cut_into_shards(std::vector<ExportedTensor> tensors, std::int64_t max_bytes) {
  Shards shards;
  std::int64_t bytes = 0;
  for (ExportedTensor& tensor : tensors) {
    if (shards.empty() || bytes + tensor.to.bytes > max_bytes) {
      shards.emplace_back();
      bytes = 0;
    }
    bytes += tensor.to.bytes;
    shards.back().push_back(std::move(tensor));
  }
  return shards;
}

// A new file, flushed to the disk by close().
class OutputFile {
 public:
  explicit OutputFile(const fs::path& path) : path_(path), file_(path, std::ios::binary) {
    check();
  }
  void write(const void* bytes, std::size_t count) {
    file_.write(static_cast<const char*>(bytes), static_cast<std::streamsize>(count));
    check();
  }
  void close() {
    file_.close();
    check();
    sync_path(path_, ExitCode::checkpoint);
  }

 private:
  void check() const {
    CHECK_AS(ExitCode::checkpoint, file_.good(), "{}: cannot be written: {}", path_.string(),
             std::strerror(errno));
  }

  fs::path path_;
  std::ofstream file_;
};

void write_elements(const Checkpoint& checkpoint, const ExportedTensor& tensor, OutputFile& file) {
  std::vector<bfloat16> rounded;
  const auto write = [&](std::int64_t, std::int64_t count, const void* elements) {
    const auto size = static_cast<std::size_t>(count);
    if (tensor.dtype == DType::f32) return file.write(elements, size * sizeof(float));
    const std::span values(static_cast<const float*>(elements), size);
    rounded.assign(values.begin(), values.end());
    file.write(rounded.data(), size * sizeof(bfloat16));
  };
  read_elements(checkpoint, *tensor.from, 0, tensor.from->global_shape.numel(), write);
}

void write_safetensors(const Checkpoint& checkpoint, std::span<const ExportedTensor> tensors,
                       const fs::path& path) {
  std::vector<SafetensorsTensor> header;
  for (const ExportedTensor& tensor : tensors) header.push_back(tensor.to);
  OutputFile file(path);
  const std::string text = print_safetensors_header(header);
  file.write(text.data(), text.size());
  for (const ExportedTensor& tensor : tensors) write_elements(checkpoint, tensor, file);
  file.close();
}

void write_weights(const Checkpoint& checkpoint, const Shards& shards, const fs::path& folder) {
  if (shards.size() == 1) return write_safetensors(checkpoint, shards[0], folder / hf_weights_name);
  nlohmann::ordered_json index = {{"metadata", {{"total_size", 0}}},
                                  {"weight_map", nlohmann::ordered_json::object()}};
  std::int64_t total = 0;
  for (std::size_t i = 0; i < shards.size(); ++i) {
    const std::string name = fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
    write_safetensors(checkpoint, shards[i], folder / name);
    for (const ExportedTensor& tensor : shards[i]) {
      index["weight_map"][tensor.to.name] = name;
      total += tensor.to.bytes;
    }
  }
  index["metadata"]["total_size"] = total;
  write_file(folder / hf_index_name, index.dump(2) + "\n", ExitCode::checkpoint);
}

// None where the run has none: it was trained on random tokens.
std::optional<Tokenizer> tokenizer_of(const SourceCheckpoint& source,
                                      const ResolvedModelConfig& model) {
  if (source.checkpoint.manifest.tokenizer_hash.empty()) return std::nullopt;
  Tokenizer tokenizer = load_tokenizer_of({source.run, {}}, source.checkpoint);
  CHECK_AS(ExitCode::data, tokenizer.vocab_size() <= model.vocab_size,
           "{}: the tokenizer has {} tokens, the model's vocab_size is {}",
           (source.run / "tokenizer").string(), tokenizer.vocab_size(), model.vocab_size);
  return tokenizer;
}

}  // namespace

void export_model(const SourceCheckpoint& source, const fs::path& folder,
                  const ExportConfig& config) {
  NewFolder target(folder);
  const fs::path& out = target.partial();
  const ResolvedModelConfig model = resolve(parse_model(source.checkpoint.manifest.model));
  const std::optional<Tokenizer> tokenizer = tokenizer_of(source, model);
  const Tokenizer* const known = tokenizer ? &*tokenizer : nullptr;
  const auto write = [&](const char* name, std::string_view text) {
    write_file(out / name, text, ExitCode::checkpoint);
  };
  write_weights(
      source.checkpoint,
      cut_into_shards(plan_tensors(source.checkpoint, model, config.dtype), config.max_shard_bytes),
      out);
  write(hf_config_name, print_hf_config(model, config.dtype, known));
  write(hf_generation_config_name, print_generation_config(model, known));
  write(hf_modeling_name, modeling_source);
  if (tokenizer) {
    save_tokenizer(*tokenizer, out, ExitCode::checkpoint);
    write("tokenizer_config.json", print_tokenizer_config(model, *tokenizer));
  }
  write("README.md", model_card(source, model, known));
  target.publish();
}

}  // namespace dualpath
