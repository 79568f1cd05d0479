// What training reports: metrics.jsonl, TensorBoard files, console lines, the loss curve.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/job/device_peaks.h"
#include "launcher/train/console_line.h"
#include "launcher/train/loss_plot.h"
#include "launcher/train/metrics_writer.h"
#include "launcher/train/run_records.h"
#include "launcher/train/tensorboard_writer.h"
#include "tests/expect_error.h"
#include "tests/temporary_folder.h"

namespace dualpath {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

StepMetrics step_metrics(std::int64_t step) {
  StepMetrics metrics;
  metrics.step = step;
  metrics.consumed_samples = 8 * step;
  metrics.consumed_tokens = 1024 * step;
  metrics.loss = 5.0 / static_cast<double>(step);
  metrics.learning_rate = 3e-4;
  metrics.grad_norm = 1.5;
  metrics.step_ms = 250;
  metrics.tokens_per_second = 4096;
  metrics.tokens_per_second_per_rank = 2048;
  metrics.model_tflops_per_rank = 0.125;
  metrics.communication_ms = 1.25;
  metrics.data_wait_ms = 0.5;
  metrics.eta = Seconds(3725);
  metrics.gate_deep = {0.5, 0.25};
  return metrics;
}

ValidationMetrics validation_metrics(std::int64_t step) {
  ValidationMetrics metrics;
  metrics.step = step;
  metrics.consumed_tokens = 1024 * step;
  metrics.validation_loss = 2;
  metrics.perplexity = std::exp(2.0);
  metrics.validation_tokens = 4096;
  return metrics;
}

class Metrics : public testing::Test {
 protected:
  std::string jsonl() const { return folder_ / "metrics.jsonl"; }
  std::vector<json> rows() const {
    std::vector<json> rows;
    for (const std::string& line : lines_of(read_file(jsonl()))) rows.push_back(json::parse(line));
    return rows;
  }
  std::vector<int> steps() const {
    std::vector<int> steps;
    for (const json& row : rows()) steps.push_back(row["step"]);
    return steps;
  }

