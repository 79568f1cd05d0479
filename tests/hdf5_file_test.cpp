#include "data/hdf5_file.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <numeric>
#include <unistd.h>

namespace dualpath {
namespace {

namespace fs = std::filesystem;

class Hdf5FileTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) / fmt::format("hdf5_file_test_{}", ::getpid());
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string path(const char* name) const { return folder_ / name; }

 private:
  fs::path folder_;
};

std::string message_of(const std::function<void()>& action, ExitCode code) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code);
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return {};
}

TEST_F(Hdf5FileTest, KeepsDatasetsAndAttributes) {
  std::vector<float> values(1000);
  std::iota(values.begin(), values.end(), -3.5f);
  {
    Hdf5File file = Hdf5File::create(path("a.h5"), ExitCode::checkpoint);
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
  const Hdf5File file = Hdf5File::open(path("a.h5"), ExitCode::checkpoint);
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

TEST_F(Hdf5FileTest, LargeDatasetsLieWhereTheFileSaysAligned) {
  std::vector<std::uint16_t> values(3 << 19);
  std::iota(values.begin(), values.end(), std::uint16_t{7});
  Hdf5File out = Hdf5File::create(path("b.h5"), ExitCode::data);
  for (const char* name : {"first", "second"}) {
    out.create_dataset(name, Hdf5Type::u16, values.size());
    out.write<std::uint16_t>(name, 0, values);
  }
  out.close();
  const Hdf5File file = Hdf5File::open(path("b.h5"), ExitCode::data);
  for (const char* name : {"first", "second"}) {
    const Hdf5Dataset dataset = file.dataset(name);
    EXPECT_EQ(dataset.bytes(), values.size() * 2);
    EXPECT_EQ(dataset.file_offset % (1 << 20), 0u);
    std::ifstream raw(path("b.h5"), std::ios::binary);
    raw.seekg(static_cast<std::streamoff>(dataset.file_offset));
    std::vector<std::uint16_t> read(values.size());
    raw.read(reinterpret_cast<char*>(read.data()), static_cast<std::streamsize>(dataset.bytes()));
    EXPECT_EQ(read, values);
  }
}

TEST_F(Hdf5FileTest, ErrorsNameFileAndObjectAndBearTheCode) {
  EXPECT_THAT(message_of([&] { Hdf5File::open(path("none.h5"), ExitCode::checkpoint); },
                         ExitCode::checkpoint),
              testing::AllOf(testing::HasSubstr("none.h5"), testing::HasSubstr("No such file")));
  std::ofstream(path("text.h5")) << "not HDF5";
  EXPECT_THAT(message_of([&] { Hdf5File::open(path("text.h5"), ExitCode::data); }, ExitCode::data),
              testing::HasSubstr("text.h5"));
  Hdf5File file = Hdf5File::create(path("c.h5"), ExitCode::data);
  file.create_dataset("x", Hdf5Type::u32, 10);
  file.set_attribute<std::int64_t>("x", "n", 1);
  const auto fails = [&](const std::function<void()>& action) {
    return message_of(action, ExitCode::data);
  };
  std::vector<std::uint32_t> u32(4);
  std::vector<float> f32(4);
  EXPECT_THAT(fails([&] { file.dataset("y"); }), testing::HasSubstr("'y'"));
  EXPECT_THAT(fails([&] { file.read<std::uint32_t>("x", 7, u32); }), testing::HasSubstr("[7, 11)"));
  EXPECT_THAT(fails([&] { file.read<float>("x", 0, f32); }), testing::HasSubstr("float32"));
  EXPECT_THAT(fails([&] { file.attribute<std::int64_t>("x", "m"); }), testing::HasSubstr("'m'"));
  EXPECT_THAT(fails([&] { file.attribute<std::string>("x", "n"); }), testing::HasSubstr("type"));
  EXPECT_THAT(fails([&] { file.create_dataset("x", Hdf5Type::u8, 1); }), testing::HasSubstr("'x'"));
}

}  // namespace
}  // namespace dualpath
