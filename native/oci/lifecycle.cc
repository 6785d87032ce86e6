#include <dirent.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <memory>

#include "../runtime/sync_socket.h"
#include "../sys/fs.h"
#include "container.h"
#include "hooks.h"
#include "seccomp_agent.h"

namespace starling::oci {
namespace {

// rmdir is refused while the kernel tears the last processes down: soon at first, in all half a minute.
constexpr int kEndAttempts = 3'000;
constexpr useconds_t kFirstPauseUs = 100;
constexpr useconds_t kLastPauseUs = 10'000;

Error WrongStage(const Record& record, Stage stage, std::string_view wanted) {
  return Error{"container `" + record.id + "` is " + NameOf(stage) + ", not " + std::string(wanted), EINVAL};
}

// Groups that processes inside made go first, the deepest before all.
bool RemoveGroup(const std::string& folder, int depth) {
  if (rmdir(folder.c_str()) == 0 || errno == ENOENT) return true;
  if (depth == 0) return false;
  std::unique_ptr<DIR, int (*)(DIR*)> directory(opendir(folder.c_str()), closedir);
  if (directory == nullptr) return errno == ENOENT;
  while (const dirent* entry = readdir(directory.get())) {
    if (entry->d_type == DT_DIR && entry->d_name[0] != '.') (void)RemoveGroup(folder + "/" + entry->d_name, depth - 1);
  }
  return rmdir(folder.c_str()) == 0 || errno == ENOENT;
}

void KillGroup(const std::string& folder, int depth) {
  (void)fs::WriteControl(folder + "/freezer.state", "THAWED").ok();
  (void)fs::WriteControl(folder + "/cgroup.kill", "1").ok();
  auto text = fs::ReadFile(folder + "/cgroup.procs");
  if (text.ok()) {
    for (std::string_view line : fs::Split(*text, '\n')) {
      if (!line.empty() && line != "0") kill(std::atoi(std::string(line).c_str()), SIGKILL);
    }
  }
  std::unique_ptr<DIR, int (*)(DIR*)> directory(depth == 0 ? nullptr : opendir(folder.c_str()), closedir);
  while (const dirent* entry = directory == nullptr ? nullptr : readdir(directory.get())) {
    if (entry->d_type == DT_DIR && entry->d_name[0] != '.') KillGroup(folder + "/" + entry->d_name, depth - 1);
  }
}

constexpr int kGroupDepth = 16;

Result<Config> ConfigOf(const Store& store, const Record& record) {
  STARLING_ASSIGN(text, store.LoadConfig(record.id));
  return ParseConfig(text, record.bundle);
}

Result<UniqueFd> ConnectToInit(const Store& store, const std::string& id) {
  STARLING_ASSIGN(directory, fs::Open(store.Folder(id), O_PATH | O_DIRECTORY));
  UniqueFd connection(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!connection) return Error::Errno("socket", "");
  sockaddr_un address;
  std::memset(&address, 0, sizeof address);
  address.sun_family = AF_UNIX;
  snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/start.sock", directory.get());
  if (connect(connection.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return Error::Errno("connect", id);
  return connection;
}

// Until the program runs: end of file.
Status AwaitStart(const Config& config, const Record& record, int connection) {
  for (;;) {
    STARLING_ASSIGN(message, ReceiveMessage(connection));
    if (message.text.empty()) return {};
    if (message.text == "N") {
      STARLING_TRY(TellSeccompAgent(*config.seccomp, record, message.attached.get()));
      continue;
    }
    return Error{message.text.substr(1), 0};
  }
}

// SIGKILL to a process that is surely the container's.
Status Signal(const Record& record, int number) {
  UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, record.pid, 0)));
  if (!pidfd || StartTime(record.pid) != record.start_time) return Error::Errno("kill", record.id, ESRCH);
  if (syscall(SYS_pidfd_send_signal, pidfd.get(), number, nullptr, 0) != 0) return Error::Errno("kill", record.id);
  return {};
}

}  // namespace

