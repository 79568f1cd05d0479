#include "core/cuda/libraries/cuda_tuner.h"

#include <algorithm>

#include "core/base/random.h"
#include "core/cuda/runtime/cuda_check.h"

namespace dualpath {
namespace {

double median(std::vector<double> values) {
  const auto middle = values.begin() + std::ssize(values) / 2;
  std::ranges::nth_element(values, middle);
  return *middle;
}

// Operands of a product, full of random numbers: products of zeros are faster.
class Operands {
 public:
  Operands(const gpu::Product& p, Device& device, CudaStream& stream)
      : bytes_{bytes_of(p.shape.first, p.operand_type), bytes_of(p.shape.second, p.operand_type),
               bytes_of(p.shape.d, p.result_type)},
        memory_(device.allocate(place(3))) {
    for (int i = 0; i < 3; ++i) {
      // As well aligned as the product's, no better.
      const std::size_t skipped = p.alignments[static_cast<std::size_t>(i)] % 256;
      data_[i] = memory_.data() + place(i) + skipped;
      fill(i, i == 2 ? p.result_type : p.operand_type, stream);
    }
  }
  void* first() const { return data_[0]; }
  void* second() const { return data_[1]; }
  void* d() const { return data_[2]; }

 private:
  static constexpr std::size_t page = 4096;

  static std::size_t bytes_of(const gpu::ColumnMajor& matrix, DType type) {
    return static_cast<std::size_t>(matrix.leading_dimension * matrix.columns) * size_of(type);
  }
  // Where operand i begins; 3: the end.
  std::size_t place(int i) const {
    std::size_t begin = 0;
    for (int j = 0; j < i; ++j) begin += (bytes_[j] / page + 2) * page;
    return begin;
  }
  // A block of numbers over and over.
  void fill(int i, DType type, CudaStream& stream) {
    constexpr std::size_t block = 1 << 18;
    std::vector<float> numbers(block);
    CounterRng(1, "operands").uniform(numbers, 0, -1, 1);
    const std::vector<bfloat16> rounded(numbers.begin(), numbers.end());
    const void* source = type == DType::bf16 ? static_cast<const void*>(rounded.data())
                                             : static_cast<const void*>(numbers.data());
    const std::size_t block_bytes = std::min(block * size_of(type), bytes_[i]);
    stream.upload(data_[i], source, block_bytes);
    for (std::size_t done = block_bytes; done < bytes_[i];) {
      const std::size_t count = std::min(done, bytes_[i] - done);
      CUDA_CHECK(cudaMemcpyAsync(data_[i] + done, data_[i], count, cudaMemcpyDeviceToDevice,
                                 stream.use()));
      done += count;
    }
  }

  std::size_t bytes_[3];
  Buffer memory_;
  std::byte* data_[3];
};

constexpr const char* fused_attention = "cuDNN";

// As a choice may be.
std::string one_line(std::string text) {
  for (char& c : text) {
    if (c == '\n' || c == '"' || c == '\\') c = ' ';
  }
  return text;
}

}  // namespace

CudaTuner::CudaTuner(Device& device, const CudaLibraries& libraries, const std::string& gpu,
                     std::size_t cache_bytes)
    : device_(device),
      libraries_(libraries),
      made_for_(fmt::format("{}, cuBLASLt {}, {}", gpu, cublasLtGetVersion(), cudnn_text())),
      cache_bytes_(cache_bytes) {}

void CudaTuner::Recorder::run(const Operation& operation) {
  if (const auto* matmul = std::get_if<op::Matmul>(&operation)) {
    if (matmul->c.numel() == 0 || matmul->a.numel() == 0) return;
    const gpu::Product product = gpu::product_of(*matmul);
    calls.emplace(gpu::text_of(product), product);
  }
  if (const auto* attention = std::get_if<op::Attention>(&operation)) {
    if (attention->q_THE.dtype != DType::bf16) return;
    const AttentionShape& s = attention->shape;
    calls.emplace(fmt::format("attention bf16, {} x {} positions, {}/{} heads of {}", s.sequences,
                              s.positions, s.heads, s.kv_heads, s.head_size),
                  s);
  }
}

std::vector<std::string> CudaTuner::calls() const {
  std::vector<std::string> texts;
  for (const auto& [text, call] : recorder_.calls) texts.push_back(text);
  return texts;
}

std::string CudaTuner::choose(const std::string& text) {
  const Call& call = recorder_.calls.at(text);
  if (const auto* product = std::get_if<gpu::Product>(&call)) return text_of(fastest(*product));
  const std::string problem = libraries_.attention.problem(std::get<AttentionShape>(call));
  return problem.empty() ? fused_attention : one_line(std::string(own_kernel) + problem);
}

CudaMatmul::Algorithm CudaTuner::fastest(const gpu::Product& product) {
  CudaStream& stream = libraries_.stream;
  CudaMatmul& products = libraries_.products;
  const std::vector<CudaMatmul::Algorithm> algorithms =
      products.algorithms(product, num_candidates);
  const Operands operands(product, device_, stream);
  const Buffer other = device_.allocate(2 * cache_bytes_);
  const auto stopwatch = device_.make_stopwatch(stream);
  // In turns, so that a change of the GPU's clock meets all alike; the first round warms up.
  for (int round = 0; round <= num_rounds; ++round) {
    for (const CudaMatmul::Algorithm& algorithm : algorithms) {
      products.keep_to(product, algorithm);
      CUDA_CHECK(cudaMemcpyAsync(other.data() + cache_bytes_, other.data(), cache_bytes_,
                                 cudaMemcpyDeviceToDevice, stream.use()));
      stopwatch->mark();
      products.run(product, operands.first(), operands.second(), operands.d(), stream.use());
      stopwatch->mark();
    }
  }
  const std::vector<double> seconds = stopwatch->take();  // every second one is a product's
  std::vector<std::vector<double>> times(algorithms.size());
  for (std::size_t i = algorithms.size(); 2 * i < seconds.size(); ++i)
    times[i % algorithms.size()].push_back(seconds[2 * i]);
  std::size_t best = 0;
  for (std::size_t i = 1; i < times.size(); ++i) {
    if (median(times[i]) < median(times[best])) best = i;
  }
  return algorithms[best];
}

void CudaTuner::keep_to(const Choices& choices) {
  for (const auto& [text, call] : recorder_.calls) {
    const auto found = choices.find(text);
    const std::string choice = found == choices.end() ? "" : found->second;
    if (const auto* product = std::get_if<gpu::Product>(&call)) {
      libraries_.products.keep_to(
          *product, choice.empty() ? libraries_.products.algorithms(*product, 1).front()
                                   : algorithm_of(choice));
      continue;
    }
    const auto& shape = std::get<AttentionShape>(call);
    if (!choice.empty() && choice != fused_attention) {
      libraries_.attention.leave(shape, choice);
      continue;
    }
    const std::string problem = libraries_.attention.problem(shape);
    CHECK_AS(ExitCode::checkpoint, choice.empty() || problem.empty(),
             "{}: cuDNN was chosen, but {}", text, problem);
  }
}

}  // namespace dualpath
