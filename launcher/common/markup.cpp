#include "launcher/common/markup.h"

#include "data/text/utf8.h"

namespace dualpath {

std::string escaped(std::string_view text) {
  std::string result;
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Character c = decode_utf8(text, at);
    if (c.code_point == Utf8Character::broken) {
      result += "\uFFFD";
    } else if (c.code_point == '&') {
      result += "&amp;";
    } else if (c.code_point == '<') {
      result += "&lt;";
    } else if (c.code_point == '>') {
      result += "&gt;";
    } else if (c.code_point == '"') {
      result += "&quot;";
    } else if (c.code_point >= 0x20 || c.code_point == '\n' || c.code_point == '\t') {
      result += text.substr(at, c.bytes);
    }
    at += c.bytes;
  }
  return result;
}

std::string csv_field(std::string_view text) {
  if (text.find_first_of(",\"\r\n") == text.npos) return std::string(text);
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"') result += '"';
    result += c;
  }
  return result + "\"";
}

}  // namespace dualpath
