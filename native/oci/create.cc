#include <fcntl.h>
#include <pwd.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <climits>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "../runtime/sync_socket.h"
#include "../sys/clone.h"
#include "../sys/fs.h"
#include "../sys/id_map.h"
#include "container.h"
#include "hooks.h"
#include "init.h"
#include "terminal.h"

namespace starling::oci {
namespace {

// Where the groups shall be. Without a path: below the caller's own group.
cgroup::Placement PlacementOf(const Config& config, const std::string& id) {
  cgroup::Placement placement;
  placement.every = NeedsEveryHierarchy(config.resources);
  if (config.cgroups_path.starts_with('/')) {
    placement.whole = config.cgroups_path;
  } else {
    placement.alone = config.cgroups_path.empty();
    placement.name = placement.alone ? id : config.cgroups_path;
  }
  return placement;
}

Result<Launch> LaunchOf(const Config& config, unsigned preserved_fds) {
  Launch launch;
  if (config.process) launch.process = *config.process;
  launch.personality = config.personality;
  launch.preserved_fds = preserved_fds;
  if (config.seccomp) {
    STARLING_ASSIGN(filter, CompileSeccomp(*config.seccomp));
    launch.filter = std::move(filter);
    launch.filter_flags = config.seccomp->flags;
    launch.notifies = config.seccomp->notifies;
  }
  return launch;
}

// Bound through the folder's descriptor: a socket's path has 107 bytes.
Result<UniqueFd> ListenForStart(const std::string& folder) {
  STARLING_ASSIGN(directory, fs::Open(folder, O_PATH | O_DIRECTORY));
  UniqueFd listener(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!listener) return Error::Errno("socket", "");
  sockaddr_un address;
  std::memset(&address, 0, sizeof address);
  address.sun_family = AF_UNIX;
  snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/start.sock", directory.get());
  if (bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return Error::Errno("bind", folder);
  if (listen(listener.get(), 1) != 0) return Error::Errno("listen", folder);
  return listener;
}

uint64_t NewNamespaces(const Config& config) {
  uint64_t flags = 0;
  for (uint64_t flag : {CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWIPC, CLONE_NEWUTS, CLONE_NEWNET, CLONE_NEWUSER}) {
    if (config.HasNew(flag)) flags |= flag;
  }
  return flags;
}

// All of one create; what is not released at its end is undone.
class Creation {
 public:
  Creation(const Store& store, const CreateOptions& options, Record record, Config config)
      : store_(store), options_(options), record_(std::move(record)), config_(std::move(config)) {}

  Result<Created> Run() {
    auto created = Make();
    if (created.ok()) return created;
    if (record_.pid > 0) {
      kill(record_.pid, SIGKILL);
      waitpid(record_.pid, nullptr, 0);
    }
    Status destroyed = Destroy(store_, record_);
    if (!destroyed.ok()) fprintf(stderr, "starling-run: %s\n", destroyed.error().message.c_str());
    return created;
  }

 private:
  Result<Created> Make() {
    STARLING_ASSIGN(launch, LaunchOf(config_, options_.preserved_fds));
    STARLING_ASSIGN(sources, CloneSources(config_));
    STARLING_ASSIGN(cgroup, cgroup::Cgroup::Locate(PlacementOf(config_, record_.id)));
    record_.cgroups = cgroup.Folders();
    cgroup::Limits none;
    none.default_devices = false;
    STARLING_TRY(cgroup.Create(none));
    STARLING_TRY(ApplyResources(config_.resources, cgroup));
    STARLING_TRY(ApplyDeviceRules(config_.resources.devices, cgroup));
    STARLING_ASSIGN(listener, ListenForStart(store_.Folder(record_.id)));
    STARLING_ASSIGN(sync, MakeSyncPair());
    STARLING_TRY(Spawn({config_, cgroup, sources, launch, record_, sync.child.get(), listener.get()}, sync.parent.get()));
    sync.child.reset();
    listener.reset();
    STARLING_ASSIGN(terminal, Converse(sync.parent.get()));
    Created created;
    record_.start_time = StartTime(record_.pid);
    if (terminal && !options_.console_socket.empty()) {
      STARLING_TRY(SendTerminal(options_.console_socket, terminal.get()));
      terminal.reset();
    }
    STARLING_TRY(store_.Save(record_));
    if (!options_.pid_file.empty()) STARLING_TRY(WritePidFile(options_.pid_file, record_.pid));
    created.record = record_;
    created.config = std::move(config_);
    created.terminal = std::move(terminal);
    return created;
  }

  // Sets the pid of the init. Joined namespaces need a step between: they are entered for good.
  Status Spawn(InitInput input, int parent_end) {
    bool joins = false;
    for (const Namespace& entry : config_.namespaces) joins = joins || !entry.path.empty();
    uint64_t flags = NewNamespaces(config_);
    if (!joins) {
      STARLING_ASSIGN(child, Clone({.flags = flags, .cgroup_fd = input.cgroup.v2_fd()}));
      if (child.pid == 0) {
        close(parent_end);
        RunInit(std::move(input));
      }
      record_.pid = child.pid;
      return {};
    }
    STARLING_ASSIGN(helper, Clone({}));
    if (helper.pid == 0) {
      close(parent_end);
      if (Status joined = JoinNamespaces(config_); !joined.ok()) FailInit(input.sync, joined.error());
      auto child = Clone({.flags = flags | CLONE_PARENT, .cgroup_fd = input.cgroup.v2_fd()});
      if (!child.ok()) FailInit(input.sync, child.error());
      if (child->pid == 0) RunInit(std::move(input));
      (void)SendMessage(input.sync, "P" + std::to_string(child->pid)).ok();
      _exit(0);
    }
    helper_ = helper.pid;
    return {};
  }

  // The conversation drawn in container.h, up to "R": gives the terminal's master, invalid without.
  Result<UniqueFd> Converse(int sync) {
    for (;;) {
      STARLING_ASSIGN(message, ReceiveMessage(sync));
      char kind = message.text.empty() ? 0 : message.text[0];
      if (kind == 'P') {
        // As the helper's PID namespace counts: the same as ours, since joining one counts for children only.
        record_.pid = static_cast<pid_t>(std::atoi(message.text.c_str() + 1));
        ReapHelper();
      } else if (kind == 'U') {
        STARLING_TRY(AwaitPid(sync));
        if (Status done = WriteIdMaps(record_.pid, config_.ids); !done.ok()) return Error{"linux." + done.error().message, done.error().number};
        STARLING_TRY(SendMessage(sync, "M"));
      } else if (kind == 'H') {
        STARLING_TRY(AwaitPid(sync));
        std::string state = StateJson(record_, Stage::kCreating, record_.pid);
        STARLING_TRY(RunHooks(config_.hooks.prestart, "prestart", state));
        STARLING_TRY(RunHooks(config_.hooks.create_runtime, "createRuntime", state));
        STARLING_TRY(SendMessage(sync, "C"));
      } else if (kind == 'R') {
        return std::move(message.attached);
      } else {
        ReapHelper();
        if (kind == 'E') return Error{message.text.substr(1), 0};
        return Error{"container: its init ended before it was ready", ECHILD};
      }
    }
  }

  // The init may speak before its maker does.
  Status AwaitPid(int sync) {
    if (record_.pid > 0) return {};
    STARLING_ASSIGN(message, ReceiveMessage(sync));
    if (!message.text.starts_with("P")) return Error{"container: its helper ended early", ECHILD};
    record_.pid = static_cast<pid_t>(std::atoi(message.text.c_str() + 1));
    ReapHelper();
    return {};
  }

  void ReapHelper() {
    if (helper_ > 0) waitpid(helper_, nullptr, 0);
    helper_ = 0;
  }

  const Store& store_;
  const CreateOptions& options_;
  Record record_;
  Config config_;
  pid_t helper_ = 0;
};

Status CheckTerminal(const Config& config, const CreateOptions& options) {
  bool terminal = config.process && config.process->terminal;
  if (terminal && options.console_socket.empty() && !options.keeps_terminal) {
    return Error{"--console-socket: needed, since `process.terminal` is set and this command does not stay", EINVAL};
  }
  if (!terminal && !options.console_socket.empty()) {
    return Error{"--console-socket: must not be given, since `process.terminal` is not set", EINVAL};
  }
  return {};
}

Status CheckPreserved(unsigned count) {
  for (unsigned fd = 3; fd < 3 + count; fd++) {
    if (fcntl(static_cast<int>(fd), F_GETFD) < 0) return Error{"--preserve-fds: descriptor " + std::to_string(fd) + " is not open", EBADF};
  }
  return {};
}

}  // namespace

Status WritePidFile(const std::string& path, pid_t pid) { return fs::ReplaceFile(path, std::to_string(pid), 0644); }

Result<Created> CreateContainer(const Store& store, const std::string& id, const CreateOptions& options) {
  STARLING_TRY(CheckId(id));
  char bundle[PATH_MAX];
  if (realpath(options.bundle.c_str(), bundle) == nullptr) return Error::Errno("--bundle", options.bundle);
  std::string file = options.config_file.empty() ? std::string(bundle) + "/config.json" : options.config_file;
  STARLING_ASSIGN(text, fs::ReadFile(file, 16 << 20));
  STARLING_ASSIGN(config, ParseConfig(text, bundle));
  for (const std::string& warning : config.warnings) fprintf(stderr, "starling-run: warning: %s\n", warning.c_str());
  STARLING_TRY(CheckTerminal(config, options));
  STARLING_TRY(CheckPreserved(options.preserved_fds));
  STARLING_TRY(store.Claim(id));
  Record record;
  record.id = id;
  record.bundle = bundle;
  record.created = Now();
  record.annotations = config.annotations;
  if (Status saved = fs::ReplaceFile(store.Folder(id) + "/config.json", text, 0600); !saved.ok()) {
    (void)store.Remove(id).ok();
    return saved.error();
  }
  return Creation(store, options, std::move(record), std::move(config)).Run();
}

}  // namespace starling::oci
