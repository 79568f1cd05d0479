#include "launcher/evaluate/greedy_text.h"

#include <algorithm>

#include "launcher/evaluate/sampling.h"
#include "model/decoder.h"

namespace dualpath {

std::vector<std::int32_t> GreedyWriter::encode_context(const GenerateRequest& request) const {
  std::vector<std::uint32_t> ids;
  tokenizer_.encode(request.context, ids);
  if (ids.empty()) ids.push_back(tokenizer_.end_of_text());
  const std::int64_t room = model_.config().sequence_length - request.max_tokens;
  const auto kept = static_cast<std::size_t>(std::max<std::int64_t>(room, 1));
  if (ids.size() > kept && room > 0)
    ids.erase(ids.begin(), ids.end() - static_cast<std::ptrdiff_t>(kept));
  return {ids.begin(), ids.end()};
}

std::string GreedyWriter::write(const GenerateRequest& request) {
  const std::vector<std::int32_t> context = encode_context(request);
  const std::int64_t window = std::min<std::int64_t>(model_.config().sequence_length,
                                                     std::ssize(context) + request.max_tokens);
  Decoder decoder(model_, window);
  Sampler sampler({.temperature = 0}, tokenizer_.vocab_size(), 0);
  std::string text;
  Tensor logits = decoder.append(context);
  std::int32_t token = 0;
  for (std::int64_t i = 0; i < request.max_tokens; ++i) {
    token = sampler.pick({logits.as<float>(), tokenizer_.vocab_size()});
    const auto id = static_cast<std::uint32_t>(token);
    if (id == tokenizer_.end_of_text()) break;
    text += tokenizer_.decode(std::span(&id, 1));
    std::size_t end = std::string::npos;
    for (const std::string& stop : request.until) end = std::min(end, text.find(stop));
    if (end != std::string::npos) return text.substr(0, end);
    if (i + 1 < request.max_tokens) logits = decoder.append({&token, 1});
  }
  return text;
}

}  // namespace dualpath
