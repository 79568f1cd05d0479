#include "data/hdf5_file.h"

#include <algorithm>
#include <bit>
#include <filesystem>
#include <hdf5.h>
#include <mutex>
#include <utility>

namespace dualpath {

namespace {

static_assert(std::endian::native == std::endian::little);
static_assert(sizeof(hid_t) == sizeof(std::int64_t));

constexpr hsize_t alignment_bytes = 1 << 20;

// The HDF5 library has one global state; whoever enters it holds this lock. Its habit of printing
// errors is switched off: they become Errors here.
class Hdf5Lock {
 public:
  Hdf5Lock() : lock_(mutex()) {
    // A file whose closing failed on a full disk would crash HDF5's own clean-up at exit.
    H5dont_atexit();
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  }

 private:
  static std::mutex& mutex() {
    static std::mutex instance;
    return instance;
  }
  std::lock_guard<std::mutex> lock_;
};

// Closes an HDF5 handle. Lives inside the scope of an Hdf5Lock.
class Handle {
 public:
  Handle(hid_t id, herr_t (*close)(hid_t)) : id_(id), close_(close) {}
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() {
    if (id_ >= 0) close_(id_);
  }
  operator hid_t() const { return id_; }

 private:
  hid_t id_;
  herr_t (*close_)(hid_t);
};

// Elements [begin, begin + count) of a dataset.
struct Selection {
  Selection(hid_t file, const std::string& name, hsize_t begin, hsize_t count)
      : dataset(H5Dopen2(file, name.c_str(), H5P_DEFAULT), H5Dclose),
        in_file(H5Dget_space(dataset), H5Sclose),
        in_memory(H5Screate_simple(1, &count, nullptr), H5Sclose) {
    H5Sselect_hyperslab(in_file, H5S_SELECT_SET, &begin, nullptr, &count, nullptr);
  }
  const Handle dataset, in_file, in_memory;
};

// The innermost entry of the error stack says what went wrong.
std::string hdf5_message() {
  std::string message = "unknown HDF5 error";
  const auto take_first = [](unsigned n, const H5E_error2_t* entry, void* out) -> herr_t {
    if (n == 0) *static_cast<std::string*>(out) = entry->desc;
    return 0;
  };
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, take_first, &message);
  return message;
}

hid_t file_type(Hdf5Type type) {
  switch (type) {
    case Hdf5Type::u8:
      return H5T_STD_U8LE;
    case Hdf5Type::u16:
      return H5T_STD_U16LE;
    case Hdf5Type::u32:
      return H5T_STD_U32LE;
    case Hdf5Type::u64:
      return H5T_STD_U64LE;
    case Hdf5Type::i32:
      return H5T_STD_I32LE;
    case Hdf5Type::i64:
      return H5T_STD_I64LE;
    case Hdf5Type::f32:
      return H5T_IEEE_F32LE;
    case Hdf5Type::f64:
      return H5T_IEEE_F64LE;
  }
  return H5I_INVALID_HID;
}

constexpr Hdf5Type all_types[] = {Hdf5Type::u8,  Hdf5Type::u16, Hdf5Type::u32, Hdf5Type::u64,
                                  Hdf5Type::i32, Hdf5Type::i64, Hdf5Type::f32, Hdf5Type::f64};

}  // namespace

// A call that must not fail: `result` is negative when it did. `what` says what was tried.
#define HDF5_CHECK(result, what) \
  CHECK_AS(code_, (result) >= 0, "{}: {}: {}", path_, what, hdf5_message())

std::size_t size_of(Hdf5Type type) {
  switch (type) {
    case Hdf5Type::u8:
      return 1;
    case Hdf5Type::u16:
      return 2;
    case Hdf5Type::u32:
    case Hdf5Type::i32:
    case Hdf5Type::f32:
      return 4;
    default:
      return 8;
  }
}

const char* name_of(Hdf5Type type) {
  constexpr const char* names[] = {"uint8", "uint16", "uint32",  "uint64",
                                   "int32", "int64",  "float32", "float64"};
  return names[static_cast<int>(type)];
}

Hdf5Type hdf5_type(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return Hdf5Type::f32;
    case DType::f64:
      return Hdf5Type::f64;
    case DType::i32:
      return Hdf5Type::i32;
    case DType::bf16:
      break;
  }
  DUALPATH_FAIL(ExitCode::internal, "{} is not stored in files", name_of(dtype));
}

Hdf5File::Hdf5File(std::string path, ExitCode code, std::int64_t file)
    : path_(std::move(path)), code_(code), file_(file) {}

Hdf5File::Hdf5File(Hdf5File&& other) noexcept
    : path_(std::move(other.path_)), code_(other.code_), file_(std::exchange(other.file_, -1)) {}

