#include "seccomp.h"

#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>

namespace starling {
namespace {

#if defined(__x86_64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#else
#error "no system call table for this architecture"
#endif

// Calls up to this number were looked at for this table (456: futex_requeue, the same on all architectures).
constexpr uint32_t kNewestReviewed = 456;

constexpr uint64_t Cap(int number) { return uint64_t{1} << number; }
constexpr uint64_t kAdmin = Cap(CAP_SYS_ADMIN);
constexpr uint64_t kNever = 0;

struct Refused {
  uint32_t call;
  // Any of these capabilities lets it through.
  uint64_t unlocked_by;
};

constexpr Refused kRefused[] = {
    {SYS_acct, Cap(CAP_SYS_PACCT)},
    {SYS_add_key, kNever},
    {SYS_bpf, kAdmin | Cap(CAP_BPF)},
    {SYS_clock_adjtime, Cap(CAP_SYS_TIME)},
    {SYS_clock_settime, Cap(CAP_SYS_TIME)},
    {SYS_delete_module, Cap(CAP_SYS_MODULE)},
    {SYS_fanotify_init, kAdmin},
    {SYS_finit_module, Cap(CAP_SYS_MODULE)},
    {SYS_fsconfig, kAdmin},
    {SYS_fsmount, kAdmin},
    {SYS_fsopen, kAdmin},
    {SYS_fspick, kAdmin},
    {SYS_get_mempolicy, Cap(CAP_SYS_NICE)},
    {SYS_init_module, Cap(CAP_SYS_MODULE)},
    {SYS_io_uring_enter, kNever},
    {SYS_io_uring_register, kNever},
    {SYS_io_uring_setup, kNever},
    {SYS_kcmp, Cap(CAP_SYS_PTRACE)},
    {SYS_kexec_load, Cap(CAP_SYS_BOOT)},
    {SYS_keyctl, kNever},
    {SYS_lookup_dcookie, kAdmin},
    {SYS_mbind, Cap(CAP_SYS_NICE)},
    {SYS_migrate_pages, kNever},
    {SYS_mount, kAdmin},
    {SYS_mount_setattr, kAdmin},
    {SYS_move_mount, kAdmin},
    {SYS_move_pages, kNever},
    {SYS_nfsservctl, kNever},
    {SYS_open_by_handle_at, Cap(CAP_DAC_READ_SEARCH)},
    {SYS_open_tree, kAdmin},
    {SYS_perf_event_open, kAdmin | Cap(CAP_PERFMON)},
    {SYS_pidfd_getfd, Cap(CAP_SYS_PTRACE)},
    {SYS_pivot_root, kNever},
    {SYS_process_madvise, Cap(CAP_SYS_PTRACE)},
    {SYS_quotactl, kAdmin},
    {443 /* quotactl_fd */, kAdmin},
    {SYS_reboot, Cap(CAP_SYS_BOOT)},
    {SYS_request_key, kNever},
    {SYS_set_mempolicy, Cap(CAP_SYS_NICE)},
    {450 /* set_mempolicy_home_node */, Cap(CAP_SYS_NICE)},
    {SYS_setdomainname, kAdmin},
    {SYS_sethostname, kAdmin},
    {SYS_setns, kAdmin},
    {SYS_settimeofday, Cap(CAP_SYS_TIME)},
    {SYS_swapoff, kNever},
    {SYS_swapon, kNever},
    {SYS_syslog, kAdmin | Cap(CAP_SYSLOG)},
    {SYS_umount2, kAdmin},
    {SYS_unshare, kAdmin},
    {SYS_userfaultfd, kNever},
    {SYS_vhangup, Cap(CAP_SYS_TTY_CONFIG)},
    {SYS_chroot, Cap(CAP_SYS_CHROOT)},
#if defined(__x86_64__)
    {SYS__sysctl, kNever},
    {SYS_afs_syscall, kNever},
    {SYS_create_module, kNever},
    {SYS_epoll_ctl_old, kNever},
    {SYS_epoll_wait_old, kNever},
    {SYS_get_kernel_syms, kNever},
    {SYS_getpmsg, kNever},
    {SYS_ioperm, Cap(CAP_SYS_RAWIO)},
    {SYS_iopl, Cap(CAP_SYS_RAWIO)},
    {SYS_kexec_file_load, Cap(CAP_SYS_BOOT)},
    {SYS_putpmsg, kNever},
    {SYS_query_module, kNever},
    {SYS_security, kNever},
    {SYS_sysfs, kNever},
    {SYS_tuxcall, kNever},
    {SYS_uselib, kNever},
    {SYS_ustat, kNever},
    {SYS_vserver, kNever},
#else
    {294 /* kexec_file_load */, Cap(CAP_SYS_BOOT)},
#endif
};

constexpr uint32_t kNamespaceFlags =
    CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;

// Execution domains that change nothing of the kernel's behaviour for others: Linux, no ASLR off.
constexpr uint32_t kPersonalities[] = {0, 8, 0x20000, 0x20008, 0xffffffff};

constexpr uint32_t ErrnoResult(int number) { return SECCOMP_RET_ERRNO | static_cast<uint32_t>(number); }

class Assembler {
 public:
  void Load(size_t offset) { Add(BPF_LD | BPF_W | BPF_ABS, 0, 0, static_cast<uint32_t>(offset)); }
  void LoadCall() { Load(offsetof(seccomp_data, nr)); }
  // Low half of argument `index` (little-endian).
  void LoadArgument(size_t index) { Load(offsetof(seccomp_data, args) + 8 * index); }
  void Return(uint32_t result) { Add(BPF_RET | BPF_K, 0, 0, result); }
  void IfEqual(uint32_t value, uint32_t result) {
    Add(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, value);
    Return(result);
  }
  void IfNotEqual(uint32_t value, uint32_t result) {
    Add(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, value);
    Return(result);
  }
  void IfGreater(uint32_t value, uint32_t result) {
    Add(BPF_JMP | BPF_JGT | BPF_K, 0, 1, value);
    Return(result);
  }
  void IfAnyBit(uint32_t bits, uint32_t result) {
    Add(BPF_JMP | BPF_JSET | BPF_K, 0, 1, bits);
    Return(result);
  }
  // Goes on with the next `count` instructions only when the accumulator equals `value`.
  void SkipUnlessEqual(uint32_t value, uint8_t count) { Add(BPF_JMP | BPF_JEQ | BPF_K, 0, count, value); }

