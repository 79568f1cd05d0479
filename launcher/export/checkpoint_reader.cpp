#include "launcher/export/checkpoint_reader.h"

#include <algorithm>
#include <vector>

#include "data/checkpoints/checkpoint_folder.h"
#include "launcher/evaluate/load_model.h"

namespace dualpath {

namespace {

constexpr std::int64_t piece_bytes = 16 << 20;

}  // namespace

SourceCheckpoint open_source(const std::filesystem::path& path) {
  const ModelPlace place = find_model(path, 0);
  const auto self = make_self_communicator();
  if (!place.checkpoint.empty()) return {place.run, open_whole_checkpoint(place.checkpoint, *self)};
  const auto warn = [](const std::string& line) { fmt::print(stderr, "{}\n", line); };
  std::optional<Checkpoint> newest = newest_whole(place.run / "checkpoints", warn, *self);
  CHECK_AS(ExitCode::checkpoint, newest.has_value(), "{} has no checkpoint", place.run.string());
  return {place.run, *std::move(newest)};
}

void read_elements(const Checkpoint& checkpoint, const CheckpointTensor& tensor, std::int64_t begin,
                   std::int64_t end, const ElementReader& reader) {
  const auto element = static_cast<std::int64_t>(size_of(tensor.dtype));
  const std::int64_t step = piece_bytes / element;
  std::vector<std::byte> memory(
      static_cast<std::size_t>(std::min(step, std::max<std::int64_t>(end - begin, 0)) * element));
  for (std::int64_t at = begin; at < end; at += step) {
    const TensorSlice piece{
        tensor.name,  tensor.dtype, tensor.global_shape, at, std::min(at + step, end),
        memory.data()};
    try {
      load_slices(checkpoint, std::span(&piece, 1));
    } catch (const Error&) {
      CHECK_AS(ExitCode::checkpoint, !checkpoint.is_gone(),
               "{}: was removed while it was read, by a run that has saved a newer one; try again",
               checkpoint.folder.string());
      throw;
    }
    reader(at - begin, piece.end - piece.begin, memory.data());
  }
}

}  // namespace dualpath
