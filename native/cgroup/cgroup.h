// A container's control groups on every hierarchy that counts, v1 and v2 at once where a host has both: limits go where
// their controller is, kill and freeze to v2 when there is one.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "../base/result.h"
#include "../sys/unique_fd.h"
#include "devices.h"
#include "paths.h"

namespace starling::cgroup {

// Of one block device; bytes and operations per second, 0: no limit.
struct IoLimit {
  unsigned major = 0;
  unsigned minor = 0;
  int64_t read_bps = 0;
  int64_t write_bps = 0;
  int64_t read_iops = 0;
  int64_t write_iops = 0;
};

// 0 means: no limit, or the kernel's default.
struct Limits {
  int64_t memory_bytes = 0;
  // Soft limit: what the kernel leaves when memory is short.
  int64_t memory_reservation_bytes = 0;
  // CPU time per period of 100 ms, in microseconds.
  int64_t cpu_quota_us = 0;
  // v1 cpu.shares, 2 … 262144 (1024 is normal); converted to v2's cpu.weight.
  int64_t cpu_shares = 0;
  int64_t pids = 0;
  // Swap on top of memory_bytes, which it needs; -1: no limit. Without a value none is given.
  int64_t swap_bytes = 0;
  // 0 … 100; -1: as the host. v1 only: v2 has no such control.
  int64_t swappiness = -1;
  // Lists as in "0-3,7"; empty: all.
  std::string cpus;
  std::string memory_nodes;
  // 10 … 1000 as Docker's blkio weight; 0: the kernel's default.
  int64_t io_weight = 0;
  std::vector<IoLimit> io_limits;
  std::vector<DeviceRule> devices;
  // The default devices and no others; false: the caller says which.
  bool default_devices = true;
};

struct Placement {
  // From the root of each hierarchy; empty: see ContainersGroup.
  std::string parent;
  // One or more parts below the parent: the container's id.
  std::string name;
  // Beside the group of all containers, not in it: one group less to make and remove for who has one container.
  bool alone = false;
  // Instead of all these: a whole path from the root of each hierarchy.
  std::string whole = {};
  // Groups in every hierarchy there is, also those of controllers that limits of ours do not use.
  bool every = false;
};

struct Stats {
  int64_t cpu_usage_ns = 0;
  int64_t memory_bytes = 0;
  int64_t memory_limit_bytes = 0;
  int64_t pids = 0;
  // Processes of the group that the kernel killed for lack of memory.
  int64_t oom_kills = 0;
};

// One group: the folder of the container in a hierarchy.
struct Member {
  Hierarchy hierarchy;
  std::string folder;
};

// Handle to groups in the file system; destroying it removes nothing.
class Cgroup {
 public:
  // Where the groups of `placement` are or would be; on the v1 hierarchies of cpuset and blkio only where `limits` ask
  // for them.
  static Result<Cgroup> Locate(const Placement& placement, const Limits& limits = {});

  // The groups that `folders` are, wherever this process is now: what Folders() gave before.
  static Result<Cgroup> At(const std::vector<std::string>& folders);

  // Makes the groups and sets the limits. Fails when a limit was asked for and no hierarchy can enforce it.
  Status Create(const Limits& limits);

  // Puts the calling thread into the v1 groups; a process enters the v2 group by CLONE_INTO_CGROUP with v2_fd().
  // One must be single-threaded: writing 0 to `tasks` spares the grace period that a write of a pid costs.
  // REQUIRES: Create or OpenForJoin succeeded.
  Status JoinSelf() const;
  int v2_fd() const { return v2_fd_.get(); }

  // Opens what JoinSelf and v2_fd need of existing groups.
  Status OpenForJoin();

  // SIGKILL to every process inside. False when this kernel has no way at once (v1 only): kill the init instead.
  bool KillAll() const;
  Status Freeze(bool frozen) const;
  Stats ReadStats() const;
  // Removes the groups; those already gone are fine. EBUSY while processes are inside.
  Status Remove() const;
  // Process ids inside, in this PID namespace.
  std::vector<int> Processes() const;

  // Folder of the group in the v1 hierarchy of `controller`, "": in v2's; empty when there is none.
  std::string FolderOf(std::string_view controller) const;

  std::vector<Member> Members() const;
  // Folders of the groups, for inspection.
  std::vector<std::string> Folders() const;

  // A group beside the containers' for their shims, so that stopping swarmd's unit does not end them: v2 folder to clone
  // into (invalid when there is none). The v1 groups are joined by the caller itself. Failure leaves it where it is.
  static UniqueFd EnterShimGroup(const Placement& placement);

 private:
  struct Group {
    Hierarchy hierarchy;
    std::string folder;
    UniqueFd tasks;
  };

  const Group* Find(std::string_view controller) const;
  const Group* Unified() const;
  Status CreateFolder(const Group& group, const std::string& containers_folder) const;
  Status ApplyMemory(const Limits& limits) const;
  Status ApplyCpu(const Limits& limits) const;
  Status ApplyPids(const Limits& limits) const;
  Status ApplyCpuset(const Limits& limits) const;
  Status ApplyIo(const Limits& limits) const;

  Placement placement_;
  std::vector<Group> groups_;
  UniqueFd v2_fd_;
};

}  // namespace starling::cgroup
