#include "data/tokens/token_shard.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <limits>
#include <mutex>
#include <unistd.h>
#include <utility>

#include "data/files/hdf5_file.h"

namespace dualpath {

namespace {

constexpr std::int64_t format_version = 2;
constexpr std::uint64_t buffer_bytes = 4 << 20;
static_assert(buffer_bytes % token_block_bytes == 0);

std::uint64_t num_blocks(std::uint64_t bytes) {
  return (bytes + token_block_bytes - 1) / token_block_bytes;
}

// Appends the checksum of each block of `tokens`, which begins with a block.
void add_block_checksums(std::span<const std::byte> tokens, std::vector<std::uint64_t>& checksums) {
  for (std::uint64_t begin = 0; begin < tokens.size(); begin += token_block_bytes) {
    checksums.push_back(checksum_of(
        tokens.subspan(begin, std::min<std::uint64_t>(token_block_bytes, tokens.size() - begin))));
  }
}

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

// The tokens of a shard in the making, in the width they will have: one buffer in memory, the rest
// in an unnamed temporary file.
class TokenShardWriter::Spool {
 public:
  Spool(const std::string& path, Hdf5Type type) : path_(path), type_(type) {
    std::string name = path + ".spool-XXXXXX";
    fd_ = ::mkostemp(name.data(), O_CLOEXEC);
    CHECK_AS(ExitCode::data, fd_ >= 0, "{}: cannot be made: {}", name, std::strerror(errno));
    if (::unlink(name.c_str()) != 0) {  // it would become a part of the corpus
      const int reason = errno;
      ::close(fd_);
      DUALPATH_FAIL(ExitCode::data, "{}: cannot be removed: {}", name, std::strerror(reason));
    }
    buffer_.reserve(buffer_bytes);
  }
  Spool(const Spool&) = delete;
  Spool& operator=(const Spool&) = delete;
  ~Spool() { ::close(fd_); }

  void add(std::uint32_t token) {
    const std::size_t width = size_of(type_);
    const std::size_t end = buffer_.size();
    buffer_.resize(end + width);
    std::memcpy(buffer_.data() + end, &token, width);  // little-endian: the low bytes come first
    if (buffer_.size() == buffer_bytes) flush();
  }

  // Copies all tokens into the dataset; returns the checksums of their blocks.
  std::span<const std::uint64_t> copy_to(Hdf5File& file, const std::string& dataset) {
    flush();
    const std::size_t width = size_of(type_);
    file.create_dataset(dataset, type_, spooled_ / width);
    std::uint64_t done = 0;
    while (done < spooled_) {
      buffer_.resize(std::min(buffer_bytes, spooled_ - done));
      read_buffer(done);
      file.write_elements(dataset, type_, done / width, buffer_.size() / width, buffer_.data());
      done += buffer_.size();
    }
    return block_checksums_;
  }

 private:
  // Fills whole blocks but for the last call.
  void flush() {
    add_block_checksums(buffer_, block_checksums_);
    std::size_t done = 0;
    while (done < buffer_.size()) {
      const ssize_t n = ::write(fd_, buffer_.data() + done, buffer_.size() - done);
      CHECK_AS(ExitCode::data, n > 0 || errno == EINTR, "{}: cannot write its tokens: {}", path_,
               std::strerror(errno));
      if (n > 0) done += static_cast<std::size_t>(n);
    }
    spooled_ += buffer_.size();
    buffer_.clear();
  }

  void read_buffer(std::uint64_t begin) {
    std::size_t done = 0;
    while (done < buffer_.size()) {
      const ssize_t n = ::pread(fd_, buffer_.data() + done, buffer_.size() - done,
                                static_cast<off_t>(begin + done));
      CHECK_AS(ExitCode::data, n > 0 || (n < 0 && errno == EINTR),
               "{}: cannot read its tokens back: {}", path_, std::strerror(errno));
      if (n > 0) done += static_cast<std::size_t>(n);
    }
  }

  std::string path_;
  Hdf5Type type_;
  int fd_;
  std::vector<std::byte> buffer_;
  std::uint64_t spooled_ = 0;  // bytes in the file
  std::vector<std::uint64_t> block_checksums_;
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
    const std::span<const std::uint64_t> blocks = spool_->copy_to(file, "tokens");
    file.create_dataset("block_checksums", Hdf5Type::u64, blocks.size());
    file.write("block_checksums", 0, blocks);
    info_.token_checksum = checksum_of(std::as_bytes(blocks));
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
    prove(temporary);
    publish(temporary, path_, ExitCode::data);
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
  return info_;
}

// Reads the written file; throws where it does not hold what was to be written.
void TokenShardWriter::prove(const std::string& temporary) const {
  sync_path(temporary, ExitCode::data);
  const TokenShard written = TokenShard::open(temporary);
  CHECK_AS(ExitCode::data, written.info() == info_, "{}: reads back with other counts or checksums",
           temporary);
  written.verify();
}

// Which blocks have been held against their checksums already.
class TokenShard::CheckedBlocks {
 public:
  explicit CheckedBlocks(std::uint64_t num_blocks)
      : words_(std::make_unique<std::atomic<std::uint64_t>[]>((num_blocks + 63) / 64)) {}
  bool has(std::uint64_t block) const {
    return (words_[block / 64].load(std::memory_order_relaxed) >> block % 64 & 1) != 0;
  }
  void add(std::uint64_t block) {
    words_[block / 64].fetch_or(std::uint64_t{1} << block % 64, std::memory_order_relaxed);
  }
  std::once_flag checksums;  // themselves

