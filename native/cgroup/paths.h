// Where a container's cgroups go: pure logic over the texts of /proc/self/mountinfo and /proc/self/cgroup, so that v1,
// v2 and hybrid hosts are found by looking, not by a flag.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "../base/result.h"

namespace starling::cgroup {

struct Hierarchy {
  bool v2 = false;
  // v1: the controllers mounted here, "name=systemd" for the named one. v2: empty (see cgroup.controllers there).
  std::vector<std::string> controllers;
  std::string mount_point;
  // This process's own group below mount_point: "/" or "/a/b".
  std::string own;
  // v2 and no other: it has the resource controllers, and their rule that groups with processes hand none down.
  bool pure_v2 = false;

  bool Has(std::string_view controller) const;
};

// All mounted hierarchies, each once. A group that the mounts do not show (mounted from below it) counts as "/".
std::vector<Hierarchy> ParseHierarchies(std::string_view mountinfo, std::string_view self_cgroup);

// The folder (below mount_point) that holds the groups of all containers.
// parent empty: "<own>/starling", beside our own group on pure v2 (which has processes: us), but "/starling.slice" when
// our own group is a systemd unit (.service or .scope), so that stopping the unit ends no container. Else `parent` as
// given, from the hierarchy's root.
std::string ContainersGroup(const Hierarchy& hierarchy, std::string_view parent);

// Refuses names that would leave the folder: empty parts, ".", "..", control characters.
Status CheckGroupName(std::string_view name, std::string_view field);

}  // namespace starling::cgroup
