#include <fcntl.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>

#include "../../base/json.h"
#include "../../oci/container.h"
#include "../../sys/fs.h"
#include "commands.h"

namespace starling::run {
namespace {

Status CheckFormat(const std::string& format) {
  if (format == "table" || format == "json") return {};
  return Error{"--format `" + format + "`: must be table or json", EINVAL};
}

// State as `state` and `list` show it: the specification's members, and when it was made and by whom.
std::string Describe(const oci::Store& store, const oci::Record& record) {
  std::string state = oci::StateJson(record, store.StageOf(record), record.pid);
  json::Object more;
  more.String("created", record.created).String("owner", "root");
  return state.substr(0, state.size() - 1) + "," + more.Done().substr(1);
}

constexpr char kMounts[] = R"([
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
    {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
     "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
    {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
    {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
    {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
    {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]}
  ])";

constexpr char kRootlessMounts[] = R"([
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
    {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
    {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
    {"destination": "/sys", "type": "none", "source": "/sys", "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]}
  ])";

std::string SpecText(bool rootless) {
  std::string capabilities = R"(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"])";
  std::string namespaces = R"([{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "cgroup"})";
  std::string mappings;
  if (rootless) {
    namespaces += R"(, {"type": "user"})";
    auto mapping = [](unsigned id) { return "[{\"containerID\": 0, \"hostID\": " + std::to_string(id) + ", \"size\": 1}]"; };
    mappings = "    \"uidMappings\": " + mapping(getuid()) + ",\n    \"gidMappings\": " + mapping(getgid()) + ",\n";
  }
  return std::string(R"({
  "ociVersion": "1.2.0",
  "process": {
    "terminal": true,
    "user": {"uid": 0, "gid": 0},
    "args": ["sh"],
    "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
    "cwd": "/",
    "capabilities": {"bounding": )") +
         capabilities + ", \"effective\": " + capabilities + ", \"permitted\": " + capabilities + R"(},
    "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
    "noNewPrivileges": true
  },
  "root": {"path": "rootfs", "readonly": true},
  "hostname": "starling",
  "mounts": )" +
         (rootless ? kRootlessMounts : kMounts) + R"(,
  "linux": {
)" + mappings + R"(    "resources": {"devices": [{"allow": false, "access": "rwm"}]},
    "namespaces": )" +
         namespaces + R"(],
    "maskedPaths": ["/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                    "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"],
    "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
  }
}
)";
}

}  // namespace

Result<int> ShowState(const oci::Store& store, const Parsed& parsed) {
  STARLING_ASSIGN(id, ContainerOf(parsed));
  STARLING_ASSIGN(record, store.Load(id));
  printf("%s\n", Describe(store, record).c_str());
  return 0;
}

Result<int> ShowList(const oci::Store& store, const Parsed& parsed) {
  std::string format = parsed.Value("format", "table");
  STARLING_TRY(CheckFormat(format));
  bool quiet = parsed.Has("quiet");
  std::string json = "[";
  if (!quiet && format == "table") printf("%-20s %-9s %-8s %-40s %-30s %s\n", "NAME", "PID", "STATUS", "BUNDLE PATH", "CREATED", "OWNER");
  for (const std::string& id : store.Ids()) {
    auto record = store.Load(id);
    // Deleted meanwhile.
    if (!record.ok()) continue;
    if (quiet) {
      printf("%s\n", id.c_str());
    } else if (format == "json") {
      json += (json.size() > 1 ? ",\n" : "") + Describe(store, *record);
    } else {
      oci::Stage stage = store.StageOf(*record);
      int pid = stage == oci::Stage::kStopped ? 0 : record->pid;
      printf("%-20s %-9d %-8s %-40s %-30s %s\n", id.c_str(), pid, oci::NameOf(stage), record->bundle.c_str(), record->created.c_str(), "root");
    }
  }
  if (!quiet && format == "json") printf("%s]\n", json.c_str());
  return 0;
}

Result<int> ShowProcesses(const oci::Store& store, const Parsed& parsed) {
  STARLING_ASSIGN(id, ContainerOf(parsed));
  std::string format = parsed.Value("format", "table");
  STARLING_TRY(CheckFormat(format));
  STARLING_ASSIGN(pids, oci::ListProcesses(store, id));
  if (format == "table") printf("PID\n");
  std::string json = "[";
  for (int pid : pids) {
    if (format == "table") printf("%d\n", pid);
    json += (json.size() > 1 ? "," : "") + std::to_string(pid);
  }
  if (format == "json") printf("%s]\n", json.c_str());
  return 0;
}

Result<int> WriteSpec(const oci::Store&, const Parsed& parsed) {
  std::string path = parsed.Value("bundle", ".") + "/config.json";
  STARLING_ASSIGN(file, fs::Open(path, O_WRONLY | O_CREAT | O_EXCL, 0644));
  STARLING_TRY(fs::WriteAll(file.get(), SpecText(parsed.Has("rootless")), path));
  return 0;
}

}  // namespace starling::run
