// Text in HTML, XML and CSV.
#pragma once

#include <string>
#include <string_view>

namespace dualpath {

// For an element's content or an attribute in double quotes, of HTML as of XML. Control characters,
// which XML cannot write, are left out; bytes that are no UTF-8 become U+FFFD.
std::string escaped(std::string_view text);

// A field of a CSV file (RFC 4180): in quotes where it must be.
std::string csv_field(std::string_view text);

}  // namespace dualpath
