#include "tests/reference_ops/reference_ops.h"

#include "tests/reference_ops/path_kernels.h"
#include "tests/reference_ops/rounded.h"

namespace dualpath {

template class ReferenceOpsOf<double>;
template class ReferenceOpsOf<Rounded>;

}  // namespace dualpath
