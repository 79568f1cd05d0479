// A checkpoint's weights as a folder that Hugging Face's transformers load, with
// AutoModelForCausalLM.from_pretrained(FOLDER, trust_remote_code=True).
#pragma once

#include <cstdint>
#include <filesystem>

#include "launcher/export/checkpoint_reader.h"
#include "launcher/export/hf_layout.h"

namespace dualpath {

struct ExportConfig {
  ExportType dtype = ExportType::fp32;
  std::int64_t max_shard_bytes = std::int64_t{5} << 30;
};

template <class Visitor>
void visit_fields(Visitor& visit, ExportConfig& c) {
  visit.field("dtype", c.dtype,
              {.help = "type of the matrices' elements; bf16 rounds them. Norms, gains, router and "
                       "gates stay fp32",
               .synonyms = "torch_dtype precision"});
  visit.field("max_shard_bytes", c.max_shard_bytes,
              {.help = "weights of more than this go to several files with an index; a file has "
                       "one tensor at least",
               .unit = "bytes",
               .min = 1,
               .max = 1e18,
               .synonyms = "max_shard_size"});
}

// Writes a new folder: weights, config.json, generation_config.json, the tokenizer (where the run
// has one), modeling_dualpath.py and a model card, README.md. No more than some MiB of the weights
// are in memory. Throws Error(checkpoint), or Error(data) for the tokenizer.
void export_model(const SourceCheckpoint& source, const std::filesystem::path& folder,
                  const ExportConfig& config);

}  // namespace dualpath
