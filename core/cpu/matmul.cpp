#include "core/cpu/matmul.h"

#include <dnnl.h>
#include <omp.h>

#include "core/cpu/cpu_ops.h"
#include "core/ops_checks.h"

namespace dualpath {
namespace {

// oneDNN takes its thread count from OpenMP's setting of the calling thread.
class OpenMpThreads {
 public:
  explicit OpenMpThreads(int num_threads) : before_(omp_get_max_threads()) {
    omp_set_num_threads(num_threads);
  }
  ~OpenMpThreads() { omp_set_num_threads(before_); }
  OpenMpThreads(const OpenMpThreads&) = delete;
  OpenMpThreads& operator=(const OpenMpThreads&) = delete;

 private:
  int before_;
};

dnnl::memory::data_type data_type(DType type) {
  return type == DType::bf16 ? dnnl::memory::data_type::bf16 : dnnl::memory::data_type::f32;
}

// A row-major matrix as it lies, or read as its transpose.
dnnl::memory::desc matrix(std::int64_t rows, std::int64_t columns, DType type, bool transposed) {
  using tag = dnnl::memory::format_tag;
  return {{rows, columns}, data_type(type), transposed ? tag::ba : tag::ab};
}

void check_status(dnnl_status_t status, const ProductShape& p) {
  CHECK(status == dnnl_success, "oneDNN refuses a product of {} × {} over {} with status {}",
        p.rows, p.columns, p.inner, static_cast<int>(status));
}

// In f32 dnnl_sgemm needs no preparation for a shape and is as fast.
void multiply_f32(Tensor c, Tensor a, Tensor b, const ProductShape& p) {
  check_status(dnnl_sgemm(p.flags.transpose_a ? 'T' : 'N', p.flags.transpose_b ? 'T' : 'N', p.rows,
                          p.columns, p.inner, 1.0F, a.as<float>(), a.shape[1], b.as<float>(),
                          b.shape[1], p.flags.accumulate ? 1.0F : 0.0F, c.as<float>(), p.columns),
               p);
}

}  // namespace

Bf16Product::Bf16Product(const dnnl::engine& engine, const ProductShape& p) {
  const auto a = matrix(p.rows, p.inner, DType::bf16, p.flags.transpose_a);
  const auto b = matrix(p.inner, p.columns, DType::bf16, p.flags.transpose_b);
  const auto c = matrix(p.rows, p.columns, p.c_type, false);
  dnnl::primitive_attr attributes;
  if (p.flags.accumulate) {
    dnnl::post_ops post;
    post.append_sum(1);
    attributes.set_post_ops(post);
  }
  product_ = dnnl::matmul({dnnl::matmul::desc(a, b, c), attributes, engine});
  a_ = dnnl::memory(a, engine, nullptr);
  b_ = dnnl::memory(b, engine, nullptr);
  c_ = dnnl::memory(c, engine, nullptr);
}

void Bf16Product::run(const dnnl::stream& stream, Tensor c, Tensor a, Tensor b) {
  a_.set_data_handle(a.data);
  b_.set_data_handle(b.data);
  c_.set_data_handle(c.data);
  const dnnl_exec_arg_t arguments[] = {
      {DNNL_ARG_SRC, a_.get()}, {DNNL_ARG_WEIGHTS, b_.get()}, {DNNL_ARG_DST, c_.get()}};
  const dnnl_status_t status = dnnl_primitive_execute(product_.get(), stream.get(), 3, arguments);
  CHECK(status == dnnl_success, "oneDNN fails in a bf16 product with status {}",
        static_cast<int>(status));
}

Bf16Product& Bf16Products::of(const ProductShape& shape) {
  const auto found = products_.find(shape);
  if (found != products_.end()) return found->second;
  return products_.try_emplace(shape, engine_, shape).first->second;
}

void CpuOps::matmul(Tensor c, Tensor a, Tensor b, MatmulFlags flags) {
  check_matmul(c, a, b, flags);
  const ProductShape shape{c.shape[0], c.shape[1], a.shape[flags.transpose_a ? 0 : 1], c.dtype,
                           flags};
  if (c.numel() == 0) return;
  if (shape.inner == 0) {
    if (!flags.accumulate) fill(c, 0);
    return;
  }
  const OpenMpThreads threads(num_threads_);
  if (a.dtype == DType::bf16) {
    bf16_products_.of(shape).run(bf16_products_.stream(), c, a, b);
  } else {
    multiply_f32(c, a, b, shape);
  }
}

}  // namespace dualpath
