// Reads the fixtures of tests/reference: the safetensors layout with types F64, F32 and I32.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/base/tensor.h"

namespace dualpath {

class FixtureFile {
 public:
  // Throws Error(data) when the file is not whole or not of this layout.
  explicit FixtureFile(const std::string& path);

  // Names in lexical order, only those that begin with `prefix`.
  std::vector<std::string> names(const std::string& prefix = "") const;
  bool contains(const std::string& name) const { return entries_.contains(name); }
  Shape shape(const std::string& name) const { return at(name).shape; }
  // All elements of an F64 or F32 tensor, of an I32 tensor.
  std::vector<double> reals(const std::string& name) const;
  std::vector<std::int32_t> integers(const std::string& name) const;
  const std::string& metadata(const std::string& key) const;

 private:
  struct Entry {
    DType dtype;
    Shape shape;
    std::size_t begin;  // byte offset in data_
  };
  const Entry& at(const std::string& name) const;
  template <class T>
  std::vector<T> read(const Entry& entry) const;

  std::string path_;
  std::map<std::string, Entry> entries_;
  std::map<std::string, std::string> metadata_;
  std::string data_;
};

}  // namespace dualpath