  TemporaryFolder folder_;
};

TEST_F(Metrics, RowsBearTheNamesThatReadersKnow) {
  MetricsWriter writer(jsonl(), 0);
  writer.write(step_metrics(2));
  ValidationMetrics validation = validation_metrics(2);
  writer.write(validation);
  validation.bits_per_byte = 0.75;
  writer.write(validation);
  ASSERT_EQ(rows().size(), 3u);  // flushed: readable while the writer lives

  const json row = rows()[0];
  EXPECT_EQ(row["step"], 2);
  EXPECT_EQ(row["tokens"], 2048);
  EXPECT_EQ(row["loss"], 2.5);
  EXPECT_EQ(row["learning_rate"], 3e-4);
  EXPECT_EQ(row["grad_norm"], 1.5);
  EXPECT_EQ(row["step_ms"], 250);
  EXPECT_EQ(row["tokens_per_second"], 4096);
  EXPECT_EQ(row["eta_s"], 3725);
  EXPECT_EQ(row["gate_deep"], json::array({0.5, 0.25}));
  EXPECT_FALSE(row.contains("gate_wide"));
  EXPECT_FALSE(row.contains("mfu_percent"));
  EXPECT_EQ(rows()[1]["validation_loss"], 2);
  EXPECT_FALSE(rows()[1].contains("bits_per_byte"));
  EXPECT_FALSE(rows()[1].contains("loss"));  // a validation is never taken for a step
  EXPECT_EQ(rows()[2]["bits_per_byte"], 0.75);
}

TEST_F(Metrics, TrafficIsToldByGroupAndKind) {
  StepMetrics metrics = step_metrics(1);
  MetricsWriter(jsonl(), 0).write(metrics);
  EXPECT_FALSE(rows()[0].contains("traffic"));
  metrics.traffic[GridGroup::tensor].add(Collective::all_gather, 100, 3, 4);
  metrics.traffic.groups[GridTraffic::world].add(Collective::all_reduce, 8, 3);
  MetricsWriter(jsonl(), 0).write(metrics);
  EXPECT_EQ(rows()[0]["traffic"],
            json::parse(R"({"tensor": {"all_gather": {"calls": 4, "bytes": 800}},
                            "world": {"all_reduce": {"calls": 1, "bytes": 11}}})"));
}

TEST_F(Metrics, NumbersThatAreNotFiniteBecomeNull) {
  StepMetrics metrics = step_metrics(1);
  metrics.loss = NAN;
  metrics.grad_norm = INFINITY;
  metrics.gate_deep = {NAN, 1};
  MetricsWriter(jsonl(), 0).write(metrics);
  EXPECT_TRUE(rows()[0]["loss"].is_null());
  EXPECT_TRUE(rows()[0]["grad_norm"].is_null());
  EXPECT_EQ(rows()[0]["gate_deep"], json::array({nullptr, 1.0}));
}

TEST_F(Metrics, ResumingDropsWhatTheRunWillDoAgain) {
  {
    MetricsWriter writer(jsonl(), 0);
    for (int step = 1; step <= 5; ++step) {
      writer.write(step_metrics(step));
      if (step == 3 || step == 4) writer.write(validation_metrics(step));
    }
  }
  {
    std::ofstream(jsonl(), std::ios::app) << "{\"step\": 3, \"lo";  // cut short by a crash
  }
  MetricsWriter writer(jsonl(), 3);
  EXPECT_THAT(steps(), ElementsAre(1, 2, 3, 3));
  writer.write(step_metrics(4));
  EXPECT_THAT(steps(), ElementsAre(1, 2, 3, 3, 4));
  MetricsWriter anew(jsonl(), 0);
  EXPECT_THAT(steps(), ElementsAre());
}

// Trial S5: history is not dropped unasked.
TEST_F(Metrics, RowsOfAnotherHistoryAreKeptAside) {
  for (int step = 1; step <= 3; ++step) {
    MetricsWriter writer(jsonl(), step - 1);
    writer.write(step_metrics(step));
  }
  const std::string before = read_file(jsonl());
  EXPECT_EQ(MetricsWriter(jsonl(), 3, LaterRows::another_runs).kept_aside(), "");
  EXPECT_EQ(MetricsWriter(jsonl(), 1, LaterRows::another_runs).kept_aside(), jsonl() + ".before-1");
  EXPECT_EQ(read_file(jsonl() + ".before-1"), before);
  EXPECT_THAT(steps(), ElementsAre(1));
  EXPECT_EQ(MetricsWriter(jsonl(), 0, LaterRows::another_runs).kept_aside(), jsonl() + ".before-2");
  EXPECT_EQ(read_file(jsonl() + ".before-1"), before);
  EXPECT_THAT(steps(), ElementsAre());

  std::ofstream(jsonl()) << "notes of somebody\n";
  EXPECT_EQ(MetricsWriter(jsonl(), 1).kept_aside(), jsonl() + ".before-3");
  EXPECT_EQ(read_file(jsonl() + ".before-3"), "notes of somebody\n");
}

// Trial S5: a file that cannot be read is not taken for an empty one.
TEST_F(Metrics, WhatCannotBeReadIsAnError) {
  std::filesystem::create_directory(jsonl());
  EXPECT_THAT(error_of(ExitCode::checkpoint, [&] { MetricsWriter(jsonl(), 1); }),
              HasSubstr(jsonl() + ": cannot be read"));
  EXPECT_THAT(error_of(ExitCode::checkpoint, [&] { last_saved_step(jsonl()); }),
              HasSubstr(jsonl() + ": cannot be read"));
}

TEST_F(Metrics, TellWhatWasSavedAndValidated) {
  EXPECT_EQ(last_saved_step(jsonl()), 0);
  {
    MetricsWriter writer(jsonl(), 0);
    for (int step = 1; step <= 3; ++step) writer.write(step_metrics(step));
    EXPECT_EQ(last_saved_step(jsonl()), 0);
    writer.write(SaveMetrics{.step = 2});
    writer.write(validation_metrics(2));
  }
  EXPECT_EQ(last_saved_step(jsonl()), 2);
  EXPECT_FALSE(MetricsWriter(jsonl(), 3).has_validation());
  EXPECT_TRUE(MetricsWriter(jsonl(), 2).has_validation());
}

// Trial R16.
TEST_F(Metrics, AFileThatIsGoneIsNoticedAndAnotherInItsPlaceIsUsed) {
  MetricsWriter writer(jsonl(), 0);
  writer.write(step_metrics(1));
  std::filesystem::copy_file(jsonl(), folder_ / "copy");
  std::filesystem::rename(folder_ / "copy", jsonl());
  writer.write(step_metrics(2));
  EXPECT_THAT(steps(), ElementsAre(1, 2));
  std::filesystem::rename(jsonl(), folder_ / "rotated");
  writer.write(step_metrics(3));
  EXPECT_THAT(steps(), ElementsAre(3));
  std::filesystem::rename(folder_.path(), folder_.path() + "-moved");
  const std::string problem =
      error_of(ExitCode::checkpoint, [&] { writer.write(step_metrics(4)); });
  std::filesystem::rename(folder_.path() + "-moved", folder_.path());
  EXPECT_THAT(problem, HasSubstr(folder_.path() + " is gone"));
}

TEST_F(Metrics, AFolderThatIsNotThereIsNamed) {
  const std::string path = folder_ / "nowhere/metrics.jsonl";
  EXPECT_THAT(error_of(ExitCode::checkpoint, [&] { MetricsWriter(path, 0); }), HasSubstr(path));
}

// A decoder of event files, written from the formats' descriptions.

std::uint32_t crc32c(std::string_view bytes) {
  std::uint32_t crc = 0xffffffff;
  for (const char c : bytes) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) crc = crc & 1 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
  }
  return ~crc;
}

