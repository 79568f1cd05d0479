// The instrument itself: what it counts, that looking changes nothing, and the verb.
#include <cstring>
#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>

#include "core/cpu/cpu_device.h"
#include "core/device/dry_device.h"
#include "core/device/observed_device.h"
#include "data/text/tokenizer_files.h"
#include "launcher/bench/kernel_profile.h"
#include "launcher/bench/report.h"
#include "launcher/bench/step_bench.h"
#include "launcher/commands.h"
#include "launcher/train/trainer.h"
#include "model/counts.h"
#include "model/resolve_config.h"
#include "parallel/staged_communicator.h"
#include "tests/expect_error.h"
#include "tests/far_device/far_device.h"
#include "tests/temporary_folder.h"

namespace dualpath {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Gt;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr Effort three_times = {.repeats = 3, .seconds = 0};

// Grouped heads; micro-batches of several loss chunks, the last one shorter.
TrainerOptions small_options(Recompute recompute = Recompute::none) {
  ModelConfig model;
  model.layers = 2;
  model.hidden_size = 32;
  model.attention_heads = 4;
  model.kv_heads = 2;
  model.sequence_length = 24;
  model.vocab_size = 64;
  model.deep.iterations = 3;
  model.deep.ffn_hidden_size = 32;
  model.wide.ffn_hidden_size = 64;
  TrainerOptions o{.model = resolve(model)};
  o.parallel.recompute = recompute;
  o.global_batch_size = 6;
  o.micro_batch_size = 2;
  o.loss_chunk_tokens = 20;
  return o;
}

double tokens_of_step(const TrainerOptions& o) {
  return static_cast<double>(o.global_batch_size * o.model.sequence_length);
}

// Adds up the calls by name.
class CallLog final : public KernelObserver {
 public:
  void on_call(const KernelCall& call, Stream&) override {
    call.issue();
    ++calls[call.name];
    flops[call.name] += call.flops;
    bytes[call.name] += call.bytes;
    bf16_calls += call.is_bf16 ? 1 : 0;
    if (std::string_view(call.name).starts_with("matmul")) matmul_flops += call.flops;
  }
  std::map<std::string, std::int64_t> calls;
  std::map<std::string, double> flops, bytes;
  double matmul_flops = 0;
  int bf16_calls = 0;
};

struct Rig {
  explicit Rig(const TrainerOptions& options)
      : source(1, static_cast<std::uint64_t>(options.model.vocab_size),
               options.model.sequence_length),
        trainer(options, device, *stream, *ranks) {
    trainer.initialize();
    trainer.start(source, {});
  }
  void step(KernelObserver* observer = nullptr) {
    device.observe(observer);
    trainer.step({});
    device.observe(nullptr);
  }
  // Weights and moments, byte for byte.
  std::vector<std::string> state() const {
    std::vector<std::string> bytes;
    for (const TensorSlice& slice : trainer.state()) {
      bytes.emplace_back(static_cast<const char*>(slice.data),
                         static_cast<std::size_t>(slice.end - slice.begin) * size_of(slice.dtype));
    }
    return bytes;
  }

