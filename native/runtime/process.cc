#include "process.h"

#include <grp.h>
#include <linux/keyctl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#include <csignal>
#include <cstring>

#include "../sys/fs.h"
#include "capabilities.h"
#include "init.h"
#include "seccomp.h"

namespace starling {
namespace {

constexpr std::string_view kDefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

std::string_view Variable(const std::vector<std::string>& env, std::string_view name) {
  std::string_view found;
  for (std::string_view entry : env) {
    if (entry.size() > name.size() && entry.substr(0, name.size()) == name && entry[name.size()] == '=') {
      found = entry.substr(name.size() + 1);
    }
  }
  return found;
}

bool Executable(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) && (info.st_mode & 0111) != 0;
}

// The file's text; empty when the image has none. Opened without following a link out of the root: there is none.
std::string ImageFile(const char* path) {
  auto text = fs::ReadRegularFile(path, 16 << 20);
  return text.ok() ? std::move(*text) : std::string();
}

Status PlaceStdio(const Stdio& stdio, const Identity& identity) {
  int wanted[3] = {stdio.in, stdio.out, stdio.err};
  UniqueFd null(open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null) return Error::Errno("open", "/dev/null");
  // First above 2, so that no dup2 overwrites a later source.
  int moved[3];
  for (int i = 0; i < 3; i++) {
    moved[i] = fcntl(wanted[i] >= 0 ? wanted[i] : null.get(), F_DUPFD_CLOEXEC, 3);
    if (moved[i] < 0) return Error::Errno("dup", "stdio");
  }
  for (int i = 0; i < 3; i++) {
    struct stat info;
    // A program that opens /dev/stdout anew must be allowed to, whoever it runs as.
    if (wanted[i] >= 0 && fstat(moved[i], &info) == 0 && (S_ISFIFO(info.st_mode) || S_ISCHR(info.st_mode))) {
      (void)!fchown(moved[i], identity.uid, S_ISCHR(info.st_mode) ? info.st_gid : identity.gid);
    }
    if (dup2(moved[i], i) < 0) return Error::Errno("dup2", "stdio");
  }
  return {};
}

Status ApplyRlimits(const std::vector<Rlimit>& rlimits) {
  for (const Rlimit& limit : rlimits) {
    struct rlimit value = {limit.soft, limit.hard};
    if (setrlimit(static_cast<__rlimit_resource_t>(limit.resource), &value) != 0) {
      return Error::Errno("setrlimit", std::to_string(limit.resource));
    }
  }
  return {};
}

Status ChangeUser(const Identity& identity) {
  if (setgroups(identity.groups.size(), identity.groups.data()) != 0) return Error::Errno("setgroups", "");
  if (setresgid(identity.gid, identity.gid, identity.gid) != 0) return Error::Errno("setresgid", "");
  if (setresuid(identity.uid, identity.uid, identity.uid) != 0) return Error::Errno("setresuid", "");
  return {};
}

Status WriteOwnProcFile(const std::string& file, std::string_view text) {
  STARLING_ASSIGN(fd, OpenOwnProcFile(file));
  if (write(fd.get(), text.data(), text.size()) < 0) return Error::Errno("write", "/proc/thread-self/" + file);
  return {};
}

// What execve shall confine the program to, by the security modules' files (proc_pid_attr(5)).
Status SetLabels(const ProcessSpec& spec) {
  if (!spec.apparmor_profile.empty()) {
    std::string text = "exec " + spec.apparmor_profile;
    bool own = access("/proc/thread-self/attr/apparmor/exec", F_OK) == 0;
    Status set = WriteOwnProcFile(own ? "attr/apparmor/exec" : "attr/exec", text);
    if (!set.ok()) return Error{"AppArmor profile `" + spec.apparmor_profile + "`: " + set.error().message, set.error().number};
  }
  if (!spec.selinux_label.empty()) {
    Status set = WriteOwnProcFile("attr/exec", spec.selinux_label);
    if (!set.ok()) return Error{"SELinux label `" + spec.selinux_label + "`: " + set.error().message, set.error().number};
  }
  return {};
}

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (const std::string& string : strings) pointers.push_back(const_cast<char*>(string.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

Error ExecError(const PreparedProcess& process) {
  int number = errno;
  const std::string& name = process.spec.args[0];
  if (number == ENOENT) return Error{"exec: \"" + name + "\": no such file or directory (or its interpreter)", number};
  if (number == EACCES) return Error{"exec: \"" + name + "\": permission denied", number};
  if (number == ENOEXEC) return Error{"exec: \"" + name + "\": exec format error", number};
  return Error::Errno("execve", name, number);
}

}  // namespace

Result<std::string> FindProgram(const ProcessSpec& spec) {
  const std::string& name = spec.args[0];
  auto refuse = [&](std::string_view problem, int number) {
    return Error{"exec: \"" + name + "\": " + std::string(problem), number};
  };
  if (name.find('/') != std::string::npos) {
    std::string path = name[0] == '/' ? name : spec.cwd + "/" + name;
    struct stat info;
    if (stat(path.c_str(), &info) != 0) return refuse("stat " + path + ": no such file or directory", ENOENT);
    if (!Executable(path)) return refuse("permission denied: not an executable file", EACCES);
    return name;
  }
  std::string_view path = Variable(spec.env, "PATH");
  for (std::string_view folder : fs::Split(path.empty() ? kDefaultPath : path, ':')) {
    std::string candidate = (folder.empty() ? std::string(".") : std::string(folder)) + "/" + name;
    if (Executable(candidate)) return candidate;
  }
  return refuse("executable file not found in $PATH", ENOENT);
}

Status EnterFolder(const std::string& cwd) {
  if (chdir(cwd.c_str()) != 0) {
    if (errno == ENOENT) STARLING_TRY(fs::MakeFolders(cwd));
    if (chdir(cwd.c_str()) != 0) return Error::Errno("chdir", cwd);
  }
  // Through a descriptor of the host that leaked (/proc/self/fd/7) one could end outside: the kernel then names no path.
  char path[PATH_MAX];
  if (getcwd(path, sizeof path) == nullptr) return Error::Errno("getcwd", cwd);
  if (path[0] != '/') return Error{"chdir `" + cwd + "`: lies outside the container's root", EPERM};
  return {};
}

Result<UniqueFd> OpenOwnProcFile(const std::string& file) {
  std::string name = "/proc/thread-self/" + file;
  UniqueFd proc(open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC));
  struct statfs info;
  if (!proc || fstatfs(proc.get(), &info) != 0) return Error::Errno("open", "/proc");
  if (info.f_type != PROC_SUPER_MAGIC) return Error{"`" + name + "` is not of procfs", EINVAL};
  open_how how;
  std::memset(&how, 0, sizeof how);
  how.flags = O_WRONLY | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS;
  std::string below = "thread-self/" + file;
  UniqueFd fd(static_cast<int>(syscall(SYS_openat2, proc.get(), below.c_str(), &how, sizeof how)));
  if (!fd) return Error::Errno("open", name);
  return fd;
}

void RaiseHardLimits(const std::vector<Rlimit>& rlimits) {
  for (const Rlimit& limit : rlimits) {
    auto resource = static_cast<__rlimit_resource_t>(limit.resource);
    struct rlimit value;
    if (getrlimit(resource, &value) != 0 || value.rlim_max >= limit.hard) continue;
    value.rlim_max = limit.hard;
    (void)setrlimit(resource, &value);
  }
}

void ResetSignals() {
  for (int number = 1; number < NSIG; number++) signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

void DieWithParent() { prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0); }

Result<PreparedProcess> PrepareProcess(const ProcessSpec& spec) {
  PreparedProcess prepared;
  prepared.spec = spec;
  STARLING_ASSIGN(identity, ResolveUser(spec.user, spec.groups, ImageFile("/etc/passwd"), ImageFile("/etc/group")));
  prepared.identity = std::move(identity);
  STARLING_ASSIGN(program, FindProgram(spec));
  prepared.program = std::move(program);
  if (Variable(spec.env, "HOME").empty()) prepared.spec.env.push_back("HOME=" + prepared.identity.home);
  return prepared;
}

Result<Terminal> OpenTerminal(unsigned short rows, unsigned short columns) {
  Terminal terminal;
  terminal.master.reset(open("/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!terminal.master) return Error::Errno("open", "/dev/pts/ptmx");
  int unlock = 0;
  if (ioctl(terminal.master.get(), TIOCSPTLCK, &unlock) != 0) return Error::Errno("unlock", "terminal");
  terminal.slave.reset(ioctl(terminal.master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!terminal.slave) return Error::Errno("open", "terminal");
  if (rows > 0 && columns > 0) {
    winsize size = {rows, columns, 0, 0};
    if (ioctl(terminal.master.get(), TIOCSWINSZ, &size) != 0) return Error::Errno("resize", "terminal");
  }
  return terminal;
}

Error Become(const PreparedProcess& process, const Stdio& stdio) {
  const ProcessSpec& spec = process.spec;
  std::vector<char*> args = Pointers(spec.args);
  std::vector<char*> env = Pointers(spec.env);
  std::vector<sock_filter> filter;
  if (spec.seccomp) filter = SeccompProgram(spec.seccomp_program);
  STARLING_TRY(EnterFolder(spec.cwd));
  STARLING_TRY(PlaceStdio(stdio, process.identity));
  if (spec.tty) ioctl(0, TIOCSCTTY, 0);
  // Keys of the host's session stay the host's. A kernel without keyrings has none to hide.
  (void)!syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, nullptr);
  STARLING_TRY(ApplyRlimits(spec.rlimits));
  umask(022);
  ResetSignals();
  if (spec.no_new_privileges && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    return Error::Errno("prctl", "PR_SET_NO_NEW_PRIVS");
  }
  // The bounding set first (needs CAP_SETPCAP), then the filter (CAP_SYS_ADMIN), then the identity; the filter lets
  // through all that comes after it.
  STARLING_TRY(LimitBoundingSet(spec.capabilities));
  STARLING_TRY(SetLabels(spec));
  if (close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) != 0) return Error::Errno("close_range", "");
  if (spec.seccomp) STARLING_TRY(LoadSeccomp(filter));
  STARLING_TRY(ChangeUser(process.identity));
  STARLING_TRY(SetCapabilities(process.identity.uid == 0 ? spec.capabilities : 0));
  DieWithParent();
  // Only now, so that the init has no more privileges than the program.
  if (process.under_init) ForkFromInit();
  execve(process.program.c_str(), args.data(), env.data());
  return ExecError(process);
}

}  // namespace starling
