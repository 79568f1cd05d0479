#include "tests/reference_ops/reference_ops.h"

#include "tests/reference_ops/path_kernels.h"

namespace dualpath {

template class ReferenceOpsOf<double>;

}  // namespace dualpath