  std::vector<sock_filter> program;

 private:
  void Add(int code, uint8_t if_true, uint8_t if_false, uint32_t k) {
    program.push_back(sock_filter{static_cast<uint16_t>(code), if_true, if_false, k});
  }
};

}  // namespace

std::vector<sock_filter> SeccompProgram(uint64_t capabilities) {
  Assembler code;
  code.Load(offsetof(seccomp_data, arch));
  code.IfNotEqual(kArchitecture, ErrnoResult(ENOSYS));
  code.LoadCall();
  // Also every call of the x32 ABI, whose numbers start at 0x40000000.
  code.IfGreater(kNewestReviewed, ErrnoResult(ENOSYS));
  for (const Refused& refused : kRefused) {
    if ((refused.unlocked_by & capabilities) == 0) code.IfEqual(refused.call, ErrnoResult(EPERM));
  }
  if ((capabilities & kAdmin) == 0) {
    // clone3's flags lie in memory that a filter cannot read: ENOSYS makes libc fall back to clone.
    code.IfEqual(SYS_clone3, ErrnoResult(ENOSYS));
    code.SkipUnlessEqual(SYS_clone, 4);
    code.LoadArgument(0);
    code.IfAnyBit(kNamespaceFlags, ErrnoResult(EPERM));
    code.Return(SECCOMP_RET_ALLOW);
  }
  code.SkipUnlessEqual(SYS_socket, 4);
  code.LoadArgument(0);
  code.IfEqual(AF_VSOCK, ErrnoResult(EPERM));
  code.Return(SECCOMP_RET_ALLOW);
  constexpr uint8_t kPersonalityLength = 1 + 2 * std::size(kPersonalities) + 1;
  code.SkipUnlessEqual(SYS_personality, kPersonalityLength);
  code.LoadArgument(0);
  for (uint32_t personality : kPersonalities) code.IfEqual(personality, SECCOMP_RET_ALLOW);
  code.Return(ErrnoResult(EPERM));
  code.Return(SECCOMP_RET_ALLOW);
  return std::move(code.program);
}

Status LoadSeccomp(std::vector<sock_filter>& program) {
  sock_fprog filter = {static_cast<unsigned short>(program.size()), program.data()};
  if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &filter) == 0) return {};
  if (errno == EINVAL && syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) == 0) return {};
  return Error::Errno("seccomp", "load filter");
}

}  // namespace starling