template <class T>
T take(std::string_view& bytes) {
  T value;
  EXPECT_GE(bytes.size(), sizeof value);
  std::memcpy(&value, bytes.data(), sizeof value);
  bytes.remove_prefix(sizeof value);
  return value;
}

std::string_view take_checked(std::string_view& bytes, std::size_t size) {
  const std::string_view content = bytes.substr(0, size);
  bytes.remove_prefix(size);
  const std::uint32_t crc = crc32c(content);
  EXPECT_EQ(take<std::uint32_t>(bytes), ((crc >> 15) | (crc << 17)) + 0xa282ead8);
  return content;
}

// A protocol buffer's fields in order: number -> integer or bytes (fixed ones as bytes).
struct ProtoField {
  int number;
  std::uint64_t integer = 0;
  std::string_view bytes = {};
};

std::uint64_t take_varint(std::string_view& bytes) {
  std::uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    const auto byte = take<std::uint8_t>(bytes);
    value |= static_cast<std::uint64_t>(byte & 127) << shift;
    if (byte < 128) return value;
  }
}

std::vector<ProtoField> fields_of(std::string_view bytes) {
  std::vector<ProtoField> fields;
  while (!bytes.empty()) {
    const std::uint64_t key = take_varint(bytes);
    ProtoField field{.number = static_cast<int>(key >> 3)};
    std::size_t size = 0;
    switch (key & 7) {
      case 0:
        field.integer = take_varint(bytes);
        break;
      case 1:
        size = 8;
        break;
      case 2:
        size = take_varint(bytes);
        break;
      case 5:
        size = 4;
        break;
      default:
        ADD_FAILURE() << "wire type " << (key & 7);
        return fields;
    }
    field.bytes = bytes.substr(0, size);
    bytes.remove_prefix(size);
    fields.push_back(field);
  }
  return fields;
}

struct DecodedEvent {
  double wall_time = 0;
  std::uint64_t step = 0;
  std::string file_version;
  std::uint64_t session_status = 0;
  std::map<std::string, float> scalars;
};

