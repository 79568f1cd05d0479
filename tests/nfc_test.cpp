#include "data/text/nfc.h"

#include <cstdlib>
#include <gtest/gtest.h>
#include <utf8proc.h>
#include <vector>

#include "core/base/random.h"
#include "data/text/unicode_tables.h"
#include "data/text/utf8.h"
#include "tests/random_text.h"

namespace dualpath {
namespace {

std::string nfc(std::string_view text) {
  static const NfcNormalizer normalizer;
  std::string buffer = "of before";
  return std::string(normalizer.normalize(text, buffer));
}

// utf8proc, all at once.
std::string library_nfc(const std::string& text) {
  auto* result = utf8proc_NFC(reinterpret_cast<const utf8proc_uint8_t*>(text.c_str()));
  std::string normalized = reinterpret_cast<const char*>(result);
  std::free(result);
  return normalized;
}

bool is_left_alone(std::uint32_t c) {
  for (const auto& [first, last] : ranges_nfc_leaves_alone()) {
    if (c >= first && c <= last) return true;
  }
  return false;
}

TEST(Nfc, ComposesAndReorders) {
  EXPECT_EQ(nfc(""), "");
  EXPECT_EQ(nfc("plain"), "plain");
  EXPECT_EQ(nfc("cafe\u0301s"), "caf\u00e9s");
  EXPECT_EQ(nfc("e\u0301"), "\u00e9");
  EXPECT_EQ(nfc("\u0301e"), "\u0301e");              // nothing before it to join
  EXPECT_EQ(nfc("q\u0307\u0323"), "q\u0323\u0307");  // by combining class
  EXPECT_EQ(nfc("a\u0307\u0323"), "\u1ea1\u0307");   // both
  EXPECT_EQ(nfc("\u212b\u2126"), "\u00c5\u03a9");    // singletons
  EXPECT_EQ(nfc("\u0958"), "\u0915\u093c");          // excluded from composition
  EXPECT_EQ(nfc("\u1100\u1161\u11a8"), "\uac01");    // Hangul
  EXPECT_EQ(nfc("\uac00\u11a8 \u1161"), "\uac01 \u1161");
  EXPECT_EQ(nfc("\u09c7\u09be"), "\u09cb");  // the second is no mark by its class
}

TEST(Nfc, BrokenBytesStandAlone) {
  EXPECT_EQ(nfc("e\xff\u0301 e\u0301"), "e\xff\u0301 \u00e9");
  EXPECT_EQ(nfc("\xcc"), "\xcc");
  EXPECT_EQ(nfc("e\xcc\u0301"), "e\xcc\u0301");
}

TEST(Nfc, CodePointsYoungerThanTheReferenceStandAlone) {
  EXPECT_EQ(nfc("a\u0897\u0323"), "a\u0897\u0323");  // two marks, out of order
  EXPECT_EQ(nfc("a\u0897\u0301"), "a\u0897\u0301");
  EXPECT_EQ(nfc("\U000105d2\u0307"), "\U000105d2\u0307");
}

// Whether a text is normalised in pieces or as a whole is the same.
TEST(Nfc, IsThatOfTheLibraryElsewhere) {
  std::vector<std::uint32_t> marks, others;
  for (std::uint32_t c = 1; c < 0x30000; ++c) {
    if ((c >= 0xd800 && c < 0xe000) || is_left_alone(c)) continue;
    const auto* property = utf8proc_get_property(static_cast<utf8proc_int32_t>(c));
    (property->combining_class != 0 ? marks : others).push_back(c);
    std::string alone;
    append_utf8(alone, c);
    ASSERT_EQ(nfc(alone), library_nfc(alone)) << c;
  }
  const CounterRng rng(1, "nfc");
  std::string text;
  for (std::uint64_t i = 0; i < 200'000; ++i) {
    const std::uint64_t kind = rng.below(3 * i, 8);
    std::uint32_t c = 'a' + static_cast<std::uint32_t>(rng.below(3 * i + 1, 26));
    if (kind < 3) c = marks[rng.below(3 * i + 1, marks.size())];
    if (kind == 3) c = 0x1100 + static_cast<std::uint32_t>(rng.below(3 * i + 1, 0x100));
    if (kind == 4) c = 0x900 + static_cast<std::uint32_t>(rng.below(3 * i + 1, 0x600));
    if (kind == 5) c = others[rng.below(3 * i + 1, others.size())];
    if (is_left_alone(c)) continue;
    append_utf8(text, c);
    if (text.size() < 60) continue;
    ASSERT_EQ(nfc(text), library_nfc(text)) << i;
    ASSERT_EQ(nfc(nfc(text)), nfc(text)) << i;
    text.clear();
  }
}

}  // namespace
}  // namespace dualpath
