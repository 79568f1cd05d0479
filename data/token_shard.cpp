#include "data/token_shard.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <limits>
#include <unistd.h>
#include <utility>

#include "data/hdf5_file.h"

namespace dualpath {

namespace {

constexpr std::int64_t format_version = 1;
constexpr std::uint64_t block_bytes = 4 << 20;

Hdf5Type token_type(std::uint64_t vocab_size) {
  return vocab_size <= 65536 ? Hdf5Type::u16 : Hdf5Type::u32;
}

// T at any alignment.
template <class T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

template <class T>
void widen(const std::byte* from, std::span<std::int32_t> out) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] = static_cast<std::int32_t>(load<T>(from + i * sizeof(T)));
  }
}

template <class T>
std::uint64_t max_token(std::span<const std::byte> tokens) {
  T result = 0;
  for (std::size_t i = 0; i < tokens.size(); i += sizeof(T)) {
    result = std::max(result, load<T>(tokens.data() + i));
  }
  return result;
}

}  // namespace

// The tokens of a shard in the making, in the width they will have: one block in memory, the rest
// in an unnamed temporary file.
class TokenShardWriter::Spool {
 public:
  Spool(const std::string& path, Hdf5Type type) : path_(path), type_(type) {
    std::string name = path + ".spool-XXXXXX";
    fd_ = ::mkostemp(name.data(), O_CLOEXEC);
    CHECK_AS(ExitCode::data, fd_ >= 0, "{}: cannot be made: {}", name, std::strerror(errno));
    ::unlink(name.c_str());
    block_.reserve(block_bytes);
  }
  Spool(const Spool&) = delete;
  Spool& operator=(const Spool&) = delete;
  ~Spool() { ::close(fd_); }

  void add(std::uint32_t token) {
    const std::size_t width = size_of(type_);
    const std::size_t end = block_.size();
    block_.resize(end + width);
    std::memcpy(block_.data() + end, &token, width);  // little-endian: the low bytes come first
    if (block_.size() == block_bytes) flush();
  }

  // Copies all tokens into the dataset; returns their checksum.
  std::uint64_t copy_to(Hdf5File& file, const std::string& dataset) {
    flush();
    const std::size_t width = size_of(type_);
    file.create_dataset(dataset, type_, spooled_ / width);
    std::uint64_t done = 0;
    while (done < spooled_) {
      block_.resize(std::min(block_bytes, spooled_ - done));
      read_block(done);
      file.write_elements(dataset, type_, done / width, block_.size() / width, block_.data());
      done += block_.size();
    }
    return checksum_.value();
  }

 private:
  void flush() {
    checksum_.add(block_);
    std::size_t done = 0;
    while (done < block_.size()) {
      const ssize_t n = ::write(fd_, block_.data() + done, block_.size() - done);
      CHECK_AS(ExitCode::data, n > 0 || errno == EINTR, "{}: cannot write its tokens: {}", path_,
               std::strerror(errno));
      if (n > 0) done += static_cast<std::size_t>(n);
    }
    spooled_ += block_.size();
    block_.clear();
  }

  void read_block(std::uint64_t begin) {
    std::size_t done = 0;
    while (done < block_.size()) {
      const ssize_t n = ::pread(fd_, block_.data() + done, block_.size() - done,
                                static_cast<off_t>(begin + done));
      CHECK_AS(ExitCode::data, n > 0 || (n < 0 && errno == EINTR),
               "{}: cannot read its tokens back: {}", path_, std::strerror(errno));
      if (n > 0) done += static_cast<std::size_t>(n);
    }
  }

  std::string path_;
  Hdf5Type type_;
  int fd_;
  std::vector<std::byte> block_;
  std::uint64_t spooled_ = 0;  // bytes in the file
  Checksum checksum_;
};

