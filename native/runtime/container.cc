#include "container.h"

#include <fcntl.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "../sys/clone.h"
#include "../sys/fs.h"
#include "../sys/id_map.h"
#include "sync_socket.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

namespace starling {
namespace {

constexpr int kChildFailed = 70;
// How long a program's start inside a running container may take. Processes in there can stop it or slow it down, and the
// shim, which waits, has others to serve.
constexpr int kExecStartMs = 5'000;

[[noreturn]] void FailChild(int sync, const Error& error) {
  (void)SendMessage(sync, "E" + error.message.substr(0, 4000)).ok();
  _exit(kChildFailed);
}

Status RaiseLoopback() {
  UniqueFd socket_fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket_fd) return Error::Errno("socket", "");
  ifreq request;
  std::memset(&request, 0, sizeof request);
  std::strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  if (ioctl(socket_fd.get(), SIOCSIFFLAGS, &request) != 0) return Error::Errno("set up", "lo");
  return {};
}

Status EnterNetwork(const Spec& spec) {
  if (spec.host.network) return {};
  if (spec.netns_path.empty()) return RaiseLoopback();
  STARLING_ASSIGN(netns, fs::Open(spec.netns_path, O_RDONLY));
  if (setns(netns.get(), CLONE_NEWNET) != 0) return Error::Errno("setns", spec.netns_path);
  return {};
}

Status SetNames(const Spec& spec) {
  if (spec.host.uts) return {};
  if (!spec.hostname.empty() && sethostname(spec.hostname.c_str(), spec.hostname.size()) != 0) {
    return Error::Errno("sethostname", spec.hostname);
  }
  if (!spec.domainname.empty() && setdomainname(spec.domainname.c_str(), spec.domainname.size()) != 0) {
    return Error::Errno("setdomainname", spec.domainname);
  }
  return {};
}

struct InitState {
  PreparedProcess process;
  Terminal terminal;
};

// Its clocks are the host's until somebody who may sets them off. An unshared one is for children: it is entered, too.
Status EnterOwnTime() {
  if (unshare(CLONE_NEWTIME) != 0) return errno == EINVAL ? Status() : Status(Error::Errno("unshare", "time"));
  STARLING_ASSIGN(space, fs::Open("/proc/self/ns/time_for_children", O_RDONLY));
  if (setns(space.get(), CLONE_NEWTIME) != 0) return Error::Errno("setns", "time");
  return {};
}

// Best effort: without CAP_SYS_RESOURCE the score can only rise.
void SetOomScore(const Spec& spec) {
  (void)fs::WriteControl("/proc/self/oom_score_adj", std::to_string(spec.oom_score_adj)).ok();
}

// All that can be done before the network is there. `sources`: of the helper that prepared the root, or null.
Result<InitState> SetUp(const Spec& spec, const cgroup::Cgroup& cgroup, rootfs::Sources* sources) {
  STARLING_TRY(cgroup.JoinSelf());
  if (!spec.host.cgroup && unshare(CLONE_NEWCGROUP) != 0) return Error::Errno("unshare", "cgroup");
  STARLING_TRY(EnterOwnTime());
  STARLING_TRY(EnterNetwork(spec));
  STARLING_TRY(SetNames(spec));
  rootfs::Sources own;
  if (sources == nullptr) {
    SetOomScore(spec);
    STARLING_ASSIGN(prepared, rootfs::Prepare(spec.root));
    own = std::move(prepared);
    sources = &own;
  }
  if (!spec.root.ids.empty()) {
    STARLING_TRY(BecomeMappedRoot());
    DieWithParent();
  }
  STARLING_TRY(rootfs::Enter(spec.root, std::move(*sources)));
  InitState state;
  STARLING_ASSIGN(process, PrepareProcess(spec.process));
  state.process = std::move(process);
  state.process.under_init = spec.init;
  if (spec.process.tty) {
    STARLING_ASSIGN(terminal, OpenTerminal(spec.process.rows, spec.process.columns));
    state.terminal = std::move(terminal);
  }
  return state;
}

[[noreturn]] void RunInit(const Spec& spec, const cgroup::Cgroup& cgroup, Stdio stdio, int sync, rootfs::Sources* sources = nullptr) {
  DieWithParent();
  setsid();
  auto state = SetUp(spec, cgroup, sources);
  if (!state.ok()) FailChild(sync, state.error());
  if (!SendMessage(sync, "R", state->terminal.master.get()).ok()) _exit(kChildFailed);
  if (spec.process.tty) stdio = {state->terminal.slave.get(), state->terminal.slave.get(), state->terminal.slave.get()};
  auto start = ReceiveMessage(sync);
  if (!start.ok() || start->text != "S") _exit(kChildFailed);
  FailChild(sync, Become(state->process, stdio));
}

uint64_t NewNamespaces(const Spec& spec) {
  uint64_t flags = CLONE_NEWNS;
  if (!spec.host.pid) flags |= CLONE_NEWPID;
  if (!spec.host.ipc) flags |= CLONE_NEWIPC;
  if (!spec.host.uts) flags |= CLONE_NEWUTS;
  if (!spec.host.network && spec.netns_path.empty()) flags |= CLONE_NEWNET;
  if (!spec.root.ids.empty()) flags |= CLONE_NEWUSER;
  return flags;
}

bool NeedsHelper(const Spec& spec) {
  auto of_host = [](const rootfs::Mount& mount) { return mount.kind == rootfs::Mount::Kind::kFileSystem; };
  return !spec.root.ids.empty() || std::any_of(spec.root.mounts.begin(), spec.root.mounts.end(), of_host);
}

[[noreturn]] void RunHelper(const Spec& spec, const cgroup::Cgroup& cgroup, Stdio stdio, int sync) {
  DieWithParent();
  SetOomScore(spec);
  RaiseHardLimits(spec.process.rlimits);
  auto sources = rootfs::Prepare(spec.root);
  if (!sources.ok()) FailChild(sync, sources.error());
  auto mapped = MakeSyncPair();
  if (!mapped.ok()) FailChild(sync, mapped.error());
  auto init = Clone({.flags = NewNamespaces(spec) | CLONE_PARENT, .cgroup_fd = cgroup.v2_fd()});
  if (!init.ok()) FailChild(sync, init.error());
  if (init->pid == 0) {
    mapped->parent.reset();
    auto message = ReceiveMessage(mapped->child.get());
    if (!message.ok() || message->text != "M") _exit(kChildFailed);
    mapped->child.reset();
    RunInit(spec, cgroup, stdio, sync, &*sources);
  }
  if (!SendMessage(sync, "P" + std::to_string(init->pid)).ok()) _exit(kChildFailed);
  if (!spec.root.ids.empty()) {
    if (Status done = WriteIdMaps(init->pid, spec.root.ids); !done.ok()) FailChild(sync, Error{"user namespace: " + done.error().message});
  }
  (void)SendMessage(mapped->parent.get(), "M").ok();
  _exit(0);
}

// Pipes of the host's root are not root's inside: who opens /dev/stdout anew there must be allowed to.
void GiveStdio(const Stdio& stdio, const IdMaps& ids) {
  if (ids.empty()) return;
  for (int fd : {stdio.in, stdio.out, stdio.err}) {
    struct stat info;
    if (fd >= 0 && fstat(fd, &info) == 0 && S_ISFIFO(info.st_mode)) (void)!fchown(fd, HostId(ids.uids, 0), HostId(ids.gids, 0));
  }
}

// The next message, which must be `wanted` (empty: end of file); an "E…" message is the child's error.
Result<Message> Expect(int sync, std::string_view wanted) {
  STARLING_ASSIGN(message, ReceiveMessage(sync));
  if (message.text == wanted) return message;
  if (message.text.starts_with("E")) return Error{message.text.substr(1), 0};
  return Error{"container: its init ended before it was ready", ECHILD};
}

// Between the fork in the host's PID namespace and the one inside: enters the namespaces, makes the real child of the
// shim (CLONE_PARENT), tells its pid, ends.
[[noreturn]] void RunExecHelper(const ProcessSpec& spec, int pidfd, const cgroup::Cgroup& cgroup, const IdMaps& ids, Stdio stdio, int sync) {
  // What runs in the container from here on is this program: nobody inside may look into it.
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  RaiseHardLimits(spec.rlimits);
  int flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
  if (access("/proc/self/ns/time", F_OK) == 0) flags |= CLONE_NEWTIME;
  if (!ids.empty()) flags |= CLONE_NEWUSER;
  if (setns(pidfd, flags) != 0) FailChild(sync, Error::Errno("setns", "container"));
  // Not yet in its cgroup namespace: from there one may move nobody in, where such namespaces delegate (nsdelegate).
  auto cloned = Clone({.flags = CLONE_PARENT, .cgroup_fd = cgroup.v2_fd()});
  if (!cloned.ok()) FailChild(sync, cloned.error());
  if (cloned->pid > 0) {
    (void)SendMessage(sync, "P" + std::to_string(cloned->pid)).ok();
    _exit(0);
  }
  setsid();
  if (Status joined = cgroup.JoinSelf(); !joined.ok()) FailChild(sync, joined.error());
  if (setns(pidfd, CLONE_NEWCGROUP) != 0) FailChild(sync, Error::Errno("setns", "container's cgroup namespace"));
  if (!ids.empty()) {
    if (Status done = BecomeMappedRoot(); !done.ok()) FailChild(sync, done.error());
  }
  DieWithParent();
  auto process = PrepareProcess(spec);
  if (!process.ok()) FailChild(sync, process.error());
  Terminal terminal;
  if (spec.tty) {
    auto opened = OpenTerminal(spec.rows, spec.columns);
    if (!opened.ok()) FailChild(sync, opened.error());
    terminal = std::move(*opened);
    if (!SendMessage(sync, "T", terminal.master.get()).ok()) _exit(kChildFailed);
    stdio = {terminal.slave.get(), terminal.slave.get(), terminal.slave.get()};
  }
  FailChild(sync, Become(*process, stdio));
}

// Of an init that a helper made: its pid, once it is ready.
Result<pid_t> AwaitHelper(int sync, pid_t helper, UniqueFd& terminal) {
  pid_t init = 0;
  Error problem{"container: its init ended before it was ready", ECHILD};
  for (;;) {
    auto message = ReceiveMessage(sync);
    char kind = message.ok() && !message->text.empty() ? message->text[0] : 0;
    if (kind == 'P') {
      init = static_cast<pid_t>(std::atoi(message->text.c_str() + 1));
    } else if (kind == 'R') {
      terminal = std::move(message->attached);
      waitpid(helper, nullptr, 0);
      return init;
    } else {
      if (kind == 'E') problem = Error{message->text.substr(1), 0};
      break;
    }
  }
  waitpid(helper, nullptr, 0);
  if (init > 0) {
    kill(init, SIGKILL);
    waitpid(init, nullptr, 0);
  }
  return problem;
}

}  // namespace

