#include "core/base/error.h"
#include "parallel/nccl_communicator.h"

namespace dualpath {

std::string nccl_obstacle(Communicator&, const Device&) {
  return "this program was built without NCCL";
}

std::unique_ptr<Communicator> make_nccl_communicator(Communicator&, const Device&,
                                                     OperationsUnderWay&) {
  DUALPATH_FAIL(ExitCode::configuration, "this program was built without NCCL");
}

std::string nccl_version() {
  return "";
}

std::string nccl_settings() {
  return "";
}

}  // namespace dualpath
