#include "data/input_file.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>
#include <zlib.h>
#include <zstd.h>

#include "core/error.h"

namespace dualpath {
namespace {

namespace fs = std::filesystem;

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

class PlainFile final : public InputFile {
 public:
  explicit PlainFile(const fs::path& path)
      : path_(path.string()), file_(std::fopen(path.c_str(), "rb")) {
    CHECK_AS(ExitCode::data, file_, "{}: cannot be opened: {}", path_, std::strerror(errno));
  }

  std::size_t read(std::span<char> out) override {
    const std::size_t count = std::fread(out.data(), 1, out.size(), file_.get());
    CHECK_AS(ExitCode::data, std::ferror(file_.get()) == 0, "{}: cannot be read: {}", path_,
             std::strerror(errno));
    stored_bytes_read_ += count;
    return count;
  }

  std::uint64_t stored_bytes_read() const override { return stored_bytes_read_; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  std::unique_ptr<std::FILE, CloseFile> file_;
  std::uint64_t stored_bytes_read_ = 0;
};

class GzipFile final : public InputFile {
 public:
  explicit GzipFile(const fs::path& path)
      : path_(path.string()), file_(::gzopen(path.c_str(), "rb")) {
    CHECK_AS(ExitCode::data, file_, "{}: cannot be opened: {}", path_, std::strerror(errno));
    ::gzbuffer(file_.get(), 1 << 18);
    CHECK_AS(ExitCode::data, ::gzdirect(file_.get()) == 0, "{}: is not in gzip format", path_);
  }

  std::size_t read(std::span<char> out) override {
    const std::size_t wanted = std::min(out.size(), std::size_t{1} << 30);
    const int count = ::gzread(file_.get(), out.data(), static_cast<unsigned>(wanted));
    int error = Z_OK;
    const char* message = ::gzerror(file_.get(), &error);
    CHECK_AS(ExitCode::data, error != Z_BUF_ERROR, "{}: is cut short", path_);
    CHECK_AS(ExitCode::data, count >= 0 && error == Z_OK, "{}: {}", path_,
             error == Z_ERRNO ? std::strerror(errno) : message);
    return static_cast<std::size_t>(count);
  }

  std::uint64_t stored_bytes_read() const override {
    return static_cast<std::uint64_t>(::gzoffset(file_.get()));
  }

 private:
  struct Close {
    void operator()(gzFile file) const { ::gzclose(file); }
  };

  std::string path_;
  std::unique_ptr<gzFile_s, Close> file_;
};

class ZstdFile final : public InputFile {
 public:
  explicit ZstdFile(const fs::path& path)
      : file_(path), stream_(::ZSTD_createDStream()), buffer_(::ZSTD_DStreamInSize()) {
    CHECK(stream_, "no memory for a Zstandard stream");
  }

  std::size_t read(std::span<char> out) override {
    ZSTD_outBuffer output{out.data(), out.size(), 0};
    while (output.pos < output.size) {
      if (input_.pos == input_.size) {
        input_ = {buffer_.data(), file_.read(buffer_), 0};
        if (input_.size == 0) {
          CHECK_AS(ExitCode::data, at_frame_end_, "{}: is cut short", file_.path());
          break;
        }
      }
      const std::size_t hint = ::ZSTD_decompressStream(stream_.get(), &output, &input_);
      CHECK_AS(ExitCode::data, ::ZSTD_isError(hint) == 0, "{}: {}", file_.path(),
               ::ZSTD_getErrorName(hint));
      at_frame_end_ = hint == 0;
    }
    return output.pos;
  }

  std::uint64_t stored_bytes_read() const override { return file_.stored_bytes_read(); }

 private:
  struct Free {
    void operator()(ZSTD_DStream* stream) const { ::ZSTD_freeDStream(stream); }
  };

  PlainFile file_;
  std::unique_ptr<ZSTD_DStream, Free> stream_;
  std::vector<char> buffer_;
  ZSTD_inBuffer input_{nullptr, 0, 0};
  bool at_frame_end_ = false;  // an empty file lacks its first frame
};

}  // namespace

std::unique_ptr<InputFile> open_input_file(const fs::path& path) {
  const fs::path extension = path.extension();
  if (extension == ".gz" || extension == ".dz") return std::make_unique<GzipFile>(path);
  if (extension == ".zst") return std::make_unique<ZstdFile>(path);
  return std::make_unique<PlainFile>(path);
}

fs::path without_compression(const fs::path& path) {
  const fs::path extension = path.extension();
  const bool compressed = extension == ".gz" || extension == ".dz" || extension == ".zst";
  return compressed ? fs::path(path).replace_extension() : path;
}

}  // namespace dualpath
