// The ways of text to the training step: encoding it, and reading batches of its tokens.
#pragma once

#include "data/text/tokenizer.h"
#include "data/tokens/sample_source.h"
#include "launcher/bench/bench_config.h"
#include "launcher/bench/machine_bench.h"

namespace dualpath {

// This rank's batches, one after another, with nothing to do between them. Collective.
MeasuredTable measure_loader(const ResolvedBenchConfig& config, const SampleSource& source,
                             const MachinePeaks& peaks, Communicator& ranks);

// Encodes the beginning of the text that `inputs` name, read beforehand. Throws Error(data).
MeasuredTable measure_tokenizer(const ResolvedBenchConfig& config,
                                const std::vector<std::string>& inputs, const Tokenizer& tokenizer,
                                const MachinePeaks& peaks, int num_threads);

}  // namespace dualpath
