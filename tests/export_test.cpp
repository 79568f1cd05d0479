// checkpoint export, import, diff and reshard: weights come back bit by bit for every option of the
// model; what cannot be read is refused with the file's name.
#include <cstring>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <set>

#include "data/checkpoints/checkpoint_names.h"
#include "data/files/file_io.h"
#include "data/text/tokenizer_files.h"
#include "launcher/commands.h"
#include "launcher/export/checkpoint_diff.h"
#include "launcher/export/export_model.h"
#include "launcher/export/import_model.h"
#include "launcher/export/reshard.h"
#include "launcher/export/safetensors.h"
#include "model/resolve_config.h"
#include "tests/checkpoint_fixture.h"
#include "tests/model_variants.h"

namespace dualpath {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::Each;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

// Every byte is a token, and there is an end of text.
Tokenizer byte_tokenizer() {
  TokenizerParts parts;
  for (const std::uint8_t byte : gpt2_byte_order()) parts.tokens.emplace_back(1, char(byte));
  parts.end_of_text = static_cast<std::uint32_t>(parts.tokens.size());
  parts.tokens.emplace_back(end_of_text_name);
  return Tokenizer(std::move(parts));
}

std::string read_text(const fs::path& path) {
  return read_file(path, ExitCode::checkpoint);
}

void write_text(const fs::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

void replace_in(const fs::path& path, const std::string& from, const std::string& to) {
  std::string text = read_text(path);
  const std::size_t at = text.find(from);
  ASSERT_NE(at, text.npos) << from;
  write_text(path, text.replace(at, from.size(), to));
}

class Export : public testing::Test {
 protected:
  fs::path path(const std::string& name) const { return folder_.path() / name; }

  // A run whose one checkpoint, of step 7, has random bits in weights and moments.
  SourceCheckpoint make_run(const std::string& name, const ModelConfig& config,
                            const Tokenizer* tokenizer = nullptr, std::int64_t seed = 7) {
    const ResolvedModelConfig model = resolve(config);
    TestSlices slices;
    for (const ParameterSpec& spec : parameters_of(model)) {
      for (const char* group : {"parameters/", "adam_m/", "adam_v/"})
        slices.add(group + spec.name, DType::f32, spec.shape, 0, spec.shape.numel());
    }
    slices.fill(seed);
    CheckpointManifest manifest;
    manifest.step = 7;
    manifest.consumed_tokens = 700;
    manifest.model = print_config(model);
    if (tokenizer != nullptr) {
      manifest.tokenizer_hash = tokenizer->hash();
      fs::create_directories(path(name) / "tokenizer");
      save_tokenizer(*tokenizer, path(name) / "tokenizer");
    }
    save_checkpoint(path(name) / "checkpoints", manifest, slices.slices(),
                    *make_self_communicator());
    return open_source(path(name));
  }
  SourceCheckpoint make_small_run() { return make_run("run", tiny(Architecture::dual_path)); }

  // The files of an exported model, ready to be damaged.
  fs::path make_exported(const ExportConfig& config = {}) {
    export_model(make_small_run(), path("hf"), config);
    return path("hf");
  }
  std::string import_error(const fs::path& folder) {
    const std::string error = checkpoint_error([&] { import_model(folder, path("imported")); });
    EXPECT_FALSE(fs::exists(path("imported")));
    return error;
  }
  // What the folder that holds all of this has, but for `names`.
  std::vector<std::string> others(const std::set<std::string>& names) const {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(folder_.path())) {
      if (!names.contains(entry.path().filename())) found.push_back(entry.path().filename());
    }
    return found;
  }

  TemporaryFolder folder_;
};

TEST_F(Export, WeightsOfAllVariantsComeBackBitByBit) {
  for (const Variant& variant : variants()) {
    SCOPED_TRACE(variant.name);
    const SourceCheckpoint source = make_run(variant.name, variant.config);
    const fs::path hf = path(variant.name + "-hf"), back = path(variant.name + "-back");
    export_model(source, hf, {});
    EXPECT_TRUE(fs::exists(hf / hf_weights_name));
    EXPECT_FALSE(fs::exists(hf / hf_index_name));
    import_model(hf, back);
    const SourceCheckpoint imported = open_source(back);
    EXPECT_TRUE(is_imported(imported.checkpoint.manifest));
    EXPECT_EQ(imported.checkpoint.manifest.step, 0);
    const CheckpointDiff diff = compare_checkpoints(source.checkpoint, imported.checkpoint);
    EXPECT_THAT(diff.tensors, IsEmpty());
    EXPECT_THAT(diff.only_b, IsEmpty());
    EXPECT_THAT(diff.other_form, IsEmpty());
    EXPECT_THAT(diff.model, IsEmpty());
    EXPECT_THAT(diff.only_a, Each(StartsWith("adam_")));
    EXPECT_EQ(diff.num_equal * 2, std::ssize(diff.only_a));
  }
}

TEST_F(Export, ManyWeightsGoToSeveralFilesWithAnIndex) {
  constexpr std::int64_t max_bytes = 2000;
  const SourceCheckpoint source = make_small_run();
  export_model(source, path("hf"), {.max_shard_bytes = max_bytes});
  EXPECT_FALSE(fs::exists(path("hf") / hf_weights_name));
  const std::string index = read_text(path("hf") / hf_index_name);
  EXPECT_THAT(index, HasSubstr("\"model.layers.0.deep.attention.query.weight\": \"model-000"));
  int files = 0;
  for (const auto& entry : fs::directory_iterator(path("hf"))) {
    if (entry.path().extension() != ".safetensors") continue;
    ++files;
    std::int64_t bytes = 0;
    const std::vector<SafetensorsEntry> tensors = read_safetensors_header(entry.path());
    for (const SafetensorsEntry& tensor : tensors) bytes += tensor.end - tensor.begin;
    EXPECT_LE(bytes, max_bytes);
  }
  EXPECT_GT(files, 5);
  import_model(path("hf"), path("back"));
  EXPECT_THAT(compare_checkpoints(source.checkpoint, open_source(path("back")).checkpoint).tensors,
              IsEmpty());
}

TEST_F(Export, WritesWhatTransformersRead) {
  const Tokenizer tokenizer = byte_tokenizer();
  ModelConfig config = tiny(Architecture::dual_path);
  config.vocab_size = 259;
  export_model(make_run("run", config, &tokenizer), path("hf"), {});
  EXPECT_THAT(read_text(path("hf") / hf_config_name),
              AllOf(HasSubstr("\"auto_map\""), HasSubstr("\"eos_token_id\": 256"),
                    HasSubstr("modeling_dualpath.DualPathForCausalLM")));
  // Rows 257 and 258 are no tokens.
  EXPECT_THAT(read_text(path("hf") / hf_generation_config_name),
              HasSubstr("\"suppress_tokens\": [\n    257,\n    258\n  ]"));
  EXPECT_THAT(read_text(path("hf") / hf_modeling_name), HasSubstr("class DualPathForCausalLM("));
  EXPECT_THAT(read_text(path("hf") / "README.md"),
              AllOf(HasSubstr("| steps | 7 |"), HasSubstr("| tokens | 700 |")));
  EXPECT_EQ(load_tokenizer(path("hf")).hash(), tokenizer.hash());
  import_model(path("hf"), path("back"));
  EXPECT_EQ(open_source(path("back")).checkpoint.manifest.tokenizer_hash, tokenizer.hash());
  EXPECT_EQ(load_tokenizer(path("back") / "tokenizer").hash(), tokenizer.hash());
  EXPECT_THAT(others({"run", "hf", "back"}), IsEmpty());
}

TEST_F(Export, ModelCardTellsWhatTheRunFolderTells) {
  const SourceCheckpoint source = make_small_run();
  write_text(path("run") / "metrics.jsonl",
             R"({"step":6,"loss":3.5,"gate_deep":[0.1,0.2]})"
             "\n"
             R"({"step":7,"loss":3.25,"gate_deep":[0.25,0.75]})"
             "\n"
             R"({"step":7,"validation_loss":3.75,"bits_per_byte":1.5})"
             "\n"
             R"({"step":8,"loss":1.0,"gate_deep":[0.9,0.9]})"
             "\n");
  export_model(source, path("hf"), {});
  EXPECT_THAT(read_text(path("hf") / "README.md"),
              AllOf(HasSubstr("| training loss, nats a token, step 7 | 3.2500 |"),
                    HasSubstr("| held-out loss, nats a token, step 7 | 3.7500 |"),
                    HasSubstr("| held-out bits per byte, step 7 | 1.5000 |"),
                    HasSubstr("| 0 | 0.2500 |\n| 1 | 0.7500 |")));
}

TEST_F(Export, RoundedWeightsAreNotImported) {
  EXPECT_THAT(import_error(make_exported({.dtype = ExportType::bf16})),
              AllOf(HasSubstr("model.embedding.weight is BF16"),
                    HasSubstr("export with export.dtype=fp32")));
}

TEST_F(Export, NothingIsOverwritten) {
  const SourceCheckpoint source = make_small_run();
  fs::create_directory(path("full"));
  write_text(path("full") / "mine", "x");
  write_text(path("file"), "x");
  const auto refused = [&](const char* name, const auto& action) {
    EXPECT_THAT(checkpoint_error([&] { action(path(name)); }),
                AllOf(HasSubstr(path(name)), HasSubstr("will not be")));
  };
  for (const char* name : {"full", "file"}) {
    refused(name, [&](const fs::path& to) { export_model(source, to, {}); });
    refused(name, [&](const fs::path& to) { import_model(path("run"), to); });
    refused(name, [&](const fs::path& to) { reshard_checkpoint(source.checkpoint, to, 2); });
  }
  EXPECT_EQ(read_text(path("full") / "mine"), "x");
  fs::create_directory(path("empty"));
  export_model(source, path("empty"), {});
  EXPECT_TRUE(fs::exists(path("empty") / hf_config_name));
  EXPECT_THAT(others({"run", "full", "file", "empty"}), IsEmpty());
}

TEST_F(Export, ConfigsOfOtherModelsAreRefused) {
  const fs::path config = make_exported() / hf_config_name;
  const std::string good = read_text(config);
  const auto error_with = [&](const std::string& from, const std::string& to) {
    write_text(config, good);
    replace_in(config, from, to);
    return import_error(path("hf"));
  };
  EXPECT_THAT(error_with("\"model_type\": \"dualpath\"", "\"model_type\": \"llama\""),
              AllOf(HasSubstr(config), HasSubstr("of the type llama")));
  EXPECT_THAT(error_with("\"deep_iterations\": 3,", ""), HasSubstr("deep_iterations is missing"));
  EXPECT_THAT(error_with("\"deep_iterations\": 3,", "\"deep_iterations\": 0,"),
              HasSubstr("deep.iterations"));
  EXPECT_THAT(error_with("\"gate_mode\": \"two_sigmoid\"", "\"gate_mode\": \"three\""),
              HasSubstr("gate.mode"));
  EXPECT_THAT(error_with("\"hidden_size\": 12", "\"hidden_size\": 13"), HasSubstr("13"));
  EXPECT_THAT(error_with("\"hidden_size\": 12", "\"hidden_size\": 24"),
              HasSubstr("has the shape [19, 12], but the model of config.json needs [19, 24]"));
  EXPECT_THAT(error_with("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3"),
              HasSubstr("architecture"));
  EXPECT_THAT(error_with("\"qk_norm\": \"after_rope\"", "\"qk_norm\": \"none\""),
              HasSubstr("norm.weight is none of the model"));
  EXPECT_THAT(error_with("\"gate_mode\": \"two_sigmoid\"", "\"gate_mode\": \"fixed\""),
              HasSubstr("gates.bias is none of the model"));
  EXPECT_THAT(error_with("\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true"),
              HasSubstr("lm_head.weight is none of the model"));
  EXPECT_THAT(error_with("\"deep_iteration_norm\": false", "\"deep_iteration_norm\": true"),
              HasSubstr("needs [3, 12]"));
  EXPECT_THAT(error_with("{", "["), HasSubstr("no JSON object"));
  fs::remove(config);
  EXPECT_THAT(import_error(path("hf")), HasSubstr("there is no config.json"));
  EXPECT_THAT(import_error(path("nowhere")), HasSubstr("no such folder"));
}

TEST_F(Export, TokenizersThatDoNotFitAreRefused) {
  const fs::path folder = make_exported();  // with 19 rows of the vocabulary
  save_tokenizer(byte_tokenizer(), folder);
  try {
    import_model(folder, path("imported"));
    FAIL() << "nothing thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::data);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("257 tokens"), HasSubstr("is 19")));
  }
  EXPECT_FALSE(fs::exists(path("imported")));
}

TEST_F(Export, DamagedIndexesAreRefused) {
  const fs::path folder = make_exported({.max_shard_bytes = 2000});
  const fs::path index = folder / hf_index_name;
  const std::string good = read_text(index);
  fs::remove(folder / "model-00002-of-00013.safetensors");
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".safetensors") names.insert(entry.path().filename());
  }
  fs::remove(folder / *names.begin());
  EXPECT_THAT(import_error(folder), AllOf(HasSubstr(*names.begin()), HasSubstr("no such file")));
  write_text(index, "{}");
  EXPECT_THAT(import_error(folder), HasSubstr("has no weight_map"));
  write_text(index, R"({"weight_map": {"a": "../model.safetensors"}})");
  EXPECT_THAT(import_error(folder), HasSubstr("no name of a file in its folder"));
}