Status Destroy(const Store& store, const Record& record) {
  bool alive = record.pid > 0 && record.start_time != 0;
  bool gone = false;
  for (int attempt = 0; attempt < kEndAttempts && !gone; attempt++) {
    if (attempt > 0) usleep(std::min(kFirstPauseUs * static_cast<useconds_t>(attempt), kLastPauseUs));
    if (alive && attempt % 20 == 0) (void)Signal(record, SIGKILL).ok();
    alive = alive && StartTime(record.pid) == record.start_time;
    gone = !alive;
    for (const std::string& folder : record.cgroups) {
      if (RemoveGroup(folder, kGroupDepth)) continue;
      gone = false;
      if (attempt % 20 == 0) KillGroup(folder, kGroupDepth);
    }
  }
  if (!gone) return Error{"container `" + record.id + "`: processes inside do not end", EBUSY};
  for (const std::string& folder : record.cgroups) {
    // The folder of all containers goes with the last of them.
    if (fs::Parent(folder).ends_with("/starling")) rmdir(fs::Parent(folder).c_str());
  }
  auto config = ConfigOf(store, record);
  STARLING_TRY(store.Remove(record.id));
  if (!config.ok()) return {};
  for (const Hook& hook : config->hooks.poststop) {
    Status ran = RunHooks({hook}, "poststop", StateJson(record, Stage::kStopped, 0));
    if (!ran.ok()) fprintf(stderr, "starling-run: warning: %s\n", ran.error().message.c_str());
  }
  return {};
}

Status StartContainer(const Store& store, const std::string& id) {
  STARLING_ASSIGN(lock, store.Lock(id));
  STARLING_ASSIGN(record, store.Load(id));
  Stage stage = store.StageOf(record);
  if (stage != Stage::kCreated) return WrongStage(record, stage, "created");
  STARLING_ASSIGN(config, ConfigOf(store, record));
  if (!config.process) return Error{"config.json: process: must be set to start the container", EINVAL};
  STARLING_ASSIGN(connection, ConnectToInit(store, id));
  if (Status running = AwaitStart(config, record, connection.get()); !running.ok()) {
    (void)Destroy(store, record).ok();
    return running;
  }
  unlink((store.Folder(id) + "/start.sock").c_str());
  Status after = RunHooks(config.hooks.poststart, "poststart", StateJson(record, Stage::kRunning, record.pid));
  // The program runs by now, and other runtimes leave it at a word.
  if (!after.ok()) fprintf(stderr, "starling-run: warning: %s\n", after.error().message.c_str());
  return {};
}

Status KillContainer(const Store& store, const std::string& id, int signal, bool all) {
  STARLING_ASSIGN(record, store.Load(id));
  Stage stage = store.StageOf(record);
  if (all) {
    STARLING_ASSIGN(cgroup, cgroup::Cgroup::At(record.cgroups));
    for (int pid : cgroup.Processes()) kill(pid, signal);
    return {};
  }
  if (stage == Stage::kStopped || stage == Stage::kCreating) return WrongStage(record, stage, "created or running");
  return Signal(record, signal);
}

Status DeleteContainer(const Store& store, const std::string& id, bool force) {
  auto lock = store.Lock(id);
  if (!lock.ok()) return force && lock.error().number == ENOENT ? Status() : Status(lock.error());
  STARLING_ASSIGN(record, store.Load(id));
  Stage stage = store.StageOf(record);
  bool ended = stage == Stage::kStopped || stage == Stage::kCreated;
  if (!ended && !force) return WrongStage(record, stage, "stopped: kill it first, or use --force");
  return Destroy(store, record);
}

Status FreezeContainer(const Store& store, const std::string& id, bool frozen) {
  STARLING_ASSIGN(record, store.Load(id));
  Stage stage = store.StageOf(record);
  Stage wanted = frozen ? Stage::kRunning : Stage::kPaused;
  if (stage != wanted) return WrongStage(record, stage, NameOf(wanted));
  STARLING_ASSIGN(cgroup, cgroup::Cgroup::At(record.cgroups));
  return cgroup.Freeze(frozen);
}

Result<std::vector<int>> ListProcesses(const Store& store, const std::string& id) {
  STARLING_ASSIGN(record, store.Load(id));
  STARLING_ASSIGN(cgroup, cgroup::Cgroup::At(record.cgroups));
  return cgroup.Processes();
}

}  // namespace starling::oci