DecodedEvent decode_event(std::string_view bytes) {
  DecodedEvent event;
  for (const ProtoField& field : fields_of(bytes)) {
    std::string_view content = field.bytes;
    if (field.number == 1) event.wall_time = take<double>(content);
    if (field.number == 2) event.step = field.integer;
    if (field.number == 3) event.file_version = content;
    if (field.number == 7) event.session_status = fields_of(content).at(0).integer;
    if (field.number != 5) continue;
    for (const ProtoField& value : fields_of(content)) {
      const auto parts = fields_of(value.bytes);
      std::string_view number = parts.at(1).bytes;
      event.scalars[std::string(parts.at(0).bytes)] = take<float>(number);
    }
  }
  return event;
}

std::vector<DecodedEvent> decode_file(const std::string& path) {
  const std::string content = read_file(path);
  std::string_view bytes = content;
  std::vector<DecodedEvent> events;
  while (!bytes.empty()) {
    std::string_view length = take_checked(bytes, 8);
    events.push_back(decode_event(take_checked(bytes, take<std::uint64_t>(length))));
  }
  return events;
}

TEST_F(Metrics, TensorBoardFilesDecode) {
  ASSERT_EQ(crc32c("123456789"), 0xe3069283);  // the check value of CRC-32C
  TensorBoardWriter writer(folder_.path(), 299);
  EXPECT_THAT(std::filesystem::path(writer.path()).filename(),
              testing::StartsWith("events.out.tfevents."));
  StepMetrics metrics = step_metrics(300);
  metrics.gate_deep = {0.5, NAN, 0.25};
  writer.write(metrics);
  writer.write(validation_metrics(300));

  const auto events = decode_file(writer.path());
  ASSERT_EQ(events.size(), 4u);
  EXPECT_EQ(events[0].file_version, "brain.Event:2");
  EXPECT_GT(events[0].wall_time, 1.6e9);
  EXPECT_EQ(events[1].session_status, 1u);  // START: what was logged from step 300 on is void
  EXPECT_EQ(events[1].step, 300u);
  EXPECT_EQ(events[2].step, 300u);
  EXPECT_EQ(events[2].scalars.at("training/loss"), static_cast<float>(metrics.loss));
  EXPECT_EQ(events[2].scalars.at("speed/tokens_per_second"), 4096);
  EXPECT_EQ(events[2].scalars.at("gate_deep/layer_00"), 0.5);
  EXPECT_EQ(events[2].scalars.count("gate_deep/layer_01"), 0u);  // NaN: a layer without gates
  EXPECT_EQ(events[2].scalars.at("gate_deep/layer_02"), 0.25);
  EXPECT_EQ(events[2].scalars.count("speed/mfu_percent"), 0u);
  EXPECT_EQ(events[3].scalars.at("validation/validation_loss"), 2);
}

TEST_F(Metrics, EveryTensorBoardWriterHasAFileOfItsOwn) {
  std::set<std::string> paths;
  for (int i = 0; i < 3; ++i) paths.insert(TensorBoardWriter(folder_.path(), 0).path());
  EXPECT_EQ(paths.size(), 3u);
}

TEST(ConsoleLine, ReadsLikeMegatron) {
  StepMetrics metrics = step_metrics(2);
  EXPECT_EQ(console_line(metrics, 100),
            "step 2/100 | consumed tokens: 2048 | tokens/s: 4096 | tokens/s/rank: 2048 | "
            "TFLOP/s/rank: 0.125 | loss: 2.5000 | learning rate: 3.000e-04 | grad norm: 1.500 | "
            "step ms: 250.0 | exposed comm ms: 1.2 | data wait ms: 0.5 | ETA: 1:02:05");
  metrics.mfu_percent = 41.26;
  EXPECT_THAT(console_line(metrics, 100), HasSubstr(" | MFU %: 41.3 | "));
}

