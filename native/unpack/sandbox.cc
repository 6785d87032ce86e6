#include "sandbox.h"

#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <vector>

#include "../runtime/capabilities.h"

namespace starling {
namespace {

#if defined(__x86_64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#else
constexpr uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#endif

constexpr uint64_t Cap(int number) { return uint64_t{1} << number; }
// CAP_SYS_ADMIN is what trusted.* attributes ask for; the filter leaves it nothing else to do.
constexpr uint64_t kCapabilities = Cap(CAP_CHOWN) | Cap(CAP_DAC_OVERRIDE) | Cap(CAP_FOWNER) | Cap(CAP_FSETID) |
                                   Cap(CAP_MKNOD) | Cap(CAP_SETFCAP) | Cap(CAP_SYS_ADMIN);

constexpr uint32_t kAllowed[] = {
    SYS_read,      SYS_write,     SYS_writev,    SYS_close,     SYS_fstat,    SYS_newfstatat, SYS_lseek,   SYS_openat,
    SYS_openat2,   SYS_mkdirat,   SYS_mknodat,   SYS_symlinkat, SYS_linkat,   SYS_unlinkat,   SYS_fchown,  SYS_fchownat,
    SYS_fchmod,    SYS_fchmodat,  SYS_utimensat, SYS_fsetxattr, SYS_getdents64, SYS_fcntl,    SYS_syncfs,  SYS_brk,
    SYS_mmap,      SYS_munmap,    SYS_mremap,    SYS_madvise,   SYS_exit_group, SYS_futex,    SYS_rt_sigreturn,
};

Status LoadFilter() {
  std::vector<sock_filter> program = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kArchitecture, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
  };
  for (uint32_t call : kAllowed) {
    program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1));
    program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  }
  program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS));
  sock_fprog filter = {static_cast<unsigned short>(program.size()), program.data()};
  if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) != 0) return Error::Errno("seccomp", "load filter");
  return {};
}

}  // namespace

Status EnterSandbox(const UniqueFd& folder) {
  if (unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) != 0) return Error::Errno("unshare", "");
  if (mount(nullptr, "/", nullptr, MS_PRIVATE | MS_REC, nullptr) != 0) return Error::Errno("make private", "/");
  if (fchdir(folder.get()) != 0) return Error::Errno("chdir", "layer");
  if (chroot(".") != 0) return Error::Errno("chroot", "layer");
  if (chdir("/") != 0) return Error::Errno("chdir", "/");
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return Error::Errno("prctl", "PR_SET_NO_NEW_PRIVS");
  STARLING_TRY(LimitBoundingSet(kCapabilities));
  STARLING_TRY(SetCapabilities(kCapabilities));
  return LoadFilter();
}

}  // namespace starling