  std::unique_ptr<Device> cpu = make_cpu_device(2);
  ObservedDevice device{*cpu};
  std::unique_ptr<Stream> stream = device.make_stream();
  std::unique_ptr<Communicator> ranks = make_self_communicator();
  MockTokens source;
  Trainer trainer;
};

TEST(ObservedStep, ProductsAreThoseOfTheDryRun) {
  for (const Recompute recompute : {Recompute::none, Recompute::iteration, Recompute::layer}) {
    const TrainerOptions options = small_options(recompute);
    Rig rig(options);
    CallLog log;
    rig.step(&log);
    const double micro_batches = 3;
    DryOps dry;
    const PassCosts dry_run = measure_activations(options.model,
                                                  {.micro_batch_size = options.micro_batch_size,
                                                   .recompute = recompute,
                                                   .loss_chunk_tokens = options.loss_chunk_tokens},
                                                  dry, [&] { return dry.matmul_flops(); })
                                  .passes[0];
    EXPECT_EQ(log.matmul_flops, micro_batches * (dry_run.forward + dry_run.backward));
  }
}

// Training FLOPs by formula: three times the forward products, attention's, the routers' and the
// gates' (which are no matrix products here).
TEST(ObservedStep, FlopsAreThoseOfTheFormulas) {
  const TrainerOptions options = small_options();
  Rig rig(options);
  CallLog log;
  rig.step(&log);
  const auto d = static_cast<double>(options.model.hidden_size);
  const double routers_and_gates = 2 * (3 * 2 * (d + 1) + 4 * d) * tokens_of_step(options);
  EXPECT_EQ(log.matmul_flops + 3 * (log.flops["attention"] + routers_and_gates),
            tokens_of_step(options) * training_flops(options.model, AttentionFlops::causal));
  EXPECT_EQ(log.flops["attention_backward"], 2.5 * log.flops["attention"]);
}

TEST(ObservedStep, LookingChangesNothing) {
  Rig plain(small_options());
  Rig observed(small_options());
  KernelKinds kinds;
  KernelTimer timer(kinds, *observed.cpu, *observed.stream);
  KernelRepeater repeater(kinds, *observed.cpu, *observed.stream, three_times);
  for (int i = 0; i < 3; ++i) plain.step();
  observed.step();
  observed.step(&timer);
  observed.step(&repeater);
  EXPECT_EQ(plain.state(), observed.state());
  plain.step();
  observed.step();
  EXPECT_EQ(plain.state(), observed.state());
}

TEST(ObservedStep, EveryCallIsOfAKindThatIsTimed) {
  Rig rig(small_options());
  CallLog log;
  rig.step(&log);
  KernelKinds kinds;
  KernelTimer timer(kinds, *rig.cpu, *rig.stream);
  for (int i = 0; i < 2; ++i) {
    timer.begin_step();
    rig.step(&timer);
    timer.end_step();
  }
  KernelRepeater repeater(kinds, *rig.cpu, *rig.stream, three_times);
  rig.step(&repeater);
  std::map<std::string, std::int64_t> calls;
  std::map<std::string, double> bytes;
  for (const KernelKind& kind : kinds.all()) {
    calls[kind.name] += kind.calls;
    bytes[kind.name] += static_cast<double>(kind.calls) * kind.bytes;
    EXPECT_THAT(kind.in_step, AllOf(testing::SizeIs(2), Each(Gt(0)))) << kind.name;
    EXPECT_GT(kind.alone.best, 0) << kind.name;
    EXPECT_LE(kind.alone.best, kind.alone.median) << kind.name;
  }
  EXPECT_EQ(calls, log.calls);
  EXPECT_EQ(bytes, log.bytes);
}

// A GPU as the bench sees one: memory and caches of its own, work that begins when somebody waits.
class BenchOnGpu : public testing::Test {
 protected:
  BenchOnGpu() {
    config_.bench.repeats = 2;
    config_.bench.seconds = 0;
    config_.bench.kernel_seconds = 0;
    const TrainerOptions options = small_options();
    config_.run.model = options.model;
    config_.run.train.global_batch_size = 4;
    config_.run.train.micro_batch_size = 2;
  }
  // The number of calls by kernel.
  std::map<std::string, double> calls_on(Device& device, Communicator& ranks) {
    const MockTokens source(1, static_cast<std::uint64_t>(config_.run.model.vocab_size),
                            config_.run.model.sequence_length);
    const MachinePeaks peaks{.fp32 = 1e9, .bf16 = 1e9, .memory = 1e9};
    const ResolvedBenchConfig config{"", config_.bench,
                                     resolve(config_.run, ranks.size(), Processor::gpu)};
    StepBench bench = measure_step(config, source, peaks, device, ranks, log_);
    step_ = bench.step.table().json();
    std::map<std::string, double> calls;
    for (const auto& row : bench.kernels.json()) {
      calls[row.at("kernel")] = row.at("calls");
      EXPECT_GT(row.at("step_ms"), 0) << row;
      EXPECT_GT(row.at("alone_ms"), 0) << row;
    }
    return calls;
  }
  double figure(const std::string& what) {
    for (const auto& row : step_)
      if (row.at("what") == what) return row.at("value");
    ADD_FAILURE() << what << " is not told in " << step_;
    return 0;
  }

