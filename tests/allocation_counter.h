// A program that links allocation_counter.cpp counts its calls of operator new, oneDNN's own
// excepted.
#pragma once

#include <cstdint>

namespace dualpath {

// So far, by all threads.
std::uint64_t num_heap_allocations();

}  // namespace dualpath