Hdf5File Hdf5File::create(const std::string& path, ExitCode code) {
  const Hdf5Lock lock;
  const Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  H5Pset_alignment(access, alignment_bytes, alignment_bytes);
  // Files become visible by rename, complete; locks only fail on some parallel file systems.
  H5Pset_file_locking(access, false, true);
  const hid_t file = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access);
  CHECK_AS(code, file >= 0, "{}: cannot be created: {}", path, hdf5_message());
  return {path, code, file};
}

Hdf5File Hdf5File::open(const std::string& path, ExitCode code) {
  CHECK_AS(code, std::filesystem::exists(path), "{}: no such file", path);
  const Hdf5Lock lock;
  const Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  H5Pset_file_locking(access, false, true);
  const hid_t file = H5Fopen(path.c_str(), H5F_ACC_RDONLY, access);
  CHECK_AS(code, file >= 0, "{}: cannot be opened as an HDF5 file: {}", path, hdf5_message());
  return {path, code, file};
}

Hdf5File::~Hdf5File() {
  if (file_ < 0) return;
  const Hdf5Lock lock;
  H5Fclose(file_);
}

void Hdf5File::close() {
  const Hdf5Lock lock;
  HDF5_CHECK(H5Fclose(std::exchange(file_, -1)), "closing");
}