  Log log_{"", false};
  BenchConfig config_;
  FarDevice gpu_{make_cpu_device(1)};
  Json step_;
};

TEST_F(BenchOnGpu, PeaksOfAllThatItsKernelsAreHeldAgainst) {
  const MachineBench bench = measure_machine(gpu_, 1, {.repeats = 1, .seconds = 0});
  EXPECT_GT(bench.peaks.fp32, 0);
  EXPECT_GT(bench.peaks.of_bf16(), 0);
  EXPECT_GT(bench.peaks.memory, 0);
  std::vector<std::string> names;
  for (const auto& row : bench.table.table().json()) names.push_back(row.at("what"));
  EXPECT_THAT(names, ElementsAre(HasSubstr("products of f32"), HasSubstr("products of bf16"),
                                 HasSubstr("memory, write"), HasSubstr("memory, copy"),
                                 HasSubstr("memory, sum"), "host to device", "device to host",
                                 "a kernel behind another"));
  EXPECT_EQ(gpu_.memory()->used, 0u) << "peaks leave nothing behind";
}

TEST_F(BenchOnGpu, AStepsKernelsAreTheCpus) {
  const auto cpu = make_cpu_device(1);
  const auto self = make_self_communicator();
  const auto on_cpu = calls_on(*cpu, *self);
  const auto staged = make_staged_communicator(*self, gpu_);
  EXPECT_EQ(calls_on(gpu_, *staged), on_cpu);
  EXPECT_GT(figure("GPU memory, of all its processes"), 0);
  EXPECT_GT(figure("peak memory of the host a rank"), 0);
}

class ObservedKernels : public testing::Test {
 protected:
  ObservedKernels() { device_.observe(&log_); }
  static Tensor tensor(Shape shape, DType dtype = DType::f32) { return {nullptr, dtype, shape}; }

