#include "data/text/tokenizer_json.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "data/text/byte_vocabulary.h"

namespace dualpath {
namespace {

using Json = nlohmann::json;

constexpr std::array all_rules = {SplitRule::gpt2, SplitRule::llama3, SplitRule::qwen2};

// One object of the file, read field by field.
class Fields {
 public:
  // Refuses fields that are not known.
  Fields(const Json& object, const std::string& file, std::string name,
         std::initializer_list<std::string_view> known)
      : object_(object), file_(file), name_(std::move(name)) {
    CHECK_AS(ExitCode::data, object.is_object(), "{}: {} is no object", file_, name_);
    for (const auto& [key, value] : object.items()) {
      CHECK_AS(ExitCode::data, std::find(known.begin(), known.end(), key) != known.end(),
               "{}: the field {} is unknown", file_, path(key));
    }
  }

  // null where it is absent.
  const Json& operator[](const std::string& key) const {
    static const Json null;
    const auto found = object_.find(key);
    return found == object_.end() ? null : *found;
  }

  void require(bool is_reproducible, const std::string& key, std::string_view supported) const {
    if (is_reproducible) return;
    std::string value = (*this)[key].dump(-1, ' ', false, Json::error_handler_t::replace);
    if (value.size() > 200) value.replace(200, value.npos, " ...");
    DUALPATH_FAIL(ExitCode::data, "{}: {} is {}; supported: {}", file_, path(key), value,
                  supported);
  }

  // Absent or null, or one of the values that mean the same.
  void require_unset(const std::string& key, std::initializer_list<Json> neutral = {}) const {
    const Json& value = (*this)[key];
    require(value.is_null() || std::find(neutral.begin(), neutral.end(), value) != neutral.end(),
            key, neutral.size() == 0 ? "null" : neutral.begin()->dump());
  }

  bool boolean(const std::string& key, bool absent) const {
    const Json& value = (*this)[key];
    require(value.is_null() || value.is_boolean(), key, "true, false");
    return value.is_null() ? absent : value.get<bool>();
  }

  std::string text(const std::string& key) const {
    const Json& value = (*this)[key];
    require(value.is_string(), key, "a text");
    return value.get<std::string>();
  }

  std::string path(const std::string& key) const { return name_.empty() ? key : name_ + "." + key; }
  const std::string& file() const { return file_; }

