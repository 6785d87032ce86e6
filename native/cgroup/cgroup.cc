#include "cgroup.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>

#include "../sys/fs.h"
#include "devices.h"

namespace starling::cgroup {
namespace {

constexpr int kCreateAttempts = 20;
// Of a millisecond each.
constexpr int kFreezeAttempts = 500;

bool Exists(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

// The whole file as a number; -1 when unreadable, and for "max".
int64_t ReadNumber(const std::string& path) {
  auto text = fs::ReadFile(path, 4096);
  if (!text.ok() || text->empty() || (*text)[0] < '0' || (*text)[0] > '9') return -1;
  return std::strtoll(text->c_str(), nullptr, 10);
}

// The number after `key` in a file of "key value" lines; 0 when absent.
int64_t ReadField(const std::string& path, std::string_view key) {
  auto text = fs::ReadFile(path, 1 << 16);
  if (!text.ok()) return 0;
  for (std::string_view line : fs::Split(*text, '\n')) {
    if (line.size() > key.size() && line.substr(0, key.size()) == key && line[key.size()] == ' ') {
      return std::strtoll(std::string(line.substr(key.size() + 1)).c_str(), nullptr, 10);
    }
  }
  return 0;
}

// hugetlb and rdma are of resources that only an OCI bundle can ask for.
bool IsHandedDown(std::string_view controller, bool every) {
  static constexpr std::string_view kUsual[] = {"memory", "cpu", "pids", "cpuset", "io"};
  if (std::find(std::begin(kUsual), std::end(kUsual), controller) != std::end(kUsual)) return true;
  return every && (controller == "hugetlb" || controller == "rdma");
}

Error Missing(std::string_view controller, std::string_view limit) {
  return Error{std::string(limit) + ": this host mounts no cgroup hierarchy with the " + std::string(controller) +
                   " controller",
               ENOTSUP};
}

}  // namespace

Result<Cgroup> Cgroup::Locate(const Placement& placement, const Limits& limits) {
  if (!placement.parent.empty()) STARLING_TRY(CheckGroupName(placement.parent, "cgroup.parent"));
  bool whole = !placement.whole.empty();
  STARLING_TRY(whole ? CheckGroupName(placement.whole, "cgroup path") : CheckGroupName(placement.name, "cgroup.name"));
  STARLING_ASSIGN(mountinfo, fs::ReadFile("/proc/self/mountinfo"));
  STARLING_ASSIGN(self_cgroup, fs::ReadFile("/proc/self/cgroup"));
  std::vector<Hierarchy> hierarchies = ParseHierarchies(mountinfo, self_cgroup);
  bool unified = std::any_of(hierarchies.begin(), hierarchies.end(), [](const Hierarchy& h) { return h.v2; });
  Cgroup cgroup;
  cgroup.placement_ = placement;
  for (Hierarchy& hierarchy : hierarchies) {
    bool wanted = hierarchy.v2 || hierarchy.Has("memory") || hierarchy.Has("cpu") || hierarchy.Has("cpuacct") ||
                  hierarchy.Has("pids") || hierarchy.Has("name=systemd") ||
                  (hierarchy.Has("cpuset") && (!limits.cpus.empty() || !limits.memory_nodes.empty())) ||
                  (hierarchy.Has("blkio") && (limits.io_weight > 0 || !limits.io_limits.empty())) ||
                  (!unified && (hierarchy.Has("freezer") || hierarchy.Has("devices")));
    if (!wanted && !placement.every) continue;
    Group group;
    std::string below = whole ? placement.whole
                              : ContainersGroup(hierarchy, placement.parent) + (placement.alone ? "-" : "/") + placement.name;
    group.folder = hierarchy.mount_point + (below.starts_with('/') ? "" : "/") + below;
    group.hierarchy = std::move(hierarchy);
    cgroup.groups_.push_back(std::move(group));
  }
  return cgroup;
}

Result<Cgroup> Cgroup::At(const std::vector<std::string>& folders) {
  STARLING_ASSIGN(mountinfo, fs::ReadFile("/proc/self/mountinfo"));
  Cgroup cgroup;
  for (Hierarchy& hierarchy : ParseHierarchies(mountinfo, "")) {
    for (const std::string& folder : folders) {
      if (!folder.starts_with(hierarchy.mount_point + "/")) continue;
      Group group;
      group.folder = folder;
      group.hierarchy = hierarchy;
      cgroup.groups_.push_back(std::move(group));
    }
  }
  return cgroup;
}

const Cgroup::Group* Cgroup::Find(std::string_view controller) const {
  for (const Group& group : groups_) {
    if (group.hierarchy.Has(controller)) return &group;
  }
  return nullptr;
}

const Cgroup::Group* Cgroup::Unified() const {
  for (const Group& group : groups_) {
    if (group.hierarchy.v2) return &group;
  }
  return nullptr;
}

Status Cgroup::CreateFolder(const Group& group, const std::string& containers_folder) const {
  // The folder of all containers goes with the last of them, perhaps while this one comes.
  for (int attempt = 0;; attempt++) {
    if (mkdir(group.folder.c_str(), 0755) == 0 || errno == EEXIST) break;
    if (errno != ENOENT || attempt == kCreateAttempts) return Error::Errno("mkdir", group.folder);
    (void)fs::MakeFolders(containers_folder).ok();
  }
  if (!group.hierarchy.v2) return {};
  // Controllers are handed down level by level, of what each has; a level that has handed them down takes the write as no change. A
  // level that refuses (its own processes) shows later as a limit's missing file.
  std::string level = group.hierarchy.mount_point;
  std::string_view below = std::string_view(containers_folder).substr(level.size());
  for (std::string_view part : fs::Split(below, '/')) {
    if (!part.empty()) level.append("/").append(part);
    auto available = fs::ReadFile(level + "/cgroup.controllers", 4096);
    // Nothing there, nothing further down.
    if (!available.ok() || available->find_first_not_of(" \n") == std::string::npos) break;
    for (std::string_view controller : fs::Split(std::string_view(*available).substr(0, available->find('\n')), ' ')) {
      if (IsHandedDown(controller, placement_.every)) {
        (void)fs::WriteControl(level + "/cgroup.subtree_control", "+" + std::string(controller)).ok();
      }
    }
  }
  return {};
}

Status Cgroup::Create(const Limits& limits) {
  for (const Group& group : groups_) STARLING_TRY(CreateFolder(group, fs::Parent(group.folder)));
  STARLING_TRY(ApplyMemory(limits));
  STARLING_TRY(ApplyCpu(limits));
  STARLING_TRY(ApplyPids(limits));
  STARLING_TRY(ApplyCpuset(limits));
  STARLING_TRY(ApplyIo(limits));
  STARLING_TRY(OpenForJoin());
  if (!limits.default_devices) return {};
  if (v2_fd_) return AttachDeviceFilter(v2_fd_.get(), limits.devices);
  if (const Group* group = Find("devices")) return LimitDevicesV1(group->folder, limits.devices);
  return {};
}

Status Cgroup::OpenForJoin() {
  for (Group& group : groups_) {
    if (group.hierarchy.v2) {
      STARLING_ASSIGN(fd, fs::Open(group.folder, O_RDONLY | O_DIRECTORY));
      v2_fd_ = std::move(fd);
    } else {
      STARLING_ASSIGN(fd, fs::Open(group.folder + "/tasks", O_WRONLY));
      group.tasks = std::move(fd);
    }
  }
  return {};
}

Status Cgroup::JoinSelf() const {
  for (const Group& group : groups_) {
    if (group.tasks && write(group.tasks.get(), "0", 1) < 0) return Error::Errno("join cgroup", group.folder);
  }
  return {};
}

bool Cgroup::KillAll() const {
  const Group* group = Unified();
  return group != nullptr && fs::WriteControl(group->folder + "/cgroup.kill", "1").ok();
}

Status Cgroup::Freeze(bool frozen) const {
  if (const Group* group = Unified()) {
    STARLING_TRY(fs::WriteControl(group->folder + "/cgroup.freeze", frozen ? "1" : "0"));
    // Processes stop when they next leave the kernel: wait for it a moment, so that whoever asked finds them at rest.
    for (int attempt = 0; attempt < kFreezeAttempts; attempt++) {
      if (ReadField(group->folder + "/cgroup.events", "frozen") == (frozen ? 1 : 0)) break;
      usleep(1'000);
    }
    return {};
  }
  const Group* group = Find("freezer");
  if (group == nullptr) return Missing("freezer", "pause");
  return fs::WriteControl(group->folder + "/freezer.state", frozen ? "FROZEN" : "THAWED");
}

Stats Cgroup::ReadStats() const {
  Stats stats;
  const Group* unified = Unified();
  if (unified != nullptr && Exists(unified->folder + "/cpu.stat")) {
    stats.cpu_usage_ns = ReadField(unified->folder + "/cpu.stat", "usage_usec") * 1000;
  } else if (const Group* group = Find("cpuacct")) {
    stats.cpu_usage_ns = std::max<int64_t>(0, ReadNumber(group->folder + "/cpuacct.usage"));
  }
  if (const Group* group = Find("memory")) {
    // Page cache that could be dropped is no use of memory: what `docker stats` shows leaves it out too.
    int64_t usage = ReadNumber(group->folder + "/memory.usage_in_bytes");
    stats.memory_bytes = std::max<int64_t>(0, usage - ReadField(group->folder + "/memory.stat", "total_inactive_file"));
    int64_t limit = ReadNumber(group->folder + "/memory.limit_in_bytes");
    stats.memory_limit_bytes = limit >= (int64_t{1} << 60) || limit < 0 ? 0 : limit;
    stats.oom_kills = ReadField(group->folder + "/memory.oom_control", "oom_kill");
  } else if (unified != nullptr) {
    int64_t usage = ReadNumber(unified->folder + "/memory.current");
    stats.memory_bytes = std::max<int64_t>(0, usage - ReadField(unified->folder + "/memory.stat", "inactive_file"));
    stats.memory_limit_bytes = std::max<int64_t>(0, ReadNumber(unified->folder + "/memory.max"));
    stats.oom_kills = ReadField(unified->folder + "/memory.events", "oom_kill");
  }
  const Group* pids = Find("pids");
  if (pids == nullptr) pids = unified;
  if (pids != nullptr) stats.pids = std::max<int64_t>(0, ReadNumber(pids->folder + "/pids.current"));
  return stats;
}

Status Cgroup::Remove() const {
  Status first;
  for (const Group& group : groups_) {
    if (rmdir(group.folder.c_str()) == 0 || errno == ENOENT) continue;
    if (first.ok()) first = Error::Errno("rmdir", group.folder);
  }
  return first;
}

std::vector<int> Cgroup::Processes() const {
  std::vector<int> processes;
  for (const Group& group : groups_) {
    auto text = fs::ReadFile(group.folder + "/cgroup.procs");
    if (!text.ok()) continue;
    for (std::string_view line : fs::Split(*text, '\n')) {
      if (!line.empty()) processes.push_back(std::atoi(std::string(line).c_str()));
    }
    if (!processes.empty()) break;
  }
  return processes;
}

std::string Cgroup::FolderOf(std::string_view controller) const {
  const Group* group = controller.empty() ? Unified() : Find(controller);
  return group == nullptr ? std::string() : group->folder;
}

std::vector<Member> Cgroup::Members() const {
  std::vector<Member> members;
  for (const Group& group : groups_) members.push_back({group.hierarchy, group.folder});
  return members;
}

std::vector<std::string> Cgroup::Folders() const {
  std::vector<std::string> folders;
  for (const Group& group : groups_) folders.push_back(group.folder);
  return folders;
}

UniqueFd Cgroup::EnterShimGroup(const Placement& placement) {
  Placement shims{placement.parent, "shims"};
  auto located = Locate(shims);
  if (!located.ok()) return {};
  for (const Group& group : located->groups_) {
    if (!located->CreateFolder(group, fs::Parent(group.folder)).ok()) return {};
  }
  if (!located->OpenForJoin().ok() || !located->JoinSelf().ok()) return {};
  return std::move(located->v2_fd_);
}

}  // namespace starling::cgroup