  DryDevice dry_;
  ObservedDevice device_{dry_};
  std::unique_ptr<Stream> stream_ = device_.make_stream();
  std::unique_ptr<Ops> ops_ = device_.make_ops(*stream_);
  CallLog log_;
};

TEST_F(ObservedKernels, BytesAreReadAndWrittenOnce) {
  ops_->run(op::Add{.out = tensor({10, 10}), .in = tensor({10, 10})});
  EXPECT_EQ(log_.bytes["add"], 3 * 400);
  const Tensor c = tensor({2, 3}), a = tensor({2, 5}), b = tensor({5, 3});
  ops_->run(op::Matmul{.c = c, .a = a, .b = b});
  EXPECT_EQ(log_.bytes["matmul nn"], 4 * (6 + 10 + 15));
  ops_->run(op::Matmul{.c = c, .a = a, .b = b, .flags = {.accumulate = true}});
  EXPECT_EQ(log_.bytes["matmul nn +="], 4 * (2 * 6 + 10 + 15));
  ops_->run(op::CrossEntropy{.loss_T = tensor({4}),
                             .logits_TV = tensor({4, 50}),
                             .targets_T = tensor({4}, DType::i32),
                             .grad_scale = 0});
  EXPECT_EQ(log_.bytes["cross_entropy"], 4 * (4 + 4 * 50 + 4));
  const Tensor weights = tensor({3, 8});
  ops_->run(op::MixtureWeightsBackward{
      .dlogit_KT = weights, .c_KT = weights, .q_KT = weights, .ponder_scale = 0});
  EXPECT_EQ(log_.bytes["mixture_weights_backward"], 4 * 3 * 24);
  const Tensor logits = tensor({4, 50}), stats = tensor({2, 4, 3}), ids = tensor({4}, DType::i32);
  ops_->run(op::ShardedCrossEntropy{.loss_T = tensor({4}),
                                    .logits_TV = logits,
                                    .stats_RT3 = stats,
                                    .targets_T = ids,
                                    .rows = {0, 100},
                                    .grad_scale = 0});
  EXPECT_EQ(log_.bytes["sharded_cross_entropy"], 4 * (4 + 2 * 4 * 3 + 4)) << "logits are not read";
}

TEST_F(ObservedKernels, ProductsOfBf16AreToldApart) {
  const Tensor a = tensor({2, 5}, DType::bf16), b = tensor({5, 3}, DType::bf16);
  ops_->run(op::Matmul{.c = tensor({2, 3}), .a = a, .b = b});
  EXPECT_EQ(log_.bf16_calls, 1);
  EXPECT_EQ(log_.bytes["matmul nn"], 4 * 6 + 2 * (10 + 15));
  ops_->run(op::Matmul{.c = tensor({2, 3}), .a = tensor({2, 5}), .b = tensor({5, 3})});
  ops_->run(op::Add{.out = a, .in = a});
  EXPECT_EQ(log_.bf16_calls, 1);
}

TEST_F(ObservedKernels, ATableCountsWithTheRowsThatAreUsed) {
  const Tensor ids = tensor({4}, DType::i32), x = tensor({4, 8});
  ops_->run(
      op::Embedding{.out_TD = x, .ids_T = ids, .table_VD = tensor({100, 8}), .rows = {0, 100}});
  EXPECT_EQ(log_.bytes["embedding"], 4 * (4 * 8 + 4 + 4 * 8));
  ops_->run(op::EmbeddingBackward{
      .grad_VD = tensor({100, 8}), .ids_T = ids, .dout_TD = x, .rows = {0, 100}});
  EXPECT_EQ(log_.bytes["embedding_backward"], 4 * (2 * 4 * 8 + 4 + 4 * 8));
  ops_->run(op::Embedding{.out_TD = x, .ids_T = ids, .table_VD = tensor({3, 8}), .rows = {0, 3}});
  EXPECT_EQ(log_.bytes["embedding"], 4 * (4 * 8 + 4 + 4 * 8) + 4 * (4 * 8 + 4 + 3 * 8));
  // Of a vocabulary of 200, half of the ids have their rows here.
  log_.bytes.clear();
  ops_->run(
      op::Embedding{.out_TD = x, .ids_T = ids, .table_VD = tensor({100, 8}), .rows = {100, 200}});
  EXPECT_EQ(log_.bytes["embedding"], 4 * (4 * 8 + 4 + 2 * 8));
  ops_->run(op::EmbeddingBackward{
      .grad_VD = tensor({100, 8}), .ids_T = ids, .dout_TD = x, .rows = {100, 200}});
  EXPECT_EQ(log_.bytes["embedding_backward"], 4 * (2 * 2 * 8 + 4 + 2 * 8));
}

TEST_F(ObservedKernels, AttentionCountsWithTheColumnsThatItUses) {
  const AttentionShape shape{
      .sequences = 2, .positions = 8, .heads = 4, .kv_heads = 2, .head_size = 6};
  const Tensor q = tensor({16, 4, 6}), k = tensor({16, 2, 6}), qkv = tensor({16, 8 * 6});
  ops_->run(op::Attention{.out_THE = tensor({16, 4, 6}),
                          .log_sum_TH = tensor({16, 4}),
                          .q_THE = q,
                          .k_TGE = k,
                          .qkv_TC = qkv,
                          .shape = shape});
  EXPECT_EQ(log_.bytes["attention"], 4 * 16 * (24 + 4 + 24 + 12 + 12));
  // Half of two products 8 × 6 × 8 for each of 4 heads and 2 sequences.
  EXPECT_EQ(log_.flops["attention"], 2 * 4 * 2 * (8 * 6 * 8));
  ops_->run(op::QkRope{.q_THE = q,
                       .k_TGE = k,
                       .qkv_TC = qkv,
                       .cos_PR = tensor({8, 3}),
                       .sin_PR = tensor({8, 3}),
                       .shape = shape,
                       .norm = QkNorm::none,
                       .epsilon = 1e-5});
  EXPECT_EQ(log_.bytes["qk_rope"], 4 * (16 * (24 + 12 + 24 + 12) + 2 * 8 * 3));
}

// A repetition that saw its own result would drift: into denormals, infinities, other values.
TEST(KernelRepeater, EveryRepetitionSeesTheSameOperands) {
  const auto device = make_cpu_device(1);
  const auto stream = device->make_stream();
  for (const bool in_place : {false, true}) {
    float memory[2] = {1, 2};
    const Tensor first{&memory[0], DType::f32, {1}};
    // An update of one operand, or a result that is written over the input.
    const std::vector<Operand> operands =
        in_place ? std::vector<Operand>{{first, Access::write}, {first, Access::read}}
                 : std::vector<Operand>{{first, Access::update}};
    std::vector<float> seen;
    const std::function<void()> issue = [&] {
      seen.push_back(memory[0]);
      memory[0] *= 1e-20F;
    };
    KernelKinds kinds;
    KernelRepeater repeater(kinds, *device, *stream, three_times);
    const KernelCall call{"kernel", operands, 0, 4, false, issue};
    repeater.on_call(call, *stream);
    EXPECT_THAT(seen, ElementsAre(1, 1, 1, 1));  // once to warm up
    EXPECT_EQ(memory[0], 1e-20F);
    repeater.on_call(call, *stream);
    EXPECT_EQ(seen.size(), 5U) << "a known kind is issued once";
  }
}

TEST(KernelKind, ShareOfThePeakIsOfTheUnitThatLimits) {
  const MachinePeaks peaks{.fp32 = 100, .bf16 = 200, .memory = 10};
  KernelKind kind;
  kind.calls = 3;
  kind.bytes = 50;
  EXPECT_EQ(kind.seconds_at_peak(peaks), 15);
  kind.flops = 400;
  EXPECT_EQ(kind.seconds_at_peak(peaks), 12);
  kind.is_bf16 = true;
  EXPECT_EQ(kind.seconds_at_peak(peaks), 6);
  EXPECT_EQ(kind.seconds_at_peak({.fp32 = 100, .bf16 = {}, .memory = 10}), 12);
}

TEST(Timing, MedianAndBest) {
  EXPECT_EQ(summarize({3, 1, 9}).median, 3);
  EXPECT_EQ(summarize({3, 1, 9, 5}).median, 4);
  EXPECT_EQ(summarize({3, 1, 9, 5}).best, 1);
}

TEST(Report, TablesForPeopleAndPrograms) {
  MeasuredTable table("part");
  table.add("a", {.time = Timing{0.0125, 0.01}, .value = 12345.6, .unit = "GB/s", .share = 0.5});
  table.add("longer", {.value = 0.25});
  EXPECT_EQ(table.table().text(),
            "part    median ms  best ms    rate        of peak\n"
            "a            12.5       10  12,346  GB/s   50.0 %\n"
            "longer                        0.25\n");
  EXPECT_EQ(table.table().json().dump(),
            R"([{"what":"a","median_ms":12.5,"best_ms":10.0,"value":12345.6,"unit":"GB/s",)"
            R"("share_of_peak":0.5},{"what":"longer","value":0.25}])");
}

class BenchCommand : public testing::Test {
 protected:
  // Runs the verb in its smallest size and returns its JSON.
  nlohmann::json run(std::vector<std::string> words) {
    const std::string file = folder_ / "result.json";
    words.insert(words.end(),
                 {"json=" + file, "bench.repeats=1", "bench.seconds=0", "bench.kernel_seconds=0",
                  "model.layers=1", "model.hidden_size=16", "model.sequence_length=16",
                  "model.vocab_size=300", "train.threads=2"});
    testing::internal::CaptureStdout();
    EXPECT_EQ(bench_command.run(words), ExitCode::success);
    output_ = testing::internal::GetCapturedStdout();
    std::ifstream stream(file);
    return nlohmann::json::parse(stream);
  }
  std::string error_with(const std::vector<std::string>& words) {
    return error_of(ExitCode::configuration, [&] { bench_command.run(words); });
  }