class Safetensors : public Export {
 protected:
  // The error of a file with this header and so many bytes behind it.
  std::string error(const std::string& header, std::size_t bytes, std::int64_t length = -1) {
    const auto told = static_cast<std::uint64_t>(length < 0 ? std::ssize(header) : length);
    std::string text(8, '\0');
    std::memcpy(text.data(), &told, sizeof told);
    write_text(path("a.safetensors"), text + header + std::string(bytes, 'x'));
    return checkpoint_error([&] { read_safetensors_header(path("a.safetensors")); });
  }
  static std::string entry(const std::string& name, const std::string& dtype, int size, int begin,
                           int end) {
    return fmt::format(R"("{}":{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})", name, dtype,
                       size, begin, end);
  }
};

TEST_F(Safetensors, WhatIsWholeIsRead) {
  EXPECT_EQ(error("{" + entry("b", "F32", 2, 8, 16) + "," + entry("a", "F32", 2, 0, 8) +
                      R"(,"__metadata__":{"format":"pt"}}  )",
                  16),
            "");
  const auto tensors = read_safetensors_header(path("a.safetensors"));
  ASSERT_EQ(tensors.size(), 2);
  EXPECT_EQ(tensors[0].name, "a");
  EXPECT_EQ(tensors[1].end - tensors[1].begin, 8);
  EXPECT_EQ(fs::file_size(path("a.safetensors")), static_cast<std::uint64_t>(tensors[1].end));
}