TokenShardWriter::TokenShardWriter(std::string path, std::string tokenizer_hash,
                                   std::uint64_t vocab_size)
    : path_(std::move(path)), document_offsets_{0} {
  CHECK_AS(ExitCode::data, vocab_size >= 1 && vocab_size <= std::numeric_limits<int>::max(),
           "{}: a vocabulary of {} tokens is not between 1 and 2^31 - 1", path_, vocab_size);
  info_.tokenizer_hash = std::move(tokenizer_hash);
  info_.vocab_size = vocab_size;
  spool_ = std::make_unique<Spool>(path_, token_type(vocab_size));
}

TokenShardWriter::~TokenShardWriter() = default;

void TokenShardWriter::add_tokens(std::span<const std::uint32_t> tokens) {
  for (const std::uint32_t token : tokens) {
    CHECK_AS(ExitCode::data, token < info_.vocab_size,
             "{}: document {} has token {}, but the vocabulary has {}", path_,
             document_offsets_.size() - 1, token, info_.vocab_size);
    spool_->add(token);
  }
  info_.num_tokens += tokens.size();
}

void TokenShardWriter::end_document() {
  document_offsets_.push_back(num_tokens());
}

void TokenShardWriter::add_document(std::span<const std::uint32_t> tokens) {
  add_tokens(tokens);
  end_document();
}

