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

}  // namespace

void CpuOps::matmul(Tensor c, Tensor a, Tensor b, MatmulFlags flags) {
  check_matmul(c, a, b, flags);
  const std::int64_t rows = c.shape[0];
  const std::int64_t columns = c.shape[1];
  const std::int64_t inner = a.shape[flags.transpose_a ? 0 : 1];
  if (c.numel() == 0) return;
  if (inner == 0) {
    if (!flags.accumulate) fill(c, 0);
    return;
  }
  const OpenMpThreads threads(num_threads_);
  const dnnl_status_t status =
      dnnl_sgemm(flags.transpose_a ? 'T' : 'N', flags.transpose_b ? 'T' : 'N', rows, columns, inner,
                 1.0F, a.as<float>(), a.shape[1], b.as<float>(), b.shape[1],
                 flags.accumulate ? 1.0F : 0.0F, c.as<float>(), columns);
  CHECK(status == dnnl_success, "oneDNN refuses the product {} = {} · {} with status {}",
        c.shape.str(), a.shape.str(), b.shape.str(), static_cast<int>(status));
}

}  // namespace dualpath
