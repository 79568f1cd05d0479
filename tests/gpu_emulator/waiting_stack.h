// Switching between the stacks of fibers. To be included once: it defines a symbol.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#ifndef __x86_64__
#include <ucontext.h>
#endif

namespace dualpath {

// WaitingStack: a stack that does not run, and goes on where it left.
// switch_stack(left, entered): goes on at `entered`; returns when somebody enters `left`.
// prepare_stack(stack, memory, enter): when entered, it will call `enter`, which must not return.
#ifdef __x86_64__
// Its stack pointer, where the registers lie that a function leaves as they are. To switch needs no
// system call, as swapcontext does, and no sanitizer takes it for the end of frames, as longjmp.
using WaitingStack = void*;

extern "C" void dualpath_switch_stack(WaitingStack* left, WaitingStack entered);
asm(R"(
  .text
  .type dualpath_switch_stack, @function
dualpath_switch_stack:
  pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp
  ret
  .size dualpath_switch_stack, .-dualpath_switch_stack
)");

inline void switch_stack(WaitingStack& left, const WaitingStack& entered) {
  dualpath_switch_stack(&left, entered);
}

inline void prepare_stack(WaitingStack& stack, std::span<std::byte> memory, void (*enter)()) {
  // Six registers, below where to return to, which lies as a caller's would: at a multiple of 16.
  const auto end = reinterpret_cast<std::uintptr_t>(memory.data() + memory.size());
  auto* target = reinterpret_cast<void**>(end / 16 * 16 - 16);
  std::fill_n(target - 6, 8, nullptr);
  *target = reinterpret_cast<void*>(enter);
  stack = target - 6;
}
#else
using WaitingStack = ucontext_t;

inline void switch_stack(WaitingStack& left, const WaitingStack& entered) {
  swapcontext(&left, &entered);
}

inline void prepare_stack(WaitingStack& stack, std::span<std::byte> memory, void (*enter)()) {
  getcontext(&stack);
  stack.uc_stack.ss_sp = memory.data();
  stack.uc_stack.ss_size = memory.size();
  stack.uc_link = nullptr;
  makecontext(&stack, enter, 0);
}
#endif

}  // namespace dualpath
