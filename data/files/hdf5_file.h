// Hdf5File: one open HDF5 file of 1-D contiguous datasets and scalar attributes. Any thread may
// call; the library itself is entered by one thread at a time. Numbers are stored little-endian.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/base/tensor.h"

namespace dualpath {

enum class Hdf5Type { u8, u16, u32, u64, i32, i64, f32, f64 };
std::size_t size_of(Hdf5Type type);
const char* name_of(Hdf5Type type);
Hdf5Type hdf5_type(DType dtype);

template <class T>
inline constexpr Hdf5Type hdf5_type_of = [] {
  if constexpr (std::is_same_v<T, std::uint8_t>) return Hdf5Type::u8;
  if constexpr (std::is_same_v<T, std::uint16_t>) return Hdf5Type::u16;
  if constexpr (std::is_same_v<T, std::uint32_t>) return Hdf5Type::u32;
  if constexpr (std::is_same_v<T, std::uint64_t>) return Hdf5Type::u64;
  if constexpr (std::is_same_v<T, std::int32_t>) return Hdf5Type::i32;
  if constexpr (std::is_same_v<T, std::int64_t>) return Hdf5Type::i64;
  if constexpr (std::is_same_v<T, float>) return Hdf5Type::f32;
  if constexpr (std::is_same_v<T, double>) return Hdf5Type::f64;
}();

struct Hdf5Dataset {
  Hdf5Type type;
  std::uint64_t size;         // elements
  std::uint64_t file_offset;  // of the first element, bytes from the file's start; 0 when empty
  std::uint64_t bytes() const { return size * size_of(type); }
};

class Hdf5File {
 public:
  // Every error of this file is thrown as Error(code) and names the file.
  static Hdf5File create(const std::string& path, ExitCode code);  // replaces an existing file
  static Hdf5File open(const std::string& path, ExitCode code);    // read only
  Hdf5File(Hdf5File&& other) noexcept;
  Hdf5File& operator=(Hdf5File&&) = delete;
  ~Hdf5File();

  // Writes what is still buffered. Without it the destructor does, and cannot report a failure.
  void close();
  const std::string& path() const { return path_; }

  // A name may hold slashes; missing groups are made. Space is reserved at once and not filled;
  // datasets from 1 MiB on begin at a multiple of 1 MiB.
  void create_dataset(const std::string& name, Hdf5Type type, std::uint64_t size);
  // Elements [begin, begin + data.size()); T is the dataset's own type.
  template <class T>
  void write(const std::string& name, std::uint64_t begin, std::span<const T> data) {
    write_elements(name, hdf5_type_of<T>, begin, data.size(), data.data());
  }
  template <class T>
  void read(const std::string& name, std::uint64_t begin, std::span<T> out) const {
    read_elements(name, hdf5_type_of<T>, begin, out.size(), out.data());
  }
  void write_elements(const std::string& name, Hdf5Type type, std::uint64_t begin,
                      std::uint64_t count, const void* data);
  void read_elements(const std::string& name, Hdf5Type type, std::uint64_t begin,
                     std::uint64_t count, void* out) const;

  Hdf5Dataset dataset(const std::string& name) const;
  // All datasets below the group, paths relative to it, in the order of their names.
  std::vector<std::string> dataset_names(const std::string& group = "/") const;

  // Scalar attributes of an object: "/" or a dataset's or group's name. T is std::int64_t,
  // std::uint64_t, double or std::string, the same in writing and reading. Strings of variable
  // length are read, too.
  template <class T>
  void set_attribute(const std::string& object, const std::string& name, const T& value);
  template <class T>
  T attribute(const std::string& object, const std::string& name) const;

 private:
  Hdf5File(std::string path, ExitCode code, std::int64_t file);
  std::string path_;
  ExitCode code_;
  std::int64_t file_;  // HDF5's handle; negative once closed
};

}  // namespace dualpath
