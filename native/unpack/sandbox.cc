#include "sandbox.h"

#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <utility>

#include "../runtime/capabilities.h"
#include "../sys/fs.h"

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

// zstd windows of 128 MiB, names of folders, and room.
constexpr rlim_t kMemoryMax = rlim_t{1} << 30;

constexpr uint32_t kAllowed[] = {
    SYS_read,      SYS_write,     SYS_writev,    SYS_close,     SYS_fstat,    SYS_newfstatat, SYS_lseek,   SYS_openat,
    SYS_openat2,   SYS_mkdirat,   SYS_mknodat,   SYS_symlinkat, SYS_linkat,   SYS_unlinkat,   SYS_fchown,  SYS_fchownat,
    SYS_fchmod,    SYS_fchmodat,  SYS_utimensat, SYS_fsetxattr, SYS_fgetxattr, SYS_flistxattr, SYS_getdents64, SYS_fcntl,
    SYS_ftruncate, SYS_readlinkat, SYS_syncfs,   SYS_brk,
    SYS_mmap,      SYS_munmap,    SYS_mremap,    SYS_madvise,   SYS_exit_group, SYS_futex,    SYS_rt_sigreturn,
};

}  // namespace

Status LockDown() {
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
  if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter) != 0) return Error::Errno("seccomp", "load filter");
  return {};
}

Status Isolate() {
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) return Error::Errno("prctl", "PR_SET_PDEATHSIG");
  // The parent may have gone before that; standard output is then a pipe without reader.
  pollfd output = {1, 0, 0};
  if (poll(&output, 1, 0) == 1 && (output.revents & POLLERR) != 0) return Error{"the parent process has gone"};
  for (auto [resource, limit] : {std::pair{RLIMIT_CORE, rlim_t{0}}, {RLIMIT_AS, kMemoryMax}, {RLIMIT_NOFILE, rlim_t{1024}}}) {
    rlimit bound = {limit, limit};
    if (setrlimit(resource, &bound) != 0) return Error::Errno("setrlimit", std::to_string(resource));
  }
  if (unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) != 0) return Error::Errno("unshare", "");
  if (mount(nullptr, "/", nullptr, MS_PRIVATE | MS_REC, nullptr) != 0) return Error::Errno("make private", "/");
  return {};
}

Result<UniqueFd> MergeLowers(const std::vector<std::string>& lowers, const std::string& folder) {
  if (lowers.size() == 1) return fs::Open(lowers[0], O_RDONLY | O_DIRECTORY);
  std::vector<UniqueFd> held;
  // Options must fit one page: descriptors keep them short and free of characters to escape.
  std::string options = "lowerdir=";
  for (const std::string& lower : lowers) {
    STARLING_ASSIGN(fd, fs::Open(lower, O_PATH | O_DIRECTORY));
    if (!held.empty()) options += ":";
    options += "/proc/self/fd/" + std::to_string(fd.get());
    held.push_back(std::move(fd));
  }
  if (mount("overlay", folder.c_str(), "overlay", MS_RDONLY, options.c_str()) != 0) {
    return Error::Errno("mount lower layers", folder);
  }
  return fs::Open(folder, O_RDONLY | O_DIRECTORY);
}

Status EnterFolder(const UniqueFd& folder) {
  if (fchdir(folder.get()) != 0) return Error::Errno("chdir", "layer");
  if (chroot(".") != 0) return Error::Errno("chroot", "layer");
  if (chdir("/") != 0) return Error::Errno("chdir", "/");
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return Error::Errno("prctl", "PR_SET_NO_NEW_PRIVS");
  STARLING_TRY(LimitBoundingSet(kCapabilities));
  return SetCapabilities(kCapabilities);
}

}  // namespace starling