 private:
  std::unique_ptr<std::atomic<std::uint64_t>[]> words_;
};

TokenShard::TokenShard(std::string path, TokenShardInfo info, MappedFile file)
    : path_(std::move(path)), info_(std::move(info)), file_(std::move(file)) {}
TokenShard::TokenShard(TokenShard&&) noexcept = default;
TokenShard::~TokenShard() = default;

TokenShard TokenShard::open(const std::string& path) {
  const Hdf5File file = Hdf5File::open(path, ExitCode::data);
  const auto version = file.attribute<std::int64_t>("/", "format_version");
  CHECK_AS(ExitCode::data, version == format_version,
           "{}: token shard format {}, this program reads format {}; {}", path, version,
           format_version,
           version < format_version ? "tokenize the text again" : "a later dualpath wrote it");
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

  const Hdf5Dataset blocks = file.dataset("block_checksums");
  CHECK_AS(ExitCode::data,
           blocks.type == Hdf5Type::u64 && blocks.size == num_blocks(tokens.bytes()),
           "{}: {} block checksums of type {} for {} bytes of tokens", path, blocks.size,
           name_of(blocks.type), tokens.bytes());

  TokenShard shard(path, std::move(info), MappedFile(path, ExitCode::data));
  const std::span<const std::byte> bytes = shard.file_.bytes();
  for (const Hdf5Dataset& dataset : {tokens, offsets, blocks}) {
    CHECK_AS(ExitCode::data,
             dataset.file_offset <= bytes.size() &&
                 dataset.bytes() <= bytes.size() - dataset.file_offset,
             "{}: truncated: {} bytes, its datasets need {}", path, bytes.size(),
             dataset.file_offset + dataset.bytes());
  }
  shard.bytes_per_token_ = size_of(tokens.type);
  shard.tokens_ = bytes.subspan(tokens.file_offset, tokens.bytes());
  shard.offsets_ = bytes.subspan(offsets.file_offset, offsets.bytes());
  shard.block_checksums_ = bytes.subspan(blocks.file_offset, blocks.bytes());
  shard.checked_ = std::make_unique<CheckedBlocks>(blocks.size);
  return shard;
}

std::span<const std::byte> TokenShard::block(std::uint64_t index) const {
  const std::uint64_t begin = index * token_block_bytes;
  return tokens_.subspan(begin, std::min(token_block_bytes, tokens_.size() - begin));
}

std::uint64_t TokenShard::recorded_checksum(std::uint64_t block) const {
  return load<std::uint64_t>(block_checksums_.data() + block * sizeof(std::uint64_t));
}

void TokenShard::check_block_checksums() const {
  const std::uint64_t checksum = checksum_of(block_checksums_);
  CHECK_AS(ExitCode::data, checksum == info_.token_checksum,
           "{}: damaged block checksums: their checksum is {:016x}, {:016x} was recorded", path_,
           checksum, info_.token_checksum);
}

void TokenShard::check_block(std::uint64_t index) const {
  const std::uint64_t checksum = checksum_of(block(index));
  const std::uint64_t first = index * token_block_bytes / bytes_per_token_;
  CHECK_AS(ExitCode::data, checksum == recorded_checksum(index),
           "{}: damaged tokens [{}, {}): their checksum is {:016x}, {:016x} was recorded", path_,
           first, first + block(index).size() / bytes_per_token_, checksum,
           recorded_checksum(index));
}

// Checks the blocks that hold these bytes of the tokens, unless they were checked before.
void TokenShard::check_blocks(std::uint64_t first_byte, std::uint64_t end_byte) const {
  for (std::uint64_t b = first_byte / token_block_bytes; b < num_blocks(end_byte); ++b) {
    if (checked_->has(b)) continue;
    std::call_once(checked_->checksums, [this] { check_block_checksums(); });
    check_block(b);
    checked_->add(b);
  }
}

std::uint64_t TokenShard::token_checksum_of_first(std::uint64_t num_tokens) const {
  CHECK(num_tokens <= info_.num_tokens, "{}: the first {} of {} tokens", path_, num_tokens,
        info_.num_tokens);
  check_block_checksums();
  std::vector<std::uint64_t> checksums;
  const std::uint64_t bytes = num_tokens * bytes_per_token_;
  const std::uint64_t whole = bytes / token_block_bytes;
  for (std::uint64_t b = 0; b < whole; ++b) checksums.push_back(recorded_checksum(b));
  if (bytes % token_block_bytes != 0) check_block(whole);
  add_block_checksums(tokens_.subspan(whole * token_block_bytes, bytes % token_block_bytes),
                      checksums);
  return checksum_of(std::as_bytes(std::span(checksums)));
}

void TokenShard::read(std::uint64_t begin, std::span<std::int32_t> out) const {
  CHECK(begin <= info_.num_tokens && out.size() <= info_.num_tokens - begin,
        "{}: tokens [{}, {}) of {}", path_, begin, begin + out.size(), info_.num_tokens);
  check_blocks(begin * bytes_per_token_, (begin + out.size()) * bytes_per_token_);
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
  check_block_checksums();
  for (std::uint64_t b = 0; b < num_blocks(tokens_.size()); ++b) check_block(b);
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
