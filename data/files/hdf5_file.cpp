#include "data/files/hdf5_file.h"

#include <algorithm>
#include <bit>
#include <filesystem>
#include <hdf5.h>
#include <mutex>
#include <string_view>
#include <system_error>
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
  Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  Handle& operator=(Handle&&) = delete;
  ~Handle() {
    if (id_ >= 0) (void)close_(id_);
  }
  operator hid_t() const { return id_; }
  // To be called for whatever was written to: closing may write, and fail.
  [[nodiscard]] herr_t close() { return close_(std::exchange(id_, -1)); }

 private:
  hid_t id_;
  herr_t (*close_)(hid_t);
};

// What went wrong, on one line: the innermost entry of the error stack, and where that is an error
// of the system between much else, the system's words alone.
std::string hdf5_message() {
  std::string message = "unknown HDF5 error";
  const auto take_first = [](unsigned n, const H5E_error2_t* entry, void* out) -> herr_t {
    if (n == 0) *static_cast<std::string*>(out) = entry->desc;
    return 0;
  };
  (void)H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, take_first, &message);
  constexpr std::string_view before = "error message = '";
  if (const std::size_t found = message.find(before); found != message.npos) {
    const std::size_t begin = found + before.size();
    return message.substr(begin, message.find('\'', begin) - begin);
  }
  std::ranges::replace(message, '\n', ' ');
  return message;
}

// Looks at the results of HDF5 calls; every one of them passes through here. A failure becomes an
// Error that names the file: "PATH: WHAT 'NAME': HDF5's message".
struct Results {
  const std::string& path;
  ExitCode code;

  template <class Result>
  void check(Result result, const char* what, std::string_view name = {}) const {
    if (result >= 0) [[likely]]
      return;
    const std::string quoted_name = name.empty() ? "" : fmt::format(" '{}'", name);
    DUALPATH_FAIL(code, "{}: {}{}: {}", path, what, quoted_name, hdf5_message());
  }
  [[nodiscard]] hid_t opened(hid_t id, const char* what, std::string_view name = {}) const {
    check(id, what, name);
    return id;
  }
};

// Elements [begin, begin + count) of a dataset.
struct Selection {
  Selection(const Results& results, hid_t file, const std::string& name, hsize_t begin,
            hsize_t count)
      : dataset(results.opened(H5Dopen2(file, name.c_str(), H5P_DEFAULT), "dataset", name),
                H5Dclose),
        in_file(results.opened(H5Dget_space(dataset), "extent of dataset", name), H5Sclose),
        in_memory(results.opened(H5Screate_simple(1, &count, nullptr), "selecting"), H5Sclose) {
    results.check(H5Sselect_hyperslab(in_file, H5S_SELECT_SET, &begin, nullptr, &count, nullptr),
                  "selecting in dataset", name);
  }
  Handle dataset;
  const Handle in_file, in_memory;
};

// How files are created and opened.
Handle file_access(const Results& results) {
  Handle access(results.opened(H5Pcreate(H5P_FILE_ACCESS), "access"), H5Pclose);
  // Files become visible by rename, complete; locks only fail on some parallel file systems.
  results.check(H5Pset_file_locking(access, false, true), "access");
  return access;
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
  const Results results{path, code};
  const Handle access = file_access(results);
  results.check(H5Pset_alignment(access, alignment_bytes, alignment_bytes), "access");
  // What is written goes to the file at once, so that the call that writes it tells its failure.
  results.check(H5Pset_sieve_buf_size(access, 0), "access");
  const hid_t file = results.opened(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access),
                                    "cannot be created");
  return {path, code, file};
}

Hdf5File Hdf5File::open(const std::string& path, ExitCode code) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  CHECK_AS(
      code, std::filesystem::exists(status), "{}: {}", path,
      error && error != std::errc::no_such_file_or_directory ? error.message() : "no such file");
  CHECK_AS(code, std::filesystem::is_regular_file(status), "{}: is not a regular file", path);
  const Hdf5Lock lock;
  const Results results{path, code};
  const Handle access = file_access(results);
  const hid_t file = results.opened(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access),
                                    "cannot be opened as an HDF5 file");
  return {path, code, file};
}

Hdf5File::~Hdf5File() {
  if (file_ < 0) return;
  const Hdf5Lock lock;
  (void)H5Fclose(file_);
}

void Hdf5File::close() {
  const Hdf5Lock lock;
  Results{path_, code_}.check(H5Fclose(std::exchange(file_, -1)), "closing");
}

void Hdf5File::create_dataset(const std::string& name, Hdf5Type type, std::uint64_t size) {
  const Hdf5Lock lock;
  const Results results{path_, code_};
  const char* const what = "making dataset";
  const hsize_t dims = size;
  const Handle space(results.opened(H5Screate_simple(1, &dims, nullptr), what, name), H5Sclose);
  const Handle links(results.opened(H5Pcreate(H5P_LINK_CREATE), what, name), H5Pclose);
  results.check(H5Pset_create_intermediate_group(links, 1), what, name);
  const Handle layout(results.opened(H5Pcreate(H5P_DATASET_CREATE), what, name), H5Pclose);
  results.check(H5Pset_layout(layout, H5D_CONTIGUOUS), what, name);
  results.check(H5Pset_alloc_time(layout, H5D_ALLOC_TIME_EARLY), what, name);
  results.check(H5Pset_fill_time(layout, H5D_FILL_TIME_NEVER), what, name);
  Handle dataset(results.opened(H5Dcreate2(file_, name.c_str(), file_type(type), space, links,
                                           layout, H5P_DEFAULT),
                                what, name),
                 H5Dclose);
  results.check(dataset.close(), what, name);
}