TEST_F(Safetensors, DamageIsNamed) {
  const std::string a = entry("a", "F32", 2, 0, 8);
  EXPECT_THAT(error("{" + a + "}", 8, 1000), HasSubstr("its header should have 1000 bytes"));
  EXPECT_THAT(error("{" + a + "}", 8, std::int64_t{1} << 62), HasSubstr("its header should have"));
  EXPECT_THAT(error("{" + a + "}", 8, 12), HasSubstr("no JSON object"));
  EXPECT_THAT(error("[1]", 8), HasSubstr("no JSON object"));
  EXPECT_THAT(error("{" + a + "}", 7), HasSubstr("is cut off: its tensors need 1 bytes more"));
  EXPECT_THAT(error("{" + a + "}", 9), HasSubstr("1 bytes at its end belong to no tensor"));
  EXPECT_THAT(error("{" + a + "," + entry("b", "F32", 2, 4, 12) + "}", 12),
              HasSubstr("tensor b overlaps"));
  EXPECT_THAT(error("{" + a + "," + entry("b", "F32", 1, 12, 16) + "}", 16),
              HasSubstr("4 bytes before tensor b belong to none"));
  EXPECT_THAT(error("{" + a + "," + a + "}", 8), HasSubstr("two tensors are called a"));
  EXPECT_THAT(error("{" + entry("a", "F33", 2, 0, 8) + "}", 8), HasSubstr("unknown type F33"));
  EXPECT_THAT(error("{" + entry("a", "F32", 3, 0, 8) + "}", 8), HasSubstr("has 8 bytes, which"));
  EXPECT_THAT(error("{" + entry("a", "F32", 2, 8, 0) + "}", 8), HasSubstr("header of tensor a"));
  EXPECT_THAT(error("{" + entry("a", "F32", -2, 0, 8) + "}", 8), HasSubstr("header of tensor a"));
  EXPECT_THAT(error(R"({"a":{"dtype":"F32"}})", 8), HasSubstr("header of tensor a"));
  EXPECT_THAT(error(R"({"a":3})", 8), HasSubstr("header of tensor a"));
  EXPECT_THAT(
      error(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,0]}})", 0),
      HasSubstr("tensor a has 0 bytes"));
  write_text(path("a.safetensors"), "short");
  EXPECT_THAT(checkpoint_error([&] { read_safetensors_header(path("a.safetensors")); }),
              HasSubstr("too few for a safetensors file"));
}

