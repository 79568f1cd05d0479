#include "data/files/hdf5_file.h"

#include <algorithm>
#include <fstream>
#include <functional>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <hdf5.h>
#include <numeric>
#include <sys/stat.h>

#include "tests/expect_error.h"
#include "tests/file_size_limit.h"
#include "tests/temporary_folder.h"

namespace dualpath {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST(Hdf5File, KeepsDatasetsAndAttributes) {
  const TemporaryFolder folder;
  std::vector<float> values(1000);
  std::iota(values.begin(), values.end(), -3.5f);
  {
    Hdf5File file = Hdf5File::create(folder / "a.h5", ExitCode::checkpoint);
    file.create_dataset("layers/0/weight", Hdf5Type::f32, values.size());
    file.create_dataset("layers/0/bias", Hdf5Type::f64, 0);
    file.write<float>("layers/0/weight", 0, std::span(values).first(600));
    file.write<float>("layers/0/weight", 600, std::span(values).subspan(600));
    file.set_attribute<std::int64_t>("/", "version", -1);
    file.set_attribute<std::uint64_t>("layers/0/weight", "hash", 0xFFFF'FFFF'FFFF'FFFF);
    file.set_attribute("/", "scale", 0.1);
    file.set_attribute("layers", "note", std::string("gate α"));
    file.set_attribute("layers", "empty", std::string());
    file.close();
  }
  const Hdf5File file = Hdf5File::open(folder / "a.h5", ExitCode::checkpoint);
  EXPECT_THAT(file.dataset_names(), testing::ElementsAre("layers/0/bias", "layers/0/weight"));
  EXPECT_THAT(file.dataset_names("layers/0"), testing::ElementsAre("bias", "weight"));
  EXPECT_EQ(file.dataset("layers/0/weight").type, Hdf5Type::f32);
  EXPECT_EQ(file.dataset("layers/0/weight").size, values.size());
  EXPECT_EQ(file.dataset("layers/0/bias").size, 0u);
  std::vector<float> part(300);
  file.read<float>("layers/0/weight", 450, part);
  EXPECT_TRUE(std::equal(part.begin(), part.end(), values.begin() + 450));
  EXPECT_EQ(file.attribute<std::int64_t>("/", "version"), -1);
  EXPECT_EQ(file.attribute<std::uint64_t>("layers/0/weight", "hash"), 0xFFFF'FFFF'FFFF'FFFF);
  EXPECT_EQ(file.attribute<double>("/", "scale"), 0.1);
  EXPECT_EQ(file.attribute<std::string>("layers", "note"), "gate α");
  EXPECT_EQ(file.attribute<std::string>("layers", "empty"), "");
}

TEST(Hdf5File, LargeDatasetsLieWhereTheFileSaysAligned) {
  const TemporaryFolder folder;
  std::vector<std::uint16_t> values(3 << 19);
  std::iota(values.begin(), values.end(), std::uint16_t{7});
  Hdf5File out = Hdf5File::create(folder / "b.h5", ExitCode::data);
  for (const char* name : {"first", "second"}) {
    out.create_dataset(name, Hdf5Type::u16, values.size());
    out.write<std::uint16_t>(name, 0, values);
  }
  out.close();
  const Hdf5File file = Hdf5File::open(folder / "b.h5", ExitCode::data);
  for (const char* name : {"first", "second"}) {
    const Hdf5Dataset dataset = file.dataset(name);
    EXPECT_EQ(dataset.bytes(), values.size() * 2);
    EXPECT_EQ(dataset.file_offset % (1 << 20), 0u);
    std::ifstream raw(folder / "b.h5", std::ios::binary);
    raw.seekg(static_cast<std::streamoff>(dataset.file_offset));
    std::vector<std::uint16_t> read(values.size());
    raw.read(reinterpret_cast<char*>(read.data()), static_cast<std::streamsize>(dataset.bytes()));
    EXPECT_EQ(read, values);
  }
}

TEST(Hdf5File, ErrorsNameFileAndObjectAndBearTheCode) {
  const TemporaryFolder folder;
  EXPECT_THAT(error_of(ExitCode::checkpoint,
                       [&] { Hdf5File::open(folder / "none.h5", ExitCode::checkpoint); }),
              AllOf(HasSubstr("none.h5"), HasSubstr("no such file")));
  std::ofstream(folder / "text.h5") << "not HDF5";
  EXPECT_THAT(error_of(ExitCode::data, [&] { Hdf5File::open(folder / "text.h5", ExitCode::data); }),
              HasSubstr("text.h5"));
  Hdf5File file = Hdf5File::create(folder / "c.h5", ExitCode::data);
  file.create_dataset("x", Hdf5Type::u32, 10);
  file.set_attribute<std::int64_t>("x", "n", 1);
  const auto error = [](const std::function<void()>& action) {
    return error_of(ExitCode::data, action);
  };
  std::vector<std::uint32_t> u32(4);
  std::vector<float> f32(4);
  EXPECT_THAT(error([&] { file.dataset("y"); }), HasSubstr("'y'"));
  EXPECT_THAT(error([&] { file.read<std::uint32_t>("x", 7, u32); }), HasSubstr("[7, 11)"));
  EXPECT_THAT(error([&] { file.read<float>("x", 0, f32); }), HasSubstr("float32"));
  EXPECT_THAT(error([&] { file.attribute<std::int64_t>("x", "m"); }), HasSubstr("'m'"));
  EXPECT_THAT(error([&] { file.attribute<std::string>("x", "n"); }), HasSubstr("type"));
  EXPECT_THAT(error([&] { file.create_dataset("x", Hdf5Type::u8, 1); }), HasSubstr("'x'"));
}

// Trial S1: small datasets were kept back until they were closed, and a failure then was lost.
TEST(Hdf5File, ASmallDatasetThatCannotBeWrittenIsAnError) {
  const TemporaryFolder folder;
  Hdf5File file = Hdf5File::create(folder / "s1.h5", ExitCode::checkpoint);
  file.create_dataset("x", Hdf5Type::u8, 1000);
  const std::vector<std::uint8_t> values(1000, 7);
  {
    const FileSizeLimit full(file.dataset("x").file_offset + 500);
    EXPECT_EQ(error_of(ExitCode::checkpoint, [&] { file.write<std::uint8_t>("x", 0, values); }),
              folder / "s1.h5" + ": writing dataset 'x': File too large");
  }
  file.write<std::uint8_t>("x", 0, values);
  file.close();
  std::vector<std::uint8_t> read(1000);
  Hdf5File::open(folder / "s1.h5", ExitCode::checkpoint).read<std::uint8_t>("x", 0, read);
  EXPECT_EQ(read, values);
}

TEST(Hdf5File, AFileThatCannotBeCompletedIsAnError) {
  const TemporaryFolder folder;
  Hdf5File file = Hdf5File::create(folder / "s1.h5", ExitCode::checkpoint);
  file.create_dataset("x", Hdf5Type::u8, 1000);
  file.set_attribute("x", "text", std::string(100, 'a'));
  const FileSizeLimit full(0);
  EXPECT_THAT(error_of(ExitCode::checkpoint, [&] { file.close(); }),
              HasSubstr("s1.h5: closing: File too large"));
}

TEST(Hdf5File, AFifoIsRefusedAtOnce) {
  const TemporaryFolder folder;
  ASSERT_EQ(::mkfifo((folder / "fifo.h5").c_str(), 0666), 0);
  EXPECT_THAT(error_of(ExitCode::data, [&] { Hdf5File::open(folder / "fifo.h5", ExitCode::data); }),
              HasSubstr("is not a regular file"));
}

// As h5py writes a str by default.
TEST(Hdf5File, ReadsStringsOfVariableLength) {
  const TemporaryFolder folder;
  const std::string path = folder / "file.h5";
  const hid_t file = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  const hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR);
  H5Tset_size(type, H5T_VARIABLE);
  const hid_t attribute = H5Acreate2(file, "hash", type, space, H5P_DEFAULT, H5P_DEFAULT);
  const char* const text = "5ef901ca4b6bbf57";
  ASSERT_GE(H5Awrite(attribute, type, &text), 0);
  H5Aclose(attribute);
  H5Sclose(space);
  H5Tclose(type);
  ASSERT_GE(H5Fclose(file), 0);
  EXPECT_EQ(Hdf5File::open(path, ExitCode::data).attribute<std::string>("/", "hash"), text);
}

}  // namespace
}  // namespace dualpath
