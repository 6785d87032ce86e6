#include "process.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/keyctl.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "../runtime/capabilities.h"
#include "../runtime/process.h"
#include "../runtime/sync_socket.h"
#include "../runtime/user.h"
#include "../sys/fs.h"

namespace starling::oci {
namespace {

// sched_setattr(2), first version of its argument.
struct SchedulerAttributes {
  uint32_t size;
  uint32_t policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t runtime;
  uint64_t deadline;
  uint64_t period;
};

constexpr int kIoPriorityOfProcess = 1;

Status ApplyScheduling(const Process& process) {
  if (process.scheduler) {
    const Scheduler& s = *process.scheduler;
    SchedulerAttributes attributes = {sizeof attributes, s.policy, s.flags, s.nice, s.priority, s.runtime_ns, s.deadline_ns, s.period_ns};
    if (syscall(SYS_sched_setattr, 0, &attributes, 0) != 0) return Error::Errno("process.scheduler: sched_setattr", "");
  }
  if (process.io_priority && syscall(SYS_ioprio_set, kIoPriorityOfProcess, 0, *process.io_priority) != 0) {
    return Error::Errno("process.ioPriority: ioprio_set", "");
  }
  return {};
}

Status ApplyRlimits(const Process& process) {
  for (const Rlimit& limit : process.rlimits) {
    struct rlimit value = {limit.soft, limit.hard};
    if (setrlimit(static_cast<__rlimit_resource_t>(limit.resource), &value) != 0) {
      return Error::Errno("process.rlimits: setrlimit", std::to_string(limit.resource));
    }
  }
  return {};
}

Status ApplyIds(const Process& process) {
  // EPERM without any group: a user namespace that may not set groups has none to shed either.
  if (setgroups(process.additional_gids.size(), process.additional_gids.data()) != 0 &&
      !(errno == EPERM && process.additional_gids.empty())) {
    return Error::Errno("process.user.additionalGids: setgroups", "");
  }
  if (setresgid(process.gid, process.gid, process.gid) != 0) return Error::Errno("process.user.gid: setresgid", std::to_string(process.gid));
  if (setresuid(process.uid, process.uid, process.uid) != 0) return Error::Errno("process.user.uid: setresuid", std::to_string(process.uid));
  return {};
}

// What this process lacks stays lacking, and each set stays within the one that bounds it: no error, as the specification
// asks.
Status ApplyCapabilitySets(const Capabilities& wanted) {
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2];
  if (syscall(SYS_capget, &header, data) != 0) return Error::Errno("capget", "");
  uint64_t ambient = 0;
  for (unsigned half = 0; half < 2; half++) {
    auto part = [&](uint64_t set) { return static_cast<uint32_t>(set >> (32 * half)); };
    uint32_t had = data[half].permitted;
    data[half].permitted = part(wanted.permitted) & had;
    data[half].effective = part(wanted.effective) & data[half].permitted;
    data[half].inheritable = part(wanted.inheritable) & (had | data[half].inheritable);
    ambient |= static_cast<uint64_t>(part(wanted.ambient) & data[half].permitted & data[half].inheritable) << (32 * half);
  }
  if (syscall(SYS_capset, &header, data) != 0) return Error::Errno("process.capabilities: capset", "");
  for (int number = 0; number < 64; number++) {
    if ((ambient >> number & 1) == 0) continue;
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0, 0) != 0) return Error::Errno("process.capabilities.ambient", std::to_string(number));
  }
  return {};
}

Status LoadFilter(const Launch& launch, int socket) {
  if (launch.filter.empty()) return {};
  sock_fprog program = {static_cast<unsigned short>(launch.filter.size()), const_cast<sock_filter*>(launch.filter.data())};
  uint64_t flags = launch.filter_flags | (launch.notifies ? SECCOMP_FILTER_FLAG_NEW_LISTENER : 0UL);
  long loaded = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
  if (loaded < 0) return Error::Errno("linux.seccomp: seccomp", "load filter");
  if (!launch.notifies) return {};
  UniqueFd listener(static_cast<int>(loaded));
  return SendMessage(socket, "N", listener.get());
}

// A label of a security module that this kernel has not would be a promise that nobody keeps.
Status WriteLabel(std::string_view member, const std::string& label, const std::string& probe, const std::string& file) {
  if (label.empty()) return {};
  std::string prefix = "process." + std::string(member) + " `" + label + "`: ";
  if (access(probe.c_str(), F_OK) != 0) return Error{prefix + "this kernel has no such security module: leave it out", ENOTSUP};
  auto attribute = OpenOwnProcFile(file);
  if (!attribute.ok()) return Error{prefix + attribute.error().message, attribute.error().number};
  std::string text = member == "apparmorProfile" ? "exec " + label : label;
  if (write(attribute->get(), text.data(), text.size()) < 0) return Error::Errno(prefix + "write", file);
  return {};
}

