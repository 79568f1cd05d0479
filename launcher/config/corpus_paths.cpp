#include "launcher/config/corpus_paths.h"

#include "core/base/error.h"
#include "data/files/file_io.h"

namespace dualpath {

namespace {

namespace fs = std::filesystem;

// The nearest folder, from `folder` up, in which there is `path`; "" if none.
fs::path folder_that_has(const fs::path& folder, const fs::path& path) {
  std::error_code ignored;
  fs::path around = absolute_path(folder, ExitCode::data).lexically_normal();
  if (!around.has_filename()) around = around.parent_path();  // a trailing slash
  while (true) {
    if (fs::exists(around / path, ignored)) return around;
    if (around == around.parent_path()) return {};
    around = around.parent_path();
  }
}

void check(const std::vector<CorpusConfig>& corpora, const std::string& key,
           const ConfigSource& source) {
  for (std::size_t i = 0; i < corpora.size(); ++i) {
    const fs::path path = corpora[i].path;
    if (path_exists(path, ExitCode::data)) continue;
    std::string hint;
    if (path.is_relative()) {
      hint = "; a relative path is seen from the folder that dualpath is started in";
      const fs::path folder = source.folder_of(key);
      const fs::path around = folder.empty() ? fs::path() : folder_that_has(folder, path);
      if (!around.empty())
        hint += fmt::format(". {} is there: start in {}, or give that path",
                            (around / path).string(), around.string());
    }
    DUALPATH_FAIL(ExitCode::data, "{}: {}[{}].path: {} is missing: looked for {}{}",
                  source.origin_of(key), key, i, path.string(),
                  absolute_path(path, ExitCode::data).string(), hint);
  }
}

}  // namespace

void check_corpora_are_here(const RunConfig& config, const ConfigSource& source) {
  if (config.data.mock) return;
  check(config.data.corpora, "data.corpora", source);
  check(config.data.validation, "data.validation", source);
}

}  // namespace dualpath
