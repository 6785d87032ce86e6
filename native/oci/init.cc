#include "init.h"

#include <fcntl.h>
#include <linux/nsfs.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "../runtime/process.h"
#include "../runtime/sync_socket.h"
#include "../sys/fs.h"
#include "../sys/id_map.h"
#include "hooks.h"
#include "root.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

namespace starling::oci {
namespace {

constexpr int kChildFailed = 70;

// A message of the runtime; its end ends this process: nobody is left to want a container.
void Await(int sync, std::string_view wanted) {
  auto message = ReceiveMessage(sync);
  if (!message.ok() || message->text != wanted) _exit(kChildFailed);
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

// Offsets can be set until a process is inside, so: made for children, set, then entered.
Status EnterNewTime(const Config& config) {
  if (unshare(CLONE_NEWTIME) != 0) return Error::Errno("linux.namespaces: unshare", "time");
  for (const auto& [clock, offset] : config.time_offsets) {
    std::string line = clock + " " + std::to_string(offset.seconds) + " " + std::to_string(offset.nanoseconds);
    if (Status done = fs::WriteControl("/proc/self/timens_offsets", line); !done.ok()) {
      return Error{"linux.timeOffsets: " + done.error().message, done.error().number};
    }
  }
  STARLING_ASSIGN(space, fs::Open("/proc/self/ns/time_for_children", O_RDONLY));
  if (setns(space.get(), CLONE_NEWTIME) != 0) return Error::Errno("linux.namespaces: setns", "time");
  return {};
}

Status EnterNamespaces(const InitInput& input) {
  const Config& config = input.config;
  STARLING_TRY(input.cgroup.JoinSelf());
  if (config.process) STARLING_TRY(ApplyOnHost(*config.process));
  if (config.HasNew(CLONE_NEWCGROUP) && unshare(CLONE_NEWCGROUP) != 0) return Error::Errno("linux.namespaces: unshare", "cgroup");
  if (config.HasNew(CLONE_NEWTIME)) STARLING_TRY(EnterNewTime(config));
  if (config.HasNew(CLONE_NEWNET)) STARLING_TRY(RaiseLoopback());
  if (!config.hostname.empty() && sethostname(config.hostname.c_str(), config.hostname.size()) != 0) {
    return Error::Errno("hostname", config.hostname);
  }
  if (!config.domainname.empty() && setdomainname(config.domainname.c_str(), config.domainname.size()) != 0) {
    return Error::Errno("domainname", config.domainname);
  }
  return WriteSysctls(config);
}

// The pseudo terminal of the container's own devpts, shown at /dev/console too.
Result<Terminal> MakeConsole(const Process& process) {
  STARLING_ASSIGN(terminal, OpenTerminal());
  if (process.console_rows != 0 || process.console_columns != 0) {
    winsize size = {process.console_rows, process.console_columns, 0, 0};
    if (ioctl(terminal.master.get(), TIOCSWINSZ, &size) != 0) return Error::Errno("process.consoleSize", "");
  }
  // What the image has there is neither opened nor followed (CVE-2025-52565).
  if (mknod("/dev/console", S_IFREG | 0666, 0) != 0 && errno != EEXIST) return Error::Errno("make", "/dev/console");
  UniqueFd target(open("/dev/console", O_PATH | O_NOFOLLOW | O_CLOEXEC));
  struct stat info;
  if (!target || fstat(target.get(), &info) != 0) return Error::Errno("open", "/dev/console");
  if (S_ISLNK(info.st_mode) || S_ISDIR(info.st_mode)) return Error{"/dev/console: must be neither a link nor a folder", EINVAL};
  UniqueFd tree(open_tree(terminal.slave.get(), "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH));
  if (!tree) return Error::Errno("open", "/dev/console");
  if (move_mount(tree.get(), "", target.get(), "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) != 0) {
    return Error::Errno("mount on", "/dev/console");
  }
  return terminal;
}

// Until the container is created. `terminal`: filled when there is one.
Status SetUp(InitInput& input, Terminal& terminal) {
  const Config& config = input.config;
  bool in_user_namespace = config.FindNamespace(CLONE_NEWUSER) != nullptr;
  STARLING_TRY(EnterNamespaces(input));
  STARLING_TRY(AttachRoot(config, input.sources.root));
  if (in_user_namespace) {
    if (Status done = BecomeMappedRoot(); !done.ok()) return Error{"linux." + done.error().message, done.error().number};
  }
  int root = input.sources.root.get();
  STARLING_TRY(MountAll(config, input.cgroup, input.sources, root));
  STARLING_TRY(MakeDevices(config, root, in_user_namespace));
  if (!SendMessage(input.sync, "H").ok()) _exit(kChildFailed);
  Await(input.sync, "C");
  std::string state = StateJson(input.record, Stage::kCreating, getpid());
  STARLING_TRY(RunHooks(config.hooks.create_container, "createContainer", state));
  STARLING_TRY(Pivot(root));
  if (config.process && config.process->terminal) {
    STARLING_ASSIGN(made, MakeConsole(*config.process));
    terminal = std::move(made);
    input.launch.terminal = terminal.slave.get();
  }
  if (config.process) STARLING_TRY(Locate(input.launch));
  return Protect(config, std::move(input.sources.null_device));
}

}  // namespace

Status JoinNamespaces(const Config& config) {
  std::vector<std::pair<UniqueFd, uint64_t>> spaces;
  for (const Namespace& entry : config.namespaces) {
    if (entry.path.empty()) continue;
    auto fd = fs::Open(entry.path, O_RDONLY);
    if (!fd.ok()) return Error{"linux.namespaces: " + fd.error().message, fd.error().number};
    if (ioctl(fd->get(), NS_GET_NSTYPE) != static_cast<int>(entry.flag)) {
      return Error{"linux.namespaces: `" + entry.path + "` is no namespace of that type", EINVAL};
    }
    spaces.emplace_back(std::move(*fd), entry.flag);
  }
  for (bool user : {false, true}) {
    for (const auto& [fd, flag] : spaces) {
      if ((flag == CLONE_NEWUSER) != user) continue;
      if (setns(fd.get(), static_cast<int>(flag)) != 0) return Error::Errno("linux.namespaces: setns", std::to_string(flag));
    }
  }
  return {};
}

void FailInit(int sync, const Error& error) {
  (void)SendMessage(sync, "E" + error.message.substr(0, 4000)).ok();
  _exit(kChildFailed);
}

void RunInit(InitInput input) {
  // Its files are of the runtime until execve: nobody inside may look into it.
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  setsid();
  if (input.config.HasNew(CLONE_NEWUSER)) {
    if (!SendMessage(input.sync, "U").ok()) _exit(kChildFailed);
    Await(input.sync, "M");
  }
  Terminal terminal;
  if (Status done = SetUp(input, terminal); !done.ok()) FailInit(input.sync, done.error());
  if (!SendMessage(input.sync, "R", terminal.master.get()).ok()) _exit(kChildFailed);
  terminal.master.reset();
  close(input.sync);
  int start;
  do {
    start = accept4(input.listener, nullptr, nullptr, SOCK_CLOEXEC);
  } while (start < 0 && errno == EINTR);
  if (start < 0) _exit(kChildFailed);
  close(input.listener);
  if (!input.config.process) FailInit(start, Error{"config.json: process: must be set to start the container", EINVAL});
  std::string state = StateJson(input.record, Stage::kCreated, getpid());
  if (Status hooks = RunHooks(input.config.hooks.start_container, "startContainer", state); !hooks.ok()) FailInit(start, hooks.error());
  FailInit(start, Become(input.launch, start));
}

}  // namespace starling::oci