TEST_F(Export, DiffNamesWhatDiffers) {
  const SourceCheckpoint a = make_run("a", tiny(Architecture::dual_path));
  EXPECT_TRUE(compare_checkpoints(a.checkpoint, a.checkpoint).is_equal());
  const SourceCheckpoint b = make_run("b", tiny(Architecture::dual_path), nullptr, 8);
  const CheckpointDiff other_bits = compare_checkpoints(a.checkpoint, b.checkpoint);
  EXPECT_EQ(other_bits.num_equal, 0);
  EXPECT_EQ(other_bits.tensors.size(), a.checkpoint.tensors.size());
  const SourceCheckpoint looped = make_run("looped", tiny(Architecture::looped));
  const CheckpointDiff other_model = compare_checkpoints(a.checkpoint, looped.checkpoint);
  ASSERT_EQ(other_model.model.size(), 1);
  EXPECT_EQ(other_model.model[0].key, "architecture");
  EXPECT_THAT(other_model.only_b, IsEmpty());
  EXPECT_THAT(print_diff(other_model),
              HasSubstr("only in the first: parameters/layers.0.wide.query"));
}

TEST_F(Export, DiffMeasuresDifferences) {
  const auto save = [&](const char* name, std::vector<float> values) {
    const TensorSlice slice{"t", DType::f32, {4}, 0, 4, values.data()};
    CheckpointManifest manifest;
    manifest.model = print_config(resolve(tiny(Architecture::wide)));
    save_checkpoint(path(name), manifest, std::span(&slice, 1), *make_self_communicator());
    return open_checkpoint(path(name) / checkpoint_name(0));
  };
  const Checkpoint a = save("a", {1, 2, 0.0F, 4}), b = save("b", {1, 5, -0.0F, 0});
  const CheckpointDiff diff = compare_checkpoints(a, b);
  ASSERT_EQ(diff.tensors.size(), 1);
  const TensorDiff& t = diff.tensors[0];
  EXPECT_EQ(t.elements, 4);
  EXPECT_EQ(t.differing, 3);  // the sign of zero is a bit
  EXPECT_EQ(t.largest, 4);
  EXPECT_EQ(t.difference_norm, 5);
  EXPECT_DOUBLE_EQ(t.norm_a * t.norm_a, 21);
  EXPECT_DOUBLE_EQ(t.norm_b * t.norm_b, 26);
}

