#include "tests/fake_cuda/cudnn_graph_run.h"

#include <cmath>
#include <cstring>
#include <cudnn.h>
#include <functional>
#include <set>
#include <utility>

#include "core/base/bfloat16.h"

namespace dualpath::fake_cuda {
namespace {

using Dims = std::array<std::int64_t, 4>;

template <class Value>
Value value_of(const CudnnNode& node, int name) {
  const auto found = node.attributes.find(name);
  require(found != node.attributes.end() && found->second.bytes.size() == sizeof(Value),
          cudaErrorInvalidValue, fmt::format("attribute {} of a descriptor", name));
  Value value;
  std::memcpy(&value, found->second.bytes.data(), sizeof value);
  return value;
}

const CudnnNode& node_of(const CudnnNode& node, int name) {
  const auto found = node.attributes.find(name);
  require(found != node.attributes.end() && found->second.nodes.size() == 1, cudaErrorInvalidValue,
          fmt::format("descriptor {} of a descriptor", name));
  return *found->second.nodes.front();
}

std::int64_t place(const Dims& index, const Dims& strides) {
  std::int64_t at = 0;
  for (std::size_t i = 0; i < 4; ++i) at += index[i] * strides[i];
  return at;
}

void for_each_index(const Dims& dims, const std::function<void(const Dims&)>& visit) {
  Dims i{};
  for (i[0] = 0; i[0] < dims[0]; ++i[0])
    for (i[1] = 0; i[1] < dims[1]; ++i[1])
      for (i[2] = 0; i[2] < dims[2]; ++i[2])
        for (i[3] = 0; i[3] < dims[3]; ++i[3]) visit(i);
}

// A tensor's elements while the graph runs, rounded to its type.
class Values {
 public:
  Values() = default;
  explicit Values(const CudnnTensorView& of)
      : of_(of), numbers_(static_cast<std::size_t>(of.numel())) {}
  const Dims& dims() const { return of_.dims; }
  // A dimension of one, and one that divides the index's, are repeated.
  float at(const Dims& index, const Dims& all) const {
    Dims own{};
    for (std::size_t i = 0; i < 4; ++i) own[i] = index[i] / (all[i] / of_.dims[i]);
    return numbers_[offset(own)];
  }
  float at(const Dims& index) const { return numbers_[offset(index)]; }
  void set(const Dims& index, float value) {
    numbers_[offset(index)] =
        of_.type == CUDNN_DATA_BFLOAT16 ? static_cast<float>(bfloat16(value)) : value;
  }
  void load(const void* memory) {
    for_each_index(of_.dims, [&](const Dims& i) {
      const std::int64_t at = place(i, of_.strides);
      numbers_[offset(i)] = of_.type == CUDNN_DATA_BFLOAT16
                                ? static_cast<float>(static_cast<const bfloat16*>(memory)[at])
                                : static_cast<const float*>(memory)[at];
    });
  }
  void store(void* memory) const {
    for_each_index(of_.dims, [&](const Dims& i) {
      const std::int64_t at = place(i, of_.strides);
      if (of_.type == CUDNN_DATA_BFLOAT16)
        static_cast<bfloat16*>(memory)[at] = this->at(i);
      else
        static_cast<float*>(memory)[at] = this->at(i);
    });
  }

 private:
  std::size_t offset(const Dims& i) const {
    const Dims& d = of_.dims;
    return static_cast<std::size_t>(((i[0] * d[1] + i[1]) * d[2] + i[2]) * d[3] + i[3]);
  }
  CudnnTensorView of_;
  std::vector<float> numbers_;
};

class Run {
 public:
  Run(const std::map<std::int64_t, void*>& memory, const std::map<std::int64_t, float>& numbers)
      : memory_(memory), numbers_(numbers) {}

  void operation(const CudnnNode& o) {
    switch (o.type) {
      case CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR:
        return matmul(o);
      case CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR:
        return pointwise(o);
      case CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR:
        return reduction(o);
      case CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR:
        return transposition(o);
      default:
        throw Refusal(cudaErrorNotSupported, fmt::format("operation {} of cuDNN", o.type));
    }
  }

