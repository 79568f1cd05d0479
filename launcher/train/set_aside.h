// New names for what a run leaves behind, so that nothing is overwritten. All failures are
// Error(checkpoint).
#pragma once

#include <filesystem>
#include <string_view>

namespace dualpath {

// Whether anything bears this name, be it a link that leads nowhere.
bool is_there(const std::filesystem::path& path);

void give_name(const std::filesystem::path& from, const std::filesystem::path& to);

// Gives a file or folder the name FILE.before-1, or with the first number that is free; returns it.
std::filesystem::path set_aside(const std::filesystem::path& file);
// Writes the text under such a name.
std::filesystem::path keep_aside(const std::filesystem::path& file, std::string_view text);

}  // namespace dualpath