// Trial R11.
TEST(ConsoleLine, ShowsMeansSinceTheLineBefore) {
  StepAverage average;
  StepMetrics metrics = step_metrics(1);
  average.add(metrics);
  EXPECT_EQ(console_line(average.take(), 100), console_line(metrics, 100));
  metrics = step_metrics(2);  // 1024 tokens in 0.25 s
  metrics.mfu_percent = 40;
  average.add(metrics);
  metrics.step = 3;
  metrics.loss = 0.5;
  metrics.grad_norm = 0.25;
  metrics.step_ms = 750;  // 1024 tokens in 0.75 s
  metrics.tokens_per_second = 4096 / 3.;
  metrics.mfu_percent = 40 / 3.;
  metrics.communication_ms = 2.25;
  metrics.data_wait_ms = 1.5;
  metrics.eta = Seconds(750);  // 1000 steps more
  average.add(metrics);
  const StepMetrics mean = average.take();
  EXPECT_EQ(mean.step, 3);
  EXPECT_DOUBLE_EQ(mean.loss, 1.5);
  EXPECT_EQ(mean.grad_norm, 0.25);
  EXPECT_DOUBLE_EQ(mean.step_ms, 500);
  EXPECT_DOUBLE_EQ(mean.tokens_per_second, 2048);
  EXPECT_DOUBLE_EQ(*mean.mfu_percent, 20);
  EXPECT_DOUBLE_EQ(mean.communication_ms, 1.75);
  EXPECT_DOUBLE_EQ(mean.data_wait_ms, 1);
  EXPECT_DOUBLE_EQ(mean.eta.count(), 500);
}

TEST(ConsoleLine, OfAValidation) {
  ValidationMetrics metrics = validation_metrics(50);
  EXPECT_EQ(console_line(metrics),
            "validation at step 50 | loss: 2.0000 | perplexity: 7.39 | validation tokens: 4096 | "
            "took: 0:00:00");
  metrics.bits_per_byte = 1.125;
  EXPECT_THAT(console_line(metrics), HasSubstr(" | bits per byte: 1.1250 | "));
}

TEST(ConsoleLine, Clock) {
  EXPECT_EQ(clock_text(Seconds(59.6)), "0:01:00");
  EXPECT_EQ(clock_text(Seconds(86399)), "23:59:59");
  EXPECT_EQ(clock_text(Seconds(2 * 86400 + 3661)), "2d 1:01:01");
  EXPECT_EQ(clock_text(Seconds(INFINITY)), "?");
}

RunLosses falling_line() {
  RunLosses losses;
  for (int step = 0; step <= 100; ++step) {
    losses.training.steps.push_back(step);
    losses.training.losses.push_back(8 - 0.05 * step);
  }
  losses.validation = {{50, 100}, {6, 4}};
  return losses;
}

// Characters of a line of UTF-8, each as one string.
std::vector<std::string> characters(const std::string& line) {
  std::vector<std::string> result;
  for (const char c : line) {
    if ((c & 0xc0) != 0x80) result.emplace_back();
    result.back() += c;
  }
  return result;
}

TEST(LossPlot, TextHasItsSizeAxesAndShape) {
  const auto lines = lines_of(draw_losses_as_text(falling_line(), 60, 15));
  ASSERT_EQ(lines.size(), 15u);
  for (std::size_t i = 0; i + 1 < lines.size(); ++i) EXPECT_EQ(characters(lines[i]).size(), 60u);
  const std::string blank = "\u2800";
  const auto top = characters(lines[0]);
  const auto bottom = characters(lines[11]);
  EXPECT_THAT(lines[0], testing::StartsWith("     8 ┤"));
  EXPECT_NE(top[8], blank);
  EXPECT_EQ(top[59], blank);
  EXPECT_THAT(lines[11], testing::StartsWith("     3 ┤"));
  EXPECT_EQ(bottom[8], blank);
  EXPECT_NE(bottom[59], blank);
  EXPECT_EQ(characters(lines[12])[8], "┬");
  EXPECT_THAT(lines[13], HasSubstr("100"));
  EXPECT_THAT(lines[14], HasSubstr("training loss 3.0000 at step 100"));
  EXPECT_THAT(lines[14], HasSubstr("validation loss 4.0000 at step 100"));
  int marks = 0;
  for (int i = 0; i < 12; ++i) {
    for (const auto& c : characters(lines[static_cast<std::size_t>(i)])) marks += c == "◆";
  }
  EXPECT_EQ(marks, 2);
}