Hdf5Dataset Hdf5File::dataset(const std::string& name) const {
  const Hdf5Lock lock;
  const Results results{path_, code_};
  const char* const what = "dataset";
  const Handle dataset(results.opened(H5Dopen2(file_, name.c_str(), H5P_DEFAULT), what, name),
                       H5Dclose);
  const Handle space(results.opened(H5Dget_space(dataset), what, name), H5Sclose);
  const Handle type(results.opened(H5Dget_type(dataset), what, name), H5Tclose);
  const Handle layout(results.opened(H5Dget_create_plist(dataset), what, name), H5Pclose);
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
  const Results results{path_, code_};
  Selection part(results, file_, name, begin, count);
  results.check(
      H5Dwrite(part.dataset, file_type(type), part.in_memory, part.in_file, H5P_DEFAULT, data),
      "writing dataset", name);
  results.check(part.dataset.close(), "writing dataset", name);
}

void Hdf5File::read_elements(const std::string& name, Hdf5Type type, std::uint64_t begin,
                             std::uint64_t count, void* out) const {
  const Hdf5Dataset source = dataset(name);
  CHECK_AS(code_, type == source.type && begin <= source.size && count <= source.size - begin,
           "{}: dataset '{}' holds {} {}, but {} [{}, {}) was wanted", path_, name, source.size,
           name_of(source.type), name_of(type), begin, begin + count);
  if (count == 0) return;
  const Hdf5Lock lock;
  const Results results{path_, code_};
  const Selection part(results, file_, name, begin, count);
  results.check(
      H5Dread(part.dataset, file_type(type), part.in_memory, part.in_file, H5P_DEFAULT, out),
      "reading dataset", name);
}

std::vector<std::string> Hdf5File::dataset_names(const std::string& group) const {
  const Hdf5Lock lock;
  const Results results{path_, code_};
  const Handle root(results.opened(H5Gopen2(file_, group.c_str(), H5P_DEFAULT), "group", group),
                    H5Gclose);
  std::vector<std::string> names;
  const auto collect = [](hid_t from, const char* name, const H5L_info_t*, void* out) -> herr_t {
    const Handle object(H5Oopen(from, name, H5P_DEFAULT), H5Oclose);
    if (object < 0) return -1;
    if (H5Iget_type(object) == H5I_DATASET) {
      static_cast<std::vector<std::string>*>(out)->push_back(name);
    }
    return 0;
  };
  results.check(H5Lvisit(root, H5_INDEX_NAME, H5_ITER_INC, collect, &names), "listing group",
                group);
  return names;
}

namespace {

template <class T>
Handle attribute_type(const T&, const Results& results) {
  return {results.opened(H5Tcopy(file_type(hdf5_type_of<T>)), "attribute's type"), H5Tclose};
}
Handle attribute_type(const std::string& value, const Results& results) {
  const char* const what = "attribute's type";
  Handle type(results.opened(H5Tcopy(H5T_C_S1), what), H5Tclose);
  results.check(H5Tset_size(type, std::max<std::size_t>(value.size(), 1)), what);
  results.check(H5Tset_strpad(type, H5T_STR_NULLPAD), what);
  results.check(H5Tset_cset(type, H5T_CSET_UTF8), what);
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
  return H5Tget_class(type) == H5T_STRING;
}

template <class T>
herr_t read_attribute(hid_t attribute, hid_t type, T& value) {
  return H5Aread(attribute, type, &value);
}
herr_t read_attribute(hid_t attribute, hid_t type, std::string& value) {
  if (H5Tis_variable_str(type) > 0) {  // as h5py writes them
    char* text = nullptr;
    const herr_t result = H5Aread(attribute, type, &text);
    if (result < 0 || text == nullptr) return result;
    value = text;
    return H5free_memory(text);
  }
  value.assign(H5Tget_size(type), '\0');
  const herr_t result = H5Aread(attribute, type, value.data());
  value.resize(std::min(value.size(), value.find('\0')));
  return result;
}

}  // namespace

template <class T>
void Hdf5File::set_attribute(const std::string& object, const std::string& name, const T& value) {
  const Hdf5Lock lock;
  const Results results{path_, code_};
  const std::string whole_name = fmt::format("{}' of '{}", name, object);
  const Handle space(results.opened(H5Screate(H5S_SCALAR), "making attribute", whole_name),
                     H5Sclose);
  const Handle type = attribute_type(value, results);
  Handle attribute(results.opened(H5Acreate_by_name(file_, object.c_str(), name.c_str(), type,
                                                    space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                                  "making attribute", whole_name),
                   H5Aclose);
  results.check(H5Awrite(attribute, type, attribute_data(value)), "writing attribute", whole_name);
  results.check(attribute.close(), "writing attribute", whole_name);
}

template <class T>
T Hdf5File::attribute(const std::string& object, const std::string& name) const {
  const Hdf5Lock lock;
  const Results results{path_, code_};
  const std::string whole_name = fmt::format("{}' of '{}", name, object);
  const Handle attribute(
      results.opened(H5Aopen_by_name(file_, object.c_str(), name.c_str(), H5P_DEFAULT, H5P_DEFAULT),
                     "attribute", whole_name),
      H5Aclose);
  const Handle type(results.opened(H5Aget_type(attribute), "attribute", whole_name), H5Tclose);
  const Handle space(results.opened(H5Aget_space(attribute), "attribute", whole_name), H5Sclose);
  T value{};
  CHECK_AS(code_,
           H5Sget_simple_extent_npoints(space) == 1 && has_type(type, static_cast<T*>(nullptr)),
           "{}: attribute '{}' has another type than expected", path_, whole_name);
  results.check(read_attribute(attribute, type, value), "reading attribute", whole_name);
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