TokenShardInfo TokenShardWriter::finish() {
  CHECK(document_offsets_.back() == num_tokens(), "{}: the last document has no end", path_);
  const std::string temporary = path_ + ".partial";
  try {
    Hdf5File file = Hdf5File::create(temporary, ExitCode::data);
    info_.num_documents = document_offsets_.size() - 1;
    info_.token_checksum = spool_->copy_to(file, "tokens");
    info_.offset_checksum = checksum_of(std::as_bytes(std::span(document_offsets_)));
    file.create_dataset("document_offsets", Hdf5Type::u64, document_offsets_.size());
    file.write<std::uint64_t>("document_offsets", 0, document_offsets_);
    file.set_attribute("/", "format_version", format_version);
    file.set_attribute("/", "tokenizer_hash", info_.tokenizer_hash);
    file.set_attribute("/", "vocab_size", info_.vocab_size);
    file.set_attribute("/", "num_tokens", info_.num_tokens);
    file.set_attribute("/", "num_documents", info_.num_documents);
    file.set_attribute("/", "token_checksum", info_.token_checksum);
    file.set_attribute("/", "offset_checksum", info_.offset_checksum);
    file.close();
    publish(temporary, path_, ExitCode::data);
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
  return info_;
}

TokenShard::TokenShard(std::string path, TokenShardInfo info, MappedFile file)
    : path_(std::move(path)), info_(std::move(info)), file_(std::move(file)) {}

TokenShard TokenShard::open(const std::string& path) {
  const Hdf5File file = Hdf5File::open(path, ExitCode::data);
  const auto version = file.attribute<std::int64_t>("/", "format_version");
  CHECK_AS(ExitCode::data, version == format_version,
           "{}: token shard format {}, this program reads format {}", path, version,
           format_version);
  TokenShardInfo info;
  info.tokenizer_hash = file.attribute<std::string>("/", "tokenizer_hash");
  info.vocab_size = file.attribute<std::uint64_t>("/", "vocab_size");
  info.num_tokens = file.attribute<std::uint64_t>("/", "num_tokens");
  info.num_documents = file.attribute<std::uint64_t>("/", "num_documents");
  info.token_checksum = file.attribute<std::uint64_t>("/", "token_checksum");
  info.offset_checksum = file.attribute<std::uint64_t>("/", "offset_checksum");

  const Hdf5Dataset tokens = file.dataset("tokens");
  const Hdf5Dataset offsets = file.dataset("document_offsets");
  CHECK_AS(ExitCode::data, tokens.type == token_type(info.vocab_size),
           "{}: tokens are {}, but a vocabulary of {} is kept as {}", path, name_of(tokens.type),
           info.vocab_size, name_of(token_type(info.vocab_size)));
  CHECK_AS(ExitCode::data, tokens.size == info.num_tokens, "{}: {} tokens, but num_tokens = {}",
           path, tokens.size, info.num_tokens);
  CHECK_AS(
      ExitCode::data,
      offsets.type == Hdf5Type::u64 && offsets.size > 0 && offsets.size - 1 == info.num_documents,
      "{}: {} document offsets of type {}, but num_documents = {}", path, offsets.size,
      name_of(offsets.type), info.num_documents);

  TokenShard shard(path, std::move(info), MappedFile(path, ExitCode::data));
  const std::span<const std::byte> bytes = shard.file_.bytes();
  for (const Hdf5Dataset& dataset : {tokens, offsets}) {
    CHECK_AS(ExitCode::data,
             dataset.file_offset <= bytes.size() &&
                 dataset.bytes() <= bytes.size() - dataset.file_offset,
             "{}: truncated: {} bytes, its datasets need {}", path, bytes.size(),
             dataset.file_offset + dataset.bytes());
  }
  shard.bytes_per_token_ = size_of(tokens.type);
  shard.tokens_ = bytes.subspan(tokens.file_offset, tokens.bytes());
  shard.offsets_ = bytes.subspan(offsets.file_offset, offsets.bytes());
  return shard;
}

void TokenShard::read(std::uint64_t begin, std::span<std::int32_t> out) const {
  CHECK(begin <= info_.num_tokens && out.size() <= info_.num_tokens - begin,
        "{}: tokens [{}, {}) of {}", path_, begin, begin + out.size(), info_.num_tokens);
  const std::byte* const from = tokens_.data() + begin * bytes_per_token_;
  if (bytes_per_token_ == 2) {
    widen<std::uint16_t>(from, out);
  } else {
    widen<std::uint32_t>(from, out);
  }
  // As unsigned, so that an id beyond 2^31 counts as large too.
  std::uint32_t largest = 0;
  for (const std::int32_t token : out)
    largest = std::max(largest, static_cast<std::uint32_t>(token));
  CHECK_AS(ExitCode::data, largest < info_.vocab_size,
           "{}: token {} near position {} is outside the vocabulary of {}; dualpath data verify "
           "looks at "
           "the whole shard",
           path_, largest, begin, info_.vocab_size);
}

std::uint64_t TokenShard::document_offset(std::uint64_t index) const {
  CHECK(index <= info_.num_documents, "{}: document offset {} of {}", path_, index,
        info_.num_documents + 1);
  return load<std::uint64_t>(offsets_.data() + index * sizeof(std::uint64_t));
}

void TokenShard::verify() const {
  const std::uint64_t token_checksum = checksum_of(tokens_);
  CHECK_AS(ExitCode::data, token_checksum == info_.token_checksum,
           "{}: damaged tokens: their checksum is {:016x}, {:016x} was recorded", path_,
           token_checksum, info_.token_checksum);
  const std::uint64_t offset_checksum = checksum_of(offsets_);
  CHECK_AS(ExitCode::data, offset_checksum == info_.offset_checksum,
           "{}: damaged document offsets: their checksum is {:016x}, {:016x} was recorded", path_,
           offset_checksum, info_.offset_checksum);
  CHECK_AS(ExitCode::data,
           document_offset(0) == 0 && document_offset(info_.num_documents) == info_.num_tokens,
           "{}: documents cover tokens [{}, {}) instead of [0, {})", path_, document_offset(0),
           document_offset(info_.num_documents), info_.num_tokens);
  for (std::uint64_t d = 0; d < info_.num_documents; ++d) {
    CHECK_AS(ExitCode::data, document_offset(d) <= document_offset(d + 1),
             "{}: document {} ends at token {}, before it begins at {}", path_, d,
             document_offset(d + 1), document_offset(d));
  }
  const std::uint64_t largest =
      bytes_per_token_ == 2 ? max_token<std::uint16_t>(tokens_) : max_token<std::uint32_t>(tokens_);
  CHECK_AS(ExitCode::data, tokens_.empty() || largest < info_.vocab_size,
           "{}: token {} is outside the vocabulary of {}", path_, largest, info_.vocab_size);
}

}  // namespace dualpath