TEST(LossPlot, SvgMapsValuesToPixels) {
  const std::string svg = draw_losses_as_svg(falling_line(), 680, 370);
  // 600 x 300 pixels for steps 0..100 and losses 3..8.
  EXPECT_THAT(svg, HasSubstr("points=\"60.0,30.0 "));
  EXPECT_THAT(svg, HasSubstr(" 660.0,330.0 \""));
  EXPECT_THAT(svg, HasSubstr("<circle cx=\"360.0\" cy=\"150.0\""));
  EXPECT_THAT(svg, testing::StartsWith("<svg "));
  EXPECT_THAT(svg, testing::EndsWith("</svg>\n"));
}

TEST(LossPlot, NoLossesOneLossAndEqualLossesAreDrawn) {
  EXPECT_EQ(draw_losses_as_text({}, 60, 15), "");
  EXPECT_EQ(draw_losses_as_svg({}, 600, 300), "");
  RunLosses losses{.training = {{1}, {5}}, .validation = {}};
  EXPECT_EQ(lines_of(draw_losses_as_text(losses, 60, 15)).size(), 15u);
  losses.training = {{0, 1}, {0, 0}};
  EXPECT_THAT(draw_losses_as_svg(losses, 600, 300), Not(HasSubstr("nan")));
}

TEST_F(Metrics, LossesAreReadBack) {
  MetricsWriter writer(jsonl(), 0);
  writer.write(step_metrics(1));
  StepMetrics overflow = step_metrics(2);
  overflow.loss = INFINITY;
  writer.write(overflow);
  writer.write(validation_metrics(2));
  const RunLosses losses = read_losses(jsonl());
  EXPECT_THAT(losses.training.steps, ElementsAre(1));
  EXPECT_THAT(losses.training.losses, ElementsAre(5));
  EXPECT_THAT(losses.validation.steps, ElementsAre(2));
  EXPECT_THAT(losses.validation.losses, ElementsAre(2));
  const std::string missing = folder_ / "nowhere.jsonl";
  EXPECT_THAT(error_of(ExitCode::checkpoint, [&] { read_losses(missing); }), HasSubstr(missing));
}

TEST(DevicePeaks, AreOfTheDeviceNamed) {
  EXPECT_EQ(bf16_peak_tflops("cuda 3 (NVIDIA H200, compute capability 9.0)"), 989);
  EXPECT_EQ(bf16_peak_tflops("NVIDIA H200 NVL"), 835);
  EXPECT_EQ(bf16_peak_tflops("NVIDIA A100-SXM4-80GB"), 312);
  EXPECT_EQ(bf16_peak_tflops("NVIDIA L40S"), 362);
  EXPECT_EQ(bf16_peak_tflops("NVIDIA L40"), std::nullopt);
  EXPECT_EQ(bf16_peak_tflops("cpu (AMD EPYC, avx512_bf16)"), std::nullopt);
}

TEST(StepMetrics, TellWhatShareOfThePeakAStepReaches) {
  const ModelConfig model;
  const std::vector<double> readouts(static_cast<std::size_t>(model.layers * num_readouts));
  StepResult result;
  result.readouts = readouts;
  StepSetting setting{
      .num_ranks = 2, .total_steps = 10, .tokens_per_step = 1000, .flops_per_token = 4e9};
  // 1000 tokens in half a second on two ranks: each has 1000 a second, 4 TFLOP/s.
  const StepMetrics unknown = step_metrics(setting, model, result, {.step = 4}, 500);
  EXPECT_DOUBLE_EQ(unknown.tokens_per_second, 2000);
  EXPECT_DOUBLE_EQ(unknown.model_tflops_per_rank, 4);
  EXPECT_EQ(unknown.mfu_percent, std::nullopt);
  EXPECT_EQ(unknown.pipeline_idle_percent, std::nullopt);
  EXPECT_DOUBLE_EQ(unknown.eta.count(), 3);
  setting.peak_tflops = 16;
  EXPECT_DOUBLE_EQ(*step_metrics(setting, model, result, {.step = 4}, 500).mfu_percent, 25);
}

}  // namespace
}  // namespace dualpath