 private:
  const Values& input(const CudnnNode& operation, int name) {
    const CudnnTensorView view = tensor_view(node_of(operation, name));
    const auto [found, is_new] = values_.try_emplace(view.id, view);
    if (!is_new) return found->second;
    require(!view.is_virtual, cudaErrorInvalidValue,
            "a tensor between operations that none has computed");
    if (view.is_number)
      found->second.set({}, numbers_.at(view.id));
    else
      found->second.load(memory_.at(view.id));
    return found->second;
  }
  void output(const CudnnNode& operation, int name,
              const std::function<float(const Dims&, const Dims&)>& value) {
    const CudnnTensorView view = tensor_view(node_of(operation, name));
    Values result(view);
    for_each_index(view.dims, [&](const Dims& i) { result.set(i, value(i, view.dims)); });
    if (!view.is_virtual) result.store(memory_.at(view.id));
    const bool is_new = values_.emplace(view.id, std::move(result)).second;
    require(is_new, cudaErrorInvalidValue, "a tensor that two operations compute");
  }

  void matmul(const CudnnNode& o) {
    const Values& a = input(o, CUDNN_ATTR_OPERATION_MATMUL_ADESC);
    const Values& b = input(o, CUDNN_ATTR_OPERATION_MATMUL_BDESC);
    const std::int64_t inner = a.dims()[3];
    require(b.dims()[2] == inner, cudaErrorInvalidValue, "a product of unlike matrices");
    output(o, CUDNN_ATTR_OPERATION_MATMUL_CDESC, [&](const Dims& i, const Dims& dims) {
      float sum = 0;
      for (std::int64_t k = 0; k < inner; ++k) {
        sum += a.at({i[0], i[1], i[2], k}, {dims[0], dims[1], dims[2], inner}) *
               b.at({i[0], i[1], k, i[3]}, {dims[0], dims[1], inner, dims[3]});
      }
      return sum;
    });
  }

  void pointwise(const CudnnNode& o) {
    const CudnnNode& how = node_of(o, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR);
    const auto mode = value_of<cudnnPointwiseMode_t>(how, CUDNN_ATTR_POINTWISE_MODE);
    const Values& x = input(o, CUDNN_ATTR_OPERATION_POINTWISE_XDESC);
    const auto b = [&]() -> const Values& {
      return input(o, CUDNN_ATTR_OPERATION_POINTWISE_BDESC);
    };
    const auto y = [&](const std::function<float(const Dims&, const Dims&)>& value) {
      output(o, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, value);
    };
    const auto binary = [&](float (*apply)(float, float)) {
      const Values& other = b();
      y([&](const Dims& i, const Dims& dims) { return apply(x.at(i, dims), other.at(i, dims)); });
    };
    switch (mode) {
      case CUDNN_POINTWISE_ADD:
        return binary([](float l, float r) { return l + r; });
      case CUDNN_POINTWISE_SUB:
        return binary([](float l, float r) { return l - r; });
      case CUDNN_POINTWISE_MUL:
        return binary([](float l, float r) { return l * r; });
      case CUDNN_POINTWISE_DIV:
        return binary([](float l, float r) { return l / r; });
      case CUDNN_POINTWISE_CMP_GE:
        return binary([](float l, float r) { return l >= r ? 1.0f : 0.0f; });
      case CUDNN_POINTWISE_EXP:
        return y([&](const Dims& i, const Dims& dims) { return std::exp(x.at(i, dims)); });
      case CUDNN_POINTWISE_LOG:
        return y([&](const Dims& i, const Dims& dims) { return std::log(x.at(i, dims)); });
      case CUDNN_POINTWISE_GEN_INDEX: {
        const auto axis = value_of<std::int64_t>(how, CUDNN_ATTR_POINTWISE_AXIS);
        return y([&](const Dims& i, const Dims&) {
          return static_cast<float>(i.at(static_cast<std::size_t>(axis)));
        });
      }
      case CUDNN_POINTWISE_BINARY_SELECT: {
        const Values& otherwise = b();
        const Values& where = input(o, CUDNN_ATTR_OPERATION_POINTWISE_TDESC);
        return y([&](const Dims& i, const Dims& dims) {
          return where.at(i, dims) != 0 ? x.at(i, dims) : otherwise.at(i, dims);
        });
      }
      default:
        throw Refusal(cudaErrorNotSupported, "this pointwise operation of cuDNN");
    }
  }

