#include "data/files/mapped_file_guard.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <sys/stat.h>
#include <unistd.h>

namespace dualpath {

namespace {

// What the signal handler walks through: entries stay for ever and are used again; one without a
// size guards nothing.
struct Entry {
  std::atomic<std::uintptr_t> begin = 0;
  std::atomic<std::size_t> size = 0;
  std::atomic<const char*> path = nullptr;
  std::atomic<int> code = 0;
  Entry* next = nullptr;
};

std::mutex mutex;  // of whoever changes the list
std::atomic<Entry*> entries = nullptr;
std::array<char, 128> prefix = {};

// System calls alone, as a handler may: a line in one write.
class Line {
 public:
  void add(std::string_view text) {
    const std::size_t count = std::min(text.size(), text_.size() - size_);
    std::memcpy(text_.data() + size_, text.data(), count);
    size_ += count;
  }
  void add(std::uint64_t number) {
    std::array<char, 20> digits;
    std::size_t begin = digits.size();
    do {
      digits[--begin] = static_cast<char>('0' + number % 10);
      number /= 10;
    } while (number > 0);
    add({digits.data() + begin, digits.size() - begin});
  }
  void print() {
    if (size_ == text_.size()) --size_;
    text_[size_++] = '\n';
    (void)!::write(STDERR_FILENO, text_.data(), size_);
  }

 private:
  std::array<char, 4096 + 512> text_;
  std::size_t size_ = 0;
};

void tell(const char* path, std::uint64_t byte) {
  Line line;
  line.add(prefix.data());
  line.add("dualpath: ");
  line.add(path);
  struct stat status {};
  const bool known = ::stat(path, &status) == 0;
  if (known && static_cast<std::uint64_t>(status.st_size) <= byte) {
    line.add(": was cut short while it was read: byte ");
    line.add(byte);
    line.add(" is wanted, it has ");
    line.add(static_cast<std::uint64_t>(status.st_size));
  } else {
    line.add(": cannot be read at byte ");
    line.add(byte);
    line.add(": its disk has failed, or it was cut short while it was read");
  }
  line.print();
}

struct sigaction previous_action;

void on_bus_error(int signal, siginfo_t* info, void*) {
  const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr);
  for (const Entry* e = entries.load(); e != nullptr; e = e->next) {
    const std::size_t size = e->size.load();
    const std::uintptr_t begin = e->begin.load();
    if (size == 0 || address < begin || address - begin >= size) continue;
    tell(e->path.load(), address - begin);
    ::_exit(e->code.load());
  }
  ::sigaction(signal, &previous_action, nullptr);  // the instruction is tried again, and meets it
}

void catch_bus_errors() {
  struct sigaction action {};
  action.sa_sigaction = on_bus_error;
  action.sa_flags = SA_SIGINFO;
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGBUS, &action, &previous_action);
}

Entry& free_entry() {
  for (Entry* e = entries.load(); e != nullptr; e = e->next) {
    if (e->size.load() == 0) return *e;
  }
  auto entry = std::make_unique<Entry>();
  entry->next = entries.load();
  entries.store(entry.get());
  return *entry.release();
}

}  // namespace

void guard_mapping(std::span<const std::byte> mapping, const std::string& path, ExitCode code) {
  if (mapping.empty()) return;
  const std::lock_guard lock(mutex);
  if (entries.load() == nullptr) catch_bus_errors();
  auto name = std::make_unique<char[]>(path.size() + 1);
  std::memcpy(name.get(), path.c_str(), path.size() + 1);
  Entry& entry = free_entry();
  entry.begin.store(reinterpret_cast<std::uintptr_t>(mapping.data()));
  entry.code.store(static_cast<int>(code));
  delete[] entry.path.exchange(name.release());
  entry.size.store(mapping.size());
}

void unguard_mapping(std::span<const std::byte> mapping) {
  const std::lock_guard lock(mutex);
  for (Entry* e = entries.load(); e != nullptr; e = e->next) {
    if (e->begin.load() == reinterpret_cast<std::uintptr_t>(mapping.data())) e->size.store(0);
  }
}

void set_mapping_message_prefix(std::string_view text) {
  const std::size_t count = std::min(text.size(), prefix.size() - 1);
  std::memcpy(prefix.data(), text.data(), count);
  prefix[count] = '\0';
}

}  // namespace dualpath
