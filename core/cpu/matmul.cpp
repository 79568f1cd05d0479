#include <dnnl.h>
#include <omp.h>

#include "core/cpu/bf16_products.h"
#include "core/cpu/cpu_ops.h"

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

using Layout = dnnl::memory::format_tag;

// A row-major matrix as it lies, or read as its transpose.
Layout as_it_lies(bool transposed) {
  return transposed ? Layout::ba : Layout::ab;
}

dnnl::matmul::primitive_desc describe(const dnnl::engine& engine, const dnnl::memory::desc& a,
                                      const dnnl::memory::desc& b, const dnnl::memory::desc& c,
                                      const dnnl::primitive_attr& attributes) {
#if DNNL_VERSION_MAJOR >= 3
  return {engine, a, b, c, attributes};
#else
  return {{a, b, c}, attributes, engine};
#endif
}

void check_status(dnnl_status_t status, const ProductShape& p) {
  CHECK(status == dnnl_success, "oneDNN refuses a product of {} × {} over {} with status {}",
        p.rows, p.columns, p.inner, static_cast<int>(status));
}

void check_executed(dnnl_status_t status) {
  CHECK(status == dnnl_success, "oneDNN fails in a bf16 product with status {}",
        static_cast<int>(status));
}

// In f32 dnnl_sgemm needs no preparation for a shape and is as fast.
void multiply_f32(Tensor c, Tensor a, Tensor b, const ProductShape& p) {
  check_status(dnnl_sgemm(p.flags.transpose_a ? 'T' : 'N', p.flags.transpose_b ? 'T' : 'N', p.rows,
                          p.columns, p.inner, 1.0F, a.as<float>(), a.shape[1], b.as<float>(),
                          b.shape[1], p.flags.accumulate ? 1.0F : 0.0F, c.as<float>(), p.columns),
               p);
}

}  // namespace

Bf16Product::Bf16Product(const dnnl::engine& engine, const ProductShape& p)
    : packs_(p.rows >= least_rows_to_pack) {
  using Matrix = dnnl::memory::desc;
  const auto bf16 = dnnl::memory::data_type::bf16;
  const Matrix a({p.rows, p.inner}, bf16, as_it_lies(p.flags.transpose_a));
  const Matrix b({p.inner, p.columns}, bf16, as_it_lies(p.flags.transpose_b));
  const Matrix c({p.rows, p.columns}, data_type(p.c_type), as_it_lies(false));
  const Matrix any({p.inner, p.columns}, bf16, Layout::any);
  dnnl::primitive_attr attributes;
  if (p.flags.accumulate) {
    dnnl::post_ops post;
    post.append_sum(1);
    attributes.set_post_ops(post);
  }
  const auto product = describe(engine, a, packs_ ? any : b, c, attributes);
  product_ = dnnl::matmul(product);
  a_ = dnnl::memory(a, engine, nullptr);
  b_ = dnnl::memory(b, engine, nullptr);
  c_ = dnnl::memory(c, engine, nullptr);
  packed_ = dnnl::memory(product.weights_desc(), engine, nullptr);
  packs_ = packs_ && product.weights_desc() != b;
  if (packs_) pack_ = dnnl::reorder(b_, packed_);
}

void Bf16Product::pack(const dnnl::stream& stream, void* packed, Tensor b) {
  b_.set_data_handle(b.data);
  packed_.set_data_handle(packed);
  const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_FROM, b_.get()}, {DNNL_ARG_TO, packed_.get()}};
  check_executed(dnnl_primitive_execute(pack_.get(), stream.get(), 2, arguments));
}

void Bf16Product::run(const dnnl::stream& stream, Tensor c, Tensor a, const void* b) {
  a_.set_data_handle(a.data);
  packed_.set_data_handle(const_cast<void*>(b));
  c_.set_data_handle(c.data);
  const dnnl_exec_arg_t arguments[] = {
      {DNNL_ARG_SRC, a_.get()}, {DNNL_ARG_WEIGHTS, packed_.get()}, {DNNL_ARG_DST, c_.get()}};
  check_executed(dnnl_primitive_execute(product_.get(), stream.get(), 3, arguments));
}

Bf16Product& Bf16Products::of(const ProductShape& shape) {
  const auto found = products_.find(shape);
  if (found != products_.end()) return found->second;
  return products_.try_emplace(shape, engine_, shape).first->second;
}

void Bf16Products::run(const ProductShape& shape, Tensor c, Tensor a, Tensor b) {
  Bf16Product& product = of(shape);
  const bool packs = product.packed_bytes() > 0;
  product.run(stream_, c, a, packs ? packed(product, b, !shape.flags.transpose_a) : b.data);
}

const void* Bf16Products::packed(Bf16Product& product, Tensor b, bool is_weight) {
  const auto bytes = static_cast<std::int64_t>(product.packed_bytes());
  if (!holding_ || !is_weight) {
    passing_.reserve(bytes);
    product.pack(stream_, passing_.of(0), b);
    return passing_.of(0);
  }
  for (const Held& held : held_) {
    if (held.b == b.data && held.product == &product) return held.packed;
  }
  held_.push_back({b.data, &product, stock_.take(bytes)});
  product.pack(stream_, held_.back().packed, b);
  return held_.back().packed;
}

void Bf16Products::hold() {
  CHECK(!holding_, "weights are held twice");
  holding_ = true;
}

void Bf16Products::release() {
  holding_ = false;
  held_.clear();
  stock_.clear();
}

void CpuOps::compute(const op::Matmul& op) {
  const ProductShape shape{op.rows(), op.columns(), op.inner(), op.c.dtype, op.flags};
  if (op.c.numel() == 0) return;
  if (shape.inner == 0) {
    if (!op.flags.accumulate) compute(op::Fill{.out = op.c, .value = 0});
    return;
  }
  const OpenMpThreads threads(num_threads_);
  if (op.a.dtype == DType::bf16) {
    bf16_products_.run(shape, op.c, op.a, op.b);
  } else {
    multiply_f32(op.c, op.a, op.b, shape);
  }
}

}  // namespace dualpath