  const TemporaryFolder folder_;
  std::string output_;
};

TEST_F(BenchCommand, TellsTheStepAndItsKernels) {
  const nlohmann::json result = run({"step", "kernels", "bench.shapes=true"});
  EXPECT_FALSE(result.contains("machine"));
  EXPECT_GT(result.at("step")[0].at("value"), 0) << "tokens/s";
  EXPECT_GT(result.at("step")[1].at("share_of_peak"), 0) << "of model FLOPs";
  std::vector<std::string> names;
  for (const auto& row : result.at("kernels")) {
    names.push_back(row.at("kernel"));
    EXPECT_GT(row.at("calls"), 0) << row;
    EXPECT_GT(row.at("share_of_peak"), 0) << row;
    EXPECT_FALSE(row.at("shapes").get<std::string>().empty()) << row;
  }
  EXPECT_THAT(
      names, AllOf(Contains("matmul nt"), Contains("attention_backward"), Contains("cross_entropy"),
                   Contains("adamw"), Contains("sum_of_squares")));
  EXPECT_THAT(output_, AllOf(HasSubstr("training step"), HasSubstr("attention_backward")));
}

TEST_F(BenchCommand, MeasuresAllWhoseInputIsThere) {
  std::vector<std::string> tokens;
  for (const std::uint8_t byte : gpt2_byte_order()) tokens.emplace_back(1, static_cast<char>(byte));
  tokens.emplace_back(end_of_text_name);
  const TemporaryFolder tokenizer, checkpoints;
  save_tokenizer(Tokenizer({.tokens = tokens, .merges = {}, .end_of_text = 256}), tokenizer.path());
  std::ofstream(folder_ / "text.txt") << "A text, encoded byte by byte.";
  const nlohmann::json result =
      run({"bench.text=" + folder_ / "text.txt", "bench.tokenizer=" + tokenizer.path(),
           "bench.folder=" + checkpoints.path()});
  for (const char* part : {"machine", "step", "kernels", "loader", "tokenizer", "checkpoint"}) {
    ASSERT_TRUE(result.contains(part)) << part;
    EXPECT_FALSE(result.at(part).empty()) << part;
  }
  EXPECT_FALSE(result.contains("collectives")) << "one rank";
  EXPECT_TRUE(std::filesystem::is_empty(checkpoints.path()));
}

TEST_F(BenchCommand, KeepsTheFiguresOfThePartsBeforeOneThatFails) {
  const std::string file = folder_ / "result.json";
  std::ofstream(folder_ / "text.txt") << "A text.";
  error_of(ExitCode::data, [&] {
    bench_command.run(std::vector<std::string>{
        "machine", "tokenizer", "bench.text=" + folder_ / "text.txt", "bench.tokenizer=/nowhere",
        "json=" + file, "bench.repeats=1", "bench.seconds=0", "train.device=cpu"});
  });
  std::ifstream stream(file);
  EXPECT_FALSE(nlohmann::json::parse(stream).at("machine").empty());
}

TEST_F(BenchCommand, SaysWhatIsMissing) {
  EXPECT_THAT(error_with({"kernel"}), HasSubstr("did you mean kernels?"));
  EXPECT_THAT(error_with({"collectives"}), HasSubstr("mpirun"));
  EXPECT_THAT(error_with({"tokenizer", "checkpoint"}),
              AllOf(HasSubstr("bench.text"), HasSubstr("bench.folder")));
  EXPECT_THAT(error_with({"tokenizer", "bench.text=x"}), HasSubstr("bench.tokenizer"));
  EXPECT_THAT(error_with({"checkpoint", "bench.folder=/nowhere"}), HasSubstr("/nowhere"));
  EXPECT_THAT(error_with({"step", "bench.repeat=3"}), HasSubstr("bench.repeats"));
}

}  // namespace
}  // namespace dualpath