  void reduction(const CudnnNode& o) {
    const CudnnNode& how = node_of(o, CUDNN_ATTR_OPERATION_REDUCTION_DESC);
    const auto mode = value_of<cudnnReduceTensorOp_t>(how, CUDNN_ATTR_REDUCTION_OPERATOR);
    require(mode == CUDNN_REDUCE_TENSOR_ADD || mode == CUDNN_REDUCE_TENSOR_MAX,
            cudaErrorNotSupported, "this reduction of cuDNN");
    const Values& x = input(o, CUDNN_ATTR_OPERATION_REDUCTION_XDESC);
    output(o, CUDNN_ATTR_OPERATION_REDUCTION_YDESC, [&](const Dims& i, const Dims& dims) {
      Dims ratio{}, from{};
      for (std::size_t d = 0; d < 4; ++d) {
        ratio[d] = x.dims()[d] / dims[d];
        from[d] = i[d] * ratio[d];
      }
      float result = x.at(from);
      bool is_first = true;
      for_each_index(ratio, [&](const Dims& step) {
        if (std::exchange(is_first, false)) return;
        const float value =
            x.at({from[0] + step[0], from[1] + step[1], from[2] + step[2], from[3] + step[3]});
        result = mode == CUDNN_REDUCE_TENSOR_ADD ? result + value : std::max(result, value);
      });
      return result;
    });
  }

  // Of the last two dimensions: another is not imitated.
  void transposition(const CudnnNode& o) {
    const Values& x = input(o, CUDNN_ATTR_OPERATION_RESHAPE_XDESC);
    output(o, CUDNN_ATTR_OPERATION_RESHAPE_YDESC, [&](const Dims& i, const Dims& dims) {
      require(x.dims() == Dims{dims[0], dims[1], dims[3], dims[2]}, cudaErrorNotSupported,
              "a reshape that is no transposition");
      return x.at({i[0], i[1], i[3], i[2]});
    });
  }

  const std::map<std::int64_t, void*>& memory_;
  const std::map<std::int64_t, float>& numbers_;
  std::map<std::int64_t, Values> values_;
};

}  // namespace

std::size_t CudnnTensorView::bytes() const {
  const Dims last{dims[0] - 1, dims[1] - 1, dims[2] - 1, dims[3] - 1};
  const std::size_t element = type == CUDNN_DATA_BFLOAT16 ? 2 : 4;
  return static_cast<std::size_t>(place(last, strides) + 1) * element;
}

CudnnTensorView tensor_view(const CudnnNode& tensor) {
  return {value_of<std::int64_t>(tensor, CUDNN_ATTR_TENSOR_UNIQUE_ID),
          value_of<cudnnDataType_t>(tensor, CUDNN_ATTR_TENSOR_DATA_TYPE),
          value_of<Dims>(tensor, CUDNN_ATTR_TENSOR_DIMENSIONS),
          value_of<Dims>(tensor, CUDNN_ATTR_TENSOR_STRIDES),
          value_of<bool>(tensor, CUDNN_ATTR_TENSOR_IS_VIRTUAL),
          value_of<bool>(tensor, CUDNN_ATTR_TENSOR_IS_BY_VALUE)};
}

std::vector<CudnnTensorView> tensors_of(const CudnnNode& graph) {
  std::vector<CudnnTensorView> tensors;
  std::set<std::int64_t> ids;
  for (const auto& operation : graph.attributes.at(CUDNN_ATTR_OPERATIONGRAPH_OPS).nodes) {
    for (const auto& [name, attribute] : operation->attributes) {
      for (const auto& node : attribute.nodes) {
        if (node->type != CUDNN_BACKEND_TENSOR_DESCRIPTOR) continue;
        const CudnnTensorView view = tensor_view(*node);
        if (ids.insert(view.id).second) tensors.push_back(view);
      }
    }
  }
  return tensors;
}

void run_graph(const CudnnNode& graph, const std::map<std::int64_t, void*>& memory,
               const std::map<std::int64_t, float>& numbers) {
  Run run(memory, numbers);
  for (const auto& operation : graph.attributes.at(CUDNN_ATTR_OPERATIONGRAPH_OPS).nodes)
    run.operation(*operation);
}

}  // namespace dualpath::fake_cuda
