#include "own_program.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sys/statfs.h>
#include <sys/syscall.h>

// The linker's entry point of programs that run containers (binding.gyp): goes on at the C library's, once the program runs
// from its read-only mount. Before that the library would be started in vain, at the price of some fifty CPUID
// instructions, of which each leaves a virtual machine.
#if defined(__x86_64__)
asm(R"(
  .text
  .globl starling_entry
  .type starling_entry, @function
starling_entry:
  xor %ebp, %ebp
  mov %rsp, %rdi
  call starling_begin
  xor %edx, %edx
  jmp _start
  .size starling_entry, . - starling_entry
)");
#elif defined(__aarch64__)
asm(R"(
  .text
  .globl starling_entry
  .type starling_entry, %function
starling_entry:
  mov x29, #0
  mov x0, sp
  bl starling_begin
  mov x0, #0
  b _start
  .size starling_entry, . - starling_entry
)");
#else
#error "own_program.cc: no entry point for this architecture"
#endif

namespace starling {
namespace {

constexpr long kReadOnly = 1;  // ST_RDONLY of statvfs(3), which the kernel gives in f_flags.
constexpr char kOwnProgram[] = "/proc/self/exe";

long Call(long number, long a, long b, long c = 0, long d = 0, long e = 0) {
#if defined(__x86_64__)
  register long r10 asm("r10") = d;
  register long r8 asm("r8") = e;
  long result;
  asm volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8) : "rcx", "r11", "memory");
  return result;
#else
  register long x8 asm("x8") = number;
  register long x0 asm("x0") = a;
  register long x1 asm("x1") = b;
  register long x2 asm("x2") = c;
  register long x3 asm("x3") = d;
  register long x4 asm("x4") = e;
  asm volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
  return x0;
#endif
}

template <typename T>
long Address(T* pointer) {
  return reinterpret_cast<long>(pointer);
}

}  // namespace

__attribute__((no_stack_protector)) long RunFromReadonlyMount(char** argv, char** variables) {
  struct statfs info;
  if (long failed = Call(SYS_statfs, Address(kOwnProgram), Address(&info)); failed < 0) return failed;
  if ((info.f_flags & kReadOnly) != 0) return 0;
  long tree = Call(SYS_open_tree, AT_FDCWD, Address(kOwnProgram), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
  if (tree < 0) return tree;
  mount_attr attributes = {.attr_set = MOUNT_ATTR_RDONLY, .attr_clr = 0, .propagation = 0, .userns_fd = 0};
  long result = Call(SYS_mount_setattr, tree, Address(""), AT_EMPTY_PATH, Address(&attributes), sizeof attributes);
  if (result == 0) result = Call(SYS_execveat, tree, Address(""), Address(argv), Address(variables), AT_EMPTY_PATH);
  Call(SYS_close, tree, 0);
  return result;
}

}  // namespace starling

// `stack` is what the kernel left: the number of arguments, they, a null pointer, the environment. What fails here is tried
// again by main, which can say so.
extern "C" __attribute__((used, no_stack_protector)) void starling_begin(long* stack) {
  char** argv = reinterpret_cast<char**>(stack + 1);
  (void)starling::RunFromReadonlyMount(argv, argv + stack[0] + 1);
}
