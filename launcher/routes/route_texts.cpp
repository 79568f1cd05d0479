#include "launcher/routes/route_texts.h"

#include <algorithm>
#include <span>

#include "data/text/text_reader.h"
#include "data/tokens/corpus.h"
#include "launcher/evaluate/token_classes.h"
#include "launcher/routes/conllu.h"

namespace dualpath {

std::size_t RouteTexts::num_tokens() const {
  std::size_t count = 0;
  for (const RouteText& text : texts) count += text.tokens.size();
  return count;
}

namespace {

// The tokens of one text, behind the one that ends a document, and cut at `room`.
RouteText make_text(std::size_t corpus, std::span<const std::uint32_t> ids,
                    const Tokenizer& tokenizer, std::size_t room) {
  RouteText text{corpus, {static_cast<std::int32_t>(tokenizer.end_of_text())}, {}};
  text.tokens.insert(text.tokens.end(), ids.begin(), ids.end());
  text.tokens.resize(std::min(text.tokens.size(), room));
  return text;
}

RouteTexts with_built_in_classes(const std::vector<std::string>& corpora) {
  RouteTexts texts;
  texts.corpora = corpora;
  for (const auto& [value, name] : EnumNames<TokenClass>::values) texts.classes.emplace_back(name);
  return texts;
}

void add_classified(RouteTexts& texts, RouteText text, const Tokenizer& tokenizer) {
  for (const TokenClass c : token_classes(tokenizer, text.tokens))
    text.classes.push_back(static_cast<std::uint8_t>(c));
  texts.texts.push_back(std::move(text));
}

std::size_t share_of_one(const RoutesConfig& config, std::size_t corpora) {
  return std::max<std::size_t>(1, static_cast<std::size_t>(config.max_tokens) / corpora);
}

RouteTexts read_tagged(const RoutesConfig& config, const Tokenizer& tokenizer) {
  RouteTexts texts;
  texts.corpora = {config.conllu};
  texts.has_tags = true;
  const auto room = static_cast<std::size_t>(config.max_tokens);
  std::size_t taken = 0;
  for (const TaggedSentence& sentence : read_conllu(config.conllu)) {
    if (taken == room) break;
    std::vector<std::uint32_t> ids;
    tokenizer.encode(sentence.text, ids);
    RouteText text = make_text(0, ids, tokenizer, room - taken);
    taken += text.tokens.size();
    for (const std::string& tag : tags_of_tokens(sentence, text.tokens, tokenizer)) {
      const auto it = std::ranges::find(texts.classes, tag);
      text.classes.push_back(static_cast<std::uint8_t>(it - texts.classes.begin()));
      if (it == texts.classes.end()) texts.classes.push_back(tag);
    }
    texts.texts.push_back(std::move(text));
  }
  return texts;
}

}  // namespace

RouteTexts read_route_texts(const RoutesConfig& config, const std::vector<std::string>& files,
                            const Tokenizer& tokenizer) {
  if (!config.conllu.empty()) return read_tagged(config, tokenizer);
  RouteTexts texts = with_built_in_classes(files);
  for (std::size_t corpus = 0; corpus < files.size(); ++corpus) {
    std::size_t room = share_of_one(config, files.size());
    const TextFiles found = find_text_files(std::span(&files[corpus], 1));
    TextReader reader(found.files, config.text_field, tokenizer.segmenter());
    std::vector<std::uint32_t> ids;
    for (TextPart part; room > 0 && reader.next(part);) {
      tokenizer.encode(part.text, ids);
      if (!part.ends_document && ids.size() < room) continue;
      RouteText text = make_text(corpus, ids, tokenizer, room);
      room -= text.tokens.size();
      add_classified(texts, std::move(text), tokenizer);
      ids.clear();
    }
  }
  CHECK_AS(ExitCode::data, !texts.texts.empty(), "{}: no text", files.front());
  return texts;
}

RouteTexts read_route_corpora(const RoutesConfig& config, const std::vector<std::string>& folders,
                              const Tokenizer& tokenizer) {
  RouteTexts texts = with_built_in_classes(folders);
  for (std::size_t corpus = 0; corpus < folders.size(); ++corpus) {
    std::size_t room = share_of_one(config, folders.size());
    const Corpus opened = Corpus::open(folders[corpus]);
    CHECK_AS(ExitCode::data, opened.manifest().info.tokenizer_hash == tokenizer.hash(),
             "{} was made with tokenizer {}, the model was trained with {}", folders[corpus],
             opened.manifest().info.tokenizer_hash, tokenizer.hash());
    for (const TokenShard& shard : opened.shards()) {
      for (std::uint64_t d = 0; room > 0 && d < shard.info().num_documents; ++d) {
        const std::uint64_t begin = shard.document_offset(d);
        const std::uint64_t length =
            std::min<std::uint64_t>(shard.document_offset(d + 1) - begin, room);
        std::vector<std::int32_t> read(length);
        shard.read(begin, read);
        if (!read.empty() && read.back() == opened.manifest().info.end_of_document) read.pop_back();
        RouteText text = make_text(corpus, std::vector<std::uint32_t>(read.begin(), read.end()),
                                   tokenizer, room);
        room -= text.tokens.size();
        add_classified(texts, std::move(text), tokenizer);
      }
    }
  }
  CHECK_AS(ExitCode::data, !texts.texts.empty(), "{}: no documents", folders.front());
  return texts;
}

}  // namespace dualpath
