// The element types that kernels are compiled for: streams and operands of f32, operands of bf16
// beside streams of f32, and both bf16 (NumericTypes).
#pragma once

#include "core/base/tensor.h"

namespace dualpath {

// body.operator()<T>() with T the element type of `tensor`.
template <class Body>
void with_type(Tensor tensor, const Body& body) {
  if (tensor.dtype == DType::bf16) {
    body.template operator()<bfloat16>();
  } else {
    CHECK(tensor.dtype == DType::f32, "the kernels take f32 and bf16, not {}",
          name_of(tensor.dtype));
    body.template operator()<float>();
  }
}

// body.operator()<S, O>() with the element types of a stream and of an operand.
template <class Body>
void with_types(Tensor stream, Tensor operand, const Body& body) {
  if (stream.dtype == DType::bf16) {
    CHECK(operand.dtype == DType::bf16, "a bf16 stream goes with bf16 operands, not {}",
          name_of(operand.dtype));
    body.template operator()<bfloat16, bfloat16>();
  } else {
    with_type(operand, [&]<class O>() { body.template operator()<float, O>(); });
  }
}

}  // namespace dualpath
