#include "data/text/input_file.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>
#include <zlib.h>
#include <zstd.h>

#include "core/base/error.h"

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

// One gzip stream or several in a row. Zeros behind the last one are padding.
class GzipFile final : public InputFile {
 public:
  explicit GzipFile(const fs::path& path) : file_(path), buffer_(std::size_t{1} << 18) {
    constexpr int gzip_header = 16 + MAX_WBITS;
    CHECK(::inflateInit2(&stream_, gzip_header) == Z_OK, "no memory for a gzip stream");
  }
  GzipFile(const GzipFile&) = delete;
  GzipFile& operator=(const GzipFile&) = delete;
  ~GzipFile() override { ::inflateEnd(&stream_); }

  std::size_t read(std::span<char> out) override {
    const std::size_t wanted = std::min(out.size(), std::size_t{1} << 30);
    stream_.next_out = reinterpret_cast<Bytef*>(out.data());
    stream_.avail_out = static_cast<uInt>(wanted);
    while (stream_.avail_out > 0 && (in_stream_ || begin_stream())) {
      CHECK_AS(ExitCode::data, stream_.avail_in > 0 || refill(), "{}: is cut short", file_.path());
      const int status = ::inflate(&stream_, Z_NO_FLUSH);
      CHECK_AS(ExitCode::data, status == Z_OK || status == Z_STREAM_END, "{}: is damaged: {}",
               file_.path(), stream_.msg != nullptr ? stream_.msg : ::zError(status));
      in_stream_ = status != Z_STREAM_END;
    }
    return wanted - stream_.avail_out;
  }

  std::uint64_t stored_bytes_read() const override {
    return file_.stored_bytes_read() - stream_.avail_in;
  }

 private:
  bool refill() {
    stream_.next_in = reinterpret_cast<Bytef*>(buffer_.data());
    stream_.avail_in = static_cast<uInt>(file_.read(buffer_));
    return stream_.avail_in > 0;
  }

  // Begins the next stream; returns false at the end of the file.
  bool begin_stream() {
    constexpr Bytef first_byte = 0x1f;
    while (stream_.avail_in > 0 || refill()) {
      const bool is_padding = !is_first_ && *stream_.next_in == 0;
      if (!is_padding) {
        CHECK_AS(ExitCode::data, *stream_.next_in == first_byte, "{}: {}", file_.path(),
                 is_first_ ? "is not in gzip format" : "goes on with what is not in gzip format");
        ::inflateReset(&stream_);
        is_first_ = false;
        return in_stream_ = true;
      }
      ++stream_.next_in;
      --stream_.avail_in;
    }
    CHECK_AS(ExitCode::data, !is_first_, "{}: is empty, and so not in gzip format", file_.path());
    return false;
  }

  PlainFile file_;
  std::vector<char> buffer_;
  z_stream stream_{};
  bool in_stream_ = false;
  bool is_first_ = true;
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