TEST_F(Export, ReshardingKeepsAllBits) {
  const SourceCheckpoint source = make_small_run();
  for (const int ranks : {1, 3, 5}) {
    const fs::path to = path(fmt::format("reshard-{}", ranks));
    reshard_checkpoint(source.checkpoint, to, ranks);
    const Checkpoint found = open_whole_checkpoint(to, *make_self_communicator());
    EXPECT_EQ(std::ssize(found.shards), ranks);
    EXPECT_EQ(found.manifest.layout.at("ranks"), std::to_string(ranks));
    EXPECT_TRUE(compare_checkpoints(source.checkpoint, found).is_equal());
  }
  EXPECT_THAT(
      checkpoint_error([&] { reshard_checkpoint(source.checkpoint, path("step-00000008"), 2); }),
      HasSubstr("step-00000007"));
}

TEST_F(Export, TheCommandsExitCodes) {
  const auto run = [&](std::vector<std::string> words) {
    testing::internal::CaptureStdout();
    const ExitCode code = checkpoint_command.run(words);
    std::fflush(stdout);
    testing::internal::GetCapturedStdout();
    return code;
  };
  make_run("a", tiny(Architecture::dual_path));
  make_run("b", tiny(Architecture::dual_path), nullptr, 8);
  EXPECT_EQ(run({"reshard", path("a"), path("c"), "ranks=2"}), ExitCode::success);
  EXPECT_EQ(run({"diff", path("a"), path("c")}), ExitCode::success);
  EXPECT_EQ(run({"diff", path("a"), path("b")}), ExitCode::checkpoint);
  EXPECT_EQ(run({"export", path("a"), path("hf"), "export.dtype=bf16"}), ExitCode::success);
  const std::vector<std::string> nowhere = {"export", path("nowhere"), path("d")};
  EXPECT_THAT(checkpoint_error([&] { checkpoint_command.run(nowhere); }),
              HasSubstr("no run folder or checkpoint"));
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"reshard", path("a"), path("d")},
        {"diff", path("a")},
        {"diff", path("a"), path("b"), "ranks=2"},
        {"export", path("a"), path("d"), "export.dtype=fp8"}}) {
    EXPECT_THROW(checkpoint_command.run(words), Error);
  }
  EXPECT_FALSE(fs::exists(path("d")));
}

}  // namespace
}  // namespace dualpath