void Hdf5File::create_dataset(const std::string& name, Hdf5Type type, std::uint64_t size) {
  const Hdf5Lock lock;
  const hsize_t dims = size;
  const Handle space(H5Screate_simple(1, &dims, nullptr), H5Sclose);
  const Handle links(H5Pcreate(H5P_LINK_CREATE), H5Pclose);
  H5Pset_create_intermediate_group(links, 1);
  const Handle layout(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  H5Pset_layout(layout, H5D_CONTIGUOUS);
  H5Pset_alloc_time(layout, H5D_ALLOC_TIME_EARLY);
  H5Pset_fill_time(layout, H5D_FILL_TIME_NEVER);
  const Handle dataset(
      H5Dcreate2(file_, name.c_str(), file_type(type), space, links, layout, H5P_DEFAULT),
      H5Dclose);
  HDF5_CHECK(dataset, fmt::format("making dataset '{}'", name));
}

Hdf5Dataset Hdf5File::dataset(const std::string& name) const {
  const Hdf5Lock lock;
  const Handle dataset(H5Dopen2(file_, name.c_str(), H5P_DEFAULT), H5Dclose);
  HDF5_CHECK(dataset, fmt::format("dataset '{}'", name));
  const Handle space(H5Dget_space(dataset), H5Sclose);
  const Handle type(H5Dget_type(dataset), H5Tclose);
  const Handle layout(H5Dget_create_plist(dataset), H5Pclose);
  hsize_t size = 0;
  CHECK_AS(code_,
           H5Sget_simple_extent_ndims(space) == 1 && H5Pget_layout(layout) == H5D_CONTIGUOUS &&
               H5Sget_simple_extent_dims(space, &size, nullptr) == 1,
           "{}: dataset '{}' is not contiguous and one-dimensional", path_, name);
  const auto known = std::find_if(std::begin(all_types), std::end(all_types),
                                  [&](Hdf5Type t) { return H5Tequal(type, file_type(t)) > 0; });
  CHECK_AS(code_, known != std::end(all_types), "{}: dataset '{}' has an unknown element type",
           path_, name);
  const haddr_t offset = size == 0 ? 0 : H5Dget_offset(dataset);
  CHECK_AS(code_, offset != HADDR_UNDEF, "{}: dataset '{}' has no data", path_, name);
  return {*known, size, offset};
}

void Hdf5File::write_elements(const std::string& name, Hdf5Type type, std::uint64_t begin,
                              std::uint64_t count, const void* data) {
  const Hdf5Dataset target = dataset(name);
  CHECK(type == target.type && begin <= target.size && count <= target.size - begin,
        "{}: writing {} [{}, {}) to dataset '{}' of {} {}", path_, name_of(type), begin,
        begin + count, name, target.size, name_of(target.type));
  if (count == 0) return;
  const Hdf5Lock lock;
  const Selection part(file_, name, begin, count);
  HDF5_CHECK(
      H5Dwrite(part.dataset, file_type(type), part.in_memory, part.in_file, H5P_DEFAULT, data),
      fmt::format("writing dataset '{}'", name));
}

void Hdf5File::read_elements(const std::string& name, Hdf5Type type, std::uint64_t begin,
                             std::uint64_t count, void* out) const {
  const Hdf5Dataset source = dataset(name);
  CHECK_AS(code_, type == source.type && begin <= source.size && count <= source.size - begin,
           "{}: dataset '{}' holds {} {}, but {} [{}, {}) was wanted", path_, name, source.size,
           name_of(source.type), name_of(type), begin, begin + count);
  if (count == 0) return;
  const Hdf5Lock lock;
  const Selection part(file_, name, begin, count);
  HDF5_CHECK(H5Dread(part.dataset, file_type(type), part.in_memory, part.in_file, H5P_DEFAULT, out),
             fmt::format("reading dataset '{}'", name));
}

std::vector<std::string> Hdf5File::dataset_names(const std::string& group) const {
  const Hdf5Lock lock;
  const Handle root(H5Gopen2(file_, group.c_str(), H5P_DEFAULT), H5Gclose);
  HDF5_CHECK(root, fmt::format("group '{}'", group));
  std::vector<std::string> names;
  const auto collect = [](hid_t from, const char* name, const H5L_info_t*, void* out) -> herr_t {
    const Handle object(H5Oopen(from, name, H5P_DEFAULT), H5Oclose);
    if (object < 0) return -1;
    if (H5Iget_type(object) == H5I_DATASET) {
      static_cast<std::vector<std::string>*>(out)->push_back(name);
    }
    return 0;
  };
  HDF5_CHECK(H5Lvisit(root, H5_INDEX_NAME, H5_ITER_INC, collect, &names),
             fmt::format("listing group '{}'", group));
  return names;
}

namespace {

template <class T>
hid_t attribute_type(const T&) {
  return H5Tcopy(file_type(hdf5_type_of<T>));
}
hid_t attribute_type(const std::string& value) {
  const hid_t type = H5Tcopy(H5T_C_S1);
  H5Tset_size(type, std::max<std::size_t>(value.size(), 1));
  H5Tset_strpad(type, H5T_STR_NULLPAD);
  H5Tset_cset(type, H5T_CSET_UTF8);
  return type;
}

template <class T>
const void* attribute_data(const T& value) {
  return &value;
}
const void* attribute_data(const std::string& value) {
  return value.c_str();
}

// Whether the attribute's stored type is the one that set_attribute<T> writes.
template <class T>
bool has_type(hid_t type, const T*) {
  return H5Tequal(type, file_type(hdf5_type_of<T>)) > 0;
}
bool has_type(hid_t type, const std::string*) {
  return H5Tget_class(type) == H5T_STRING && H5Tis_variable_str(type) == 0;
}

template <class T>
herr_t read_attribute(hid_t attribute, hid_t type, T& value) {
  return H5Aread(attribute, type, &value);
}
herr_t read_attribute(hid_t attribute, hid_t type, std::string& value) {
  value.assign(H5Tget_size(type), '\0');
  const herr_t result = H5Aread(attribute, type, value.data());
  value.resize(std::min(value.size(), value.find('\0')));
  return result;
}

}  // namespace

template <class T>
void Hdf5File::set_attribute(const std::string& object, const std::string& name, const T& value) {
  const Hdf5Lock lock;
  const Handle space(H5Screate(H5S_SCALAR), H5Sclose);
  const Handle type(attribute_type(value), H5Tclose);
  const Handle attribute(H5Acreate_by_name(file_, object.c_str(), name.c_str(), type, space,
                                           H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                         H5Aclose);
  HDF5_CHECK(attribute, fmt::format("making attribute '{}' of '{}'", name, object));
  HDF5_CHECK(H5Awrite(attribute, type, attribute_data(value)),
             fmt::format("writing attribute '{}' of '{}'", name, object));
}

template <class T>
T Hdf5File::attribute(const std::string& object, const std::string& name) const {
  const Hdf5Lock lock;
  const Handle attribute(
      H5Aopen_by_name(file_, object.c_str(), name.c_str(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
  HDF5_CHECK(attribute, fmt::format("attribute '{}' of '{}'", name, object));
  const Handle type(H5Aget_type(attribute), H5Tclose);
  const Handle space(H5Aget_space(attribute), H5Sclose);
  T value{};
  CHECK_AS(code_,
           H5Sget_simple_extent_npoints(space) == 1 && has_type(type, static_cast<T*>(nullptr)),
           "{}: attribute '{}' of '{}' has another type than expected", path_, name, object);
  HDF5_CHECK(read_attribute(attribute, type, value),
             fmt::format("reading attribute '{}' of '{}'", name, object));
  return value;
}

#define DUALPATH_ATTRIBUTE_TYPE(T)                                                            \
  template void Hdf5File::set_attribute<T>(const std::string&, const std::string&, const T&); \
  template T Hdf5File::attribute<T>(const std::string&, const std::string&) const;
DUALPATH_ATTRIBUTE_TYPE(std::int64_t)
DUALPATH_ATTRIBUTE_TYPE(std::uint64_t)
DUALPATH_ATTRIBUTE_TYPE(double)
DUALPATH_ATTRIBUTE_TYPE(std::string)

}  // namespace dualpath
