#include "data/tokens/data_state.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include "core/base/error.h"
#include "data/files/yaml_text.h"

namespace dualpath {

namespace {

// How samples follow from a state. A program that deals them otherwise writes another number.
constexpr int token_order = 2;

void check_state(const DataState& state) {
  const auto check = [](bool is_possible, const char* what) {
    CHECK_AS(ExitCode::checkpoint, is_possible, "{}", what);
  };
  check(state.sequence_length > 0, "sequence_length is 0");
  for (std::size_t i = 0; i < state.corpora.size(); ++i) {
    const CorpusProgress& corpus = state.corpora[i];
    const Epoch& epoch = corpus.epoch;
    check(corpus.id == i + 1, "the corpora are not numbered in order");
    check(epoch.carried_begin <= epoch.carried_end &&
              epoch.carried_end - epoch.carried_begin < state.sequence_length &&
              epoch.num_tokens > state.sequence_length &&
              epoch.drawn <= epoch.num_samples(state.sequence_length),
          "an epoch is impossible");
  }
  for (const BlendPart& part : state.blend)
    check(part.corpus < state.corpora.size() && part.weight > 0, "the blend is impossible");
}

CorpusProgress parse_corpus(const YAML::Node& node) {
  const YAML::Node epoch = node["epoch"], content = node["content"];
  const auto number = [](const YAML::Node& map, const char* key) {
    return map[key].as<std::uint64_t>();
  };
  return {.id = number(node, "id"),
          .folder = node["folder"].as<std::string>(),
          .content = {.num_tokens = number(content, "num_tokens"),
                      .num_shards = number(content, "num_shards"),
                      .digest = number(content, "digest"),
                      .last_shard_tokens = number(content, "last_shard_tokens"),
                      .last_shard_checksum = number(content, "last_shard_checksum")},
          .consumed = number(node, "consumed"),
          .epoch = {.number = number(epoch, "number"),
                    .carried_begin = number(epoch, "carried_begin"),
                    .carried_end = number(epoch, "carried_end"),
                    .num_tokens = number(epoch, "num_tokens"),
                    .drawn = number(epoch, "drawn")}};
}

DataState parse(const std::string& text) {
  const YAML::Node root = YAML::Load(text);
  const int order = root["token_order"].as<int>();
  CHECK_AS(ExitCode::checkpoint, order == token_order,
           "token order {}, this program deals samples by order {}", order, token_order);
  DataState state;
  state.seed = root["seed"].as<std::uint64_t>();
  state.sequence_length = root["sequence_length"].as<std::uint64_t>();
  state.consumed_samples = root["consumed_samples"].as<std::uint64_t>();
  for (const YAML::Node& node : root["corpora"]) state.corpora.push_back(parse_corpus(node));
  for (const YAML::Node& node : root["blend"]) {
    state.blend.push_back({.corpus = node["id"].as<std::size_t>() - 1,
                           .weight = node["weight"].as<double>(),
                           .drawn = node["drawn"].as<std::uint64_t>()});
  }
  check_state(state);
  return state;
}

}  // namespace

std::string print_data_state(const DataState& state) {
  std::string text = fmt::format(
      "token_order: {}\nseed: {}\nsequence_length: {}\nconsumed_samples: {}\ncorpora:\n",
      token_order, state.seed, state.sequence_length, state.consumed_samples);
  for (const CorpusProgress& c : state.corpora) {
    text += fmt::format(
        "  - id: {}\n    folder: {}\n    consumed: {}\n"
        "    epoch: {{number: {}, drawn: {}, num_tokens: {}, carried_begin: {}, carried_end: {}}}\n"
        "    content: {{num_tokens: {}, num_shards: {}, digest: {:#018x}, last_shard_tokens: {}, "
        "last_shard_checksum: {:#018x}}}\n",
        c.id, quoted(c.folder), c.consumed, c.epoch.number, c.epoch.drawn, c.epoch.num_tokens,
        c.epoch.carried_begin, c.epoch.carried_end, c.content.num_tokens, c.content.num_shards,
        c.content.digest, c.content.last_shard_tokens, c.content.last_shard_checksum);
  }
  text += "blend:\n";
  for (const BlendPart& part : state.blend) {
    text += fmt::format("  - {{id: {}, weight: {}, drawn: {}}}\n", state.corpora[part.corpus].id,
                        part.weight, part.drawn);
  }
  return text;
}

DataState parse_data_state(const std::string& text, const std::string& source) {
  try {
    return parse(text);
  } catch (const std::exception& error) {
    DUALPATH_FAIL(ExitCode::checkpoint, "{}: the state of the data: {}", source, error.what());
  }
}

}  // namespace dualpath