Status TakeTerminal(const Launch& launch) {
  for (int fd = 0; fd < 3; fd++) {
    struct stat info;
    if (launch.terminal >= 0) {
      if (dup2(launch.terminal, fd) < 0) return Error::Errno("dup2", "terminal");
    } else if (fstat(fd, &info) == 0 && S_ISFIFO(info.st_mode)) {
      // A program that opens /dev/stdout anew must be allowed to, whoever it runs as.
      (void)!fchown(fd, launch.process.uid, launch.process.gid);
    }
  }
  if (launch.terminal < 0) return {};
  if (ioctl(0, TIOCSCTTY, 0) != 0) return Error::Errno("process.terminal: ioctl", "TIOCSCTTY");
  (void)!fchown(0, launch.process.uid, static_cast<gid_t>(-1));
  return {};
}

// "/" for a user whom the image does not know.
std::string HomeOf(uint32_t uid) {
  auto passwd = fs::ReadRegularFile("/etc/passwd", 16 << 20);
  if (!passwd.ok()) return "/";
  auto identity = ResolveUser(std::to_string(uid), {}, *passwd, "");
  return identity.ok() && !identity->home.empty() ? identity->home : "/";
}

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (const std::string& string : strings) pointers.push_back(const_cast<char*>(string.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

Status ApplyOnHost(const Process& process) {
  if (!process.oom_score_adj) return {};
  if (Status done = fs::WriteControl("/proc/self/oom_score_adj", std::to_string(*process.oom_score_adj)); !done.ok()) {
    return Error{"process.oomScoreAdj: " + done.error().message, done.error().number};
  }
  return {};
}

Status Locate(Launch& launch) {
  const Process& process = launch.process;
  if (Status entered = EnterFolder(process.cwd); !entered.ok()) {
    return Error{"process.cwd: " + entered.error().message, entered.error().number};
  }
  ProcessSpec spec;
  spec.args = process.args;
  spec.env = process.env;
  spec.cwd = process.cwd;
  STARLING_ASSIGN(program, FindProgram(spec));
  launch.program = std::move(program);
  bool has_home = std::any_of(process.env.begin(), process.env.end(), [](const std::string& e) { return e.starts_with("HOME="); });
  if (!has_home) launch.process.env.push_back("HOME=" + HomeOf(process.uid));
  STARLING_TRY(WriteLabel("apparmorProfile", process.apparmor_profile, "/sys/module/apparmor", "attr/apparmor/exec"));
  return WriteLabel("selinuxLabel", process.selinux_label, "/sys/fs/selinux", "attr/exec");
}

Error Become(const Launch& launch, int socket) {
  const Process& process = launch.process;
  std::vector<char*> args = Pointers(process.args);
  std::vector<char*> env = Pointers(process.env);
  STARLING_TRY(EnterFolder(process.cwd));
  STARLING_TRY(TakeTerminal(launch));
  // Keys of the host's session stay the host's. A kernel without keyrings has none to hide.
  (void)!syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, nullptr);
  STARLING_TRY(ApplyScheduling(process));
  STARLING_TRY(ApplyRlimits(process));
  umask(process.umask.value_or(022));
  ResetSignals();
  if (launch.personality && personality(*launch.personality) < 0) return Error::Errno("linux.personality", "");
  if (close_range(3 + launch.preserved_fds, ~0U, CLOSE_RANGE_CLOEXEC) != 0) return Error::Errno("close_range", "");
  if (process.no_new_privileges) {
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return Error::Errno("process.noNewPrivileges", "");
  } else {
    // Without it a filter needs CAP_SYS_ADMIN, which may be gone later.
    STARLING_TRY(LoadFilter(launch, socket));
  }
  if (process.capabilities) {
    STARLING_TRY(LimitBoundingSet(process.capabilities->bounding));
    // Else the change of the user would clear them.
    if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0) return Error::Errno("prctl", "PR_SET_KEEPCAPS");
  }
  STARLING_TRY(ApplyIds(process));
  if (process.capabilities) STARLING_TRY(ApplyCapabilitySets(*process.capabilities));
  if (process.no_new_privileges) STARLING_TRY(LoadFilter(launch, socket));
  execve(launch.program.c_str(), args.data(), env.data());
  return Error::Errno("exec", process.args[0]);
}

}  // namespace starling::oci
