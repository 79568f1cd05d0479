// What the program has made of cuDNN's: handles, and descriptors as they were set.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "tests/fake_cuda/handles.h"

namespace dualpath::fake_cuda {

// Attributes by their names' numbers; types are numbers of the library's too.
struct CudnnNode {
  int type = 0;
  bool finalized = false;
  struct Attribute {
    std::vector<std::byte> bytes;
    std::vector<std::shared_ptr<const CudnnNode>> nodes;  // instead, where it is of descriptors
  };
  std::map<int, Attribute> attributes;
};

class Cudnn {
 public:
  struct Library {
    int device;
    cudaStream_t stream;
  };
  Handles<Library> libraries{"cuDNN handle"};
  Handles<std::shared_ptr<CudnnNode>> descriptors{"cuDNN descriptor"};

  void append_leaks(std::vector<std::string>& leaks) const {
    libraries.append_leaks(leaks);
    descriptors.append_leaks(leaks);
  }
};

}  // namespace dualpath::fake_cuda
