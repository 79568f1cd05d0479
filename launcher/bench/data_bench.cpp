#include "launcher/bench/data_bench.h"

#include <numeric>
#include <thread>

#include "data/text/encoder.h"
#include "data/text/text_reader.h"
#include "data/tokens/batch_loader.h"
#include "launcher/config/parallel_layout.h"

namespace dualpath {
namespace {

// Read in one measurement, so that batches of any size take milliseconds.
constexpr std::int64_t loader_tokens = 1 << 20;
constexpr std::size_t max_text_bytes = std::size_t{64} << 20;

std::vector<std::string> read_text(const std::vector<std::string>& inputs,
                                   const Segmenter& segmenter) {
  TextReader reader(find_text_files(inputs).files, "text", segmenter);
  std::vector<std::string> texts;
  std::size_t bytes = 0;
  for (TextPart part; bytes < max_text_bytes && reader.next(part);) {
    bytes += part.text.size();
    texts.push_back(std::move(part.text));
  }
  CHECK_AS(ExitCode::data, bytes > 0, "there is no text in {}", fmt::join(inputs, ", "));
  return texts;
}

// Each encoder on a thread of its own takes every n-th text.
void encode_all(const std::vector<std::string>& texts, std::vector<Encoder>& encoders) {
  std::vector<std::jthread> threads;
  for (std::size_t first = 0; first < encoders.size(); ++first) {
    threads.emplace_back([&, first] {
      std::vector<std::uint32_t> ids;
      for (std::size_t i = first; i < texts.size(); i += encoders.size()) {
        ids.clear();
        encoders[first].encode(texts[i], ids);
      }
    });
  }
}

}  // namespace

MeasuredTable measure_loader(const ResolvedBenchConfig& config, const SampleSource& source,
                             const MachinePeaks& peaks, Communicator& ranks) {
  const TrainConfig& train = config.run.train;
  const GridShape shape = grid_shape(config.run.parallel);
  const std::int64_t readers = std::int64_t{shape.tensor} * shape.data;
  const BatchLayout layout = {
      .data_rank = ranks.rank() % readers,  // stage by stage, each reads all
      .data_size = readers,
      .micro_batch_size = train.micro_batch_size,
      .accumulation = train.global_batch_size / (train.micro_batch_size * readers)};
  const std::int64_t batch_tokens =
      layout.micro_batch_size * layout.accumulation * source.sequence_length();
  const std::int64_t batches = std::max<std::int64_t>(1, loader_tokens / batch_tokens);
  BatchLoader loader(source, layout, 0, config.run.data.prefetch_batches);
  const auto read = [&] {
    for (std::int64_t i = 0; i < batches; ++i) loader.next();
  };
  const auto count = static_cast<double>(batches);
  const Timing of_all = measure_together(config.bench.effort(), ranks, read);
  const Timing time = {of_all.median / count, of_all.best / count};
  const auto tokens = static_cast<double>(batch_tokens);
  const double bytes = 2 * sizeof(std::int32_t) * tokens;  // an input and a target
  MeasuredTable table("loader, a rank");
  table.add("batch", {.time = time, .value = 1 / time.median, .unit = "batches/s"});
  table.add("tokens", {.value = tokens / time.median, .unit = "tokens/s"});
  table.add("inputs and targets", {.value = bytes / time.median / 1e6,
                                   .unit = "MB/s",
                                   .share = bytes / time.median / peaks.memory});
  return table;
}

MeasuredTable measure_tokenizer(const ResolvedBenchConfig& config,
                                const std::vector<std::string>& inputs, const Tokenizer& tokenizer,
                                const MachinePeaks& peaks, int num_threads) {
  const std::vector<std::string> texts = read_text(inputs, tokenizer.segmenter());
  const auto bytes = static_cast<double>(
      std::transform_reduce(texts.begin(), texts.end(), std::size_t{0}, std::plus(),
                            [](const auto& t) { return t.size(); }));
  MeasuredTable table("tokenizer");
  const auto encode_on = [&](int threads) {
    std::vector<Encoder> encoders(static_cast<std::size_t>(threads), Encoder(tokenizer));
    const Timing time = measure(config.bench.effort(), [&] { encode_all(texts, encoders); });
    table.add(
        fmt::format("{:.1f} MB on {} thread{}", bytes / 1e6, threads, threads == 1 ? "" : "s"),
        {.time = time,
         .value = bytes / time.median / 1e6,
         .unit = "MB/s",
         .share = bytes / time.median / peaks.memory});
  };
  encode_on(1);
  if (num_threads > 1) encode_on(num_threads);
  return table;
}

}  // namespace dualpath