 private:
  const Json& object_;
  const std::string& file_;
  std::string name_;
};

// The member at `key`, itself an object.
Fields object_at(const Fields& fields, const std::string& key,
                 std::initializer_list<std::string_view> known) {
  return Fields(fields[key], fields.file(), fields.path(key), known);
}

std::vector<AddedToken> read_added_tokens(const Fields& root) {
  std::vector<AddedToken> added;
  const Json& list = root["added_tokens"];
  root.require(list.is_null() || list.is_array(), "added_tokens", "a list");
  for (std::size_t i = 0; i < list.size(); ++i) {
    const Fields token(
        list[i], root.file(), fmt::format("added_tokens[{}]", i),
        {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
    token.require(token["id"].is_number_unsigned() &&
                      token["id"].get<std::uint64_t>() < std::uint64_t{1} << 31,
                  "id", "an id");
    for (const char* key : {"single_word", "lstrip", "rstrip"}) token.require_unset(key, {false});
    added.push_back({.id = token["id"].get<std::uint32_t>(),
                     .content = token.text("content"),
                     .special = token.boolean("special", false),
                     .normalized = token.boolean("normalized", true)});
    token.require(!added.back().content.empty(), "content", "a text that is not empty");
  }
  return added;
}

bool read_nfc(const Fields& root) {
  const Json& value = root["normalizer"];
  if (value.is_null()) return false;
  const Json nfc = {{"type", "NFC"}};
  const Json sequence = {{"type", "Sequence"}, {"normalizers", Json::array({nfc})}};
  root.require(value == nfc || value == sequence, "normalizer", R"(null, {"type":"NFC"})");
  return true;
}

// ByteLevel maps bytes to symbols, and before that, with use_regex, splits as GPT-2 does.
bool byte_level_splits(const Fields& byte_level) {
  byte_level.require(byte_level["type"] == "ByteLevel", "type", "ByteLevel");
  byte_level.require(!byte_level.boolean("add_prefix_space", true), "add_prefix_space", "false");
  return byte_level.boolean("use_regex", true);
}

SplitRule read_split(const Fields& root) {
  const std::initializer_list<std::string_view> byte_level_fields = {"type", "add_prefix_space",
                                                                     "trim_offsets", "use_regex"};
  const Json& value = root["pre_tokenizer"];
  if (!value.is_object() || !value.contains("type") || value["type"] != "Sequence") {
    const Fields fields = object_at(root, "pre_tokenizer", byte_level_fields);
    fields.require(byte_level_splits(fields), "use_regex", "true");
    return SplitRule::gpt2;
  }
  const Fields sequence = object_at(root, "pre_tokenizer", {"type", "pretokenizers"});
  const Json& steps = sequence["pretokenizers"];
  sequence.require(steps.is_array() && steps.size() == 2, "pretokenizers",
                   "a Split and a ByteLevel");
  const Fields split(steps[0], root.file(), "pre_tokenizer.pretokenizers[0]",
                     {"type", "pattern", "behavior", "invert"});
  const Fields bytes(steps[1], root.file(), "pre_tokenizer.pretokenizers[1]", byte_level_fields);
  split.require(split["type"] == "Split", "type", "Split");
  split.require(split["behavior"] == "Isolated", "behavior", "Isolated");
  split.require_unset("invert", {false});
  bytes.require(!byte_level_splits(bytes), "use_regex", "false");
  for (const SplitRule rule : all_rules) {
    if (split["pattern"] == Json{{"Regex", regex_of(rule)}}) return rule;
  }
  split.require(false, "pattern", "the regular expressions of GPT-2, Llama 3 and Qwen 2");
  return SplitRule::gpt2;
}

void check_decoder(const Fields& root) {
  if (root["decoder"].is_null()) return;
  const Fields decoder =
      object_at(root, "decoder", {"type", "add_prefix_space", "trim_offsets", "use_regex"});
  decoder.require(decoder["type"] == "ByteLevel", "type", "ByteLevel");
}

std::vector<Merge> read_merges(const Fields& model, const ByteVocabulary& vocabulary) {
  const Json& list = model["merges"];
  model.require(list.is_array(), "merges", "a list");
  std::vector<Merge> merges;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const std::string where = fmt::format("{}: {}", model.file(), model.path("merges"));
    const Json& merge = list[i];
    std::string left, right;
    if (merge.is_string()) {
      const auto& line = merge.get_ref<const std::string&>();
      const std::size_t space = line.find(' ');
      if (space != line.npos && line.find(' ', space + 1) == line.npos) {
        left = line.substr(0, space);
        right = line.substr(space + 1);
      }
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
               merge[1].is_string()) {
      left = merge[0];
      right = merge[1];
    }
    CHECK_AS(ExitCode::data, !left.empty() && !right.empty(), "{}[{}] is {}, not two tokens", where,
             i, merge.dump());
    merges.push_back(vocabulary.merge_of(left, right, where));
  }
  return merges;
}

}  // namespace

TokenizerParts parse_tokenizer_json(const Json& json, const std::string& file) {
  const Fields root(json, file, "",
                    {"version", "truncation", "padding", "added_tokens", "normalizer",
                     "pre_tokenizer", "post_processor", "decoder", "model"});
  root.require_unset("truncation");
  root.require_unset("padding");
  check_decoder(root);
  const Fields model =
      object_at(root, "model",
                {"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
                 "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges"});
  model.require_unset("type", {"BPE"});
  model.require_unset("dropout", {0.0});
  model.require_unset("continuing_subword_prefix", {""});
  model.require_unset("end_of_word_suffix", {""});
  model.require_unset("byte_fallback", {false});
  model.require(model["vocab"].is_object(), "vocab", "an object of token: id");
  // unk_token and fuse_unk do nothing: every byte has a token.

  TokenizerParts parts;
  parts.nfc = read_nfc(root);
  parts.split = read_split(root);
  parts.ignore_merges = model.boolean("ignore_merges", false);
  parts.added = read_added_tokens(root);
  ByteVocabulary vocabulary(model["vocab"], parts.added, file);
  parts.merges = read_merges(model, vocabulary);
  parts.tokens = vocabulary.take_tokens();
  return parts;
}

namespace {

using OrderedJson = nlohmann::ordered_json;

OrderedJson byte_level(bool use_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", true},
          {"use_regex", use_regex}};
}

OrderedJson pre_tokenizer(SplitRule rule) {
  if (rule == SplitRule::gpt2) return byte_level(true);
  const OrderedJson split = {{"type", "Split"},
                             {"pattern", {{"Regex", regex_of(rule)}}},
                             {"behavior", "Isolated"},
                             {"invert", false}};
  return {{"type", "Sequence"}, {"pretokenizers", {split, byte_level(false)}}};
}

OrderedJson added_tokens(const std::vector<AddedToken>& added) {
  OrderedJson list = OrderedJson::array();
  for (const AddedToken& token : added) {
    list.push_back({{"id", token.id},
                    {"content", token.content},
                    {"single_word", false},
                    {"lstrip", false},
                    {"rstrip", false},
                    {"normalized", token.normalized},
                    {"special", token.special}});
  }
  return list;
}

}  // namespace

std::string to_tokenizer_json(const Tokenizer& tokenizer) {
  const TokenizerParts& parts = tokenizer.parts();
  const ByteSymbols symbols;
  std::vector<const AddedToken*> added(parts.tokens.size());
  for (const AddedToken& token : parts.added) added[token.id] = &token;

  // Added tokens behind all others are not in the vocabulary: their ids follow from their order.
  std::size_t vocab_end = parts.tokens.size();
  while (added[vocab_end - 1] != nullptr) --vocab_end;
  std::vector<std::string> vocab, merges;
  for (std::size_t id = 0; id < vocab_end; ++id) {
    const std::string name =
        added[id] != nullptr ? parts.tokens[id] : symbols.to_symbols(parts.tokens[id]);
    vocab.push_back(fmt::format("{}: {}", Json(name).dump(), id));
  }
  for (const Merge& merge : parts.merges) {
    merges.push_back(Json(symbols.to_symbols(parts.tokens[merge.left]) + " " +
                          symbols.to_symbols(parts.tokens[merge.right]))
                         .dump());
  }
  return fmt::format(
      "{{\n"
      " \"version\": \"1.0\",\n"
      " \"truncation\": null,\n"
      " \"padding\": null,\n"
      " \"added_tokens\": {},\n"
      " \"normalizer\": {},\n"
      " \"pre_tokenizer\": {},\n"
      " \"post_processor\": null,\n"
      " \"decoder\": {},\n"
      " \"model\": {{\n"
      "  \"type\": \"BPE\",\n"
      "  \"dropout\": null,\n"
      "  \"unk_token\": null,\n"
      "  \"continuing_subword_prefix\": null,\n"
      "  \"end_of_word_suffix\": null,\n"
      "  \"fuse_unk\": false,\n"
      "  \"byte_fallback\": false,\n"
      "  \"ignore_merges\": {},\n"
      "  \"vocab\": {{\n   {}\n  }},\n"
      "  \"merges\": [\n   {}\n  ]\n"
      " }}\n"
      "}}\n",
      added_tokens(parts.added).dump(), parts.nfc ? R"({"type": "NFC"})" : "null",
      pre_tokenizer(parts.split).dump(), byte_level(true).dump(), parts.ignore_merges,
      fmt::join(vocab, ",\n   "), fmt::join(merges, ",\n   "));
}

}  // namespace dualpath