Result<Container> CreateContainer(const Spec& spec, const cgroup::Cgroup& cgroup, const Stdio& stdio) {
  STARLING_ASSIGN(sync, MakeSyncPair());
  GiveStdio(stdio, spec.root.ids);
  const bool helped = NeedsHelper(spec);
  STARLING_ASSIGN(cloned, helped ? Clone({.flags = CLONE_NEWNS}) : Clone({.flags = NewNamespaces(spec), .cgroup_fd = cgroup.v2_fd()}));
  if (cloned.pid == 0) {
    sync.parent.reset();
    if (helped) RunHelper(spec, cgroup, stdio, sync.child.get());
    RunInit(spec, cgroup, stdio, sync.child.get());
  }
  sync.child.reset();
  Container container;
  if (helped) {
    STARLING_ASSIGN(pid, AwaitHelper(sync.parent.get(), cloned.pid, container.terminal));
    container.pid = pid;
    container.pidfd.reset(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
    if (!container.pidfd) return Error::Errno("pidfd_open", "container");
  } else {
    auto ready = Expect(sync.parent.get(), "R");
    if (!ready.ok()) {
      waitpid(cloned.pid, nullptr, 0);
      return ready.error();
    }
    container.pid = cloned.pid;
    container.pidfd = std::move(cloned.pidfd);
    container.terminal = std::move(ready->attached);
  }
  container.sync = std::move(sync.parent);
  return container;
}

Status StartContainer(Container& container) {
  STARLING_TRY(SendMessage(container.sync.get(), "S"));
  auto running = Expect(container.sync.get(), "");
  container.sync.reset();
  if (!running.ok()) return running.error();
  return {};
}

Result<Executed> ExecuteInContainer(const ProcessSpec& process, int container_pidfd, const cgroup::Cgroup& cgroup, const IdMaps& ids,
                                    const Stdio& stdio) {
  STARLING_ASSIGN(sync, MakeSyncPair());
  GiveStdio(stdio, ids);
  STARLING_ASSIGN(helper, Clone({}));
  if (helper.pid == 0) {
    sync.parent.reset();
    RunExecHelper(process, container_pidfd, cgroup, ids, stdio, sync.child.get());
  }
  sync.child.reset();
  Executed executed;
  Status outcome;
  for (;;) {
    auto message = ReceiveMessage(sync.parent.get(), kExecStartMs);
    if (!message.ok() && message.error().number == ETIMEDOUT) {
      outcome = Error{"exec: the container kept the program from starting for " + std::to_string(kExecStartMs) + " ms", ETIMEDOUT};
      kill(helper.pid, SIGKILL);
      if (executed.pid > 0) kill(executed.pid, SIGKILL);
    }
    if (!message.ok() || message->text.empty()) break;
    if (message->text[0] == 'P') executed.pid = std::atoi(message->text.c_str() + 1);
    if (message->text[0] == 'T') executed.terminal = std::move(message->attached);
    if (message->text[0] == 'E') outcome = Error{message->text.substr(1), 0};
  }
  waitpid(helper.pid, nullptr, 0);
  if (outcome.ok() && executed.pid == 0) outcome = Error{"exec: the container has ended", ESRCH};
  if (outcome.ok()) return executed;
  if (executed.pid > 0) waitpid(executed.pid, nullptr, 0);
  return outcome.error();
}

}  // namespace starling
